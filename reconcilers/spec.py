"""What is to be checked: pods and their checks, as frozen values.

Two checks are the same exactly when their `CheckSpec`s are equal; nobody compares them field by field.
"""

import re
from dataclasses import dataclass
from typing import Literal

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""What a node, a pod or a service may be called. Everything else never becomes part of a key or a URL:
with `..` in it a key would reach other endpoints of Consul's API."""


def is_name(text: str) -> bool:
    """Whether `text` may stand in a Consul key or a URL as one segment."""
    return NAME.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, order=True)
class PodKey:
    """One pod on one node; the only thing that work queues carry."""

    node: str
    pod: str

    def __str__(self) -> str:
        return f"{self.node}/{self.pod}"


@dataclass(frozen=True, slots=True)
class HttpGet:
    """GET `scheme://host:port/path`; a status of 200 is healthy (p2's rule)."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    path: str

    @property
    def url(self) -> str:
        """The URL to ask. The host is a checked name, the path was percent-encoded by whoever built this."""
        return f"{self.scheme}://{self.host}:{self.port}{self.path}"


@dataclass(frozen=True, slots=True)
class CheckSpec:
    """One check, complete: a worker needs nothing else to run it.

    `address` is where to connect instead of what the host's name resolves to (the name is kept for Host, SNI and
    verification); None resolves the name. `interval` and `timeout` are seconds.
    """

    key: PodKey
    probe: HttpGet
    interval: float
    timeout: float
    failure_threshold: int = 1
    success_threshold: int = 1
    address: str | None = None


@dataclass(frozen=True, slots=True)
class CheckDefaults:
    """What a check gets where its manifest is silent; p2's page says every 5 seconds. Seconds and counts."""

    interval: float = 5.0
    timeout: float = 5.0
    failure_threshold: int = 1
    success_threshold: int = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest that was understood. `check` is None for a pod that asks for none (no `status_port`).

    `unknown_fields` are the paths of keys that nobody here or in p2 knows: counted and shown, never refused.
    """

    key: PodKey
    check: CheckSpec | None
    unknown_fields: tuple[str, ...] = ()
