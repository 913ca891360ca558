"""The watch: it tolerates a faulty source, and removals pass the gate. The sources are fakes of our own Protocol."""

import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

import pytest

from controller.intent.manifest_store import ManifestStore
from controller.intent.source import OneSource, SourceError
from controller.intent.watch import BURST, GAP_PER_POD, MIN_GAP, PATIENCE, IntentWatch
from controller.runtime.heartbeat import Heartbeat
from reconcilers.gate import Entry, Listing, RemovalGate
from reconcilers.options import Rules
from reconcilers.spec import PodKey
from tests.support.net import until
from tests.support.recorders import Announced, FakeClock

PODS = [PodKey("web1", f"pod-{number}") for number in range(30)]
A, B, C = PODS[:3]


def listing(
    index: int, pods: Collection[PodKey], doubt: str = "", version: int = 1, *, filtered: bool = False
) -> Listing:
    data = {key: f"id: {key.pod}\nstatus_port: 80\n".encode() for key in pods}
    return Listing(index, {key: Entry((version,), data[key]) for key in pods}, doubt, filtered=filtered)


@dataclass
class Scripted:
    """A `Source` that returns what the test puts into `answers`, and waits while there is nothing."""

    answers: "queue.SimpleQueue[Listing | SourceError]" = field(default_factory=queue.SimpleQueue)
    present: set[PodKey] = field(default_factory=set)
    earlier: list[Collection[PodKey] | SourceError] = field(default_factory=list)
    asked: list[tuple[PodKey, ...]] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)
    reads: int = 0
    doubtful_read: bool = False
    slow: threading.Event | None = None

    def leftovers(self) -> Collection[PodKey]:
        answer = self.earlier.pop(0) if self.earlier else ()
        if isinstance(answer, SourceError):
            raise answer
        return answer

    def next(self, wait: float) -> Listing:
        self.reads += 1
        self.waits.append(wait)
        while not self.cancelled.is_set():
            try:
                answer = self.answers.get(timeout=0.02)
            except queue.Empty:
                continue
            if isinstance(answer, SourceError):
                raise answer
            return answer
        raise SourceError("cancelled")

    def absent(self, keys: Collection[PodKey]) -> Collection[PodKey]:
        self.asked.append(tuple(keys))
        if self.slow:
            self.slow.wait(20)
        if self.doubtful_read:
            raise SourceError("no answer")
        return set(keys) - self.present

    def cancel(self) -> None:
        self.cancelled.set()


@dataclass
class Bench:
    source: Scripted = field(default_factory=Scripted)
    announced: Announced = field(default_factory=Announced)
    fuse_seconds: float = 60.0
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        self.store = ManifestStore(Rules())
        self.pulse_clock = FakeClock()
        self.watch = IntentWatch(
            OneSource(self.source),
            self.store,
            lambda: RemovalGate(self.fuse_seconds),
            self.announced,
            Heartbeat("watch", 30, self.pulse_clock),
            clock=self.clock,
            wall_clock=self.wall_clock,
        )

    def show(self, *answers: Listing | SourceError) -> None:
        """Give these answers, and wait until the watch asks for more."""
        before = self.source.reads
        for answer in answers:
            self.source.answers.put(answer)
        until(lambda: self.source.reads >= before + len(answers) and self.source.answers.empty())

    def known(self) -> set[PodKey]:
        return set(self.store.intents())


@pytest.fixture
def make() -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def make(**fields: object) -> Bench:
        bench = Bench(**fields)  # type: ignore[arg-type]
        benches.append(bench)
        bench.watch.start()
        until(lambda: bench.source.reads)
        return bench

    yield make
    for bench in benches:
        bench.watch.stop(10)


Make = Callable[..., Bench]


def test_new_and_changed_pods_are_announced_and_unchanged_ones_are_not(make: Make) -> None:
    bench = make()
    assert bench.watch.silence() is None
    bench.show(listing(1, [A, B]))
    bench.show(listing(2, [A, B]))
    bench.show(listing(3, [A, B, C]))
    assert bench.announced.batches == [{A, B}, {C}]
    assert bench.watch.last_success() > 1.6e9
    silence = bench.watch.silence()
    assert silence is not None
    assert 0 <= silence < 10


def test_only_what_changes_after_the_first_listing_is_the_last_change(make: Make) -> None:
    wall_clock = FakeClock(1.0)
    bench = make(source=Scripted(earlier=[[C]]), wall_clock=wall_clock)
    bench.show(listing(1, [A, B]), listing(2, [A, B]))
    assert bench.announced.keys() == {A, B, C}
    assert bench.watch.last_change() == 0
    for index, pods, version in ((3, [A], 1), (4, [A, B], 1), (5, [A, B], 2)):
        wall_clock.advance(10)
        bench.show(listing(index, pods, version=version))
        wall_clock.advance(10)
        bench.show(listing(index, pods, version=version))
        assert bench.watch.last_change() == wall_clock() - 10


def test_errors_keep_the_set_are_retried_and_logged_once_at_each_end(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    bench = make()
    bench.show(listing(1, [A, B]))
    bench.pulse_clock.advance(100)
    bench.show(SourceError("403"), SourceError("no leader"))
    assert bench.known() == {A, B}
    bench.show(listing(5, [A, B, C]))
    assert bench.known() == {A, B, C}
    assert bench.announced.keys() == {A, B, C}
    lines = [record.getMessage() for record in caplog.records if record.name.endswith("watch")]
    assert lines[0] == "manifests cannot be read, the known ones stay in force: 403"
    assert lines[1].startswith("manifests can be read again, after")
    assert len(lines) == 2


def test_a_source_that_fails_from_the_start_is_asked_until_it_answers(make: Make) -> None:
    bench = make(source=Scripted(earlier=[SourceError("down"), SourceError("down"), [A]]))
    until(lambda: bench.source.earlier == [])
    bench.show(listing(4, [B]))
    until(lambda: bench.announced.keys() == {A, B})


def test_a_removal_that_single_reads_confirm_goes_through(make: Make) -> None:
    bench = make()
    bench.show(listing(1, [A, B, C]))
    bench.show(listing(2, [A, B]))
    assert bench.known() == {A, B}
    assert bench.source.asked == [(C,)]
    assert bench.announced.batches[-1] == {C}
    assert bench.watch.held() == 0


@pytest.mark.parametrize("doubt", ["no leader", ""], ids=["a doubtful listing", "a read that finds the pod"])
def test_a_removal_in_doubt_is_held_and_said(make: Make, doubt: str, caplog: pytest.LogCaptureFixture) -> None:
    bench = make()
    bench.source.present = {C}
    bench.show(listing(1, [A, B, C]))
    bench.show(listing(2, [A, B], doubt))
    assert bench.known() == {A, B, C}
    assert bench.watch.held() == len(bench.watch.held_pods()) == 1
    assert bench.source.asked == ([] if doubt else [(C,)])
    assert "removal of 1 pods is held" in caplog.text
    bench.source.present = set()
    bench.show(listing(3, [A, B]))
    assert bench.known() == {A, B}
    assert bench.watch.held() == 0


def test_a_single_read_that_fails_removes_nothing_hides_nothing_new_and_is_tried_again_soon(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    bench = make()
    bench.show(listing(1, [A, C]))
    bench.source.doubtful_read = True
    bench.show(listing(2, [A, B]), listing(2, [A, B]))
    assert bench.known() == {A, B, C}
    assert bench.watch.held() == 1
    assert bench.source.waits[-1] <= 2 < bench.source.waits[0]
    bench.source.doubtful_read = False
    bench.show(listing(2, [A, B]))
    assert bench.known() == {A, B}
    assert bench.source.waits[-1] == bench.source.waits[0]
    assert "manifests cannot be read" not in caplog.text


def test_a_removal_that_is_not_confirmed_holds_up_no_other(make: Make) -> None:
    bench = make()
    bench.source.present = {B}
    bench.show(listing(1, PODS))
    bench.show(listing(2, set(PODS) - {A, B, C}))
    assert bench.known() == set(PODS) - {A, C}
    assert bench.watch.held() == 1
    assert bench.watch.held_because() == "a single read did not confirm it"


def test_under_a_listing_that_acls_filtered_single_reads_decide(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    bench = make()
    bench.source.present = {B}
    bench.show(listing(1, [A, B, C]))
    bench.show(listing(2, [A], filtered=True))
    assert bench.source.asked == [(B, C)]
    assert bench.known() == {A, B}
    assert "ACLs filtered the listing" in bench.watch.held_because()
    bench.watch.release()
    bench.show(listing(3, [A], filtered=True))
    assert bench.known() == {A, B}, "a person may not release what is merely hidden"
    assert "released: 0 pods" in caplog.text
    assert "not released: 1 pods, as the token may not read everything" in caplog.text


def test_additions_are_believed_while_removals_are_held(make: Make) -> None:
    bench = make()
    bench.show(listing(1, [A, B]))
    bench.show(listing(2, [A, C], "no leader"))
    assert bench.known() == {A, B, C}


def test_a_listing_with_a_lower_index_adds_pods_only_when_the_next_one_has_a_lower_index_too(make: Make) -> None:
    """A server that has just restarted may answer from an old state; after a restored backup the old state stays."""
    bench = make()
    bench.show(listing(5, [A, B]))
    bench.show(listing(3, [A, B, C]))
    assert bench.known() == {A, B}
    bench.show(listing(6, [A, B]))
    bench.show(listing(3, [A, B, C]))
    assert bench.known() == {A, B}
    bench.show(listing(3, [A, B, C]))
    assert bench.known() == {A, B, C}


def test_a_mass_removal_waits_for_the_fuse_and_the_source_is_asked_earlier_meanwhile(make: Make) -> None:
    bench = make(fuse_seconds=0.5)
    bench.show(listing(1, PODS))
    bench.show(listing(2, [A]))
    assert len(bench.known()) == 30
    assert bench.watch.held() == 29
    assert bench.source.waits[-1] < 2 < bench.source.waits[0]

    def gone() -> bool:
        bench.show(listing(3, [A]))
        return bench.known() == {A}

    until(gone, 10, "the fuse gives way")
    assert bench.announced.batches[-1] == frozenset(PODS) - {A}


def test_a_person_may_release_what_the_fuse_holds(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    bench = make()
    bench.show(listing(1, PODS))
    bench.show(listing(2, [A]))
    assert bench.watch.held_because() == "29 of 30 pods gone at once"
    bench.watch.release()
    bench.show(listing(3, [A]))
    assert bench.known() == {A}
    assert (bench.watch.held(), bench.watch.held_because()) == (0, "")
    assert "released: 29 pods" in caplog.text


def test_what_an_earlier_run_left_is_announced_when_no_manifest_asks_for_it(make: Make) -> None:
    bench = make(source=Scripted(earlier=[[A, B]]))
    bench.show(listing(9, [A]))
    assert bench.announced.keys() == {A, B}
    assert bench.source.asked == [(B,)]


def test_what_a_listing_shows_is_announced_before_single_reads_are_answered(make: Make) -> None:
    bench = make()
    bench.show(listing(1, [A, B]))
    bench.source.slow = threading.Event()
    bench.source.answers.put(listing(2, [A, C]))
    until(lambda: {C} in bench.announced.batches, what="the new pod is announced")
    until(lambda: bench.source.asked == [(B,)])
    assert bench.known() == {A, B, C}
    bench.source.slow.set()
    until(lambda: bench.known() == {A, C})


def test_leftovers_that_cannot_be_read_keep_no_manifest_from_being_announced(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    bench = make(source=Scripted(earlier=[SourceError("403")] * 1_000))
    bench.source.answers.put(listing(1, [A]))
    until(lambda: bench.announced.keys() == {A}, 2 * PATIENCE, "the manifest is announced")
    bench.source.earlier = [[A, B]]

    def removed() -> bool:
        bench.show(listing(2, [A]))
        return bench.announced.batches[-1] == {B}

    until(removed, 10.0, "what was left is removed")
    assert caplog.text.count("what an earlier run left published cannot be read yet: 403") == 1


def test_the_first_listing_waits_for_what_an_earlier_run_left(make: Make) -> None:
    bench = make(source=Scripted(earlier=[SourceError("down"), [A]]))
    bench.source.answers.put(listing(1, [A]))
    until(lambda: bench.announced.keys() == {A})
    assert bench.source.earlier == []


def test_a_source_that_answers_without_end_is_not_read_without_end(make: Make) -> None:
    """The gap grows with the pods: 0.02 s and 0.05 ms each."""
    bench = make()
    for index in range(1_000):
        bench.source.answers.put(listing(index, [A]))
    before, began = bench.source.reads, time.monotonic()
    threading.Event().wait(0.3)
    reads, seconds = bench.source.reads - before, time.monotonic() - began
    assert reads < 60 + seconds / 0.02
    assert bench.source.reads > before


def test_a_few_long_listings_are_read_at_once_and_the_next_ones_at_a_bounded_rate(make: Make) -> None:
    pods = [PodKey("web1", f"pod-{number}") for number in range(1_000)]
    clock = FakeClock()
    bench = make(clock=clock)
    for index in range(100):
        bench.source.answers.put(listing(index, pods))
    until(lambda: bench.source.reads == BURST, what="the burst is read while the clock stands still")
    for further in range(1, 4):
        clock.advance(0.9 * (MIN_GAP + 1_000 * GAP_PER_POD))
        threading.Event().wait(0.1)
        assert bench.source.reads == BURST + further - 1
        clock.advance(0.1 * (MIN_GAP + 1_000 * GAP_PER_POD) + 1e-6)
        until(lambda wanted=BURST + further: bench.source.reads == wanted, what="one more")  # type: ignore[misc]


def test_the_pulse_beats_with_every_turn_and_every_error(make: Make) -> None:
    bench = make()
    bench.pulse_clock.advance(100)
    bench.show(listing(1, [A]))
    assert bench.watch._heartbeat.silence() == 0
    bench.pulse_clock.advance(100)
    bench.show(SourceError("no"))
    until(lambda: bench.watch._heartbeat.silence() == 0)


def test_stop_ends_it_while_it_waits_and_while_it_is_refused() -> None:
    for answers in ([], [SourceError("no")] * 50):
        bench = Bench()
        for answer in answers:
            bench.source.answers.put(answer)
        bench.watch.start()
        until(lambda at=bench: at.source.reads)  # type: ignore[misc]
        bench.watch.stop(10)
        assert "watch" not in {thread.name for thread in threading.enumerate()}


def test_what_an_earlier_run_published_passes_the_gate_also_when_it_is_found_late(make: Make) -> None:
    bench = make()
    bench.show(listing(1, [A]))
    bench.watch.expect([B])
    bench.show(listing(2, [A], doubt="no leader"))
    assert bench.announced.batches == [{A}]
    assert bench.watch.held() == 1
    bench.show(listing(3, [A]))
    assert bench.announced.batches == [{A}, {B}]
    assert bench.source.asked == [(B,)]


def test_what_is_found_late_of_a_pod_that_is_there_is_looked_at(make: Make) -> None:
    bench = make()
    bench.show(listing(1, [A, B]))
    bench.watch.expect([B, C])
    bench.source.doubtful_read = True
    bench.show(listing(2, [A, B]))
    assert bench.announced.batches == [{A, B}, {B}]
    bench.source.doubtful_read = False
    bench.show(listing(3, [A, B]))
    assert bench.announced.batches == [{A, B}, {B}, {C}]


def test_what_an_exception_kept_from_being_announced_is_announced_with_the_next_listing(make: Make) -> None:
    class Failing(Announced):
        def __call__(self, keys: Collection[PodKey]) -> None:
            if A in keys and not self.failed:
                self.failed = True
                raise ZeroDivisionError
            super().__call__(keys)

        failed = False

    bench = make(announced=Failing())
    bench.show(listing(1, [A]), listing(2, [A, B]))
    assert bench.announced.keys() == {A, B}
