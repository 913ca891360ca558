"""Whether this controller is ready: it has read the manifests, and it publishes health in time.

`/-/ready`, the page and the metrics read this. It never blocks.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from reconcilers.spec import PodKey

STALE_WATCH = 30.0
UNPUBLISHED = 30.0
"""Seconds within which a record should be published or withdrawn."""
WITH_LEASE = frozenset({"kv", "folder"})
"""The places in which nothing can be published without a lease."""


class LeaseStatus(Protocol):
    """The lease of the published health."""

    def current(self) -> str | None:
        """Returns the name of the lease; None while there is none and nothing can be published."""

    def why(self) -> str:
        """Returns why there is no lease; "" if that is not known or there is one."""


class Publishing(Protocol):
    """The control loop of one place where health is published."""

    def overdue(self, seconds: float) -> Mapping[PodKey, str]:
        """Returns the pods that have waited for so long, with the error of the last attempt."""


class Readiness:
    """Combines the conditions of readiness.

    `silence` returns the seconds since the manifests were read, None before the first time. `rival` describes another
    controller of this node, "" if there is none. `places` are the publishing loops by the names of their places.
    `membership` says why this controller is not a member of its fleet, "" if it is one or has no fleet. `unanswered`
    says since when Consul has not answered and what that means, "" while it answers.
    """

    def __init__(
        self,
        silence: Callable[[], float | None],
        lease: LeaseStatus | None,
        rival: Callable[[], str],
        places: Mapping[str, Publishing],
        membership: Callable[[], str] = lambda: "",
        unanswered: Callable[[], str] = lambda: "",
    ) -> None:
        self._silence = silence
        self._lease = lease
        self._rival = rival
        self._places = places
        self._membership = membership
        self._unanswered = unanswered

    def complaints(self) -> Sequence[str]:
        """Returns one sentence per problem. While Consul does not answer, one sentence replaces its consequences. While
        there is no lease, the sentence about it replaces those about the pods that cannot be published without it."""
        rival = self._rival()
        other = f"another controller seems to check the same pods: {rival}" if rival else ""
        problems = [*filter(None, [self._membership(), *self._of_watch(), self._of_lease(), other]), *self._of_places()]
        if problems and (unanswered := self._unanswered()):
            unread = self._of_watch() if self._silence() is None else ()
            return [*filter(None, [*unread, unanswered, other])]
        return problems

    def notices(self) -> Sequence[str]:
        """Returns what will be a problem soon."""
        unanswered = self._unanswered()
        return [unanswered] if unanswered and not self.complaints() else []

    def is_in_doubt(self) -> bool:
        """Returns whether readers may not see the published health any more, because the session is lost."""
        return self._lease is not None and not self._lease.current()

    def unpublished(self, place: str) -> int:
        """Returns the number of pods whose record is overdue to be published or withdrawn."""
        return len(self._places[place].overdue(UNPUBLISHED))

    def _of_lease(self) -> str:
        if self._lease is None or self._lease.current():
            return ""
        why = self._lease.why() or "it was not renewed in time"
        return f"there is no session, so no health can be published: {why}"

    def _of_watch(self) -> Sequence[str]:
        match self._silence():
            case None:
                return ["the manifests have not been read yet"]
            case seconds if seconds > STALE_WATCH:
                return [f"the manifests were last read {seconds:.0f} s ago"]
        return []

    def _of_places(self) -> Sequence[str]:
        complaints, has_lease = [], not self.is_in_doubt()
        for place, loop in self._places.items():
            if (has_lease or place not in WITH_LEASE) and (overdue := loop.overdue(UNPUBLISHED)):
                key, error = next((item for item in overdue.items() if item[1]), (next(iter(overdue)), "no answer yet"))
                complaints.append(
                    f"{len(overdue)} pods have not been published ({place}) for over {UNPUBLISHED:.0f} s, "
                    f"such as {key}: {error}"
                )
        return complaints
