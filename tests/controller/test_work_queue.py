"""The rules of the work queue, one by one, and together against a simple model."""

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
class Bench:
    """A queue with a fake clock."""

    clock: FakeClock = field(default_factory=FakeClock)
    metrics: RecordedQueue = field(default_factory=RecordedQueue)
    queue: WorkQueue[str] = field(init=False)

    def __post_init__(self) -> None:
        self.queue = WorkQueue("test", self.metrics, self.clock)

    def take(self, limit: int = MANY) -> list[str]:
        return self.queue.get_batch(limit, 0, 0)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_keys_are_returned_in_the_order_in_which_they_were_added(bench: Bench) -> None:
    bench.queue.add(["c", "a"])
    bench.queue.add(["b"])
    assert bench.take() == ["c", "a", "b"]


def test_a_key_added_often_is_returned_once_and_keeps_its_place(bench: Bench) -> None:
    bench.queue.add(["a", "b", "a"])
    bench.queue.add(["a"])
    assert bench.take() == ["a", "b"]
    assert bench.metrics.adds == 2


def test_at_most_the_limit_is_returned(bench: Bench) -> None:
    bench.queue.add("abc")
    assert bench.take(2) == ["a", "b"]
    assert len(bench.queue) == 1
    assert bench.take(2) == ["c"]


def test_a_key_in_work_is_not_returned_before_done_and_again_if_it_was_added_meanwhile(bench: Bench) -> None:
    bench.queue.add("a")
    assert bench.take() == ["a"]
    bench.queue.add(["a", "a", "b"])
    assert bench.take() == ["b"]
    bench.queue.done("a")
    assert bench.take() == ["a"]
    bench.queue.done("a")
    assert bench.take() == []


def test_a_done_key_is_not_returned_again(bench: Bench) -> None:
    bench.queue.add("a")
    bench.queue.done(bench.take())
    assert bench.take() == []


def test_a_delayed_key_is_returned_at_its_time_and_not_before(bench: Bench) -> None:
    bench.queue.add_after("a", 5)
    bench.clock.advance(4.99)
    assert bench.take() == []
    bench.clock.advance(0.01)
    assert bench.take() == ["a"]


@pytest.mark.parametrize("delays", [(5, 9), (9, 5), (9, 5, 7)])
def test_of_several_timers_the_earliest_wins_and_fires_once(bench: Bench, delays: tuple[int, ...]) -> None:
    for delay in delays:
        bench.queue.add_after("a", delay)
    bench.clock.advance(5)
    bench.queue.done(bench.take())
    bench.clock.advance(100)
    assert bench.take() == []


def test_a_timer_may_be_set_again_after_it_fired(bench: Bench) -> None:
    bench.queue.add_after("a", 9)
    bench.queue.add_after("a", 5)
    bench.clock.advance(5)
    bench.queue.done(bench.take())
    bench.queue.add_after("a", 10)
    bench.clock.advance(4)
    assert bench.take() == [], "the overtaken timer of second 9 is void"
    bench.clock.advance(6)
    assert bench.take() == ["a"]


def test_a_timer_that_fires_during_work_queues_the_key_again(bench: Bench) -> None:
    bench.queue.add("a")
    bench.take()
    bench.queue.add_after("a", 1)
    bench.clock.advance(1)
    assert bench.take() == []
    bench.queue.done("a")
    assert bench.take() == ["a"]


def test_the_back_off_doubles_up_to_its_cap_is_one_per_key_and_ends_with_forget(bench: Bench) -> None:
    def delay(key: str) -> float:
        failures = bench.queue.retry(key)
        expected: float = min(BACKOFF_CAP, BACKOFF_BASE * 2 ** (failures - 1))
        bench.clock.advance(expected * 0.999)
        assert bench.take() == []
        bench.clock.advance(expected * 0.002)
        assert bench.take() == [key]
        bench.queue.done(key)
        return expected

    assert [delay("a") for _ in range(9)] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert delay("b") == 0.05
    bench.queue.forget("a")
    assert delay("a") == 0.05
    assert bench.metrics.retries == 11


def test_a_key_that_failed_ten_thousand_times_still_has_the_capped_back_off(bench: Bench) -> None:
    assert [bench.queue.retry("a") for _ in range(10_000)][-1] == 10_000
    bench.clock.advance(BACKOFF_CAP)
    assert bench.take() == ["a"]


def test_a_key_that_never_failed_may_be_forgotten(bench: Bench) -> None:
    bench.queue.forget("a")


def test_the_waiting_and_working_times_of_keys_are_counted(bench: Bench) -> None:
    bench.queue.add("a")
    bench.clock.advance(2)
    bench.take()
    bench.clock.advance(3)
    assert bench.queue.working() == [3]
    bench.queue.done("a")
    assert (bench.metrics.waits, bench.metrics.works, bench.queue.working()) == ([2], [3], [])


def test_a_closed_queue_accepts_and_returns_nothing(bench: Bench) -> None:
    bench.queue.add("ab")
    assert bench.take(1) == ["a"]
    bench.queue.add("a")
    bench.queue.close()
    bench.queue.add("c")
    bench.queue.done("a")
    assert bench.take() == []
    assert bench.queue.closed


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


def test_linger_collects_keys_that_are_added_soon_after_the_first(queue: WorkQueue[str]) -> None:
    got: list[str] = []
    queue.add("a")
    taker = in_background(lambda: got.extend(queue.get_batch(3, 30, 30)))
    queue.add("b")
    queue.add("c")
    taker.join(10)
    assert sorted(got) == ["a", "b", "c"], "a full batch does not linger any longer"


def test_closing_wakes_every_taker_even_during_linger(queue: WorkQueue[str]) -> None:
    got: list[list[str]] = []
    takers = [in_background(lambda: got.append(queue.get_batch(1, 0, 60))) for _ in range(3)]
    queue.close()
    for taker in takers:
        taker.join(10)
    assert got == [[], [], []]


def test_closing_during_linger_returns_nothing(queue: WorkQueue[str]) -> None:
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
    """The rules, implemented with lists and sets."""

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
def test_the_queue_behaves_like_the_model(steps: list[tuple[str, str | int, int]]) -> None:
    bench, model = Bench(), Model()
    for number, step in enumerate(steps):
        bench.clock.advance(1e-6)
        match step:
            case ("add", str(key)):
                bench.queue.add([key])
                model.add(key)
            case ("add_after", str(key), int(delay)):
                bench.queue.add_after(key, delay)
                model.add_at(key, bench.clock() + delay)
            case ("retry", str(key)):
                count = model.failures[key] = model.failures.get(key, 0) + 1
                model.add_at(key, bench.clock() + min(5.0, 0.05 * 2 ** (count - 1)))
                assert bench.queue.retry(key) == count
            case ("forget", str(key)):
                bench.queue.forget(key)
                model.failures.pop(key, None)
            case ("take", int(limit)):
                assert bench.take(limit) == model.take(limit, bench.clock()), f"step {number}"
            case ("done", int(which)):
                for key in model.working[which : which + 1]:
                    bench.queue.done([key])
                    model.done(key)
            case ("advance", int(seconds)):
                bench.clock.advance(seconds)
        assert len(bench.queue) == len(model.waiting)
        assert len(bench.queue.working()) == len(model.working)


def test_a_queue_is_idle_when_no_key_is_queued_or_in_work() -> None:
    queue: WorkQueue[str] = WorkQueue("test", RecordedQueue())
    assert queue.wait_idle(0.0)
    queue.add(["a"])
    queue.add_after("later", 60.0)
    assert not queue.wait_idle(0.0)
    keys = queue.get_batch(MANY, 0, 0)
    assert not queue.wait_idle(0.0)
    idle = list[bool]()
    waiting = threading.Thread(target=lambda: idle.append(queue.wait_idle(30.0)))
    waiting.start()
    queue.done(keys)
    waiting.join(30.0)
    assert idle == [True]
