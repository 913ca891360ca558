"""Local health <-> published health."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from reconcilers import p2manifest
from reconcilers.damping import Damping, DampingRules
from reconcilers.health import CheckHealth
from reconcilers.ports import Healths, HealthSink, Result
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey


@dataclass(frozen=True, slots=True)
class Flapping:
    """A pod that is said to be unknown because its status changed `changes` times in a short time.

    That began `quiet_since` seconds ago, and lasts `quiet_for` seconds more.
    """

    changes: int
    quiet_since: float
    quiet_for: float


class HealthReconciler:
    """Writes what is news, withdraws what has no worker any more, and leaves alone what is there already.

    A check without verdict yet says nothing: what stands published for its pod stays until there is evidence. A pod
    that flaps is said to be unknown until its quiet time is over. `clock` is any monotonic one, in seconds; `dampings`
    is how pods stood with whoever published before.
    """

    def __init__(
        self,
        healths: Healths,
        sink: HealthSink,
        clock: Callable[[], float],
        rules: DampingRules | None = None,
        dampings: Mapping[PodKey, Damping] | None = None,
    ) -> None:
        self._healths = healths
        self._sink = sink
        self._clock = clock
        self._rules = rules or DampingRules()
        self._dampings: dict[PodKey, Damping] = dict(dampings or {})
        self._shas: dict[PodKey, tuple[bytes, str]] = {}
        self.suppressed = 0
        """How many changes of status were not published because their pod was flapping."""

    def follow(self, rules: DampingRules) -> None:
        """From now on these rules are in force."""
        self._rules = rules

    def dampings(self) -> Mapping[PodKey, Damping]:
        """How each pod stands."""
        return self._dampings.copy()

    def damped(self) -> frozenset[PodKey]:
        """The pods that are said to be unknown at the moment because they flap."""
        return frozenset(self.flapping())

    def flapping(self) -> Mapping[PodKey, Flapping]:
        """The same, and how much they flap. Any thread may ask."""
        now = self._clock()
        return {
            key: Flapping(damping.changes, self._rules.quiet - quiet, quiet)
            for key, damping in self._dampings.copy().items()
            if (quiet := damping.quiet_for(now))
        }

    def reconcile(self, keys: Collection[PodKey]) -> Mapping[PodKey, Result]:
        """See `Reconciler`."""
        put: list[HealthRecord] = []
        delete: list[PodKey] = []
        results: dict[PodKey, Result] = {}
        for key in keys:
            match self._healths.health(key), self._sink.published(key):
                case None, published:
                    self._dampings.pop(key, None)
                    self._shas.pop(key, None)
                    if published is not None:
                        delete.append(key)
                case (health, last_probe), published if health.since:
                    sha = self._sha(key, health.manifest)
                    record, quiet = self._damp(HealthRecord.of(key, health, last_probe, sha), health)
                    if quiet:
                        results[key] = Result(requeue_after=quiet)
                    if record != published:
                        put.append(record)
        if put or delete:
            results |= {key: Result(error=error) for key, error in self._sink.write(put, delete).items()}
        return results

    def _sha(self, key: PodKey, manifest: bytes) -> str:
        """p2's SHA of the manifest that was probed, computed once for each: that takes as long as a probe."""
        known = self._shas.get(key)
        if known is None or known[0] is not manifest:
            known = self._shas[key] = (manifest, p2manifest.sha_or_empty(manifest))
        return known[1]

    def _damp(self, record: HealthRecord, health: CheckHealth) -> tuple[HealthRecord, float]:
        """What is to be published, and for how many seconds that is less than the truth."""
        now = self._clock()
        rules = self._rules
        before = self._dampings.get(record.key, Damping.fresh(rules)).under(rules)
        damping = self._dampings[record.key] = before.after(health.state, now)
        if not (quiet := damping.quiet_for(now)):
            return record, 0.0
        self.suppressed += damping is not before
        return record.damped(damping.changes), quiet
