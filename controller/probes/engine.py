"""The probe engine: all probes of this process, in one thread.

Other threads start and stop checks by commands. The probe thread starts each probe when it is due, reads the answers
and passes the results to the observer. It waits only in `Loop.turn`, and does nothing else that could block.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from controller.probes.admission import Admission, DueQueue
from controller.probes.commands import ProbeAll, Renew, Start, Stop, Update
from controller.probes.details import collect
from controller.probes.kept import Kept
from controller.probes.prober import DISREGARDED, Prober
from controller.probes.resolver import Answer, ask_system
from controller.probes.schedule import Schedule, first_moment, handed_over_moment, next_moment, next_on_phase
from controller.probes.worker import Worker
from controller.runtime.descriptors import keepable
from controller.runtime.heartbeat import Heartbeat
from controller.runtime.plain_files import Reading
from reconcilers.health import Outcome, ProbeResult, Reason
from reconcilers.spec import CheckSpec, PodKey
from reconcilers.target_guard import Guard
from reconcilers.token_bucket import TokenBucket

log = logging.getLogger(__name__)

IDLE = 1.0
AT_ONCE = 32
"""How many new checks per second are probed at once. More checks wait for their phase, within one interval."""
COUNT_EVERY = 1.0
"""Seconds between two counts of the skipped probes."""
HELD = 0.1
"""Seconds after which a check that must not be probed now is considered again."""
PATIENCE, MOST_PATIENCE = 3, 10
"""After this many consecutive skipped probes of a check a result reports it. More may be skipped if all checks wait."""


class Observer(Protocol):
    """Takes the results of the probes."""

    def follow(self, specs: Iterable[tuple[CheckSpec, int]], /) -> Mapping[PodKey, float | None]:
        """Called before these checks start. For checks that continue from another run of this controller, returns when
        their last probe started (seconds since the epoch). None if another controller probed the check until now."""
        ...

    def observe(self, results: Iterable[ProbeResult]) -> None: ...


class ProbeMetrics(Protocol):
    """Counts the probes that the engine starts and skips."""

    def started(self, lateness: float) -> None:
        """A probe started `lateness` seconds after it was due."""
        ...

    def skipped(self, count: int) -> None:
        """`count` probes were skipped: the previous one was still in flight, or they were already overdue."""
        ...


class ProbeEngine:
    """Implements `reconcilers.ports.Workers`. `max_in_flight` bounds the transfers, and so the descriptors.

    `ask` resolves a name. `ttl` returns the TTL of a name; None if TTLs are not used. `may_probe` returns whether a
    probe of a pod of this node may begin now; None if every probe may. With `details`, results have them.
    """

    def __init__(
        self,
        observer: Observer,
        metrics: ProbeMetrics,
        heartbeat: Heartbeat,
        *,
        ca_file: str,
        max_in_flight: int,
        guard: Guard | None = None,
        details: bool = False,
        ask: Callable[[str], Answer] = ask_system,
        ttl: Callable[[str, str], float | None] | None = None,
        may_probe: Callable[[str], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._observer = observer
        self._metrics = metrics
        self._heartbeat = heartbeat
        self._may_probe = may_probe
        self._clock = clock
        self._wall_clock = wall_clock
        self._epoch = wall_clock() - clock()

        self._lock = threading.Lock()
        self._specs: dict[PodKey, CheckSpec] = {}
        self._generation = 0
        self._commands: deque[Start | Stop | Update | Renew | ProbeAll] = deque()
        self._ca_file = ca_file
        self._guard = guard or Guard()
        self._details = details
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=heartbeat.name, daemon=True)

        self._prober = Prober(ca_file, self._guard, max_in_flight, ask, ttl, clock, wall_clock, heartbeat.faults)
        self._prober.collect_details(wanted=details)
        self._workers: dict[PodKey, Worker] = {}
        self._schedule: Schedule[Worker] = Schedule()
        self._queue: DueQueue[Worker] = DueQueue()
        self._admission = Admission()
        self.kept = Kept()
        """The share of the due probes that this engine runs."""
        self._started = self._missed = 0
        self._count_at = 0.0
        self._reuses = False
        self._bucket = TokenBucket(AT_ONCE, 1 / AT_ONCE)

    # Called by other threads

    def run(self) -> None:
        """Start the probe thread."""
        self._prober.resolver.start()
        self._thread.start()

    def close(self, timeout: float) -> None:
        """End all probes and the thread. Returns when the thread has ended, or after `timeout` seconds."""
        self._closing = True
        self._prober.loop.wake()
        self._prober.resolver.stop()
        self._thread.join(timeout)

    def running(self, keys: Iterable[PodKey]) -> Mapping[PodKey, CheckSpec]:
        """See `Workers`."""
        with self._lock:
            return {key: spec for key in keys if (spec := self._specs.get(key))}

    def start(self, specs: Collection[CheckSpec]) -> None:
        """See `Workers`. `AT_ONCE` checks per second are probed at once. The others wait for their phase."""
        with self._lock:
            workers = [Worker(spec, self._generation + number) for number, spec in enumerate(specs, 1)]
            self._generation += len(workers)
            self._specs.update((worker.spec.key, worker.spec) for worker in workers)
        before = self._observer.follow((worker.spec, worker.generation) for worker in workers)
        for worker in workers:
            last = before.get(worker.spec.key, 0.0)
            worker.started_wall, worker.handed_over = last or 0.0, last is None
        self._post(Start(workers))

    def stop(self, keys: Collection[PodKey]) -> None:
        """See `Workers`."""
        with self._lock:
            for key in keys:
                self._specs.pop(key, None)
        command = Stop(keys, threading.Event())
        self._post(command)
        while self._thread.is_alive() and not command.done.wait(IDLE):
            pass

    def update(self, specs: Collection[CheckSpec]) -> None:
        """See `Workers`."""
        with self._lock:
            self._specs.update((spec.key, spec) for spec in specs if spec.key in self._specs)
        self._post(Update(specs))

    def probe_all(self, begun: Callable[[], None]) -> None:
        """Probe every check as soon as possible. The probe thread calls `begun`. Every result that is observed after
        this call is of a probe that started after it."""
        self._post(ProbeAll(begun))

    def apply(self, *, ca_file: str, guard: Guard, details: bool = False) -> None:
        """Use these authorities and this guard from now on, and collect `details` or not. Probes in flight keep the
        previous ones."""
        if (ca_file, guard, details) != (self._ca_file, self._guard, self._details):
            self._ca_file, self._guard, self._details = ca_file, guard, details
            self._post(Renew(ca_file, guard, details))

    def renew(self, replaced: Collection[str]) -> None:
        """Read these certificate files again, because their content has changed."""
        self._post(Renew(self._ca_file, self._guard, self._details, replaced))

    def files(self) -> Collection[Reading]:
        """Returns the readings in use of the files of authorities, certificates and keys. Safe for any thread."""
        return self._prober.files()

    def _post(self, command: Start | Stop | Update | Renew | ProbeAll) -> None:
        self._commands.append(command)
        self._prober.loop.wake()

    # The probe thread

    def _run(self) -> None:
        while not self._closing:
            self._heartbeat.beat()
            with self._heartbeat.faults.contain("step of the probe engine"):
                self._step()
        for worker in list(self._workers.values()):
            self._drop(worker)
        self._prober.close()

    def _step(self) -> None:
        self._prober.turn(self._timeout(), self._admission.limit)
        self._obey()
        now = self._clock()
        ready = [worker for due, worker in self._schedule.pop_due(now) if self._is_ready(worker, due, now)]
        for worker in self._prober.freed():
            if worker.wanted and worker.running:
                worker.wanted = False
                if self._may_begin(worker, now):
                    ready.append(worker)
        self._start_some(ready, now)
        if now >= self._count_at:
            self._count(now)
        if results := self._prober.results():
            self._observer.observe(results)

    def _timeout(self) -> float:
        if self._commands or (self._queue and self._prober.room):
            return 0.0
        return min(self._prober.patience(IDLE), self._schedule.next_tick() - self._clock())

    def _obey(self) -> None:
        while self._commands:
            match self._commands.popleft():
                case Start(workers):
                    for worker in workers:
                        self._begin(worker)
                case Stop(keys, done):
                    for key in keys:
                        if stopped := self._workers.pop(key, None):
                            self._drop(stopped)
                    done.set()
                case Update(specs):
                    self._update(specs)
                case Renew() as renewal:
                    self._renew(renewal)
                case ProbeAll(begun):
                    try:
                        self._probe_all()
                    finally:
                        begun()

    def _update(self, specs: Collection[CheckSpec]) -> None:
        for spec in specs:
            if worker := self._workers.get(spec.key):
                worker.spec = spec

    def _renew(self, renewal: Renew) -> None:
        changes_details = renewal.details is not self._prober.collects_details
        self._prober.renew(renewal.ca_file, renewal.guard, renewal.replaced)
        self._prober.collect_details(wanted=renewal.details)
        for worker in self._workers.values():
            worker.where = None
            worker.certificate_due = 0.0
            if worker.is_repeatable:
                worker.openssl_until = 0.0
            if changes_details:
                collect(worker, wanted=renewal.details)

    def _probe_all(self) -> None:
        """Make all checks due now. The result of a probe in flight, or not observed yet, becomes a local one."""
        now = self._clock()
        for worker in self._workers.values():
            self._prober.disregard(worker)
        self._schedule, self._queue = Schedule(), DueQueue()
        for worker in self._workers.values():
            worker.due, worker.missed, worker.wanted = now, 0, False
            self._queue.add(worker)
        self._prober.freed()
        self._observer.observe(
            replace(each, outcome=Outcome.LOCAL, reason=Reason.LOCAL, detail=DISREGARDED, output="")
            for each in self._prober.results()
        )

    def _begin(self, worker: Worker) -> None:
        now = self._clock()
        self._workers[worker.spec.key] = worker
        if self._prober.collects_details:
            collect(worker, wanted=True)
        self._reuses = self._reuses or worker.spec.probe.reuse
        if self._reuses:
            self._prober.keepable = keepable(len(self._workers), self._prober.max_in_flight)
        spec = worker.spec
        asked = spec.version.read_at if now - spec.interval < spec.version.read_at <= now else now
        worker.in_phase = next_on_phase(spec.key, spec.interval, now, self._epoch)
        worker.due = (
            handed_over_moment(spec.key, spec.interval, now)
            if worker.handed_over
            else first_moment(spec.key, spec.interval, asked, now, self._epoch)
        )
        worker.last = worker.due - spec.interval
        if 0 <= (ago := self._wall_clock() - worker.started_wall) < spec.interval / 2:
            worker.due = next_moment(now - ago, worker.in_phase, spec.interval)
            self._schedule.add(worker, worker.due)
        elif self._prober.room and self._bucket.take(now):
            worker.due = now
            if self._may_begin(worker, now):
                self._start(worker, now)
        else:
            self._schedule.add(worker, worker.due)

    def _drop(self, worker: Worker) -> None:
        worker.running = False
        self._prober.drop(worker)

    def _is_ready(self, worker: Worker, due: float, now: float) -> bool:
        """Returns whether a due worker may start in this turn. It may not while its previous probe is in flight."""
        if not worker.running or not self._may_begin(worker, now):
            return False
        worker.due = due
        worker.missed = int((now - due) / worker.interval)
        if worker.missed:
            self._metrics.skipped(worker.missed)
        worker.wanted = worker.is_busy
        if worker.kind is None:
            self._start(worker, now)
        return not worker.wanted and worker.kind is not None

    def _start_some(self, ready: Sequence[Worker], now: float) -> None:
        """Start as many probes as this turn allows. If not all may start, the `DueQueue` decides which go first."""
        left = self._admission.allow(self._prober.loop.lag, len(self._queue) + len(ready))
        if not self._queue and len(ready) <= min(left, self._prober.room):
            for worker in ready:
                self._start(worker, now)
            return
        for worker in ready:
            self._queue.add(worker)
        while left and self._queue and self._prober.room:
            worker = self._queue.pop(now)
            if worker.running and self._may_begin(worker, now):
                self._start(worker, now)
                left -= 1

    def _may_begin(self, worker: Worker, now: float) -> bool:
        """Returns whether a probe may begin. If not, it is considered again soon."""
        if self._may_probe is None or self._may_probe(worker.spec.key.node):
            return True
        self._schedule.add(worker, now + HELD)
        return False

    def _start(self, worker: Worker, now: float) -> None:
        self._miss(worker, now)
        self._metrics.started(now - max(worker.due, worker.ended))
        self._started += 1
        worker.last, worker.missed = now, 0
        self._prober.launch(worker)
        self._schedule.add(worker, next_moment(now, worker.in_phase, worker.interval))

    def _miss(self, worker: Worker, now: float) -> bool:
        """Count the probes that were skipped while the worker waited. Returns whether there is a new one."""
        if now - worker.due < worker.interval:
            return False
        missed = int((now - worker.due) / worker.interval)
        more, worker.missed = missed - worker.missed, missed
        if more > 0:
            self._metrics.skipped(more)
            self._missed += more
        return more > 0

    def _count(self, now: float) -> None:
        """Count the skipped probes. Checks that have waited for too long get a result that reports it."""
        self._count_at = now + COUNT_EVERY
        patience = max(PATIENCE, min(MOST_PATIENCE, 2 * self._queue.age))
        for worker in self._queue:
            if worker.running and self._miss(worker, now) and worker.missed > patience:
                self._prober.refuse(worker, self._why(worker))
        was_overloaded = self.kept.is_overloaded
        self.kept.count(now, self._started, self._missed)
        self._started = self._missed = 0
        if self.kept.is_overloaded and not was_overloaded:
            log.warning("%s", self.kept.sentence())
        elif was_overloaded and not self.kept.is_overloaded:
            log.info("this controller is not overloaded any more: it keeps all probes")

    def _why(self, worker: Worker) -> str:
        return self.kept.sentence(worker.interval) if self._prober.room else self._prober.full()
