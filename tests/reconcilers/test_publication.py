"""HealthReconciler: writes changed records, deletes those of pods without a worker, and nothing else."""

from dataclasses import replace

from reconcilers.health import NO_COUNTS, CheckHealth, Counts, HealthState, Reason
from reconcilers.ports import DONE, Desired, Reconciler, Result
from reconcilers.publication import NEXT_PROBE, UNPROVEN, HealthReconciler
from reconcilers.record import Elsewhere, HealthRecord, Unsettled
from reconcilers.share import Share
from reconcilers.spec import PodKey
from tests.reconcilers.fakes import FakeDesires, FakeSink

A, B, C = (PodKey("web1", pod) for pod in "abc")
GOOD = CheckHealth(HealthState.PASSING, since=100.0, detail="200 OK")
BAD = CheckHealth(HealthState.CRITICAL, Reason.TIMEOUT, since=200.0, detail="no answer within 5 s")


def wish(key: PodKey, health: CheckHealth) -> Desired:
    return Desired(HealthRecord.of(key, health, 300.0))


def parts(sink: FakeSink, **healths: CheckHealth) -> tuple[Reconciler, FakeDesires]:
    known = FakeDesires({(key := PodKey("web1", pod)): wish(key, health) for pod, health in healths.items()})
    return HealthReconciler(known, sink, Share.of_node("web1")), known


def test_a_first_verdict_is_written() -> None:
    sink = FakeSink()
    reconciler, _ = parts(sink, a=GOOD)
    assert reconciler.reconcile([A]) == {}
    record = sink.records[A]
    assert (record.status, record.reason, record.detail) == (HealthState.PASSING, Reason.NONE, "200 OK")
    assert (record.since, record.last_probe) == (100.0, 300.0)


def test_an_equal_record_is_not_written_again() -> None:
    sink = FakeSink(HealthRecord.of(A, GOOD, 5.0))
    reconciler, _ = parts(sink, a=GOOD)
    assert reconciler.reconcile([A, B]) == {}
    assert sink.writes == []


def test_another_state_or_reason_is_written() -> None:
    sink = FakeSink(HealthRecord.of(A, GOOD, 5.0), HealthRecord.of(B, BAD, 5.0))
    reconciler, _ = parts(sink, a=BAD, b=CheckHealth(HealthState.CRITICAL, Reason.REFUSED, since=200.0))
    reconciler.reconcile([A, B])
    assert sink.writes == [([A, B], [])]


def test_another_detail_alone_is_not_written() -> None:
    sink = FakeSink(HealthRecord.of(A, BAD, 5.0))
    reconciler, _ = parts(sink, a=CheckHealth(HealthState.CRITICAL, Reason.TIMEOUT, 900.0, "another", "body"))
    reconciler.reconcile([A])
    assert sink.writes == []


def test_an_excerpt_that_must_not_be_published_any_more_is_removed_once() -> None:
    sink = FakeSink(HealthRecord.of(A, replace(GOOD, output="secret"), 5.0), HealthRecord.of(B, GOOD, 5.0))
    reconciler, _ = parts(sink, a=GOOD, b=replace(GOOD, output="news"))
    for _ in range(2):
        assert reconciler.reconcile([A, B]) == {}
    assert sink.writes == [([A], [])]
    assert "secret" not in sink.records[A].encode(0.0).decode()


def test_the_record_of_a_pod_without_a_worker_is_deleted_once() -> None:
    sink = FakeSink(HealthRecord.of(A, GOOD, 5.0))
    reconciler, _ = parts(sink)
    for _ in range(2):
        assert reconciler.reconcile([A]) == {}
    assert sink.writes == [([], [A])]
    assert sink.records == {}


def test_the_published_record_is_kept_while_a_check_has_no_verdict() -> None:
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


def test_all_pods_are_written_at_once_and_failures_are_returned_per_pod() -> None:
    sink = FakeSink(HealthRecord.of(C, GOOD, 5.0))
    sink.broken = {B: "the session is gone"}
    reconciler, _ = parts(sink, a=GOOD, b=BAD)
    assert reconciler.reconcile([A, B, C]) == {B: Result(error="the session is gone")}
    assert sink.writes == [([A, B], [C])]


def test_after_a_failed_write_the_newest_state_is_written() -> None:
    sink = FakeSink()
    sink.broken = {A: "no leader"}
    reconciler, wanted = parts(sink, a=BAD)
    assert reconciler.reconcile([A])[A].error
    sink.broken = {}
    wanted[A] = wish(A, GOOD)
    assert reconciler.reconcile([A]).get(A, DONE) == DONE
    assert sink.records[A].status is HealthState.PASSING


def test_a_damped_pod_is_reconciled_again_at_the_end_of_its_quiet_time() -> None:
    sink = FakeSink()
    reconciler, wanted = parts(sink)
    record = HealthRecord.of(A, BAD, 300.0).damped(2)
    wanted[A] = Desired(record, quiet=59.0)
    for _ in range(2):
        assert reconciler.reconcile([A]) == {A: Result(requeue_after=59.0)}
    assert sink.writes == [([A], [])]


def test_a_failed_write_of_a_damped_record_is_retried_with_the_back_off() -> None:
    sink = FakeSink()
    sink.broken = {A: "no session"}
    reconciler, wanted = parts(sink)
    wanted[A] = Desired(HealthRecord.of(A, BAD, 300.0).damped(2), quiet=59.0)
    assert reconciler.reconcile([A]) == {A: Result(error="no session")}


OLD = Desired(HealthRecord.of(A, GOOD, 300.0), proven=False)


def test_an_unproven_record_is_not_written_until_it_is_proven() -> None:
    sink = FakeSink()
    reconciler, wanted = parts(sink)
    wanted[A] = OLD
    for _ in range(2):
        assert reconciler.reconcile([A]) == {A: Result(requeue_after=UNPROVEN)}
    assert sink.writes == []
    wanted[A] = wish(A, GOOD)
    assert reconciler.reconcile([A]) == {}
    assert sink.records[A].status is HealthState.PASSING


def test_an_unproven_record_replaces_no_published_record() -> None:
    sink = FakeSink(HealthRecord.of(A, BAD, 5.0))
    reconciler, wanted = parts(sink)
    wanted[A] = OLD
    assert reconciler.reconcile([A]) == {A: Result(requeue_after=UNPROVEN)}
    assert sink.records[A].status is HealthState.CRITICAL


def test_a_published_record_is_kept_when_probes_are_late() -> None:
    sink = FakeSink(HealthRecord.of(A, GOOD, 5.0))
    reconciler, wanted = parts(sink)
    wanted[A] = OLD
    assert reconciler.reconcile([A]) == {}
    assert sink.writes == []


class Doubtful(FakeSink):
    """Its records have been published since an earlier run, and must be written again."""

    def published(self, key: PodKey) -> HealthRecord | None:
        found = self.records.get(key)
        return replace(found, reason=Reason.LOCAL) if found else None


def test_an_unproven_record_that_was_published_without_a_break_is_written_again() -> None:
    """After a restart, the TTL of the check in the agent would expire otherwise."""
    sink = Doubtful(HealthRecord.of(A, GOOD, 5.0))
    reconciler, wanted = parts(sink)
    wanted[A] = OLD
    assert reconciler.reconcile([A]) == {}
    assert sink.writes == [([A], [])]


def test_the_pods_of_another_controller_are_neither_written_nor_deleted() -> None:
    sink = FakeSink(HealthRecord.of(B, GOOD, 5.0))
    wanted = FakeDesires({A: wish(A, BAD)})
    reconciler = HealthReconciler(wanted, sink, Share.of_node("web2"))
    assert reconciler.reconcile([B, A]) == {}
    assert sink.writes == []
    assert sink.disowned == [A, B]
    assert wanted == {}, "they are forgotten"


def test_of_several_pods_only_those_of_another_controller_are_disowned() -> None:
    sink, other = FakeSink(), PodKey("web2", "a")
    wanted = FakeDesires({A: wish(A, GOOD), other: wish(other, GOOD)})
    assert HealthReconciler(wanted, sink, Share.of_node("web1")).reconcile([other, A]) == {}
    assert sink.writes == [([A], [])]
    assert sink.disowned == [other]


def test_a_record_of_another_controller_is_kept_until_there_is_a_verdict() -> None:
    theirs = Elsewhere.of_record(replace(HealthRecord.of(A, BAD, 5.0), written=6.0))
    sink = FakeSink(theirs)
    reconciler, wanted = parts(sink)
    wanted[A] = Desired(None)
    for _ in range(2):
        assert reconciler.reconcile([A]) == {}
    assert sink.writes == [([A], [])], "it is written once, so that it is ours"
    record = sink.records[A]
    assert record == HealthRecord.of(A, BAD, 5.0)
    assert (record.since, record.detail, record.written) == (BAD.since, BAD.detail, 6.0)


def test_an_equal_record_of_another_controller_is_written_although_it_is_not_proven() -> None:
    sink = FakeSink(Elsewhere.of_record(HealthRecord.of(A, GOOD, 5.0)))
    reconciler, wanted = parts(sink)
    wanted[A] = replace(wish(A, GOOD), proven=False)
    assert reconciler.reconcile([A]) == {}
    assert sink.writes == [([A], [])]


def test_a_record_of_another_controller_keeps_its_last_probe_until_there_is_a_probe_of_ours() -> None:
    theirs = Elsewhere.of_record(replace(HealthRecord.of(A, BAD, 5.0), written=6.0))
    for last_probe, kept in ((0.0, 5.0), (7.0, 7.0)):
        sink = FakeSink(theirs)
        reconciler, wanted = parts(sink)
        wanted[A] = Desired(HealthRecord.of(A, BAD, last_probe))
        assert reconciler.reconcile([A]) == {}
        assert sink.records[A].last_probe == kept


def test_another_state_than_that_of_another_controller_is_written() -> None:
    sink = FakeSink(Elsewhere.of_record(HealthRecord.of(A, GOOD, 5.0)))
    reconciler, wanted = parts(sink)
    wanted[A] = Desired(HealthRecord.of(A, BAD, 0.0))
    assert reconciler.reconcile([A]) == {}
    assert sink.records[A] == HealthRecord.of(A, BAD, 0.0)


def test_a_pod_that_may_get_a_worker_soon_is_looked_at_again() -> None:
    old = HealthRecord.of(A, GOOD, 5.0)
    sink = FakeSink(old)
    reconciler, wanted = parts(sink)
    wanted |= {A: Desired(None, 1.0), B: Desired(None, 1.0)}
    assert reconciler.reconcile([A, B]) == {A: Result(requeue_after=1.0), B: Result(requeue_after=1.0)}
    assert sink.records == {A: old}


def test_counts_are_written_where_an_heir_finds_them_and_nowhere_else() -> None:
    moving = replace(HealthRecord.of(A, GOOD, 300.0), counts=Counts(0, 1, 2))
    for keeps, counts, writes in ((True, moving.counts, 1), (False, NO_COUNTS, 0)):
        sink = FakeSink(HealthRecord.of(A, GOOD, 5.0))
        reconciler = HealthReconciler(
            FakeDesires({A: Desired(moving)}), sink, Share.of_node("web1"), keeps_counts=keeps
        )
        for _ in range(2):
            assert reconciler.reconcile([A]) == {}
        assert (sink.records[A].counts, len(sink.writes)) == (counts, writes)


def test_the_counts_of_another_controller_are_not_kept_in_our_record() -> None:
    sink = FakeSink(Elsewhere.of_record(replace(HealthRecord.of(A, GOOD, 5.0), counts=Counts(0, 1, 2))))
    reconciler = HealthReconciler(FakeDesires({A: Desired(None)}), sink, Share.of_node("web1"), keeps_counts=True)
    assert reconciler.reconcile([A]) == {}
    assert sink.records[A].counts == NO_COUNTS


def test_an_older_probe_of_ours_does_not_replace_the_record_of_another_controller() -> None:
    """Both probed at the same moment, and the other one has published last."""
    theirs = Elsewhere.of_record(replace(HealthRecord.of(A, GOOD, 5.0), written=6.0))
    for health, again in ((GOOD, {}), (BAD, {A: Result(requeue_after=NEXT_PROBE)})):
        sink = FakeSink(theirs)
        reconciler, wanted = parts(sink)
        wanted[A] = Desired(HealthRecord.of(A, health, 4.9))
        assert reconciler.reconcile([A]) == {A: Result(requeue_after=NEXT_PROBE)}
        assert (sink.records[A].last_probe, sink.records[A].written) == (5.0, 6.0), "it is held from now on"
        for _ in range(2):
            assert reconciler.reconcile([A]) == again
        assert len(sink.writes) == 1


def test_after_one_more_probe_of_ours_the_verdict_is_written_whatever_the_clocks_say() -> None:
    sink = FakeSink(Elsewhere.of_record(HealthRecord.of(A, GOOD, 5_000.0)))
    reconciler, wanted = parts(sink)
    for last_probe, status in ((4.0, HealthState.PASSING), (4.5, HealthState.CRITICAL)):
        wanted[A] = Desired(HealthRecord.of(A, BAD, last_probe))
        reconciler.reconcile([A])
        assert sink.records[A].status is status
    assert reconciler.reconcile([A]) == {}


def test_a_state_that_was_inherited_does_not_replace_a_newer_one() -> None:
    """There is no probe of ours yet, and the other controller has published since it was read."""
    sink = FakeSink(Elsewhere.of_record(HealthRecord.of(A, GOOD, 205.0)))
    reconciler, wanted = parts(sink)
    wanted[A] = Desired(HealthRecord.of(A, BAD, 0.0))
    for _ in range(2):
        assert reconciler.reconcile([A]) == {A: Result(requeue_after=NEXT_PROBE)}
    assert sink.records[A].status is HealthState.PASSING
    wanted[A] = Desired(HealthRecord.of(A, BAD, 0.0, "0" * 64))
    assert reconciler.reconcile([A]) == {}, "a manifest without a check has no probes to wait for"
    assert sink.records[A].status is HealthState.CRITICAL


def test_a_record_that_is_not_held_any_more_waits_for_no_probe() -> None:
    held = replace(HealthRecord.of(A, GOOD, 5.0), awaiting=4.0)
    for published, writes in ((held, 0), (Unsettled.of_record(held), 1)):
        sink = FakeSink(published)
        reconciler, wanted = parts(sink)
        wanted[A] = Desired(HealthRecord.of(A, BAD, 4.0))
        reconciler.reconcile([A])
        assert len(sink.writes) == writes
