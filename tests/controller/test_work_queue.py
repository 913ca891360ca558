"""The work queue's rules, each by name, and all of them against a model that is too simple to be wrong."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.runtime.work_queue import BACKOFF_BASE, BACKOFF_CAP, WorkQueue
from tests.support.net import until
from tests.support.recorders import FakeClock, RecordedQueue

MANY = 100


@dataclass
class Desk:
    """A queue with a clock of ours."""

    clock: FakeClock = field(default_factory=FakeClock)
    metrics: RecordedQueue = field(default_factory=RecordedQueue)
    queue: WorkQueue[str] = field(init=False)

    def __post_init__(self) -> None:
        self.queue = WorkQueue("test", self.metrics, self.clock)

    def take(self, limit: int = MANY) -> list[str]:
        return self.queue.get_batch(limit, 0, 0)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_keys_are_handed_out_in_the_order_in_which_they_were_added(desk: Desk) -> None:
    desk.queue.add(["c", "a"])
    desk.queue.add(["b"])
    assert desk.take() == ["c", "a", "b"]


def test_a_key_added_often_is_handed_out_once_and_keeps_its_place(desk: Desk) -> None:
    desk.queue.add(["a", "b", "a"])
    desk.queue.add(["a"])
    assert desk.take() == ["a", "b"]
    assert desk.metrics.adds == 2


def test_no_more_than_the_limit_is_handed_out(desk: Desk) -> None:
    desk.queue.add("abc")
    assert desk.take(2) == ["a", "b"]
    assert len(desk.queue) == 1
    assert desk.take(2) == ["c"]


def test_a_key_in_work_is_not_handed_out_and_comes_again_when_added_meanwhile(desk: Desk) -> None:
    desk.queue.add("a")
    assert desk.take() == ["a"]
    desk.queue.add(["a", "a", "b"])
    assert desk.take() == ["b"]
    desk.queue.done("a")
    assert desk.take() == ["a"]
    desk.queue.done("a")
    assert desk.take() == []


def test_a_key_that_was_done_is_not_handed_out_again_by_itself(desk: Desk) -> None:
    desk.queue.add("a")
    desk.queue.done(desk.take())
    assert desk.take() == []


def test_a_delayed_key_comes_at_its_time_and_not_before(desk: Desk) -> None:
    desk.queue.add_after("a", 5)
    desk.clock.advance(4.99)
    assert desk.take() == []
    desk.clock.advance(0.01)
    assert desk.take() == ["a"]


@pytest.mark.parametrize("delays", [(5, 9), (9, 5), (9, 5, 7)])
def test_of_several_timers_the_earliest_wins_and_fires_once(desk: Desk, delays: tuple[int, ...]) -> None:
    for delay in delays:
        desk.queue.add_after("a", delay)
    desk.clock.advance(5)
    desk.queue.done(desk.take())
    desk.clock.advance(100)
    assert desk.take() == []


def test_a_timer_may_be_set_again_after_it_fired(desk: Desk) -> None:
    desk.queue.add_after("a", 9)
    desk.queue.add_after("a", 5)
    desk.clock.advance(5)
    desk.queue.done(desk.take())
    desk.queue.add_after("a", 10)
    desk.clock.advance(4)
    assert desk.take() == [], "the overtaken timer of second 9 is void"
    desk.clock.advance(6)
    assert desk.take() == ["a"]


def test_a_timer_that_fires_during_work_brings_the_key_again(desk: Desk) -> None:
    desk.queue.add("a")
    desk.take()
    desk.queue.add_after("a", 1)
    desk.clock.advance(1)
    assert desk.take() == []
    desk.queue.done("a")
    assert desk.take() == ["a"]


def test_the_back_off_doubles_up_to_its_cap_is_one_per_key_and_ends_with_forget(desk: Desk) -> None:
    def delay(key: str) -> float:
        failures = desk.queue.retry(key)
        expected: float = min(BACKOFF_CAP, BACKOFF_BASE * 2 ** (failures - 1))
        desk.clock.advance(expected * 0.999)
        assert desk.take() == []
        desk.clock.advance(expected * 0.002)
        assert desk.take() == [key]
        desk.queue.done(key)
        return expected

    assert [delay("a") for _ in range(9)] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert delay("b") == 0.05
    desk.queue.forget("a")
    assert delay("a") == 0.05
    assert desk.metrics.retries == 11


def test_a_key_that_failed_ten_thousand_times_still_has_the_capped_back_off(desk: Desk) -> None:
    assert [desk.queue.retry("a") for _ in range(10_000)][-1] == 10_000
    desk.clock.advance(BACKOFF_CAP)
    assert desk.take() == ["a"]


def test_forgetting_a_key_that_never_failed_is_nothing(desk: Desk) -> None:
    desk.queue.forget("a")


def test_it_tells_how_long_keys_waited_and_were_worked_on(desk: Desk) -> None:
    desk.queue.add("a")
    desk.clock.advance(2)
    desk.take()
    desk.clock.advance(3)
    assert desk.queue.working() == [3]
    desk.queue.done("a")
    assert (desk.metrics.waits, desk.metrics.works, desk.queue.working()) == ([2], [3], [])


def test_a_closed_queue_takes_and_hands_out_nothing(desk: Desk) -> None:
    desk.queue.add("ab")
    assert desk.take(1) == ["a"]
    desk.queue.add("a")
    desk.queue.close()
    desk.queue.add("c")
    desk.queue.done("a")
    assert desk.take() == []
    assert desk.queue.closed


# Waiting, with real threads and the real clock


def in_background(action: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread


@pytest.fixture
def queue() -> WorkQueue[str]:
    return WorkQueue("test", RecordedQueue())


def test_a_taker_waits_for_the_first_key(queue: WorkQueue[str]) -> None:
    got: list[str] = []
    taker = in_background(lambda: got.extend(queue.get_batch(1, 0, 30)))
    queue.add("a")
    taker.join(10)
    assert got == ["a"]


def test_a_taker_wakes_for_a_timer_that_was_set_while_it_waited(queue: WorkQueue[str]) -> None:
    got: list[str] = []
    queue.add_after("late", 100)
    taker = in_background(lambda: got.extend(queue.get_batch(1, 0, 30)))
    queue.add_after("early", 0.05)
    taker.join(10)
    assert got == ["early"]


def test_linger_collects_what_comes_soon_after_the_first(queue: WorkQueue[str]) -> None:
    got: list[str] = []
    queue.add("a")
    taker = in_background(lambda: got.extend(queue.get_batch(3, 30, 30)))
    queue.add("b")
    queue.add("c")
    taker.join(10)
    assert sorted(got) == ["a", "b", "c"], "a full batch does not linger any longer"


def test_closing_wakes_every_taker_those_that_linger_too(queue: WorkQueue[str]) -> None:
    got: list[list[str]] = []
    takers = [in_background(lambda: got.append(queue.get_batch(1, 0, 60))) for _ in range(3)]
    queue.close()
    for taker in takers:
        taker.join(10)
    assert got == [[], [], []]


def test_closing_during_linger_hands_out_nothing_more(queue: WorkQueue[str]) -> None:
    got: list[list[str]] = []
    queue.add("a")
    taker = in_background(lambda: got.append(queue.get_batch(9, 60, 60)))
    queue.close()
    taker.join(10)
    assert got == [[]]


def test_under_many_threads_no_key_is_worked_on_twice_at_once_and_none_is_lost(queue: WorkQueue[str]) -> None:
    busy: set[str] = set()
    clashes: list[str] = []
    counted: dict[str, int] = dict.fromkeys("abcdefgh", 0)
    wanted = dict.fromkeys(counted, 0)
    seen_wanted = dict(wanted)
    lock = threading.Lock()

    def work() -> None:
        while not queue.closed:
            keys = queue.get_batch(3, 0, 0.2)
            with lock:
                clashes.extend(busy.intersection(keys))
                busy.update(keys)
                for key in keys:
                    counted[key] += 1
                    seen_wanted[key] = wanted[key]
            with lock:
                busy.difference_update(keys)
            queue.done(keys)

    def ask() -> None:
        for number in range(2_000):
            key = "abcdefgh"[number % 8]
            with lock:
                wanted[key] += 1
            queue.add([key])

    workers = [in_background(work) for _ in range(4)]
    for producer in [in_background(ask) for _ in range(3)]:
        producer.join(30)
    until(lambda: not len(queue) and not queue.working(), 10, "the queue runs dry")
    queue.close()
    for worker in workers:
        worker.join(10)
    assert clashes == []
    assert seen_wanted == wanted, "after the last wish for a key somebody looked at it"
    assert all(counted.values())


# The model


@dataclass
class Model:
    """The rules as lists and sets, without any thought for speed."""

    waiting: list[str] = field(default_factory=list)
    working: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    timers: dict[str, float] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)

    def add(self, key: str) -> None:
        if key in self.working:
            self.again += [key] * (key not in self.again)
        elif key not in self.waiting:
            self.waiting.append(key)

    def add_at(self, key: str, at: float) -> None:
        self.timers[key] = min(at, self.timers.get(key, at))

    def take(self, limit: int, now: float) -> list[str]:
        for key, _ in sorted(self.timers.items(), key=lambda item: item[1]):
            if self.timers[key] <= now:
                del self.timers[key]
                self.add(key)
        taken, self.waiting = self.waiting[:limit], self.waiting[limit:]
        self.working += taken
        return taken

    def done(self, key: str) -> None:
        self.working.remove(key)
        if key in self.again:
            self.again.remove(key)
            self.add(key)


KEYS = st.sampled_from("abcd")
STEPS = st.one_of(
    st.tuples(st.just("add"), KEYS),
    st.tuples(st.just("add_after"), KEYS, st.integers(0, 9)),
    st.tuples(st.just("retry"), KEYS),
    st.tuples(st.just("forget"), KEYS),
    st.tuples(st.just("take"), st.integers(1, 4)),
    st.tuples(st.just("done"), st.integers(0, 3)),
    st.tuples(st.just("advance"), st.integers(0, 6)),
)


@settings(deadline=None)
@given(st.lists(STEPS, max_size=60))
def test_whatever_happens_the_queue_does_what_the_model_does(steps: list[tuple[str, str | int, int]]) -> None:
    desk, model = Desk(), Model()
    for number, step in enumerate(steps):
        desk.clock.advance(1e-6)
        match step:
            case ("add", str(key)):
                desk.queue.add([key])
                model.add(key)
            case ("add_after", str(key), int(delay)):
                desk.queue.add_after(key, delay)
                model.add_at(key, desk.clock() + delay)
            case ("retry", str(key)):
                count = model.failures[key] = model.failures.get(key, 0) + 1
                model.add_at(key, desk.clock() + min(5.0, 0.05 * 2 ** (count - 1)))
                assert desk.queue.retry(key) == count
            case ("forget", str(key)):
                desk.queue.forget(key)
                model.failures.pop(key, None)
            case ("take", int(limit)):
                assert desk.take(limit) == model.take(limit, desk.clock()), f"step {number}"
            case ("done", int(which)):
                for key in model.working[which : which + 1]:
                    desk.queue.done([key])
                    model.done(key)
            case ("advance", int(seconds)):
                desk.clock.advance(seconds)
        assert len(desk.queue) == len(model.waiting)
        assert len(desk.queue.working()) == len(model.working)
