"""HealthReconciler: writes news, withdraws what has no worker, is silent else."""

from dataclasses import replace

from reconcilers.health import CheckHealth, HealthState, Reason
from reconcilers.ports import DONE, Desired, Reconciler, Result
from reconcilers.publication import UNPROVEN, HealthReconciler
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey
from tests.reconcilers.fakes import FakeDesires, FakeSink

A, B, C = (PodKey("web1", pod) for pod in "abc")
GOOD = CheckHealth(HealthState.PASSING, since=100.0, detail="200 OK")
BAD = CheckHealth(HealthState.CRITICAL, Reason.TIMEOUT, since=200.0, detail="no answer within 5 s")


def wish(key: PodKey, health: CheckHealth) -> Desired:
    return Desired(HealthRecord.of(key, health, 300.0))


def parts(sink: FakeSink, **healths: CheckHealth) -> tuple[Reconciler, FakeDesires]:
    known = FakeDesires({(key := PodKey("web1", pod)): wish(key, health) for pod, health in healths.items()})
    return HealthReconciler(known, sink), known


def test_a_first_verdict_is_written() -> None:
    sink = FakeSink()
    reconciler, _ = parts(sink, a=GOOD)
    assert reconciler.reconcile([A]) == {}
    record = sink.records[A]
    assert (record.status, record.reason, record.detail) == (HealthState.PASSING, Reason.NONE, "200 OK")
    assert (record.since, record.last_probe) == (100.0, 300.0)


def test_what_is_published_already_is_not_written_again() -> None:
    sink = FakeSink(HealthRecord.of(A, GOOD, 5.0))
    reconciler, _ = parts(sink, a=GOOD)
    assert reconciler.reconcile([A, B]) == {}
    assert sink.writes == []


def test_another_state_or_reason_is_news() -> None:
    sink = FakeSink(HealthRecord.of(A, GOOD, 5.0), HealthRecord.of(B, BAD, 5.0))
    reconciler, _ = parts(sink, a=BAD, b=CheckHealth(HealthState.CRITICAL, Reason.REFUSED, since=200.0))
    reconciler.reconcile([A, B])
    assert sink.writes == [([A, B], [])]


def test_another_sentence_alone_is_no_news() -> None:
    sink = FakeSink(HealthRecord.of(A, BAD, 5.0))
    reconciler, _ = parts(sink, a=CheckHealth(HealthState.CRITICAL, Reason.TIMEOUT, 900.0, "another", "body"))
    reconciler.reconcile([A])
    assert sink.writes == []


def test_an_excerpt_that_may_not_be_published_any_more_is_taken_back_once() -> None:
    sink = FakeSink(HealthRecord.of(A, replace(GOOD, output="secret"), 5.0), HealthRecord.of(B, GOOD, 5.0))
    reconciler, _ = parts(sink, a=GOOD, b=replace(GOOD, output="news"))
    for _ in range(2):
        assert reconciler.reconcile([A, B]) == {}
    assert sink.writes == [([A], [])]
    assert "secret" not in sink.records[A].encode(0.0).decode()


def test_a_pod_without_worker_is_withdrawn_once() -> None:
    sink = FakeSink(HealthRecord.of(A, GOOD, 5.0))
    reconciler, _ = parts(sink)
    for _ in range(2):
        assert reconciler.reconcile([A]) == {}
    assert sink.writes == [([], [A])]
    assert sink.records == {}


def test_a_check_without_verdict_leaves_what_is_published() -> None:
    old = HealthRecord.of(A, GOOD, 5.0)
    sink = FakeSink(old)
    reconciler, wanted = parts(sink)
    wanted |= {A: Desired(None), B: Desired(None)}
    assert reconciler.reconcile([A, B]) == {}
    assert sink.records == {A: old}
    assert sink.writes == []


def test_an_unknown_that_is_a_verdict_is_written() -> None:
    sink = FakeSink(HealthRecord.of(A, GOOD, 5.0))
    reconciler, _ = parts(sink, a=CheckHealth(HealthState.UNKNOWN, Reason.LOCAL, since=7.0))
    reconciler.reconcile([A])
    assert sink.records[A].status is HealthState.UNKNOWN


def test_everything_goes_in_one_write_and_failures_come_back_per_pod() -> None:
    sink = FakeSink(HealthRecord.of(C, GOOD, 5.0))
    sink.broken = {B: "the session is gone"}
    reconciler, _ = parts(sink, a=GOOD, b=BAD)
    assert reconciler.reconcile([A, B, C]) == {B: Result(error="the session is gone")}
    assert sink.writes == [([A, B], [C])]


def test_after_a_failed_write_the_next_look_writes_the_newest_state() -> None:
    sink = FakeSink()
    sink.broken = {A: "no leader"}
    reconciler, wanted = parts(sink, a=BAD)
    assert reconciler.reconcile([A])[A].error
    sink.broken = {}
    wanted[A] = wish(A, GOOD)
    assert reconciler.reconcile([A]).get(A, DONE) == DONE
    assert sink.records[A].status is HealthState.PASSING


def test_what_is_less_than_the_truth_is_looked_at_again_when_it_is_time() -> None:
    sink = FakeSink()
    reconciler, wanted = parts(sink)
    record = HealthRecord.of(A, BAD, 300.0).damped(2)
    wanted[A] = Desired(record, quiet=59.0)
    for _ in range(2):
        assert reconciler.reconcile([A]) == {A: Result(requeue_after=59.0)}
    assert sink.writes == [([A], [])]


def test_a_failed_write_of_what_is_less_than_the_truth_is_tried_again_at_once() -> None:
    sink = FakeSink()
    sink.broken = {A: "no session"}
    reconciler, wanted = parts(sink)
    wanted[A] = Desired(HealthRecord.of(A, BAD, 300.0).damped(2), quiet=59.0)
    assert reconciler.reconcile([A]) == {A: Result(error="no session")}


OLD = Desired(HealthRecord.of(A, GOOD, 300.0), proven=False)


def test_what_is_not_proven_is_not_written_where_it_does_not_stand_until_it_is() -> None:
    sink = FakeSink()
    reconciler, wanted = parts(sink)
    wanted[A] = OLD
    for _ in range(2):
        assert reconciler.reconcile([A]) == {A: Result(requeue_after=UNPROVEN)}
    assert sink.writes == []
    wanted[A] = wish(A, GOOD)
    assert reconciler.reconcile([A]) == {}
    assert sink.records[A].status is HealthState.PASSING


def test_what_is_not_proven_replaces_nothing_that_stands() -> None:
    sink = FakeSink(HealthRecord.of(A, BAD, 5.0))
    reconciler, wanted = parts(sink)
    wanted[A] = OLD
    assert reconciler.reconcile([A]) == {A: Result(requeue_after=UNPROVEN)}
    assert sink.records[A].status is HealthState.CRITICAL


def test_what_stands_is_let_be_though_probes_are_late() -> None:
    sink = FakeSink(HealthRecord.of(A, GOOD, 5.0))
    reconciler, wanted = parts(sink)
    wanted[A] = OLD
    assert reconciler.reconcile([A]) == {}
    assert sink.writes == []


class Doubtful(FakeSink):
    """All of it has stood since an earlier run, and is to be written once more."""

    def published(self, key: PodKey) -> HealthRecord | None:
        found = self.records.get(key)
        return replace(found, reason=Reason.LOCAL) if found else None


def test_what_has_stood_all_the_time_may_be_written_once_more() -> None:
    """A restart changes nothing: the agent's check would run out meanwhile."""
    sink = Doubtful(HealthRecord.of(A, GOOD, 5.0))
    reconciler, wanted = parts(sink)
    wanted[A] = OLD
    assert reconciler.reconcile([A]) == {}
    assert sink.writes == [([A], [])]
