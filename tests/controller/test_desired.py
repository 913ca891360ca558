"""The desired record is the same for every place: the result of the probes, unless the pod flaps."""

import threading
from dataclasses import replace

from controller.publish.desired import AWAITED, DesiredHealth, InFleet
from reconcilers.damping import DampingRules, Flapping
from reconcilers.health import NO_COUNTS, CheckHealth, Counts, HealthState, Reason
from reconcilers.p2 import manifest as p2manifest
from reconcilers.ports import Desired
from reconcilers.record import HealthRecord
from reconcilers.spec import ManifestVersion, PodKey
from tests.reconcilers.fakes import FakeHealths
from tests.support.recorders import FakeClock

A, B = PodKey("web1", "a"), PodKey("web1", "b")
GOOD = CheckHealth(HealthState.PASSING, since=100.0, detail="200 OK")
BAD = CheckHealth(HealthState.CRITICAL, Reason.TIMEOUT, since=200.0, detail="no answer within 5 s")
OLD, NEW = b"id: a\nstatus_port: 8000\n", b"id: a\nstatus_port: 8001\n"
TWO = DampingRules(capacity=2, refill=15.0, quiet=60.0)


def wanted(desired: DesiredHealth, key: PodKey) -> HealthRecord:
    found = desired.desired(key)
    assert found
    assert found.record
    return found.record


def test_the_desired_record_is_the_verdict_and_without_a_verdict_there_is_none() -> None:
    healths = FakeHealths()
    healths.known = {A: (GOOD, 300.0), B: (CheckHealth(), 300.0)}
    desired = DesiredHealth(healths, FakeClock())
    record = wanted(desired, A)
    assert (record.status, record.since, record.last_probe) == (HealthState.PASSING, 100.0, 300.0)
    assert desired.desired(B) == Desired(None)
    assert desired.desired(PodKey("web1", "gone")) is None


def test_the_record_of_a_pod_is_kept_while_it_may_get_a_worker_soon() -> None:
    awaited = {A}
    desired = DesiredHealth(FakeHealths(), FakeClock(), is_awaited=awaited.__contains__)
    assert (desired.desired(A), desired.desired(B)) == (Desired(None, AWAITED), None)
    awaited.clear()
    assert desired.desired(A) is None


def test_only_a_passing_record_without_proof_is_marked_as_unproven() -> None:
    healths = FakeHealths()
    healths.known = {A: (GOOD, 300.0), B: (BAD, 300.0)}
    healths.unproven = {A, B}
    desired = DesiredHealth(healths, FakeClock(), TWO)
    assert [found.proven for key in (A, B) if (found := desired.desired(key))] == [False, True]
    healths.known[A] = (BAD, 301.0)
    desired.desired(A)
    healths.known[A] = (GOOD, 302.0)
    found = desired.desired(A)
    assert found
    assert found.record
    assert (found.record.reason, found.proven) == (Reason.FLAPPING, True)


def test_the_manifest_that_was_probed_is_named_by_p2s_sha() -> None:
    healths = FakeHealths()
    desired = DesiredHealth(healths, FakeClock())
    versions = ((OLD, p2manifest.sha(OLD)), (b"# why\n" + OLD, p2manifest.sha(OLD)), (b"id: [ no", ""))
    for serial, (manifest, sha) in enumerate(versions, 1):
        healths.known[A] = (replace(GOOD, version=ManifestVersion(serial, manifest)), 300.0)
        assert wanted(desired, A).manifest_sha == sha


def test_another_manifest_changes_the_record_and_a_comment_does_not() -> None:
    healths = FakeHealths()
    desired = DesiredHealth(healths, FakeClock())
    records = []
    for serial, manifest in enumerate((OLD, b"# why\n" + OLD, NEW), 1):
        healths.known[A] = (replace(GOOD, version=ManifestVersion(serial, manifest)), 300.0)
        records.append(wanted(desired, A))
    assert records[0] == records[1] != records[2]


class Shaky:
    """One pod with a bucket of two changes. The test sets its health and the time."""

    def __init__(self, before: "Shaky | None" = None) -> None:
        self.clock = FakeClock(0.0)
        self.healths = FakeHealths()
        dampings = before.desired.dampings() if before else {}
        self.desired: DesiredHealth = DesiredHealth(self.healths, self.clock, TWO, dampings)

    def is_now(self, health: CheckHealth) -> HealthRecord:
        self.healths.known[A] = (health, self.clock.now)
        return wanted(self.desired, A)

    def quiet(self) -> float:
        found = self.desired.desired(A)
        return found.quiet if found else -1.0


def test_a_flapping_pod_is_unknown_and_its_detail_has_the_last_status() -> None:
    pod = Shaky()
    assert pod.is_now(GOOD).status is HealthState.PASSING
    record = pod.is_now(BAD)
    assert (record.status, record.reason) == (HealthState.UNKNOWN, Reason.FLAPPING)
    assert (record.last_seen, record.changes) == (HealthState.CRITICAL, 2)
    assert record.detail == "flapping: 2 changes of status in a short time; last seen critical (timeout)"
    assert pod.quiet() == 60.0
    assert (pod.desired.damped(), pod.desired.suppressed) == (frozenset({A}), 1)


def test_a_damped_pod_is_published_as_it_is_after_the_quiet_time() -> None:
    pod = Shaky()
    for health in (GOOD, BAD, GOOD, BAD):
        record = pod.is_now(health)
    assert record.status is HealthState.UNKNOWN
    assert pod.desired.suppressed == 3
    pod.clock.now = 59.0
    assert pod.is_now(BAD).reason is Reason.FLAPPING
    assert pod.quiet() == 1.0
    pod.clock.now = 60.0
    assert pod.is_now(BAD).status is HealthState.CRITICAL
    assert (pod.quiet(), pod.desired.damped()) == (0.0, frozenset())


def test_a_change_counts_once_for_all_places() -> None:
    """Otherwise a pod that is published in two places would be damped after half as many changes."""
    pod = Shaky()
    for _ in range(3):
        assert pod.is_now(GOOD).status is HealthState.PASSING
    for _ in range(3):
        record = pod.is_now(BAD)
        assert (record.status, record.changes) == (HealthState.UNKNOWN, 2)
    assert pod.desired.suppressed == 1


class Slow(FakeHealths):
    """The first reader gets the health of the time of its call, but only later."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.go_on = threading.Event(), threading.Event()

    def health(self, key: PodKey) -> tuple[CheckHealth, float] | None:
        found = super().health(key)
        if not self.read.is_set():
            self.read.set()
            self.go_on.wait(10.0)
        return found


def test_a_slow_reader_does_not_count_an_outdated_health() -> None:
    healths = Slow()
    desired = DesiredHealth(healths, FakeClock())
    healths.known[A] = (BAD, 300.0)
    slow, quick = (threading.Thread(target=desired.desired, args=(A,)) for _ in range(2))
    slow.start()
    assert healths.read.wait(10.0)
    healths.known[A] = (GOOD, 305.0)
    quick.start()
    quick.join(0.2)  # it must wait; otherwise it would have finished by now
    healths.go_on.set()
    slow.join(10.0)
    quick.join(10.0)
    assert desired.dampings()[A].status is HealthState.PASSING


def test_a_pod_that_was_removed_and_scheduled_again_has_a_full_bucket() -> None:
    pod = Shaky()
    pod.is_now(GOOD)
    del pod.healths.known[A]
    assert pod.desired.desired(A) is None
    assert pod.is_now(BAD).status is HealthState.CRITICAL


def test_flapping_returns_the_flapping_pods_and_their_quiet_time() -> None:
    pod = Shaky()
    for health in (GOOD, BAD):
        pod.is_now(health)
        pod.healths.known[B] = (GOOD, 300.0)
        wanted(pod.desired, B)
    pod.clock.now = 20.0
    assert pod.desired.flapping() == {A: Flapping(changes=2, quiet_since=20.0, quiet_for=40.0)}
    assert pod.desired.damped() == {A}
    pod.clock.now = 60.0
    assert pod.desired.flapping() == {}


def test_the_next_run_takes_over_the_buckets_of_the_pods() -> None:
    pod = Shaky()
    pod.is_now(GOOD)
    pod.is_now(BAD)
    after = Shaky(pod)
    assert after.desired.damped() == {A}
    after.clock.now = 30.0
    assert after.is_now(BAD).reason is Reason.FLAPPING


def test_new_damping_rules_apply_to_the_next_record() -> None:
    pod = Shaky()
    pod.is_now(GOOD)
    pod.desired.apply(DampingRules(0, 15.0, 60.0))
    for health in (BAD, GOOD, BAD):
        assert pod.is_now(health).status is health.state


def test_a_reload_that_shortens_the_quiet_time_keeps_its_begin() -> None:
    pod = Shaky()
    for health in (GOOD, BAD):
        pod.is_now(health)
    pod.clock.now = 5.0
    pod.desired.apply(DampingRules(2, 15.0, 10.0))
    assert pod.desired.flapping() == {A: Flapping(changes=2, quiet_since=5.0, quiet_for=5.0)}
    assert pod.quiet() == 5.0
    pod.clock.now = 10.0
    assert (pod.quiet(), pod.desired.damped()) == (0.0, frozenset())
    assert pod.is_now(BAD).status is HealthState.CRITICAL


# In a fleet


class Heir:
    """A controller of a fleet that knows what was published of a pod before. Its clock shows 0 at the time 1000."""

    def __init__(self, published: HealthRecord | None, moving: frozenset[str] = frozenset()) -> None:
        self.clock = FakeClock(0.0)
        self.healths = FakeHealths()
        fleet = InFleet(moving.__contains__, {A: published}.get, lambda: 1000.0 + self.clock.now)
        rules = DampingRules(capacity=3, refill=15.0, quiet=60.0)
        self.desired = DesiredHealth(self.healths, self.clock, rules, fleet=fleet)

    def is_now(self, health: CheckHealth, key: PodKey = A) -> HealthRecord:
        self.healths.known[key] = (health, 1000.0 + self.clock.now)
        return wanted(self.desired, key)


def test_the_record_of_a_pod_that_may_move_has_its_counts() -> None:
    heir = Heir(None, frozenset({"web1"}))
    shaky = replace(GOOD, successes=0, failures=1, misses=2)
    assert heir.is_now(shaky).counts == Counts(0, 1, 2)
    assert heir.is_now(GOOD).counts == NO_COUNTS
    assert heir.is_now(shaky, PodKey("web2", "a")).counts == NO_COUNTS


def test_an_heir_continues_the_damping_by_the_record() -> None:
    first = Heir(None)
    assert (first.is_now(replace(GOOD, since=990.0)).tokens, first.is_now(replace(BAD, since=995.0)).tokens) == (
        None,
        1,
    )
    before = first.is_now(replace(BAD, since=995.0))
    assert before.tokens == 1
    heir = Heir(before)
    assert heir.is_now(replace(BAD, since=995.0)).status is HealthState.CRITICAL
    assert heir.is_now(replace(GOOD, since=1000.0)).reason is Reason.FLAPPING
    assert heir.desired.flapping()[A].changes == 3


def test_an_heir_keeps_a_flapping_pod_quiet_for_the_rest_of_its_time() -> None:
    heir = Heir(replace(HealthRecord.of(A, replace(BAD, since=990.0), 0.0).damped(3), tokens=0))
    record = heir.is_now(replace(BAD, since=990.0))
    assert (record.reason, record.last_seen, record.changes) == (Reason.FLAPPING, HealthState.CRITICAL, 3)
    found = heir.desired.desired(A)
    assert found
    assert found.quiet == 50.0
    heir.clock.advance(50.0)
    assert heir.is_now(replace(BAD, since=990.0)).status is HealthState.CRITICAL


def test_the_damping_of_a_pod_that_another_controller_checks_is_forgotten() -> None:
    heir = Heir(None)
    heir.is_now(GOOD)
    heir.desired.forget([A, B])
    assert heir.desired.dampings() == {}


def test_a_record_has_the_time_of_its_pod_where_it_is_wanted() -> None:
    healths = FakeHealths()
    healths.known[A] = (GOOD, 1000.0)
    desired = DesiredHealth(healths, FakeClock(), uptime=lambda key: f"u:5:0:{key.pod}")
    assert wanted(desired, A).uptime == "u:5:0:a"
    assert wanted(DesiredHealth(healths, FakeClock()), A).uptime == ""
