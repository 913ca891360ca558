"""The interfaces that the reconcilers need, and the results that they return."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from reconcilers.health import CheckHealth
from reconcilers.record import HealthRecord
from reconcilers.spec import CheckSpec, Manifest, PodKey


@dataclass(frozen=True, slots=True)
class Result:
    """How reconciling one key ended: done, to be reconciled again after some seconds, or failed.

    `error` says why it failed. The key is retried with the queue's back-off.
    """

    requeue_after: float | None = None
    error: str = ""


DONE = Result()


class Reconciler(Protocol):
    """Brings the actual state of some keys closer to the desired state. It gets keys, never events."""

    def reconcile(self, keys: Collection[PodKey]) -> Mapping[PodKey, Result]:
        """Reconciles `keys`. A key that is missing in the returned mapping is `DONE`."""
        ...


class Manifests(Protocol):
    """The last good manifest of each pod."""

    def manifest(self, key: PodKey) -> Manifest | None: ...


class Addresses(Protocol):
    """The addresses of the nodes."""

    def address(self, node: str) -> str | None:
        """Returns the address to connect to instead of the node's name, None if the name is to be resolved.

        Returns `UNKNOWN_ADDRESS` if the address has been unknown for so long that the checks must start without it.
        Raises LookupError if the address is not known yet.
        """
        ...


class Workers(Protocol):
    """The probe workers that run."""

    def running(self, keys: Iterable[PodKey]) -> Mapping[PodKey, CheckSpec]: ...

    def stop(self, keys: Collection[PodKey]) -> None:
        """Stops these workers. Returns when the workers and their requests have ended."""
        ...

    def start(self, specs: Collection[CheckSpec]) -> None: ...

    def update(self, specs: Collection[CheckSpec]) -> None:
        """The workers of these checks go on. Probes that start from now on are for the versions in `specs`."""
        ...


class Healths(Protocol):
    """The health of each pod that has a worker."""

    def health(self, key: PodKey) -> tuple[CheckHealth, float] | None:
        """Returns the health and the time of the last probe (seconds since the epoch), None without a worker."""
        ...

    def is_proven(self, key: PodKey) -> bool:
        """Whether the health may be published where it is not published yet, see `evidence`."""
        ...


class Followed(Protocol):
    """The pods whose health is known because they have a worker."""

    def forget(self, keys: Collection[PodKey]) -> None:
        """Removes pods whose workers have stopped."""
        ...


@dataclass(frozen=True, slots=True)
class Desired:
    """The record to publish of a pod that has a worker, None while there is no verdict.

    It may change after `quiet` seconds without a notification, as when damping ends; 0 if it does not. A record that is
    not `proven` is kept where it is published, and not written where it is not.
    """

    record: HealthRecord | None
    quiet: float = 0.0
    proven: bool = True


class Desires(Protocol):
    """The record to publish of each pod, the same in every place."""

    def desired(self, key: PodKey) -> Desired | None:
        """Returns None for a pod without a worker. Its record is deleted."""
        ...

    def forget(self, keys: Collection[PodKey]) -> None:
        """Forgets these pods, because another controller checks them now."""
        ...


class Ownership(Protocol):
    """The nodes whose pods this controller checks."""

    def owns(self, node: str) -> bool: ...


class HealthSink(Protocol):
    """A place where health is published, and what is known to be published there."""

    def published(self, key: PodKey) -> HealthRecord | None: ...

    def published_without_break(self, key: PodKey) -> HealthRecord | None:
        """Returns the record of a pod if it has been published without a break, by this run, by an earlier run, or by
        another controller (`Elsewhere`)."""
        ...

    def disown(self, keys: Collection[PodKey]) -> None:
        """Forgets these pods, because another controller checks them now. Their records are neither written nor
        deleted."""
        ...

    def write(self, put: Collection[HealthRecord], delete: Collection[PodKey]) -> Mapping[PodKey, str]:
        """Writes and deletes records. Returns the keys that failed, and why."""
        ...
