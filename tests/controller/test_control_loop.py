"""The control loop with each possible end of a step. Only `stop` ends the loop."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

import pytest

from controller.runtime.control_loop import ControlLoop
from controller.runtime.heartbeat import Heartbeat
from controller.runtime.work_queue import WorkQueue
from reconcilers.ports import Result
from reconcilers.spec import PodKey
from tests.support.net import until
from tests.support.recorders import FakeClock, RecordedLoop, RecordedQueue

A, B, C = (PodKey("web1", name) for name in "abc")

Answers = Callable[[Collection[PodKey]], Mapping[PodKey, Result]]


@dataclass
class Bench:
    """A loop with a reconciler whose answers the test sets."""

    answers: Answers = lambda _: {}
    seen: list[tuple[PodKey, ...]] = field(default_factory=list)
    metrics: RecordedLoop = field(default_factory=RecordedLoop)
    queue_metrics: RecordedQueue = field(default_factory=RecordedQueue)

    def __post_init__(self) -> None:
        self.queue: WorkQueue[PodKey] = WorkQueue("checks", self.queue_metrics)
        self.pulse_clock = FakeClock()
        self.heartbeat = Heartbeat("reconcile", 30, self.pulse_clock)
        self.loop = ControlLoop(self.queue, self, self.metrics, self.heartbeat, batch=8, linger=0.05)

    def reconcile(self, keys: Collection[PodKey]) -> Mapping[PodKey, Result]:
        self.seen.append(tuple(keys))
        return self.answers(keys)

    def times(self, key: PodKey) -> int:
        return sum(key in keys for keys in self.seen)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    bench.loop.start()
    yield bench
    bench.loop.stop(10)


def test_queued_keys_are_reconciled_in_one_batch_and_marked_as_done(bench: Bench) -> None:
    bench.queue.add([A, B])
    until(lambda: bench.metrics.results.get("success") == 2)
    until(lambda: not bench.queue.working())
    assert bench.seen == [(A, B)]
    assert bench.queue_metrics.retries == 0
    assert len(bench.metrics.durations) == 1


def test_only_the_key_with_an_error_is_tried_again(bench: Bench) -> None:
    bench.answers = lambda _: {A: Result(error="no")} if bench.times(A) < 3 else {}
    bench.queue.add([A, B])
    until(lambda: bench.times(A) == 3)
    until(lambda: not bench.queue.working())
    assert bench.times(B) == 1
    assert bench.metrics.results == {"error": 2, "success": 2}


def test_a_success_resets_the_back_off(bench: Bench) -> None:
    bench.answers = lambda _: {A: Result(error="no")} if bench.times(A) < 3 else {}
    bench.queue.add([A])
    until(lambda: bench.metrics.results.get("success") == 1)
    assert bench.queue.retry(A) == 1


def test_only_the_first_failure_in_a_row_is_logged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.answers = lambda _: {A: Result(error="the disk is full")} if bench.times(A) < 3 else {}
    bench.queue.add([A])
    until(lambda: bench.metrics.results.get("success") == 1)
    assert [record.getMessage() for record in caplog.records] == [
        "checks of web1/a failed, trying again: the disk is full"
    ]


def test_a_key_with_requeue_after_is_reconciled_again_after_that_time_and_is_no_failure(bench: Bench) -> None:
    bench.answers = lambda _: {A: Result(requeue_after=0.05)} if bench.times(A) < 3 else {}
    bench.queue.add([A])
    until(lambda: bench.metrics.results == {"requeue_after": 2, "success": 1})
    assert bench.queue_metrics.retries == 0


def test_requeue_after_zero_seconds_reconciles_the_key_again(bench: Bench) -> None:
    bench.answers = lambda _: {A: Result(requeue_after=0.0)} if bench.times(A) < 2 else {}
    bench.queue.add([A])
    until(lambda: bench.times(A) == 2)


def test_after_an_exception_the_loop_continues_and_tries_the_key_again(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    def fail_at_first(keys: Collection[PodKey]) -> Mapping[PodKey, Result]:
        if len(bench.seen) == 1:
            raise ZeroDivisionError
        return {}

    bench.answers = fail_at_first
    bench.queue.add([A, B])
    until(lambda: bench.metrics.results.get("success") == 2)
    failed = [record for record in caplog.records if record.exc_info]
    assert len(failed) == 1
    assert failed[0].levelno == logging.ERROR


def test_a_key_that_always_raises_does_not_delay_the_others_of_its_batch(bench: Bench) -> None:
    def poisoned(keys: Collection[PodKey]) -> Mapping[PodKey, Result]:
        if B in keys:
            raise ZeroDivisionError
        return {}

    bench.answers = poisoned
    bench.queue.add([A, B, C])
    until(lambda: bench.metrics.results.get("success") == 2)
    until(lambda: bench.metrics.results.get("error", 0) >= 2)
    assert bench.metrics.results["success"] == 2


def test_the_traceback_of_each_kind_of_exception_is_logged_once_until_no_key_fails(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    def traces() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.exc_info]

    def two_kinds(keys: Collection[PodKey]) -> Mapping[PodKey, Result]:
        if A in keys:
            raise ZeroDivisionError
        if B in keys:
            raise KeyError(B)
        return {}

    bench.answers = two_kinds
    bench.queue.add([A, B, C])
    until(lambda: min(bench.times(A), bench.times(B)) >= 5 and bench.heartbeat.faults.counts()["reconcile"] >= 8)
    assert traces() == [
        "checks: a step failed on 3 pods; each is tried alone",
        "checks: a step failed on 1 pods; each is tried alone",
    ], "one trace of each kind, whatever the number of retries"
    bench.answers = lambda _: {}
    until(lambda: bench.metrics.results.get("success") == 3)
    bench.answers = two_kinds
    bench.queue.add([A])
    until(lambda: len(traces()) == 3)


def test_a_key_added_while_it_is_reconciled_is_reconciled_again(bench: Bench) -> None:
    def add_once(keys: Collection[PodKey]) -> Mapping[PodKey, Result]:
        if len(bench.seen) == 1:
            bench.queue.add([A])
        return {}

    bench.answers = add_once
    bench.queue.add([A])
    until(lambda: bench.times(A) == 2)


def test_the_heartbeat_beats_without_work(bench: Bench) -> None:
    bench.pulse_clock.advance(100)
    until(lambda: not bench.heartbeat.stands_still())
    assert bench.seen == []


def test_stop_lets_the_current_batch_end_and_starts_no_other() -> None:
    bench = Bench()

    def close_meanwhile(keys: Collection[PodKey]) -> Mapping[PodKey, Result]:
        bench.queue.add([B])
        bench.queue.close()
        return {}

    bench.answers = close_meanwhile
    bench.loop.start()
    bench.queue.add([A])
    until(lambda: bench.queue.closed)
    bench.loop.stop(10)
    assert bench.seen == [(A,)]
    assert bench.metrics.results == {"success": 1}


def test_an_error_of_many_keys_is_logged_once_and_another_error_is_logged_too(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.answers = lambda keys: dict.fromkeys(keys, Result(error="nobody answers"))
    bench.queue.add([A, B])
    until(lambda: bench.times(A) >= 2)
    bench.queue.add([C])
    until(lambda: bench.times(C) >= 1)
    bench.answers = lambda _: {}
    until(lambda: bench.metrics.results.get("success") == 3)
    bench.answers = lambda keys: dict.fromkeys(keys, Result(error="refused"))
    bench.queue.add([B])
    until(lambda: len(caplog.records) == 2)
    assert [record.getMessage() for record in caplog.records] == [
        "checks of web1/a and 1 more failed, trying again: nobody answers",
        "checks of web1/b failed, trying again: refused",
    ]


def test_a_key_that_waits_for_long_is_overdue_with_its_error_until_it_succeeds() -> None:
    clock = FakeClock()
    bench = Bench()
    bench.queue = WorkQueue("checks", bench.queue_metrics, clock)
    bench.loop = ControlLoop(bench.queue, bench, bench.metrics, bench.heartbeat, batch=1)
    bench.answers = lambda keys: dict.fromkeys(keys, Result(error="no"))
    bench.queue.add([A])
    clock.advance(1.0)
    bench.queue.add([B, A])
    bench.loop._step()
    clock.advance(30.0)
    assert bench.loop.overdue(30.0) == {A: "no"}
    clock.advance(0.5)
    assert list(bench.loop.overdue(30.0).items()) == [(A, "no"), (B, "")]
    bench.answers = lambda _: {A: Result(requeue_after=60.0)}
    bench.loop._step()
    bench.loop._step()
    assert bench.loop.overdue(30.0) == {}
    bench.queue.add([A])
    assert bench.loop.overdue(0.0) == {}, "it was asked for just now"
