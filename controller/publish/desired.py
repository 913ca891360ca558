"""The record to publish of each pod, the same in every place: its health, or `unknown` while it flaps.

Several threads publish, each into its own place and at its own pace. So the damping is computed here, under the lock
under which health is read: once for each change that any of these threads has seen, in the order of the changes.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from reconcilers.damping import Damping, DampingRules, Flapping
from reconcilers.health import CheckHealth, HealthState
from reconcilers.p2 import manifest as p2manifest
from reconcilers.ports import Desired, Healths
from reconcilers.record import HealthRecord
from reconcilers.spec import ManifestVersion, PodKey

AWAITED = 1.0
"""Seconds until a pod without a worker is reconciled again, if it may get one soon."""


@dataclass(frozen=True, slots=True)
class InFleet:
    """Pods move between the controllers of a fleet. `moves` says whether a node may move to another controller soon.
    `published` returns the published record of a pod."""

    moves: Callable[[str], bool]
    published: Callable[[PodKey], HealthRecord | None]
    wall_clock: Callable[[], float] = time.time


class DesiredHealth:
    """Implements `Desires`. Any thread may call it.

    A pod that flaps is published as unknown until its quiet time is over. `clock` is monotonic, in seconds. `dampings`
    is the damping of each pod from an earlier run. `is_awaited` says whether a pod without a worker may get one soon.
    Until then its record is kept. `fleet` has what differs in a fleet.
    `uptime` returns the encoded time of a pod, if the records have it.
    """

    def __init__(
        self,
        healths: Healths,
        clock: Callable[[], float],
        rules: DampingRules | None = None,
        dampings: Mapping[PodKey, Damping] | None = None,
        is_awaited: Callable[[PodKey], bool] = lambda _: False,
        fleet: InFleet | None = None,
        uptime: Callable[[PodKey], str] | None = None,
    ) -> None:
        self._healths = healths
        self._clock = clock
        self._rules = rules or DampingRules()
        self._is_awaited = is_awaited
        self._fleet = fleet
        self._uptime = uptime
        self._lock = threading.Lock()
        self._dampings: dict[PodKey, Damping] = dict(dampings or {})
        self._shas: dict[PodKey, tuple[ManifestVersion, str]] = {}
        self.suppressed = 0
        """The number of status changes that were not published because the pod was flapping."""

    def desired(self, key: PodKey) -> Desired | None:
        with self._lock:
            known = self._healths.health(key)
            if known is None:
                self._drop(key)
                return Desired(None, AWAITED) if self._is_awaited(key) else None
            health, last_probe = known
            if not health.since:
                return Desired(None)
            record = HealthRecord.of(key, health, last_probe, self._sha(key, health))
            if self._fleet and self._fleet.moves(key.node):
                record = replace(record, counts=health.pending)
            if self._uptime:
                record = replace(record, uptime=self._uptime(key))
            proven = not health.state.is_up or self._healths.is_proven(key)
            return self._damped(record, health.state, proven=proven)

    def forget(self, keys: Collection[PodKey]) -> None:
        """See `Desires`."""
        with self._lock:
            for key in keys:
                self._drop(key)

    def apply(self, rules: DampingRules) -> None:
        """Uses these rules from now on."""
        self._rules = rules

    def dampings(self) -> Mapping[PodKey, Damping]:
        return self._dampings.copy()

    def damped(self) -> frozenset[PodKey]:
        """The pods that are published as unknown now because they flap."""
        return frozenset(self.flapping())

    def flapping(self) -> Mapping[PodKey, Flapping]:
        """The same pods, with how much they flap."""
        now = self._clock()
        return {
            key: Flapping(damping.changes, now - damping.used_at, quiet)
            for key, known in self._dampings.copy().items()
            if known.quiet_until > now and (quiet := (damping := known.under(self._rules)).quiet_for(now))
        }

    def _drop(self, key: PodKey) -> None:
        self._dampings.pop(key, None)
        self._shas.pop(key, None)

    def _sha(self, key: PodKey, health: CheckHealth) -> str:
        """Returns p2's SHA of the manifest that was probed. It is cached: to compute it takes as long as a probe."""
        known = self._shas.get(key)
        if known is None or known[0] != health.version:
            known = self._shas[key] = (health.version, p2manifest.sha_or_empty(health.version.data))
        return known[1]

    def _damped(self, record: HealthRecord, state: HealthState, *, proven: bool) -> Desired:
        """Damps a record if its pod flaps."""
        now = self._clock()
        before = (self._dampings.get(record.key) or self._begun(record.key, now)).under(self._rules)
        damping = self._dampings[record.key] = before.after(state, now)
        if self._fleet:
            record = damping.of_fleet(record)
        if not (quiet := damping.quiet_for(now)):
            return Desired(record, proven=proven)
        self.suppressed += damping is not before
        return Desired(record.damped(damping.changes), quiet)

    def _begun(self, key: PodKey, now: float) -> Damping:
        """The damping of a pod that is new here. In a fleet, its record may have that of another controller."""
        record = self._fleet.published(key) if self._fleet else None
        age = self._fleet.wall_clock() - record.since if self._fleet and record else 0.0
        return Damping.of_record(self._rules, record, age, now)
