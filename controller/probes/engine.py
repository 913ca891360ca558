"""The probe engine: all probes of this process, in one thread, on libcurl's multi interface over epoll.

Other threads say which checks are to run; the probe thread starts them on their ticks, reads what came back and hands
the results on. It waits in one place only, `epoll.poll`, and does nothing that could block.

`socket_action` is used, not `perform`: its cost grows with the transfers that have something to do, not with all in
flight.
"""

import logging
import math
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import pycurl

from controller.probes.http import Transfer, Verdict
from controller.probes.schedule import GRID, Schedule, next_on_phase
from controller.pulse import Pulse
from reconcilers.bucket import TokenBucket
from reconcilers.health import Outcome, ProbeResult, Reason
from reconcilers.spec import CheckSpec, PodKey

log = logging.getLogger(__name__)

IDLE = 1.0
AT_ONCE = 32
"""How many new checks in a second are probed at once; more wait for their phase, within one interval."""
PATIENCE = 0.5
"""Seconds for which a due probe waits for the one before to end, or for a free transfer. When the thread itself was
that late, what timed out meanwhile is our own fault."""


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
        """`count` probes were left out because the one before was still in flight, or time had passed over them."""
        ...


class Worker:
    """One check that runs. Belongs to the probe thread once it was handed over."""

    __slots__ = ("due", "generation", "running", "spec", "started", "started_wall", "transfer")

    def __init__(self, spec: CheckSpec, generation: int) -> None:
        self.spec = spec
        self.generation = generation
        self.running = True
        self.due = 0.0
        self.started = 0.0
        self.started_wall = 0.0
        self.transfer: Transfer | None = None


@dataclass(frozen=True, slots=True)
class _Start:
    workers: Collection[Worker]


@dataclass(frozen=True, slots=True)
class _Stop:
    keys: Collection[PodKey]
    done: threading.Event


class ProbeEngine:
    """Implements `reconcilers.ports.Workers`. `max_in_flight` bounds the transfers, and so the descriptors."""

    def __init__(
        self,
        observer: Observer,
        metrics: ProbeMetrics,
        pulse: Pulse,
        *,
        ca_file: str,
        max_in_flight: int,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._observer = observer
        self._metrics = metrics
        self._pulse = pulse
        self._ca_file = ca_file
        self._max_in_flight = max_in_flight
        self._clock = clock
        self._wall_clock = wall_clock
        self._epoch = wall_clock() - clock()

        self._lock = threading.Lock()
        self._specs: dict[PodKey, CheckSpec] = {}
        self._generation = 0
        self._commands: deque[_Start | _Stop] = deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._closing = False
        self._ended_for_good = False
        self._thread = threading.Thread(target=self._run, name=pulse.name, daemon=True)

        self._workers: dict[PodKey, Worker] = {}
        self._schedule: Schedule[Worker] = Schedule()
        self._bucket = TokenBucket(AT_ONCE, 1 / AT_ONCE)
        self._results: list[ProbeResult] = []
        self._idle: list[Transfer] = []
        self._in_flight: dict[pycurl.Curl, Worker] = {}
        self._sockets: set[int] = set()
        self._woke = clock()
        self._stood_still = -math.inf
        self._epoll = select.epoll()
        self._curl_timer = float("inf")
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)

    # What other threads call

    def run(self) -> None:
        """Start the probe thread."""
        self._epoll.register(self._wake, select.EPOLLIN)
        self._thread.start()

    def close(self, timeout: float) -> None:
        """End all probes and the thread; returns when it is gone, or after `timeout` seconds."""
        self._closing = True
        self._signal()
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
        self._post(_Start(workers))

    def stop(self, keys: Collection[PodKey]) -> None:
        """See `Workers`."""
        with self._lock:
            for key in keys:
                self._specs.pop(key, None)
        command = _Stop(keys, threading.Event())
        self._post(command)
        while self._thread.is_alive() and not command.done.wait(IDLE):
            pass

    def _post(self, command: _Start | _Stop) -> None:
        self._commands.append(command)
        self._signal()

    def _signal(self) -> None:
        with self._lock:
            if not self._ended_for_good:
                os.eventfd_write(self._wake, 1)

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
        self._multi.close()
        self._epoll.close()
        with self._lock:
            self._ended_for_good = True
            os.close(self._wake)

    def _step(self) -> None:
        for fd, events in self._poll():
            if fd == self._wake:
                os.eventfd_read(self._wake)
            else:
                self._multi.socket_action(fd, _to_curl(events))
        if self._clock() >= self._curl_timer:
            self._curl_timer = float("inf")
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        self._obey()
        for due, worker in self._schedule.take(self._clock()):
            if worker.running:
                self._on_due(worker, due)
        self._collect()
        if self._results:
            results, self._results = self._results, []
            self._observer.observe(results)

    def _poll(self) -> list[tuple[int, int]]:
        """Wait for events. Notes when that, and what was done since the last time, took far longer than asked for."""
        timeout = self._timeout()
        events = self._epoll.poll(timeout)
        now = self._clock()
        if now - self._woke > timeout + PATIENCE:
            self._stood_still = now
        self._woke = now
        return events

    def _timeout(self) -> float:
        if self._commands:
            return 0.0
        return max(0.0, min(IDLE, self._curl_timer - self._clock(), self._schedule.next_tick() - self._clock()))

    def _obey(self) -> None:
        while self._commands:
            match self._commands.popleft():
                case _Start(workers):
                    for worker in workers:
                        self._begin(worker)
                case _Stop(keys, done):
                    for key in keys:
                        if stopped := self._workers.pop(key, None):
                            self._drop(stopped)
                    done.set()

    def _begin(self, worker: Worker) -> None:
        now = self._clock()
        self._workers[worker.spec.key] = worker
        worker.due = next_on_phase(worker.spec.key, worker.spec.interval, now, self._epoch)
        self._schedule.add(worker, worker.due)
        if len(self._in_flight) < self._max_in_flight and self._bucket.take(now):
            self._launch(worker, now)

    def _drop(self, worker: Worker) -> None:
        worker.running = False
        if worker.transfer:
            self._release(worker.transfer, worker)

    def _on_due(self, worker: Worker, due: float) -> None:
        now = self._clock()
        if not worker.transfer and len(self._in_flight) < self._max_in_flight:
            self._launch(worker, due)
        elif now - worker.due < PATIENCE:
            self._schedule.add(worker, now + GRID)
            return
        elif worker.transfer:
            self._metrics.skipped(1)
        else:
            self._overloaded(worker, now)
        self._schedule_next(worker, now)

    def _schedule_next(self, worker: Worker, now: float) -> None:
        interval = worker.spec.interval
        due = worker.due + interval
        if due <= now:
            missed = int((now - due) / interval) + 1
            self._metrics.skipped(missed)
            due += missed * interval
        worker.due = due
        self._schedule.add(worker, due)

    def _launch(self, worker: Worker, due: float) -> None:
        transfer = self._idle.pop() if self._idle else Transfer(self._ca_file)
        worker.started = self._clock()
        worker.started_wall = self._wall_clock()
        self._metrics.started(worker.started - due)
        try:
            transfer.prepare(worker.spec)
        except (pycurl.error, ValueError) as error:
            self._idle.append(transfer)
            self._conclude(worker, Verdict(Outcome.LOCAL, Reason.LOCAL, f"the probe could not be sent: {error}"))
            return
        worker.transfer = transfer
        self._in_flight[transfer.curl] = worker
        self._multi.add_handle(transfer.curl)

    def _collect(self) -> None:
        """Read which transfers ended, until there are no more."""
        while self._in_flight:
            more, answered, failed = self._multi.info_read()
            for curl in answered:
                worker, transfer = self._ended(curl)
                self._conclude(worker, transfer.answered())
                self._release(transfer, worker)
            for curl, code, message in failed:
                worker, transfer = self._ended(curl)
                self._conclude(worker, self._blamed(worker, transfer.failed(code, message, worker.spec)))
                self._release(transfer, worker)
            if not more:
                return

    def _blamed(self, worker: Worker, verdict: Verdict) -> Verdict:
        """A timeout is no evidence when we ourselves stood still during the probe: the answer may have been there."""
        if verdict.reason is Reason.TIMEOUT and worker.started < self._stood_still:
            return Verdict(Outcome.LOCAL, Reason.LOCAL, "timed out while this controller stood still")
        return verdict

    def _ended(self, curl: pycurl.Curl) -> tuple[Worker, Transfer]:
        worker = self._in_flight[curl]
        assert worker.transfer is not None  # noqa: S101 - a worker in flight has its transfer
        return worker, worker.transfer

    def _release(self, transfer: Transfer, worker: Worker) -> None:
        del self._in_flight[transfer.curl]
        worker.transfer = None
        self._multi.remove_handle(transfer.curl)
        self._idle.append(transfer)

    def _conclude(self, worker: Worker, verdict: Verdict) -> None:
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
            )
        )

    def _overloaded(self, worker: Worker, now: float) -> None:
        worker.started, worker.started_wall = now, self._wall_clock()
        detail = f"not probed: {self._max_in_flight} probes are in flight already, the limit of this controller"
        self._conclude(worker, Verdict(Outcome.LOCAL, Reason.LOCAL, detail))

    # libcurl's callbacks

    def _on_socket(self, what: int, fd: int, _multi: object, _data: object) -> None:
        if what == pycurl.POLL_REMOVE:
            self._sockets.discard(fd)
            self._epoll.unregister(fd)
        elif fd in self._sockets:
            self._epoll.modify(fd, _to_epoll(what))
        else:
            self._sockets.add(fd)
            self._epoll.register(fd, _to_epoll(what))

    def _on_timer(self, milliseconds: int) -> None:
        self._curl_timer = self._clock() + milliseconds / 1000 if milliseconds >= 0 else float("inf")


def _to_epoll(what: int) -> int:
    events = 0
    if what & pycurl.POLL_IN:
        events |= select.EPOLLIN
    if what & pycurl.POLL_OUT:
        events |= select.EPOLLOUT
    return events


def _to_curl(events: int) -> int:
    mask = 0
    if events & select.EPOLLIN:
        mask |= pycurl.CSELECT_IN
    if events & select.EPOLLOUT:
        mask |= pycurl.CSELECT_OUT
    if events & (select.EPOLLERR | select.EPOLLHUP):
        mask |= pycurl.CSELECT_ERR
    return mask
