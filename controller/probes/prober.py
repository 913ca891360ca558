"""Probes under way: each is sent, awaited, ended when its time is over, and read. When one begins, others decide.

Belongs to the probe thread, but for `wake`.
"""

import logging
from collections.abc import Callable, Collection

import pycurl

from controller.probes.judgement import deadline, judge, overdue
from controller.probes.multi import Multi
from controller.probes.pool import TransferPool
from controller.probes.resolver import Answer, Resolver
from controller.probes.schedule import Schedule
from controller.probes.target_resolver import TargetResolver
from controller.probes.transfer import Transfer, Verdict, Where
from controller.probes.worker import Worker
from controller.runtime.faults import Faults
from controller.runtime.plain_files import Reading
from reconcilers.health import Outcome, Phases, ProbeResult, Reason
from reconcilers.target_guard import Guard

log = logging.getLogger(__name__)

SOON = 0.05
"""Seconds until something that could not be done now is looked at again."""
WATCHFUL = 0.01
"""Seconds for which the loop waits at most while a request is not sent yet. Where waiting takes longer, the loop was
away; what it cannot know is how much of a shorter wait it was."""

DISREGARDED = "begun before all evidence was voided: this probe proves nothing"


class Prober:
    """`max_in_flight` bounds the transfers, and so the descriptors; `ask` looks names up."""

    def __init__(
        self,
        ca_file: str,
        guard: Guard,
        max_in_flight: int,
        ask: Callable[[str], Answer],
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        faults: Faults,
    ) -> None:
        self.max_in_flight = max_in_flight
        self._clock = clock
        self._wall_clock = wall_clock
        self.multi = Multi(clock)
        self.resolver = Resolver(self.multi.wake, ask, clock, faults)
        self._targets = TargetResolver(self.resolver, guard)
        self._pool = TransferPool(ca_file, self.multi.opened)
        self._in_flight: dict[pycurl.Curl, Worker] = {}
        self._unsent: dict[Transfer, None] = {}
        """Those in flight whose request was not sent when they were last looked at, the oldest first."""
        self._deadlines: Schedule[tuple[Worker, float, bool]] = Schedule()
        self._waiting: dict[Worker, None] = {}
        self._answers_seen = 0
        self._look_at = self._looked_at = 0.0
        self._results: list[ProbeResult] = []
        self._freed: list[Worker] = []
        self._faults: set[tuple[type, type, str]] = set()

    @property
    def has_room(self) -> bool:
        return len(self._in_flight) < self.max_in_flight

    def patience(self, idle: float) -> float:
        """For how many seconds the loop may wait; `idle` when nothing is under way. What comes after a request was sent
        is the pod's time, so it only has to end."""
        if self._waiting or self._is_sending():
            return WATCHFUL
        return min(idle, self._deadlines.next_tick() - self._clock()) if self._in_flight else idle

    def _is_sending(self) -> bool:
        while self._unsent and (oldest := next(iter(self._unsent))).is_sent:
            del self._unsent[oldest]
        return bool(self._unsent)

    def turn(self, timeout: float, few: int) -> None:
        """Wait up to `timeout` seconds for something to do, and do it. Of the probes whose name is known by then only a
        `few` are sent."""
        self.multi.turn(timeout)
        if self._waiting:
            self._look_again(few)
        self._collect()
        self._end_overdue()

    def results(self) -> list[ProbeResult]:
        """What was found since this was last called."""
        results, self._results = self._results, []
        return results

    def freed(self) -> list[Worker]:
        """Whose probe ended since this was last called."""
        freed, self._freed = self._freed, []
        return freed

    def files(self) -> Collection[Reading]:
        """See `TlsFiles.readings`."""
        return self._pool.files()

    def renew(self, ca_file: str, guard: Guard, replaced: Collection[str]) -> None:
        """From now on these authorities and this guard are in force, and these files' content is another one."""
        self._pool.renew(ca_file, replaced)
        self._targets.apply(guard)

    def drop(self, worker: Worker) -> None:
        """End what is under way for it; there is no result."""
        self._waiting.pop(worker, None)
        worker.waiting = False
        if worker.transfer:
            self._release(worker.transfer, worker)

    def disregard(self, worker: Worker) -> None:
        """End what is under way for it; the result is that it proves nothing."""
        if worker.is_busy:
            self._conclude(worker, Verdict(Outcome.LOCAL, Reason.LOCAL, DISREGARDED), Phases(dns=worker.dns))
        self.drop(worker)

    def close(self) -> None:
        self._pool.clear()
        self.multi.close()

    def launch(self, worker: Worker) -> None:
        """Begin one probe: at once where the way is known, else when its name is resolved."""
        self._begin(worker)
        self._proceed(worker)

    def refuse(self, worker: Worker, detail: str) -> None:
        """Say that a probe could not be made, and that this is our fault."""
        self._begin(worker)
        self._conclude(worker, Verdict(Outcome.LOCAL, Reason.LOCAL, detail), Phases())

    def _begin(self, worker: Worker) -> None:
        worker.started = self._clock()
        worker.started_wall = self._wall_clock()
        worker.version = worker.spec.version
        worker.dns = worker.lost = 0.0

    def _proceed(self, worker: Worker) -> None:
        try:
            self._go(worker)
        except Exception as error:  # noqa: BLE001 - it is logged, once
            worker.waiting = False
            self._conclude(worker, self._fault(worker, "the probe could not be sent", error), Phases(dns=worker.dns))

    def _go(self, worker: Worker) -> None:
        match self._targets.find(worker):
            case Where() as where:
                worker.waiting = False
                self._send(worker, where)
            case Verdict() as verdict:
                worker.waiting = False
                self._conclude(worker, verdict, Phases(dns=worker.dns))
            case None if not worker.waiting:
                worker.waiting = True
                self._waiting[worker] = None

    def _look_again(self, few: int) -> None:
        """See whether the names that probes wait for are known; one whose time is over meanwhile has its verdict."""
        now, answers = self._clock(), self.resolver.answers
        before, self._looked_at = self._looked_at, now
        news = answers != self._answers_seen
        if not news and now < self._look_at:
            return
        self._look_at = now + SOON
        for worker in list(self._waiting):
            if news:
                worker.lost += now - max(before, worker.started)
            worker.dns = now - worker.started - worker.lost
            if news and few and self.has_room:
                self._proceed(worker)
                few -= not worker.waiting
            if worker.waiting and now - worker.started - min(worker.lost, worker.spec.timeout) >= worker.spec.timeout:
                self._give_up(worker)
            if not worker.waiting:
                del self._waiting[worker]
        if few and self.has_room:
            self._answers_seen = answers

    def _give_up(self, worker: Worker) -> None:
        worker.waiting = False
        if not self.has_room and isinstance(self._targets.find(worker), Where):
            verdict = Verdict(Outcome.LOCAL, Reason.LOCAL, self.full())
        else:
            detail = f"{worker.spec.probe.host} was not resolved within {worker.spec.timeout:g} s"
            verdict = Verdict(Outcome.LOCAL, Reason.DNS, detail)
        self._conclude(worker, verdict, Phases(dns=worker.dns))

    def full(self) -> str:
        """What is said of a probe for which there is no room."""
        return f"not probed: {self.max_in_flight} probes are in flight already, the limit of this controller"

    def _send(self, worker: Worker, where: Where) -> None:
        certinfo = worker.wants_certificate(worker.started)
        try:
            transfer = self._pool.get(worker)
            transfer.prepare(worker.url, worker.spec.timeout, where, certinfo=certinfo)
        except (pycurl.error, ValueError, OSError) as error:
            detail = f"the probe could not be sent: {error}"
            self._conclude(worker, Verdict(Outcome.LOCAL, Reason.LOCAL, detail), Phases(dns=worker.dns))
            return
        worker.transfer = transfer
        self._in_flight[transfer.curl] = worker
        self.multi.add(transfer.curl)
        transfer.began(worker.started + worker.dns + worker.lost, self._clock(), worker.lost)
        self._unsent[transfer] = None
        self._deadlines.add((worker, worker.started, False), deadline(worker, transfer))

    def _collect(self) -> None:
        """Read which transfers ended; whatever comes of one, the others are read too."""
        if not self._in_flight:
            return
        for curl, code, message in list(self.multi.ended()):
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
        looked = self.multi.looked
        for _, (worker, started, again) in self._deadlines.pop_due(looked):
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
        self._unsent.pop(transfer, None)
        worker.transfer = None
        self.multi.remove(transfer.curl, transfer, transfer.sockets)
        self._pool.give(transfer, worker)

    def _conclude(self, worker: Worker, verdict: Verdict, phases: Phases) -> None:
        self._freed.append(worker)
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
                version=worker.version,
            )
        )
