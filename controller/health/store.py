"""The health of each check that runs, now and lately.

The store has one lock, held for dictionary work only. What it returns is frozen, or is replaced and never changed in
place, so readers (metrics, page) need no lock of their own.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from controller.health.history import History
from reconcilers.adoption import CLOCK_SLACK, Inherited
from reconcilers.evidence import is_proven
from reconcilers.health import CheckHealth, HealthState, Outcome, ProbeResult, Reason
from reconcilers.spec import CheckSpec, PodKey, Unprobed

log = logging.getLogger(__name__)


class Tracked:
    """One check that runs, and all that is known of it. Others may read it at any time and never write.

    `last`, `counts` and `history` are of probes only: of a pod that is not probed there is but its health.
    `failing_since` is when the present row of failures began (seconds since the epoch), 0 while there is none, and
    `succeeded` when the last probe that was a success did, 0 while none is known.
    """

    __slots__ = (
        "confirmed",
        "counts",
        "failing_since",
        "former",
        "generation",
        "health",
        "history",
        "last",
        "spec",
        "succeeded",
        "transitions",
    )

    def __init__(self, spec: CheckSpec, generation: int, now: float, history_size: int) -> None:
        self.spec = self.former = spec
        self.confirmed = 0.0
        self.generation = generation
        self.health = CheckHealth(born=now)
        self.last: ProbeResult | None = None
        self.failing_since = self.succeeded = 0.0
        self.counts = dict.fromkeys(Outcome, 0)
        self.transitions = 0
        self.history = History(history_size)

    def restart(self, spec: CheckSpec, generation: int, now: float) -> None:
        """Another worker for the same pod: its evidence starts anew, counters and history go on."""
        if isinstance(spec.probe, Unprobed):
            self.last = None
        if self.last and not spec.output.keeps(success=self.last.outcome is Outcome.SUCCESS):
            self.last = replace(self.last, output="")
        self.spec, self.generation, self.health = spec, generation, CheckHealth(born=now)
        self.failing_since = self.succeeded = 0.0
        self.former, self.confirmed = spec, 0.0

    def confirm(self, spec: CheckSpec, now: float) -> None:
        """The same worker goes on for another version of the manifest; probes under way were sent for the former."""
        self.former, self.spec, self.confirmed = self.spec, spec, now

    def is_about_this_version(self, result: ProbeResult) -> bool:
        """Whether the manifest that is in force now asked for it.

        A probe is under way no longer than its timeout: one that seems to have started long before did so afterwards,
        and the clock was set back.
        """
        return not 0 < self.confirmed - result.started <= self.former.timeout + CLOCK_SLACK

    def inherit(self, before: Inherited) -> None:
        """Go on where another run of this controller ended."""
        self.health, self.failing_since, self.last = before.health, before.failing_since, before.last
        if before.last and before.last.outcome is Outcome.SUCCESS:
            self.succeeded = before.last.started

    def observe(self, result: ProbeResult, *, deploying: bool) -> bool:
        """Take one result; whether state, reason or the manifest that they are about changed by it."""
        spec = self.spec if self.is_about_this_version(result) else self.former
        before, after = self.health, self.health.after(result, spec, deploying=deploying)
        self.health = after
        if not isinstance(self.spec.probe, Unprobed):
            self.last = result
            self.counts[result.outcome] += 1
            self.history.add(result)
        self.transitions += after.state is not before.state
        if after is before or not after.since:
            return False
        return (after.state, after.reason, after.manifest) != (before.state, before.reason, before.manifest)

    def disown(self, detail: str, now: float) -> bool:
        """Take the failures back: they were no evidence against the pod. Whether it was critical by them."""
        critical = self.health.state is HealthState.CRITICAL
        self.health = replace(self.health, failures=0)
        if critical:
            self.transitions += 1
            self.health = replace(
                self.health, state=HealthState.UNKNOWN, reason=Reason.LOCAL, since=now, detail=detail, output=""
            )
        return critical


class Deploying(Protocol):
    """Which pods are being deployed."""

    def succeeded(self, key: PodKey) -> None:
        """A probe of this pod was a success."""
        ...

    def excuses(self, key: PodKey, started: float) -> bool:
        """Whether a failure that started then (seconds since the epoch) is no verdict on this pod yet."""
        ...


class HealthStore:
    """Health now and lately, of every check that has a worker. Written by the engine, and by who rules its workers.

    While this node is `cut_off`, failures count as our own; while a pod is among the `deployments`, where they are
    known, failures do not make it critical. `inherit` is asked for what an earlier run knew of a check.
    """

    def __init__(
        self,
        on_change: Callable[[Collection[PodKey]], None],
        history_size: int = 100,
        wall_clock: Callable[[], float] = time.time,
        deployments: Deploying | None = None,
        inherit: Callable[[CheckSpec], Inherited | None] = lambda _: None,
    ) -> None:
        self._on_change = on_change
        self._deployments = deployments
        self._inherit = inherit
        self._history_size = history_size
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._tracked: dict[PodKey, Tracked] = {}
        self._cut_off = ""
        self._voids = 0
        self.version = 0
        """Another number whenever there is news of any check: a number to compare costs the probe thread nothing."""
        self.latest_failure = 0.0
        """When the last failure was told, in seconds since the epoch."""

    @property
    def cut_off(self) -> str:
        """Why failures count as our own at the moment; "" while they do not."""
        return self._cut_off

    def follow(self, specs: Iterable[tuple[CheckSpec, int]]) -> Mapping[PodKey, float]:
        """From now on results of these checks count, and of these generations of their workers only.

        Of those that go on where another run ended: when their last probe started, where that is known.
        """
        new = list(specs)
        heirs = {
            spec.key: before for spec, _ in new if spec.key not in self._tracked and (before := self._inherit(spec))
        }
        with self._lock:
            now = self._wall_clock()
            for spec, generation in new:
                if known := self._tracked.get(spec.key):
                    known.restart(spec, generation, now)
                    continue
                tracked = self._tracked[spec.key] = Tracked(spec, generation, now, self._history_size)
                if before := heirs.get(spec.key):
                    tracked.inherit(before)
            self.version += 1
        if heirs:
            self._on_change(list(heirs))
        return {key: before.last.started for key, before in heirs.items() if before.last}

    def confirm(self, specs: Collection[CheckSpec]) -> None:
        """The workers of these go on; from now on their results are about the manifests that ask for them now."""
        with self._lock:
            now = self._wall_clock()
            for spec in specs:
                if known := self._tracked.get(spec.key):
                    known.confirm(spec, now)

    def forget(self, keys: Collection[PodKey]) -> None:
        """These have no worker any more."""
        with self._lock:
            for key in keys:
                self._tracked.pop(key, None)
            self.version += 1
        self._on_change(keys)

    def observe(self, results: Iterable[ProbeResult]) -> None:
        """Take results; one of a worker that was replaced or stopped meanwhile is dropped."""
        with self._lock:
            changed = [tracked for result in results if (tracked := self._take(result))]
            news = [(tracked.spec.key, tracked.health) for tracked in changed]
            self.version += bool(news)
        self._tell(news)

    def declare_cut_off(self, why: str, since: float) -> None:
        """Failures are our own until `end_cut_off`, and so were those that began after `since`."""
        with self._lock:
            self._cut_off, now = why, self._wall_clock()
            wronged = [
                tracked
                for tracked in self._tracked.values()
                if tracked.failing_since > since and tracked.disown(why, now)
            ]
            news = [(tracked.spec.key, tracked.health) for tracked in wronged]
            self.version += 1
        self._tell(news)

    def void(self) -> None:
        """What was found so far proves nothing any more, nor what is found before `count_again` was called as often."""
        with self._lock:
            self._voids += 1
            for tracked in self._tracked.values():
                tracked.succeeded, tracked.health = 0.0, tracked.health.anew()

    def count_again(self) -> None:
        """From now on results are of probes that began after `void`."""
        with self._lock:
            self._voids -= 1

    def end_cut_off(self) -> None:
        """From now on failures are evidence again."""
        with self._lock:
            self._cut_off = ""
            self.version += 1

    def _take(self, result: ProbeResult) -> Tracked | None:
        """Count one result; the answer is its check if that is news."""
        tracked = self._tracked.get(result.key)
        if tracked is None or tracked.generation != result.generation:
            return None
        if self._voids and result.outcome is Outcome.LOCAL:
            tracked.counts[result.outcome] += 1  # begun before evidence was voided: it is counted and decides nothing
            return None
        match result.outcome:
            case Outcome.SUCCESS:
                tracked.failing_since, tracked.succeeded = 0.0, 0.0 if self._voids else result.started
            case Outcome.FAILURE:
                tracked.failing_since = tracked.failing_since or result.started
                self.latest_failure = self._wall_clock()
                if self._cut_off:
                    result = replace(result, outcome=Outcome.LOCAL, reason=Reason.LOCAL, detail=self._cut_off)
        return tracked if tracked.observe(result, deploying=self._is_excused(result)) else None

    def _is_excused(self, result: ProbeResult) -> bool:
        if self._deployments is None:
            return False
        if result.outcome is Outcome.SUCCESS:
            if self._tracked[result.key].is_about_this_version(result):
                self._deployments.succeeded(result.key)
            return False
        return self._deployments.excuses(result.key, result.started)

    def _tell(self, news: Collection[tuple[PodKey, CheckHealth]]) -> None:
        for key, health in news:
            why = f": {health.detail}" if health.reason else ""
            facts = {"node": key.node, "pod": key.pod, "state": str(health.state), "reason": str(health.reason)}
            log.info("%s is %s%s", key, health.state, why, extra=facts)
        if news:
            self._on_change([key for key, _ in news])

    def health(self, key: PodKey) -> tuple[CheckHealth, float] | None:
        """Health and the time of the last probe in seconds since the epoch; None for a pod without worker."""
        tracked = self._tracked.get(key)
        return (tracked.health, tracked.last.started if tracked.last else 0.0) if tracked else None

    def is_proven(self, key: PodKey) -> bool:
        """Whether that health may be published where it does not stand, see `evidence`."""
        tracked = self._tracked.get(key)
        return tracked is None or is_proven(tracked.spec, tracked.health, tracked.succeeded, self._wall_clock())

    def tracked(self, key: PodKey) -> Tracked | None:
        return self._tracked.get(key)

    def deploying(self) -> int:
        """How many pods would be critical if they were not being deployed."""
        return sum(1 for tracked in self.all() if tracked.health.reason is Reason.DEPLOYING)

    def all(self) -> list[Tracked]:
        """Every check that runs, in no order."""
        with self._lock:
            return list(self._tracked.values())
