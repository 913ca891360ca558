"""Whether this controller is ready: it knows the manifests, and what it finds gets published.

Only asked, by `/-/ready`, the page and the metrics; nothing waits here.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from reconcilers.spec import PodKey

STALE_WATCH = 30.0
UNPUBLISHED = 30.0
"""Seconds after which what was to be published, or withdrawn, should have been."""


class LeaseStatus(Protocol):
    """What is published under; see `wiring.LeaseKeeper`."""

    def current(self) -> str | None: ...

    def why(self) -> str: ...


class Publishing(Protocol):
    """The control loop of one place where health is published."""

    def overdue(self, seconds: float) -> Mapping[PodKey, str]:
        """The pods that have been waiting for so long, and why each failed the last time."""
        ...


class Readiness:
    """`silence` is for how many seconds the manifests have not been read, None before they were. `rival` says
    who else has this node, "" for nobody. `places` are the loops that publish, by the names of their
    places."""

    def __init__(
        self,
        silence: Callable[[], float | None],
        lease: LeaseStatus | None,
        rival: Callable[[], str],
        places: Mapping[str, Publishing],
    ) -> None:
        self._silence = silence
        self._lease = lease
        self._rival = rival
        self._places = places

    def complaints(self) -> Sequence[str]:
        """One sentence for each thing that is wrong; empty when nothing is."""
        return [*self._of_the_watch(), *self._of_the_lease(), *self._of_a_rival(), *self._of_the_places()]

    def unpublished(self, place: str) -> int:
        """How many pods are not published, or not withdrawn, as they should be, and have not been for long."""
        return len(self._places[place].overdue(UNPUBLISHED))

    def _of_the_watch(self) -> Sequence[str]:
        match self._silence():
            case None:
                return ["the manifests have not been read yet"]
            case seconds if seconds > STALE_WATCH:
                return [f"the manifests were last read {seconds:.0f} s ago"]
        return []

    def _of_the_lease(self) -> Sequence[str]:
        if self._lease is None or self._lease.current():
            return []
        return [f"the lease is lost, no health can be published: {self._lease.why() or 'it was not renewed in time'}"]

    def _of_a_rival(self) -> Sequence[str]:
        return [f"this node is not ours alone: {why}"] if (why := self._rival()) else []

    def _of_the_places(self) -> Sequence[str]:
        found = []
        for place, loop in self._places.items():
            if overdue := loop.overdue(UNPUBLISHED):
                key, why = next(
                    ((key, why) for key, why in overdue.items() if why), (next(iter(overdue)), "no answer yet")
                )
                found.append(
                    f"{len(overdue)} pods have not been published ({place}) for over {UNPUBLISHED:.0f} s, "
                    f"{key} among them: {why}"
                )
        return found
