"""Probes in flight: sends each probe, waits for its answer, ends it at its deadline and reads its result.

The engine decides when a probe starts. Only the probe thread uses this module, except for `Loop.wake` and `files`.
"""

import logging
from collections import deque
from collections.abc import Callable, Collection

from controller.probes.check_files import CheckFiles
from controller.probes.connection import NEXT_ADDRESS
from controller.probes.details import Leaves, details_of
from controller.probes.failure import Cause
from controller.probes.following_probe import FollowingProbe
from controller.probes.judgement import deadline, judge, overdue, with_warnings
from controller.probes.loop import Loop
from controller.probes.resolver import Answer, Resolver
from controller.probes.running_probe import RunningProbe
from controller.probes.schedule import Schedule
from controller.probes.target import Target
from controller.probes.target_resolver import TargetResolver
from controller.probes.tls import UNUSABLE
from controller.probes.verdict import Verdict
from controller.probes.worker import Worker
from controller.runtime.faults import Faults
from controller.runtime.plain_files import Reading
from reconcilers.health import Outcome, Phases, ProbeResult, Reason
from reconcilers.target_guard import Guard

log = logging.getLogger(__name__)

SOON = 0.05
"""Seconds after which probes that wait for a name are checked again, even if no lookup has finished."""
WATCHFUL = 0.01
"""The longest wait of the loop in seconds while a request is not sent yet. If a wait takes longer, the loop was
delayed. It cannot know how much of a shorter wait was a delay."""
PROMPT = 0.02
"""Seconds within which most probes end. Only the other probes get an entry in the schedule of deadlines."""

UNREACHED = frozenset({Reason.REFUSED, Reason.CONNECT, Reason.TIMEOUT})
"""After a failure for one of these reasons the name is resolved again: its address may have changed."""
DISREGARDED = "begun before all evidence was voided: this probe proves nothing"


class Prober:
    """`max_in_flight` bounds the transfers, and so the descriptors. For `ask` and `ttl` see `Resolver`."""

    def __init__(
        self,
        ca_file: str,
        guard: Guard,
        max_in_flight: int,
        ask: Callable[[str], Answer],
        ttl: Callable[[str, str], float | None] | None,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        faults: Faults,
    ) -> None:
        self.max_in_flight = max_in_flight
        self._clock = clock
        self._wall_clock = wall_clock
        self.loop = Loop(clock)
        self.resolver = Resolver(self.loop.wake, ask, clock, faults, ttl)
        self._targets = TargetResolver(self.resolver, guard)
        self._files = CheckFiles(ca_file)
        self._in_flight: dict[RunningProbe, None] = {}
        self._ended: list[RunningProbe] = []
        self._kept: dict[Worker, None] = {}
        """Workers with an idle connection. Each may need a descriptor in addition to `max_in_flight`."""
        self.keepable = 0
        """How many connections may be kept."""
        self._next_addresses: Schedule[RunningProbe] = Schedule()
        self._unsent: dict[RunningProbe, None] = {}
        """Probes in flight whose request was not sent at the last check, the oldest first."""
        self._launched: deque[Worker] = deque()
        """The workers of probes that started within the last `PROMPT` seconds, even if they have ended. None of these
        probes is in `_deadlines`."""
        self._deadlines: Schedule[tuple[Worker, float, bool]] = Schedule()
        self._waiting: dict[Worker, None] = {}
        self._answers_seen = 0
        self._look_at = self._looked_at = 0.0
        self._results: list[ProbeResult] = []
        self._freed: list[Worker] = []
        self._faults: set[tuple[type, type, str]] = set()
        self._leaves: Leaves | None = None
        """Reads certificates if details are collected; else None."""

    @property
    def room(self) -> int:
        """How many more probes may be in flight."""
        return self.max_in_flight - len(self._in_flight)

    def patience(self, idle: float) -> float:
        """Returns for how many seconds the loop may wait: `idle` if no probe is in flight. Once a request is sent, the
        time is the pod's, so the loop only has to wake at the deadline."""
        if self._waiting or self._is_sending():
            return WATCHFUL
        if not self._in_flight:
            return idle
        ticks = min(self._deadlines.next_tick(), self._next_addresses.next_tick())
        if self._launched:
            ticks = min(ticks, self._launched[0].started + PROMPT)
        return min(idle, ticks - self._clock())

    def _is_sending(self) -> bool:
        while self._unsent and (oldest := next(iter(self._unsent))).is_sent:
            del self._unsent[oldest]
        return bool(self._unsent)

    def turn(self, timeout: float, few: int) -> None:
        """Wait up to `timeout` seconds for events and handle them. At most `few` of the probes that waited for a name
        are sent."""
        self.loop.turn(timeout)
        if self._waiting:
            self._look_again(few)
        self._try_next_addresses()
        self._collect()
        self._end_overdue()

    def results(self) -> list[ProbeResult]:
        """Returns the results since the last call."""
        results, self._results = self._results, []
        return results

    def freed(self) -> list[Worker]:
        """Returns the workers whose probe has ended since the last call."""
        freed, self._freed = self._freed, []
        return freed

    def files(self) -> Collection[Reading]:
        """See `CheckFiles.readings`."""
        return self._files.readings()

    @property
    def collects_details(self) -> bool:
        """Whether results have details, see `controller.probes.details`."""
        return self._leaves is not None

    def collect_details(self, *, wanted: bool) -> None:
        if wanted is not self.collects_details:
            self._leaves = Leaves() if wanted else None

    def renew(self, ca_file: str, guard: Guard, replaced: Collection[str]) -> None:
        """Use these authorities and this guard from now on, and read the files `replaced` again."""
        self._files.renew(ca_file, replaced)
        self._targets.apply(guard)
        for worker in list(self._kept):
            self._drop_kept(worker)
        for probe in self._in_flight:
            probe.is_spent = True

    def drop(self, worker: Worker) -> None:
        """End the probe of `worker` without a result, and close its kept connection."""
        self._waiting.pop(worker, None)
        worker.waiting = False
        if worker.probe:
            self._release(worker.probe, keep=False)
        self._drop_kept(worker)

    def _drop_kept(self, worker: Worker) -> None:
        self._kept.pop(worker, None)
        worker.drop_kept()

    def disregard(self, worker: Worker) -> None:
        """End the probe of `worker` with a local result, which proves nothing, and close its kept connection."""
        if worker.is_busy:
            self._conclude(worker, Verdict(Outcome.LOCAL, Reason.LOCAL, DISREGARDED), Phases(dns=worker.dns))
        self.drop(worker)

    def close(self) -> None:
        self.loop.close()

    def launch(self, worker: Worker) -> None:
        """Start one probe. It is sent at once if the address is known, else when the name is resolved."""
        self._begin(worker)
        self._proceed(worker)

    def refuse(self, worker: Worker, detail: str) -> None:
        """Report that a probe could not be made because of this controller."""
        self._begin(worker)
        self._conclude(worker, Verdict(Outcome.LOCAL, Reason.LOCAL, detail), Phases())

    def _begin(self, worker: Worker) -> None:
        worker.started = self._clock()
        worker.started_wall = self._wall_clock()
        worker.version = worker.spec.version
        worker.dns = worker.lost = 0.0

    def _proceed(self, worker: Worker) -> None:
        try:
            match self._targets.find(worker):
                case Target() as target:
                    worker.waiting = False
                    self._send(worker, target)
                case Verdict() as verdict:
                    worker.waiting = False
                    self._conclude(worker, verdict, Phases(dns=worker.dns))
                case None if not worker.waiting:
                    worker.waiting = True
                    self._waiting[worker] = None
        except Exception as error:  # noqa: BLE001 - it is logged, once
            worker.waiting = False
            if worker.probe:
                self._release(worker.probe, keep=False)
            self._conclude(worker, self._fault(worker, "the probe could not be sent", error), Phases(dns=worker.dns))

    def _look_again(self, few: int) -> None:
        """Send the probes whose name is resolved by now. End those whose timeout has passed before that."""
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
            if news and few and self.room:
                self._proceed(worker)
                few -= not worker.waiting
            if worker.waiting and now - worker.started - min(worker.lost, worker.spec.timeout) >= worker.spec.timeout:
                self._give_up(worker)
            if not worker.waiting:
                del self._waiting[worker]
        if few and self.room:
            self._answers_seen = answers

    def _give_up(self, worker: Worker) -> None:
        worker.waiting = False
        if not self.room and isinstance(self._targets.find(worker), Target):
            verdict = Verdict(Outcome.LOCAL, Reason.LOCAL, self.full())
        else:
            detail = f"{worker.spec.probe.host} was not resolved within {worker.spec.timeout:g} s"
            verdict = Verdict(Outcome.LOCAL, Reason.DNS, detail)
        self._conclude(worker, verdict, Phases(dns=worker.dns))

    def full(self) -> str:
        """Returns the detail of the result of a probe for which there is no room."""
        return f"not probed: {self.max_in_flight} probes are in flight already, the limit of this controller"

    def _send(self, worker: Worker, target: Target) -> None:
        try:
            settings = self._files.settings(worker) if worker.spec.probe.tls else None
            if worker.has_credentials:
                self._files.authorize(worker)
            kind = FollowingProbe if worker.follows else RunningProbe
            probe = kind(worker, self.loop, target, settings, self._clock, self._ended.append, self._expect_end)
            worker.probe = probe
            self._in_flight[probe] = None
            if worker.kept:
                del self._kept[worker]
            probe.begin(worker.started + worker.dns + worker.lost, worker.lost)
        except UNUSABLE as error:
            if worker.probe:
                self._release(worker.probe, keep=False)
            detail = f"the probe could not be sent: {error}"
            self._conclude(worker, Verdict(Outcome.LOCAL, Reason.LOCAL, detail), Phases(dns=worker.dns))
            return
        if not probe.is_sent:
            self._unsent[probe] = None
        if worker.dns or worker.spec.timeout < 2 * PROMPT:
            self._deadlines.add((worker, worker.started, False), deadline(worker, probe))
        else:
            self._launched.append(worker)
        if len(target.addresses) > 1:
            self._next_addresses.add(probe, self._clock() + NEXT_ADDRESS)

    def _expect_end(self, probe: RunningProbe) -> None:
        """Look at the probe again when its wait for the target's acceptance ends."""
        self._deadlines.add((probe.worker, probe.worker.started, False), deadline(probe.worker, probe))

    def _collect(self) -> None:
        """Read the results of the probes that have ended. A fault in one does not affect the others."""
        if not self._ended:
            return
        ended, self._ended[:] = self._ended[:], []
        for probe in ended:
            worker = probe.worker
            if worker.probe is not probe:
                continue
            try:
                verdict, phases = self._read(worker, probe)
                if worker.can_warn:
                    verdict = with_warnings(verdict, worker, probe, self.loop.since)
            except Exception as error:  # noqa: BLE001 - it is logged, once
                verdict = self._fault(worker, "the result of the probe could not be read", error)
                phases = Phases(dns=worker.dns)
            self._conclude(worker, verdict, phases)
            self._release(probe, keep=True)

    def _try_next_addresses(self) -> None:
        now = self._clock()
        for _, probe in self._next_addresses.pop_due(now):
            if probe.worker.probe is probe:
                probe.try_next_address(now)
                self._next_addresses.add(probe, now + NEXT_ADDRESS)

    def _end_overdue(self) -> None:
        """End the probes whose deadline had passed when the loop polled, and whose sockets were not ready then.

        The deadline of a probe that has not ended within `PROMPT` is scheduled before that. A probe whose socket was
        handled in this turn may have more to read, so it gets `WATCHFUL` seconds more, once.
        """
        looked = self.loop.looked
        while self._launched and self._launched[0].started + PROMPT <= looked:
            if (probe := (worker := self._launched.popleft()).probe) is not None:
                self._deadlines.add((worker, worker.started, False), deadline(worker, probe))
        for _, (worker, started, again) in self._deadlines.pop_due(looked):
            if (probe := worker.probe) is None or worker.started != started:
                continue
            if (end := deadline(worker, probe)) > looked:
                self._deadlines.add((worker, started, again), end)
            elif probe.handled_at >= looked and not again:
                self._deadlines.add((worker, started, True), looked + WATCHFUL)
            else:
                self._end_late(worker, probe)
        self._collect()

    def _end_late(self, worker: Worker, probe: RunningProbe) -> None:
        """End a probe at its deadline. It may have all that it needs, or begin once more."""
        probe.settle()
        if probe in self._ended:
            return
        if (end := deadline(worker, probe)) > self.loop.looked:
            self._deadlines.add((worker, worker.started, False), end)
            return
        self._conclude(worker, overdue(worker, probe), probe.phases(worker.dns, self._clock()))
        self._release(probe, keep=False)

    def _read(self, worker: Worker, probe: RunningProbe) -> tuple[Verdict, Phases]:
        phases = probe.phases(worker.dns, self._clock())
        if probe.settings is None:
            return judge(worker, probe, (), None), phases
        refused = probe.failure is not None and probe.failure.cause is Cause.CERTIFICATE
        settings = probe.settings
        session = probe.connection.session if probe.connection else None
        wants = session is not None and not probe.is_kept and worker.wants_certificate(worker.started)
        sent = session.chain() if session and (wants or refused) else ()
        verdict = judge(worker, probe, sent, settings)
        if wants or refused:
            accepted = settings.verifies and session is not None and session.is_ready
            seen = settings.trust.certificate(sent, worker.started_wall, accepted=accepted)
            worker.saw_certificate(seen, accepted=not refused)
            if self._leaves and sent and session and session.is_ready:
                worker.leaf = self._leaves.read(sent[0])
        return verdict, phases

    def _fault(self, worker: Worker, what: str, error: Exception) -> Verdict:
        """Returns the verdict on a probe in which this controller failed. Each kind of fault is logged only once, with
        its traceback, because thousands of probes may have it."""
        way = (type(worker.spec.probe), type(error), what)
        if way not in self._faults:
            self._faults.add(way)
            log.error("%s: %s; further faults of this kind are not logged", worker.spec.key, what, exc_info=error)
        return Verdict(Outcome.LOCAL, Reason.LOCAL, f"{what}: {type(error).__name__}, a fault of this controller")

    def _release(self, probe: RunningProbe, *, keep: bool) -> None:
        worker = probe.worker
        del self._in_flight[probe]
        self._unsent.pop(probe, None)
        worker.probe = None
        may_keep = worker.spec.probe.reuse and worker.running and len(self._kept) < self.keepable
        probe.keep_or_close(keep=keep and may_keep)
        if worker.kept:
            self._kept[worker] = None

    def _conclude(self, worker: Worker, verdict: Verdict, phases: Phases) -> None:
        self._freed.append(worker)
        if worker.authorization:
            verdict = worker.authorization.masked(verdict)
        outcome, reason, detail, output, status = verdict
        if reason in UNREACHED:
            self._targets.doubt(worker)
        worker.ended = self._clock()
        answered = (worker.probe and worker.probe.closing_at) or worker.ended
        result = ProbeResult(
            worker.spec.key,
            worker.generation,
            outcome,
            worker.started_wall,
            answered - worker.started,
            reason,
            detail,
            output,
            status,
            phases,
            worker.certificate,
            worker.version,
            details_of(worker) if self._leaves else None,
        )
        self._results.append(result)
