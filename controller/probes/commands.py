"""The commands that other threads send to the probe thread."""

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass

from controller.probes.worker import Worker
from reconcilers.spec import CheckSpec, PodKey
from reconcilers.target_guard import Guard


@dataclass(frozen=True, slots=True)
class Start:
    """Start these workers."""

    workers: Collection[Worker]


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop the workers of these keys and their probes in flight. `done` is set when they have stopped."""

    keys: Collection[PodKey]
    done: threading.Event


@dataclass(frozen=True, slots=True)
class Update:
    """Keep the workers of these checks. Probes that start from now on are for these versions of their manifests."""

    specs: Collection[CheckSpec]


@dataclass(frozen=True, slots=True)
class Renew:
    """Use these authorities and this guard from now on, and collect details or not. The content of the files `replaced`
    has changed."""

    ca_file: str
    guard: Guard
    details: bool
    replaced: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class ProbeAll:
    """End the probes in flight, and probe every check now. `begun` is called when no older result can follow."""

    begun: Callable[[], None]
