"""A background thread calls its turn until it is stopped, and one unexpected exception costs it one turn."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from controller.runtime.background_thread import BackgroundThread
from controller.runtime.faults import Faults
from controller.runtime.heartbeat import Heartbeat
from tests.support.net import until

LONG = 3600.0


class Turns:
    """Counts its calls. Each call runs the next of `actions`, and rests for `rest` seconds."""

    def __init__(self, *actions: Callable[[], float | None], rest: float = 0.005) -> None:
        self.count = 0
        self._actions = list(actions)
        self._rest = rest

    def __call__(self) -> float | None:
        self.count += 1
        return self._actions.pop(0)() if self._actions else self._rest


@pytest.fixture
def heartbeat() -> Heartbeat:
    return Heartbeat("worker", 30, time.monotonic)


@pytest.fixture
def start(heartbeat: Heartbeat) -> Iterator[Callable[..., BackgroundThread]]:
    threads: list[BackgroundThread] = []

    def make(turn: Callable[[], float | None], **options: object) -> BackgroundThread:
        threads.append(BackgroundThread(turn, heartbeat, **options))  # type: ignore[arg-type]
        threads[-1].start()
        return threads[-1]

    yield make
    for each in threads:
        each.stop(10)


Start = Callable[..., BackgroundThread]


def fail(message: str = "nobody foresaw this") -> float:
    raise RuntimeError(message)


def wake_until(thread: BackgroundThread, condition: Callable[[], bool]) -> None:
    """Wait for `condition` without the rests between turns."""

    def check() -> bool:
        thread.wake()
        return condition()

    until(check)


def test_it_calls_its_turn_in_a_thread_of_its_heartbeats_name(start: Start) -> None:
    names: list[str] = []

    def turn() -> float:
        names.append(threading.current_thread().name)
        return 0.005

    start(turn)
    until(lambda: len(names) > 2)
    assert set(names) == {"worker"}


def test_it_waits_for_its_delay_and_for_the_rest_after_a_turn_unless_it_is_woken(start: Start) -> None:
    turns = Turns(rest=LONG)
    thread = start(turns, delay=LONG)
    assert turns.count == 0
    for count in (1, 2):
        thread.wake()
        until(lambda count=count: turns.count == count)  # type: ignore[misc]


def test_a_turn_that_returns_none_is_the_last_one(start: Start) -> None:
    ended = threading.Event()
    turns = Turns(lambda: None)
    start(turns, at_end=ended.set)
    assert ended.wait(10)
    assert turns.count == 1


def test_stop_interrupts_a_turn_that_waits_and_lets_the_end_run_in_the_thread(start: Start) -> None:
    waiting, answer, ended = threading.Event(), threading.Event(), list[str]()

    def turn() -> float:
        waiting.set()
        answer.wait()
        return LONG

    thread = start(turn, interrupt=answer.set, at_end=lambda: ended.append(threading.current_thread().name))
    assert waiting.wait(10)
    thread.stop(10)
    assert ended == ["worker"]
    assert thread.stopped.is_set()


def test_stop_does_not_wait_longer_than_it_may(start: Start) -> None:
    waiting, answer = threading.Event(), threading.Event()

    def turn() -> float:
        waiting.set()
        return float(answer.wait())

    thread = start(turn)
    assert waiting.wait(10)
    began = time.monotonic()
    thread.stop(0.01)
    assert time.monotonic() - began < 5
    answer.set()


def test_a_thread_that_was_not_started_can_be_stopped(heartbeat: Heartbeat) -> None:
    BackgroundThread(Turns(), heartbeat).stop(10)


def test_an_unexpected_exception_costs_one_turn_and_is_logged_once_and_counted(
    start: Start, heartbeat: Heartbeat, caplog: pytest.LogCaptureFixture
) -> None:
    turns = Turns(*[fail] * 3)
    wake_until(start(turns), lambda: turns.count > 4)
    assert heartbeat.faults.counts() == {"worker": 3}
    assert caplog.messages == ["thread worker: unexpected exception; everything else goes on"]
    assert "RuntimeError: nobody foresaw this" in caplog.text


def test_it_is_logged_again_when_a_turn_succeeded_in_between(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    turns = Turns(fail, lambda: 0.0, fail)
    wake_until(start(turns), lambda: turns.count > 3)
    assert len(caplog.messages) == 2


def test_an_exception_at_the_end_is_counted_too(start: Start, heartbeat: Heartbeat) -> None:
    start(Turns(), at_end=fail).stop(10)
    assert heartbeat.faults.counts() == {"worker": 1}


def test_each_item_has_its_own_faults(caplog: pytest.LogCaptureFixture) -> None:
    faults = Faults()
    for item in ("a", "b", "a", "b"):
        with faults.contain(item):
            fail(f"{item} is not as expected")
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["a", "b"]
    assert faults.counts() == {threading.current_thread().name: 4}


def test_another_exception_of_the_same_item_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    faults = Faults()
    for body in (fail, fail, lambda: int("x")):
        with faults.contain("a"):
            body()
    assert len(caplog.messages) == 2


def test_what_is_not_an_ordinary_exception_passes() -> None:
    with pytest.raises(KeyboardInterrupt), Faults().contain("a"):
        raise KeyboardInterrupt
