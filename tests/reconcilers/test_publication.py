"""HealthReconciler: writes news, withdraws what has no worker, is silent else."""

from dataclasses import replace

from reconcilers import p2manifest, publication
from reconcilers.damping import DampingRules
from reconcilers.health import CheckHealth, HealthState, Reason
from reconcilers.ports import DONE, Reconciler, Result
from reconcilers.publication import HealthReconciler
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey
from tests.reconcilers.fakes import FakeHealths, FakeSink

A, B, C = (PodKey("web1", pod) for pod in "abc")
GOOD = CheckHealth(HealthState.PASSING, since=100.0, detail="200 OK")
BAD = CheckHealth(HealthState.CRITICAL, Reason.TIMEOUT, since=200.0, detail="no answer within 5 s")


def parts(sink: FakeSink, **healths: CheckHealth) -> tuple[Reconciler, FakeHealths]:
    known = FakeHealths()
    known.known = {PodKey("web1", pod): (health, 300.0) for pod, health in healths.items()}
    return HealthReconciler(known, sink, lambda: 1000.0), known


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
    reconciler, _ = parts(sink, a=CheckHealth(), b=CheckHealth())
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
    reconciler, healths = parts(sink, a=BAD)
    assert reconciler.reconcile([A])[A].error
    sink.broken = {}
    healths.known[A] = (GOOD, 400.0)
    assert reconciler.reconcile([A]).get(A, DONE) == DONE
    assert sink.records[A].status is HealthState.PASSING


OLD, NEW = b"id: a\nstatus_port: 8000\n", b"id: a\nstatus_port: 8001\n"


def test_the_manifest_that_was_probed_is_named_by_p2s_sha() -> None:
    sink = FakeSink()
    reconciler, _ = parts(sink, a=replace(GOOD, manifest=OLD), b=replace(GOOD, manifest=b"id: [ no manifest of p2's"))
    reconciler.reconcile([A, B])
    assert (sink.records[A].manifest_sha, sink.records[B].manifest_sha) == (p2manifest.sha(OLD), "")


def test_another_manifest_is_news_and_the_same_with_a_comment_is_none() -> None:
    sink = FakeSink()
    reconciler, healths = parts(sink, a=replace(GOOD, manifest=OLD))
    for manifest in (OLD, b"# why\n" + OLD, OLD, NEW, NEW):
        healths.known[A] = (replace(GOOD, manifest=manifest), 300.0)
        reconciler.reconcile([A])
    assert sink.writes == [([A], []), ([A], [])]
    assert sink.records[A].manifest_sha == p2manifest.sha(NEW)


class Flapping:
    """One pod whose health changes as told, at times as told, with a bucket of two."""

    def __init__(self) -> None:
        self.now = 0.0
        self.healths = FakeHealths()
        self.sink = FakeSink()
        self.reconciler = HealthReconciler(self.healths, self.sink, lambda: self.now, DampingRules(2, 15.0, 60.0))

    def is_now(self, health: CheckHealth) -> HealthRecord:
        self.healths.known[A] = (health, self.now)
        self.results = self.reconciler.reconcile([A])
        return self.sink.records[A]


def test_a_pod_that_flaps_is_said_to_be_unknown_with_what_was_last_seen() -> None:
    pod = Flapping()
    assert pod.is_now(GOOD).status is HealthState.PASSING
    record = pod.is_now(BAD)
    assert (record.status, record.reason) == (HealthState.UNKNOWN, Reason.FLAPPING)
    assert (record.last_seen, record.changes) == (HealthState.CRITICAL, 2)
    assert record.detail == "flapping: 2 changes of status in a short time; last seen critical (timeout)"
    assert pod.results == {A: Result(requeue_after=60.0)}
    assert (pod.reconciler.damped(), pod.reconciler.suppressed) == (frozenset({A}), 1)


def test_a_damped_pod_is_written_once_and_told_the_truth_when_it_was_quiet() -> None:
    pod = Flapping()
    for health in (GOOD, BAD, GOOD, BAD):
        pod.is_now(health)
    assert len(pod.sink.writes) == 2
    assert pod.reconciler.suppressed == 3
    pod.now = 59.0
    assert pod.is_now(BAD).reason is Reason.FLAPPING
    assert pod.results == {A: Result(requeue_after=1.0)}
    pod.now = 60.0
    assert pod.is_now(BAD).status is HealthState.CRITICAL
    assert pod.results == {}
    assert pod.reconciler.damped() == frozenset()


def test_a_failed_write_of_a_damped_pod_is_tried_again_at_once() -> None:
    pod = Flapping()
    pod.is_now(GOOD)
    pod.sink.broken = {A: "no session"}
    pod.is_now(BAD)
    assert pod.results == {A: Result(error="no session")}


def test_a_pod_that_went_and_came_back_starts_with_a_full_bucket() -> None:
    pod = Flapping()
    pod.is_now(GOOD)
    del pod.healths.known[A]
    pod.reconciler.reconcile([A])
    assert pod.is_now(BAD).status is HealthState.CRITICAL


def test_the_pods_that_flap_are_named_with_how_long_they_are_quiet() -> None:
    now = [1000.0]
    healths = FakeHealths()
    reconciler = HealthReconciler(healths, FakeSink(), lambda: now[0], DampingRules(capacity=2, quiet=60.0))
    for health in (GOOD, BAD):
        healths.known = {A: (health, 300.0), B: (GOOD, 300.0)}
        reconciler.reconcile([A, B])
    now[0] += 20.0
    assert reconciler.flapping() == {A: publication.Flapping(changes=2, quiet_since=20.0, quiet_for=40.0)}
    assert reconciler.damped() == {A}
    now[0] += 40.0
    assert reconciler.flapping() == {}


def test_how_pods_stand_is_told_and_taken_over_by_the_next() -> None:
    pod = Flapping()
    pod.is_now(GOOD)
    pod.is_now(BAD)
    after = Flapping()
    after.reconciler = HealthReconciler(
        after.healths, after.sink, lambda: after.now, DampingRules(2, 15.0, 60.0), pod.reconciler.dampings()
    )
    assert after.reconciler.damped() == {A}
    after.now = 30.0
    assert after.is_now(BAD).reason is Reason.FLAPPING


def test_other_rules_are_in_force_from_the_next_look_on() -> None:
    pod = Flapping()
    pod.is_now(GOOD)
    pod.reconciler.follow(DampingRules(0, 15.0, 60.0))
    for health in (BAD, GOOD, BAD):
        assert pod.is_now(health).status is health.state
