"""Decides whether a listing may remove pods.

A listing that lacks pods is not trusted at once: a token whose rights were reduced gets a shorter list without an
error. The reader of a listing accepts additions and changes immediately. Removals must pass this gate:

* The listing must be sound (`Listing.doubt` is empty) and newer than the last listing that contained the pod.
* If the index went back, the pods that were missing then are held. The other pods are decided as usual.
* Single consistent reads must confirm that the keys are gone. A pod whose removal is not confirmed is held. If there
  are so many pods that only a sample is read, one unconfirmed pod holds all of them.
* If Consul says that ACLs filtered the listing, a sample proves nothing: each missing pod needs its own read.
* If very many pods vanish at once, a fuse holds each of them until its removal has been confirmed for some time without
  interruption. A pod leaves the fuse early only if it returns, or if a person releases it.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from reconcilers.ignored import Ignored
from reconcilers.spec import PodKey

CONFIRM_ALL = 20
CONFIRM_SAMPLE = 5
FUSE_PODS = 10
FUSE_SHARE = 0.2
FUSE_SECONDS = 60.0
UNCONFIRMED = "a single read did not confirm it"
FILTERED = "the token may not read everything: ACLs filtered the listing, and no single read confirmed it"
LOST = "they were missing when the index went back, and it has not passed the old one"


@dataclass(frozen=True, slots=True)
class Entry:
    """One manifest of a source. `version` differs whenever the bytes may differ."""

    version: tuple[int, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Listing:
    """All manifests of a node, as of one answer.

    `doubt` says why the absence of a key proves nothing (for example: there is no leader); "" if the absence is
    evidence. `filtered` says that ACLs hid keys, so an absent key may be hidden. `ignored` are the names after the
    node's that are not pods to check, and why. `is_new_node` says that the node had no manifests in the answer before.
    """

    index: int
    entries: Mapping[PodKey, Entry]
    doubt: str = ""
    ignored: Mapping[str, Ignored] = field(default_factory=dict)
    filtered: bool = False
    node: str = ""
    is_new_node: bool = False


@dataclass(frozen=True, slots=True)
class GateDecision:
    """`removed` may be removed now. `held` is kept for `reason`, although the listing lacks it."""

    removed: frozenset[PodKey] = frozenset()
    held: frozenset[PodKey] = frozenset()
    reason: str = ""


@dataclass(slots=True)
class RemovalGate:
    """Remembers at which index each pod was last seen, and since when the fuse holds a removal.

    `_lost` are the pods that were missing when the index went back, for example because Consul restarted empty or from
    a backup. Until the index passes the old one, it does not prove their removal. They are held, and do not delay the
    removal of pods that were seen later.

    A doubtful listing deletes the `_since` of a fused pod: its time starts again with the next confirmation.
    """

    fuse_seconds: float = FUSE_SECONDS
    _seen: dict[PodKey, int] = field(default_factory=dict, init=False)
    _index: int = field(default=0, init=False)
    _lost: frozenset[PodKey] = field(default=frozenset(), init=False)
    _fused: frozenset[PodKey] = field(default=frozenset(), init=False)
    _since: dict[PodKey, float] = field(default_factory=dict, init=False)
    _released: frozenset[PodKey] = field(default=frozenset(), init=False)

    def expect(self, keys: Iterable[PodKey]) -> None:
        """Treats pods of a previous run as seen before the first listing. They are removed like other pods."""
        for key in keys:
            self._seen.setdefault(key, 0)

    def known(self) -> frozenset[PodKey]:
        """Returns the pods that were seen or are expected, and not removed."""
        return frozenset(self._seen)

    def suspects(self, listing: Listing) -> frozenset[PodKey]:
        """Returns the known pods that are missing from `listing`."""
        return frozenset(self._seen.keys() - listing.entries.keys())

    def sample(self, listing: Listing) -> tuple[PodKey, ...]:
        """Returns the suspects of `listing` to confirm by a single read each.

        These are all suspects, or an even sample if there are many and ACLs hid no keys.
        """
        ordered = sorted(self.suspects(listing))
        if listing.filtered or len(ordered) <= CONFIRM_ALL:
            return tuple(ordered)
        last = len(ordered) - 1
        return tuple(ordered[last * step // (CONFIRM_SAMPLE - 1)] for step in range(CONFIRM_SAMPLE))

    def judge(self, listing: Listing, absent: Collection[PodKey], now: float) -> GateDecision:
        """Decides about the suspects of `listing`, and remembers the decision.

        `absent` are the pods of the `sample` whose key did not exist. `now` is seconds of a monotonic clock.
        """
        suspects = self.suspects(listing)
        total = len(self._seen)
        stale = frozenset(key for key in suspects if listing.index <= self._seen[key])
        doubt = listing.doubt or ("the index did not grow" if stale - self._lost else "")
        self._lost &= stale
        if not listing.doubt:
            self._lost |= stale if listing.index < self._index else frozenset()
            self._index = listing.index
        self._seen.update(dict.fromkeys(listing.entries, listing.index))
        self._fused &= suspects - self._lost
        self._released &= suspects
        if suspects and doubt:
            self._since.clear()
            return GateDecision(held=suspects, reason=doubt)
        return self._let_go(listing, suspects, self._unconfirmed(listing, absent), total, now)

    def disturb(self) -> None:
        """Restarts the time of each pod in the fuse, because the source failed in between."""
        self._since.clear()

    def release(self) -> frozenset[PodKey]:
        """Releases and returns the pods that the fuse holds and those that were lost when the index went back.

        The next listing that confirms their removal removes them. A doubtful listing still removes nothing.
        """
        self._released = self._fused | self._lost
        return self._released

    def recheck_in(self, now: float) -> float | None:
        """Returns the seconds until the fuse releases its first pod; None if no time runs."""
        if not self._since:
            return None
        return max(0.0, min(self._since.values()) + self.fuse_seconds - now)

    def _unconfirmed(self, listing: Listing, absent: Collection[PodKey]) -> frozenset[PodKey]:
        sample = frozenset(self.sample(listing))
        unconfirmed = sample.difference(absent)
        suspects = self.suspects(listing)
        return suspects if unconfirmed and len(sample) < len(suspects) else unconfirmed

    def _let_go(
        self,
        listing: Listing,
        suspects: frozenset[PodKey],
        unconfirmed: frozenset[PodKey],
        total: int,
        now: float,
    ) -> GateDecision:
        """Holds lost and unconfirmed pods.

        The fuse does not count lost pods. It counts unconfirmed pods only if there are so many suspects that only a
        sample was read.
        """
        self._lost -= self._released - unconfirmed
        kept = self._lost | unconfirmed
        gone = suspects - (kept if len(suspects) <= CONFIRM_ALL else self._lost)
        verdict = self._fuse(suspects - kept, len(gone), total - len(self._lost), now)
        if not kept:
            return verdict
        doubt = FILTERED if listing.filtered else UNCONFIRMED
        reason = verdict.reason or (doubt if unconfirmed - self._lost else LOST)
        return GateDecision(verdict.removed, verdict.held | kept, reason)

    def _fuse(self, suspects: frozenset[PodKey], gone: int, total: int, now: float) -> GateDecision:
        """A pod that was held before and is not confirmed now stays in the fuse, and its time starts again."""
        fused = (suspects if _is_mass(gone, total) else self._fused & suspects) - self._released
        since = {key: self._since.get(key, now) for key in fused}
        self._since = {key: began for key, began in since.items() if now - began < self.fuse_seconds}
        held = frozenset(self._since)
        removed = suspects - held
        self._fused = held | (self._fused - suspects)
        for key in removed:
            del self._seen[key]
        self._released -= removed
        return GateDecision(removed, held, f"{gone} of {total} pods gone at once" if held else "")


def _is_mass(gone: int, total: int) -> bool:
    """Whether so many pods are gone that a mistake is likely: a large share at once, or all of several."""
    return (gone > FUSE_PODS and gone > FUSE_SHARE * total) or (gone == total and total > 1)
