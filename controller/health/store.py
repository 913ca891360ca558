"""The health of each check that runs, and its last probes. `reconcilers/health.py` decides what a result means.

The store has one lock, which is held for short work in memory only. Returned values are frozen, or are replaced and
never changed in place. So readers (metrics, page) need no lock of their own.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from controller.health.history import History, Transition
from controller.health.uptimes import Uptimes
from reconcilers.adoption import Inherited
from reconcilers.evidence import is_proven
from reconcilers.health import (
    FAILURE,
    SUCCESS,
    WARNING,
    Assessment,
    CheckHealth,
    HealthState,
    Outcome,
    ProbeResult,
    Reason,
    attributed,
    is_evidence,
)
from reconcilers.spec import CheckSpec, ManifestVersion, PodKey, Unprobed

log = logging.getLogger(__name__)

TRANSITIONS = 8
"""The number of the last transitions that are kept of each check."""


class Tracked:
    """One check that runs, and everything that is known about it. Any thread may read it; only the store writes it.

    `last`, `counts`, `history` and `uptimes` are about probes. They stay empty for a pod that is not probed.
    """

    __slots__ = ("assessment", "counts", "generation", "history", "last", "latest", "spec", "transitions", "uptimes")

    def __init__(self, spec: CheckSpec, generation: int, now: float, history_size: int, uptimes: Uptimes) -> None:
        self.spec = spec
        self.generation = generation
        self.assessment = Assessment(CheckHealth(born=now))
        self.last: ProbeResult | None = None
        self.counts = dict.fromkeys(Outcome, 0)
        self.transitions = 0
        self.latest: tuple[Transition, ...] = ()
        """The latest transitions, oldest first."""
        self.history = History(history_size)
        self.uptimes = uptimes

    @property
    def health(self) -> CheckHealth:
        return self.assessment.health

    def restart(self, spec: CheckSpec, generation: int, now: float) -> None:
        """Continues with another worker for the same pod: without evidence, with the same counters and history."""
        if isinstance(spec.probe, Unprobed):
            self.last = None
        if self.last and not spec.output.keeps(success=self.last.outcome is SUCCESS):
            self.last = replace(self.last, output="")
        self.spec, self.generation, self.assessment = spec, generation, Assessment(CheckHealth(born=now))
        self._count_time()

    def inherit(self, before: Inherited) -> None:
        """Continues where an earlier run of this controller, or another controller, ended."""
        self.assessment, self.last = before.assessment, before.last
        self._count_time()

    def record(self, result: ProbeResult) -> None:
        """Keeps the result of a probe for readers."""
        if not isinstance(self.spec.probe, Unprobed):
            self.last = result
            self.counts[result.outcome] += 1
            self.history.add(result)

    def reassess(self, after: Assessment) -> bool:
        """Replaces the assessment. Returns whether readers must be told."""
        before, self.assessment = self.assessment, after
        if after.health.state is not before.health.state:
            self.transitions += 1
            health = after.health
            transition = Transition(health.since, before.health.state, health.state, health.reason, health.detail)
            self.latest = (*self.latest[1 - TRANSITIONS :], transition)
            self._count_time()
        return after.health.is_news_after(before.health)

    def _count_time(self) -> None:
        """Counts the time from now on as that of the present state. Without a probe, the state is not known."""
        state = HealthState.UNKNOWN if isinstance(self.spec.probe, Unprobed) else self.health.state
        self.uptimes.note(self.spec.key, state)


class Deploying(Protocol):
    """The pods that are being deployed."""

    def succeeded(self, key: PodKey, version: ManifestVersion) -> None:
        """A probe of this pod was a success or a warning. It started while `version` of the manifest was in force."""
        ...

    def excuses(self, key: PodKey, started: float) -> bool:
        """Whether a failure of a probe that started then (seconds since the epoch) is not counted against the pod."""
        ...


class HealthStore:
    """The health of every check that has a worker. The engine writes results, the reconciler forgets pods.

    While this node is `cut_off`, failures are our own fault. While a pod is being deployed (see `deployments`), its
    failures do not make it critical. `inherit` returns what an earlier run knew about a check. `on_change` is called
    with the pods whose health changed. `uptimes` gets every change of a state. `moves` says whether a node may move to
    another controller soon: then changes of the counts are announced too.
    """

    def __init__(
        self,
        on_change: Callable[[Collection[PodKey]], None],
        history_size: int = 100,
        wall_clock: Callable[[], float] = time.time,
        deployments: Deploying | None = None,
        inherit: Callable[[CheckSpec], Inherited | None] = lambda _: None,
        moves: Callable[[str], bool] = lambda _: False,
        uptimes: Uptimes | None = None,
    ) -> None:
        self._on_change = on_change
        self._deployments = deployments
        self._inherit = inherit
        self._moves = moves
        self._counted: list[PodKey] = []
        """The pods whose counts changed, if their nodes may move."""
        self._history_size = history_size
        self.uptimes = uptimes or Uptimes()
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._tracked: dict[PodKey, Tracked] = {}
        self._cut_off = ""
        self._voids = 0
        self.version = 0
        """Changes with the health of any check. Readers compare it, which costs the probe thread nothing."""
        self.latest_failure = 0.0
        """When the last failure was observed, in seconds since the epoch."""

    @property
    def cut_off(self) -> str:
        """Why failures are our own fault at the moment; "" while this node is not cut off."""
        return self._cut_off

    def follow(self, specs: Iterable[tuple[CheckSpec, int]]) -> Mapping[PodKey, float | None]:
        """Accepts results of these checks from now on, and only of these generations of their workers.

        Returns when the last probe of each check that continues from an earlier run started, if that is known. None
        stands for a check that another controller has probed until now.
        """
        new = list(specs)
        inherited = {
            spec.key: before for spec, _ in new if spec.key not in self._tracked and (before := self._inherit(spec))
        }
        with self._lock:
            now = self._wall_clock()
            for spec, generation in new:
                if known := self._tracked.get(spec.key):
                    known.restart(spec, generation, now)
                    continue
                tracked = self._tracked[spec.key] = Tracked(spec, generation, now, self._history_size, self.uptimes)
                if before := inherited.get(spec.key):
                    tracked.inherit(before)
            self.version += 1
        if inherited:
            self._on_change(list(inherited))
        last = {key: before.last.started for key, before in inherited.items() if before.last}
        return {**last, **dict.fromkeys(key for key, before in inherited.items() if before.is_handed_over)}

    def forget(self, keys: Collection[PodKey]) -> None:
        """Removes pods whose workers have stopped."""
        with self._lock:
            for key in keys:
                self._tracked.pop(key, None)
            self.uptimes.leave(keys)
            self.version += 1
        self._on_change(keys)

    def observe(self, results: Iterable[ProbeResult]) -> None:
        """Takes results. Results of a worker that was replaced or stopped are dropped."""
        with self._lock:
            changed = [tracked for result in results if (tracked := self._take(result))]
            news = [(tracked.spec.key, tracked.health) for tracked in changed]
            self.version += bool(news)
            counted, self._counted = self._counted, []
        self._announce(news)
        if counted:
            self._on_change(counted)

    def pending(self) -> Collection[PodKey]:
        """Returns the pods that have counted towards another state."""
        return [each.spec.key for each in self.all() if any(each.health.pending)]

    def declare_cut_off(self, why: str, since: float) -> None:
        """Failures are our own fault until `end_cut_off`. So are those of checks that fail only after `since`."""
        with self._lock:
            self._cut_off, now = why, self._wall_clock()
            changed = [
                tracked
                for tracked in self._tracked.values()
                if tracked.reassess(tracked.assessment.without_failures_since(since, why, now))
            ]
            news = [(tracked.spec.key, tracked.health) for tracked in changed]
            self.version += 1
        self._announce(news)

    def void(self) -> None:
        """Voids all evidence so far, and that of later results until `count_again` was called as often as this."""
        with self._lock:
            self._voids += 1
            for tracked in self._tracked.values():
                tracked.reassess(tracked.assessment.voided())

    def count_again(self) -> None:
        """From now on results are of probes that started after `void`."""
        with self._lock:
            self._voids -= 1

    def end_cut_off(self) -> None:
        """From now on failures are evidence again."""
        with self._lock:
            self._cut_off = ""
            self.version += 1

    def _take(self, result: ProbeResult) -> Tracked | None:
        """Takes one result. Returns its check if readers must be told."""
        tracked = self._tracked.get(result.key)
        if tracked is None or tracked.generation != result.generation:
            return None
        if result.outcome is FAILURE:
            self.latest_failure = self._wall_clock()
        voided = self._voids > 0
        if not is_evidence(result, voided=voided):
            tracked.counts[result.outcome] += 1
            return None
        tracked.record(attributed(result, self._cut_off))
        after = tracked.assessment.after(
            result, tracked.spec, cut_off=self._cut_off, deploying=self._is_excused(result), voided=voided
        )
        is_counted, is_news = after.health is not tracked.health, tracked.reassess(after)
        if is_counted and not is_news and self._moves(result.key.node):
            self._counted.append(result.key)
        return tracked if is_news else None

    def _is_excused(self, result: ProbeResult) -> bool:
        if self._deployments is None:
            return False
        if result.outcome is SUCCESS or result.outcome is WARNING:
            self._deployments.succeeded(result.key, result.version)
            return False
        return self._deployments.excuses(result.key, result.started)

    def _announce(self, news: Collection[tuple[PodKey, CheckHealth]]) -> None:
        for key, health in news:
            why = f": {health.detail}" if health.reason else ""
            facts = {"node": key.node, "pod": key.pod, "state": str(health.state), "reason": str(health.reason)}
            log.info("%s is %s%s", key, health.state, why, extra=facts)
        if news:
            self._on_change([key for key, _ in news])

    def health(self, key: PodKey) -> tuple[CheckHealth, float] | None:
        """Returns the health and the time of the last probe (seconds since the epoch), None without a worker."""
        tracked = self._tracked.get(key)
        return (tracked.health, tracked.last.started if tracked.last else 0.0) if tracked else None

    def is_proven(self, key: PodKey) -> bool:
        """Whether the health may be published where it is not published yet, see `evidence`."""
        if (tracked := self._tracked.get(key)) is None:
            return True
        known = tracked.assessment
        return is_proven(tracked.spec, known.health, known.last_success, self._wall_clock())

    def tracked(self, key: PodKey) -> Tracked | None:
        return self._tracked.get(key)

    def deploying(self) -> int:
        """The number of pods that would be critical if they were not being deployed."""
        return sum(1 for tracked in self.all() if tracked.health.reason is Reason.DEPLOYING)

    def all(self) -> list[Tracked]:
        """Every check that runs, in no particular order."""
        with self._lock:
            return list(self._tracked.values())
