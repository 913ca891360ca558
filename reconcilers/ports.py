"""What reconcilers need from outside, declared by who needs it, and what they answer."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from reconcilers.health import CheckHealth
from reconcilers.record import HealthRecord
from reconcilers.spec import CheckSpec, Manifest, PodKey


@dataclass(frozen=True, slots=True)
class Result:
    """How reconciling one key ended: done, to be looked at again after some seconds, or failed.

    `error` says why it failed; the key is tried again with the queue's back-off.
    """

    requeue_after: float | None = None
    error: str = ""


DONE = Result()


class Reconciler(Protocol):
    """Brings the world closer to what is wanted for some keys. It is told where to look, never what happened."""

    def reconcile(self, keys: Collection[PodKey]) -> Mapping[PodKey, Result]:
        """Look at `keys` and act; a key missing from the answer is `DONE`."""
        ...


class Manifests(Protocol):
    """The last good manifest of each pod."""

    def manifest(self, key: PodKey) -> Manifest | None: ...


class Addresses(Protocol):
    """Where a node is reached."""

    def address(self, node: str) -> str | None:
        """The address to connect to instead of the node's name; None: resolve the name; `UNKNOWN_ADDRESS` when it has
        been looked for in vain for so long that the pods are not to be waited for.

        Raises:
            LookupError: it is not known yet.
        """
        ...


class Workers(Protocol):
    """The probe workers that run."""

    def running(self, keys: Iterable[PodKey]) -> Mapping[PodKey, CheckSpec]: ...

    def stop(self, keys: Collection[PodKey]) -> None:
        """Stop these and return when they are gone, their requests with them."""
        ...

    def start(self, specs: Collection[CheckSpec]) -> None: ...


class Healths(Protocol):
    """The health of each pod that has a worker."""

    def health(self, key: PodKey) -> tuple[CheckHealth, float] | None:
        """Health and the time of the last probe (seconds since the epoch); None for a pod without worker."""
        ...

    def is_proven(self, key: PodKey) -> bool:
        """Whether that health may be published where it does not stand, see `evidence`."""
        ...


class Followed(Protocol):
    """The pods whose health is followed, because they have a worker."""

    def confirm(self, specs: Collection[CheckSpec]) -> None:
        """The workers of these go on as they are; it is other manifests, perhaps, that ask for them."""
        ...

    def forget(self, keys: Collection[PodKey]) -> None:
        """These pods have no worker any more."""
        ...


@dataclass(frozen=True, slots=True)
class Desired:
    """What is to stand published of a pod that has a worker; None while there is no verdict. For `quiet` seconds more
    that is less than the truth, 0 where it is all of it. Where it is not `proven` it may stand, and is not to be
    written where it does not."""

    record: HealthRecord | None
    quiet: float = 0.0
    proven: bool = True


class Desires(Protocol):
    """What is to stand published of each pod, wherever that is."""

    def desired(self, key: PodKey) -> Desired | None:
        """None for a pod without worker, of which nothing is to stand."""
        ...


class HealthSink(Protocol):
    """Where health goes, and what is known to stand there."""

    def published(self, key: PodKey) -> HealthRecord | None: ...

    def standing(self, key: PodKey) -> HealthRecord | None:
        """What was published of a pod, by us or by an earlier run, if it has stood without a break since."""
        ...

    def write(self, put: Collection[HealthRecord], delete: Collection[PodKey]) -> Mapping[PodKey, str]:
        """Publish and withdraw; the answer names the keys that failed, and why."""
        ...
