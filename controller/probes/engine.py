"""The probe engine: all probes of this process, in one thread.

Other threads say which checks are to run; the probe thread starts them on their ticks, reads what came back and hands
the results on. It waits in one place only, `Multi.turn`, and does nothing that could block.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

import pycurl

from controller.descriptors import keepable
from controller.probes.commands import Renew, Start, Stop
from controller.probes.judgement import deadline, judge, overdue
from controller.probes.multi import Multi
from controller.probes.pool import TransferPool
from controller.probes.reach import Reach
from controller.probes.resolver import Answer, Resolver, ask_system
from controller.probes.schedule import Schedule, first_moments
from controller.probes.transfer import Transfer, Verdict, Where
from controller.probes.worker import Worker
from controller.pulse import Pulse
from reconcilers.bucket import TokenBucket
from reconcilers.guard import Guard
from reconcilers.health import Outcome, Phases, ProbeResult, Reason
from reconcilers.spec import CheckSpec, PodKey

log = logging.getLogger(__name__)

IDLE = 1.0
AT_ONCE = 32
"""How many new checks in a second are probed at once; more wait for their phase, within one interval."""
SOON = 0.05
"""Seconds until something that could not be done now is looked at again."""
WATCHFUL = 0.01
"""Seconds for which the loop waits at most while a probe is in flight. Where waiting takes longer, the loop was away;
what it cannot know is how much of a shorter wait it was."""
PATIENCE = 0.5
"""Seconds for which a due probe waits for the one before to end, or for a free transfer: counted from when that was
first seen, because the thread itself may have been late."""


class Observer(Protocol):
    """Who is told what the probes saw."""

    def follow(self, specs: Iterable[tuple[CheckSpec, int]]) -> None: ...
    def observe(self, results: Iterable[ProbeResult]) -> None: ...


class ProbeMetrics(Protocol):
    """What the engine tells about itself."""

    def started(self, lateness: float) -> None:
        """A probe started `lateness` seconds after it was due."""
        ...

    def skipped(self, count: int) -> None:
        """`count` probes were left out: the one before was still in flight, or time had passed over them."""
        ...


class ProbeEngine:
    """Implements `reconcilers.ports.Workers`. `max_in_flight` bounds the transfers, and so the descriptors.

    `ask` looks names up instead of the system's resolver.
    """

    def __init__(
        self,
        observer: Observer,
        metrics: ProbeMetrics,
        pulse: Pulse,
        *,
        ca_file: str,
        max_in_flight: int,
        guard: Guard | None = None,
        ask: Callable[[str], Answer] = ask_system,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._observer = observer
        self._metrics = metrics
        self._pulse = pulse
        self._max_in_flight = max_in_flight
        self._clock = clock
        self._wall_clock = wall_clock
        self._epoch = wall_clock() - clock()

        self._lock = threading.Lock()
        self._specs: dict[PodKey, CheckSpec] = {}
        self._generation = 0
        self._commands: deque[Start | Stop | Renew] = deque()
        self._ca_file = ca_file
        self._guard = guard or Guard()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=pulse.name, daemon=True)

        self._multi = Multi(clock)
        self._resolver = Resolver(self._multi.wake, ask, clock)
        self._reach = Reach(self._resolver, self._guard)
        self._workers: dict[PodKey, Worker] = {}
        self._schedule: Schedule[Worker] = Schedule()
        self._deadlines: Schedule[tuple[Worker, float, bool]] = Schedule()
        self._waiting: dict[Worker, None] = {}
        self._answers_seen = 0
        self._look_at = self._looked_at = 0.0
        self._reuses = False
        self._bucket = TokenBucket(AT_ONCE, 1 / AT_ONCE)
        self._results: list[ProbeResult] = []
        self._faults: set[tuple[type, type, str]] = set()
        self._pool = TransferPool(ca_file, self._multi.opened)
        self._in_flight: dict[pycurl.Curl, Worker] = {}

    # What other threads call

    def run(self) -> None:
        """Start the probe thread."""
        self._resolver.start()
        self._thread.start()

    def close(self, timeout: float) -> None:
        """End all probes and the thread; returns when it is gone, or after `timeout` seconds."""
        self._closing = True
        self._multi.wake()
        self._resolver.stop()
        self._thread.join(timeout)

    def running(self, keys: Iterable[PodKey]) -> Mapping[PodKey, CheckSpec]:
        """See `Workers`."""
        with self._lock:
            return {key: spec for key in keys if (spec := self._specs.get(key))}

    def start(self, specs: Collection[CheckSpec]) -> None:
        """See `Workers`. A few are probed at once; of many, most wait for their phase."""
        with self._lock:
            workers = [Worker(spec, self._generation + number) for number, spec in enumerate(specs, 1)]
            self._generation += len(workers)
            self._specs.update((worker.spec.key, worker.spec) for worker in workers)
        self._observer.follow((worker.spec, worker.generation) for worker in workers)
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

    def take(self, *, ca_file: str, guard: Guard) -> None:
        """From now on these authorities and this guard are in force; probes under way end as they began."""
        if (ca_file, guard) != (self._ca_file, self._guard):
            self._ca_file, self._guard = ca_file, guard
            self._post(Renew(ca_file, guard))

    def renew(self, replaced: Collection[str]) -> None:
        """The content of these files of certificates is another one."""
        self._post(Renew(self._ca_file, self._guard, replaced))

    def files(self) -> tuple[set[str], set[str]]:
        """Which files probes read: those with authorities, and those with certificates and keys."""
        with self._lock:
            every = {spec.probe.tls for spec in self._specs.values() if spec.probe.tls}
        authorities = {self._ca_file, *(tls.ca_file for tls in every)}
        return authorities - {""}, {path for tls in every for path in (tls.cert_file, tls.key_file) if path}

    def _post(self, command: Start | Stop | Renew) -> None:
        self._commands.append(command)
        self._multi.wake()

    # The probe thread

    def _run(self) -> None:
        while not self._closing:
            self._pulse.beat()
            try:
                self._step()
            except Exception:
                log.exception("the probe engine failed in one step; going on")
        for worker in list(self._workers.values()):
            self._drop(worker)
        self._pool.clear()
        self._multi.close()

    def _step(self) -> None:
        self._multi.turn(self._timeout())
        self._obey()
        for due, worker in self._schedule.take(self._clock()):
            if worker.running:
                self._on_due(worker, due)
        if self._waiting:
            self._look_again()
        self._collect()
        self._end_overdue()
        if self._results:
            results, self._results = self._results, []
            self._observer.observe(results)

    def _timeout(self) -> float:
        if self._commands:
            return 0.0
        idle = WATCHFUL if self._in_flight or self._waiting else IDLE
        return min(idle, self._schedule.next_tick() - self._clock())

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
                case Renew(ca_file, guard, replaced):
                    self._renew(ca_file, guard, replaced)

    def _renew(self, ca_file: str, guard: Guard, replaced: Collection[str]) -> None:
        self._pool.renew(ca_file, replaced)
        self._reach.take(guard)
        for worker in self._workers.values():
            worker.where = None
            worker.certificate_due = 0.0

    def _begin(self, worker: Worker) -> None:
        now = self._clock()
        self._workers[worker.spec.key] = worker
        self._reuses = self._reuses or worker.spec.probe.reuse
        if self._reuses:
            self._multi.keep_connections(keepable(len(self._workers), self._max_in_flight))
        spec = worker.spec
        asked = spec.asked if now - spec.interval < spec.asked <= now else now
        first, worker.due = first_moments(spec.key, spec.interval, asked, now, self._epoch)
        if self._has_room() and self._bucket.take(now):
            worker.due += spec.interval if worker.due <= now else 0.0
            first = worker.due
            self._launch(worker, now)
        self._schedule.add(worker, first)

    def _drop(self, worker: Worker) -> None:
        worker.running = False
        self._waiting.pop(worker, None)
        if worker.transfer:
            self._release(worker.transfer, worker)

    def _on_due(self, worker: Worker, due: float) -> None:
        now = self._clock()
        if not worker.is_busy and (worker.kind is None or self._has_room()):
            self._launch(worker, due)
        elif worker.waited(now) < PATIENCE:
            self._schedule.add(worker, now + SOON)
            return
        elif worker.is_busy:
            self._metrics.skipped(1)
        else:
            worker.started, worker.started_wall, worker.dns = now, self._wall_clock(), 0.0
            self._overloaded(worker)
        self._schedule_next(worker, now)

    def _has_room(self) -> bool:
        return len(self._in_flight) < self._max_in_flight

    def _schedule_next(self, worker: Worker, now: float) -> None:
        interval = worker.spec.interval
        due = worker.due + interval
        worker.held = 0.0
        if due <= now:
            missed = int((now - due) / interval) + 1
            self._metrics.skipped(missed)
            due += missed * interval
        worker.due = due
        self._schedule.add(worker, due)

    def _launch(self, worker: Worker, due: float) -> None:
        """Begin one probe: at once where the way is known, else when its name is resolved."""
        worker.started = self._clock()
        worker.started_wall = self._wall_clock()
        worker.dns = worker.lost = 0.0
        self._metrics.started(worker.started - due)
        self._proceed(worker)

    def _proceed(self, worker: Worker) -> None:
        try:
            self._go(worker)
        except Exception as error:  # noqa: BLE001 - it is logged, once
            worker.waiting = False
            self._conclude(worker, self._fault(worker, "the probe could not be sent", error), Phases(dns=worker.dns))

    def _go(self, worker: Worker) -> None:
        match self._reach.find(worker):
            case Where() as where:
                worker.waiting = False
                self._send(worker, where)
            case Verdict() as verdict:
                worker.waiting = False
                self._conclude(worker, verdict, Phases(dns=worker.dns))
            case None if not worker.waiting:
                worker.waiting = True
                self._waiting[worker] = None

    def _look_again(self) -> None:
        """See whether the names that probes wait for are known; one whose time is over meanwhile has its verdict."""
        now, answers = self._clock(), self._resolver.answers
        news = answers != self._answers_seen
        if not news and now < self._look_at:
            return
        before, self._looked_at, self._look_at = self._looked_at, now, now + SOON
        for worker in list(self._waiting):
            worker.lost = now - max(before, worker.started)
            worker.dns = now - worker.started - worker.lost
            if news and self._has_room():
                self._proceed(worker)
            if worker.waiting and worker.dns >= worker.spec.timeout:
                self._give_up(worker)
            if not worker.waiting:
                del self._waiting[worker]
        if self._has_room():
            self._answers_seen = answers

    def _give_up(self, worker: Worker) -> None:
        worker.waiting = False
        if not self._has_room() and isinstance(self._reach.find(worker), Where):
            self._overloaded(worker)
            return
        detail = f"{worker.spec.probe.host} was not resolved within {worker.spec.timeout:g} s"
        self._conclude(worker, Verdict(Outcome.LOCAL, Reason.DNS, detail), Phases(dns=worker.dns))

    def _send(self, worker: Worker, where: Where) -> None:
        certinfo = worker.wants_certificate(worker.started)
        try:
            transfer = self._pool.take(worker)
            transfer.prepare(worker.url, worker.spec.timeout, where, certinfo=certinfo)
        except (pycurl.error, ValueError, OSError) as error:
            detail = f"the probe could not be sent: {error}"
            self._conclude(worker, Verdict(Outcome.LOCAL, Reason.LOCAL, detail), Phases(dns=worker.dns))
            return
        worker.transfer = transfer
        self._in_flight[transfer.curl] = worker
        self._multi.add(transfer.curl)
        transfer.began(worker.started + worker.dns + worker.lost, self._clock(), worker.lost)
        self._deadlines.add((worker, worker.started, False), deadline(worker, transfer))

    def _collect(self) -> None:
        """Read which transfers ended; whatever comes of one, the others are read too."""
        if not self._in_flight:
            return
        for curl, code, message in list(self._multi.ended()):
            worker = self._in_flight[curl]
            transfer = worker.transfer
            assert transfer is not None  # noqa: S101 - a worker in flight has one
            try:
                verdict, phases = self._read(worker, transfer, code, message)
            except Exception as error:  # noqa: BLE001 - it is logged, once
                verdict = self._fault(worker, "how the probe ended could not be read", error)
                phases = Phases(dns=worker.dns)
            self._conclude(worker, verdict, phases)
            self._release(transfer, worker)

    def _end_overdue(self) -> None:
        """End the transfers whose time was over when the sockets were looked at, and for which nothing was ready then.

        Of one that was read from just now there may be more to read: it is looked at once more.
        """
        looked = self._multi.looked
        for _, (worker, started, again) in self._deadlines.take(looked):
            if (transfer := worker.transfer) is None or worker.started != started:
                continue
            if (end := deadline(worker, transfer)) > looked:
                self._deadlines.add((worker, started, again), end)
            elif transfer.handled_at >= looked and not again:
                self._deadlines.add((worker, started, True), looked + WATCHFUL)
            else:
                took = self._clock() - worker.started - worker.dns
                self._conclude(worker, overdue(worker, transfer), transfer.phases(worker.dns, took))
                self._release(transfer, worker)

    def _read(self, worker: Worker, transfer: Transfer, code: int, message: str) -> tuple[Verdict, Phases]:
        verdict = judge(worker, transfer, code, message)
        accepted = verdict.reason is not Reason.CERTIFICATE
        if worker.wants_certificate(worker.started) or not accepted:
            worker.saw_certificate(transfer.seen_certificate(), accepted=accepted)
        return verdict, transfer.phases(worker.dns)

    def _fault(self, worker: Worker, what: str, error: Exception) -> Verdict:
        """The verdict over a probe in which we failed. A trace is logged once for each way to fail: there may be
        thousands of such probes."""
        way = (type(worker.spec.probe), type(error), what)
        if way not in self._faults:
            self._faults.add(way)
            log.error("%s: %s; of more like it nothing is logged", worker.spec.key, what, exc_info=error)
        return Verdict(Outcome.LOCAL, Reason.LOCAL, f"{what}: {type(error).__name__}, a fault of this controller")

    def _release(self, transfer: Transfer, worker: Worker) -> None:
        del self._in_flight[transfer.curl]
        worker.transfer = None
        self._multi.remove(transfer.curl, transfer.sockets)
        self._pool.give(transfer, worker)

    def _conclude(self, worker: Worker, verdict: Verdict, phases: Phases) -> None:
        self._results.append(
            ProbeResult(
                key=worker.spec.key,
                generation=worker.generation,
                outcome=verdict.outcome,
                started=worker.started_wall,
                duration=self._clock() - worker.started,
                reason=verdict.reason,
                detail=verdict.detail,
                output=verdict.output,
                status_code=verdict.status_code,
                phases=phases,
                certificate=worker.certificate,
            )
        )

    def _overloaded(self, worker: Worker) -> None:
        detail = f"not probed: {self._max_in_flight} probes are in flight already, the limit of this controller"
        self._conclude(worker, Verdict(Outcome.LOCAL, Reason.LOCAL, detail), Phases(dns=worker.dns))
