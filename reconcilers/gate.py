"""May this listing remove pods?

A listing from Consul that lost pods is not yet true: a token whose rights were narrowed gets a silently shorter list
with no error. So additions and changes are believed at once, by whoever reads the listing; removals pass through here:

* the listing must be sound (`Listing.doubt` is empty) and newer than the last one that showed the pod;
* where the index went back, what was missing then is kept for itself, and what was shown since is judged as ever;
* single consistent reads must confirm that the keys are gone; one that they do not confirm is kept for itself, and all
  are where they are so many that only a sample is asked for;
* where Consul says that ACLs filtered the listing, a sample proves nothing: each suspect needs its own read;
* when very many go at once, a fuse holds each of them for a while of undisturbed confirmation, whatever else comes or
  goes meanwhile; only its return ends the holding of a pod early, or a person who releases it.
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
    """One manifest as it stands at its source. `version` differs whenever the bytes may differ."""

    version: tuple[int, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Listing:
    """All manifests of a node as one answer showed them.

    `doubt` says why a key's absence proves nothing here (there is no leader); empty when it does prove something.
    `filtered` says that ACLs hid keys, so that an absent key may be one of them. `ignored` are the names that
    are no pod's to check, as they stand after the node's, and why.
    """

    index: int
    entries: Mapping[PodKey, Entry]
    doubt: str = ""
    ignored: Mapping[str, Ignored] = field(default_factory=dict)
    filtered: bool = False


@dataclass(frozen=True, slots=True)
class GateDecision:
    """What the gate lets through: `removed` may go now, `held` is kept although the listing lacks it, for `reason`."""

    removed: frozenset[PodKey] = frozenset()
    held: frozenset[PodKey] = frozenset()
    reason: str = ""


@dataclass(slots=True)
class RemovalGate:
    """Remembers which pods were seen, at which index, and which removals the fuse holds since when.

    `_lost` are the pods that were missing when the index went back, as when Consul came back empty or as it once was:
    no later index proves their removal before it passes the old one. They are held for themselves, and keep no other
    from going that was seen since.

    A doubtful listing takes the `_since` of a fused pod away: its clock starts anew with the next confirmation.
    """

    fuse_seconds: float = FUSE_SECONDS
    _seen: dict[PodKey, int] = field(default_factory=dict, init=False)
    _index: int = field(default=0, init=False)
    _lost: frozenset[PodKey] = field(default=frozenset(), init=False)
    _fused: frozenset[PodKey] = field(default=frozenset(), init=False)
    _since: dict[PodKey, float] = field(default_factory=dict, init=False)
    _released: frozenset[PodKey] = field(default=frozenset(), init=False)

    def expect(self, keys: Iterable[PodKey]) -> None:
        """Treat these as seen before the first listing: pods of an earlier run, removed like any other."""
        for key in keys:
            self._seen.setdefault(key, 0)

    def suspects(self, listing: Listing) -> frozenset[PodKey]:
        """The pods that were known and are missing from `listing`."""
        return frozenset(self._seen.keys() - listing.entries.keys())

    def sample(self, listing: Listing) -> tuple[PodKey, ...]:
        """Which suspects of `listing` to confirm by a single read each: all; or some spread over them, where they are
        many and ACLs hid nothing."""
        ordered = sorted(self.suspects(listing))
        if listing.filtered or len(ordered) <= CONFIRM_ALL:
            return tuple(ordered)
        last = len(ordered) - 1
        return tuple(ordered[last * step // (CONFIRM_SAMPLE - 1)] for step in range(CONFIRM_SAMPLE))

    def judge(self, listing: Listing, absent: Collection[PodKey], now: float) -> GateDecision:
        """Decide over the suspects of `listing`, and remember it.

        `absent` are those of the `sample` that were answered with "no such key". `now` is seconds of a monotonic clock.
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
        """The source failed in between: what the fuse holds must be confirmed for its whole time anew."""
        self._since.clear()

    def release(self) -> frozenset[PodKey]:
        """Let what the fuse holds now, and what was lost when the index went back, pass with the next listing that
        confirms it; the answer names these pods.

        A listing that is doubted still removes nothing: that is no question of patience.
        """
        self._released = self._fused | self._lost
        return self._released

    def recheck_in(self, now: float) -> float | None:
        """Seconds until the fuse gives way for the first pod that it holds; None when no such clock runs."""
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
        """What was lost is kept, and what is not confirmed. The fuse does not count what was lost, and what is not
        confirmed only where there are so many suspects that one look may not have asked for all of them."""
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
        """Those that it held before, and that are not confirmed now, stay its own; their clock starts anew."""
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
    """Whether so many are gone that a mistake is likelier than a wish: most at once, or all of several."""
    return (gone > FUSE_PODS and gone > FUSE_SHARE * total) or (gone == total and total > 1)
