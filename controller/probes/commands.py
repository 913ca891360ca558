"""What other threads ask of the probe thread."""

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass

from controller.probes.worker import Worker
from reconcilers.guard import Guard
from reconcilers.spec import PodKey


@dataclass(frozen=True, slots=True)
class Start:
    """Probe for these workers from now on."""

    workers: Collection[Worker]


@dataclass(frozen=True, slots=True)
class Stop:
    """End the workers of these keys, with their requests; `done` is set when they are gone."""

    keys: Collection[PodKey]
    done: threading.Event


@dataclass(frozen=True, slots=True)
class Renew:
    """These authorities and this guard are in force, and the content of the files `replaced` is another one."""

    ca_file: str
    guard: Guard
    replaced: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class ProbeAll:
    """Drop what is under way, and probe every check now; `begun` is called when no older result can come any more."""

    begun: Callable[[], None]
