"""What is to stand published, the same for every place: what the probes found, unless the pod flaps."""

import threading
from dataclasses import replace

from controller.publish.desired import AWAITED, DesiredHealth
from reconcilers.damping import DampingRules, Flapping
from reconcilers.health import CheckHealth, HealthState, Reason
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


def test_a_verdict_is_wanted_as_it_is_and_without_one_nothing_is_said() -> None:
    healths = FakeHealths()
    healths.known = {A: (GOOD, 300.0), B: (CheckHealth(), 300.0)}
    desired = DesiredHealth(healths, FakeClock())
    record = wanted(desired, A)
    assert (record.status, record.since, record.last_probe) == (HealthState.PASSING, 100.0, 300.0)
    assert desired.desired(B) == Desired(None)
    assert desired.desired(PodKey("web1", "gone")) is None


def test_the_record_of_a_pod_that_may_get_a_worker_soon_is_kept() -> None:
    awaited = {A}
    desired = DesiredHealth(FakeHealths(), FakeClock(), is_awaited=awaited.__contains__)
    assert (desired.desired(A), desired.desired(B)) == (Desired(None, AWAITED), None)
    awaited.clear()
    assert desired.desired(A) is None


def test_only_where_it_says_passing_is_a_verdict_without_proof_told_from_another() -> None:
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


def test_another_manifest_is_a_change_and_the_same_with_a_comment_is_not() -> None:
    healths = FakeHealths()
    desired = DesiredHealth(healths, FakeClock())
    records = []
    for serial, manifest in enumerate((OLD, b"# why\n" + OLD, NEW), 1):
        healths.known[A] = (replace(GOOD, version=ManifestVersion(serial, manifest)), 300.0)
        records.append(wanted(desired, A))
    assert records[0] == records[1] != records[2]


class Shaky:
    """One pod whose health changes as told, at times as told, with a bucket of two."""

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


def test_a_pod_that_flaps_is_said_to_be_unknown_with_what_was_last_seen() -> None:
    pod = Shaky()
    assert pod.is_now(GOOD).status is HealthState.PASSING
    record = pod.is_now(BAD)
    assert (record.status, record.reason) == (HealthState.UNKNOWN, Reason.FLAPPING)
    assert (record.last_seen, record.changes) == (HealthState.CRITICAL, 2)
    assert record.detail == "flapping: 2 changes of status in a short time; last seen critical (timeout)"
    assert pod.quiet() == 60.0
    assert (pod.desired.damped(), pod.desired.suppressed) == (frozenset({A}), 1)


def test_the_status_of_a_damped_pod_is_published_when_it_was_quiet() -> None:
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


def test_however_many_places_ask_a_change_counts_once() -> None:
    """Else a pod that is published in two places would be damped after half as many changes."""
    pod = Shaky()
    for _ in range(3):
        assert pod.is_now(GOOD).status is HealthState.PASSING
    for _ in range(3):
        record = pod.is_now(BAD)
        assert (record.status, record.changes) == (HealthState.UNKNOWN, 2)
    assert pod.desired.suppressed == 1


class Slow(FakeHealths):
    """The first who asks gets what was true then, but later."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.go_on = threading.Event(), threading.Event()

    def health(self, key: PodKey) -> tuple[CheckHealth, float] | None:
        found = super().health(key)
        if not self.read.is_set():
            self.read.set()
            self.go_on.wait(10.0)
        return found


def test_who_was_slow_does_not_judge_by_what_is_over() -> None:
    healths = Slow()
    desired = DesiredHealth(healths, FakeClock())
    healths.known[A] = (BAD, 300.0)
    slow, quick = (threading.Thread(target=desired.desired, args=(A,)) for _ in range(2))
    slow.start()
    assert healths.read.wait(10.0)
    healths.known[A] = (GOOD, 305.0)
    quick.start()
    quick.join(0.2)  # it has to wait; if it did not, it would be through by now
    healths.go_on.set()
    slow.join(10.0)
    quick.join(10.0)
    assert desired.dampings()[A].status is HealthState.PASSING


def test_a_pod_that_went_and_came_back_starts_with_a_full_bucket() -> None:
    pod = Shaky()
    pod.is_now(GOOD)
    del pod.healths.known[A]
    assert pod.desired.desired(A) is None
    assert pod.is_now(BAD).status is HealthState.CRITICAL


def test_the_pods_that_flap_are_named_with_how_long_they_are_quiet() -> None:
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


def test_the_state_of_pods_is_reported_and_taken_over_by_the_next_run() -> None:
    pod = Shaky()
    pod.is_now(GOOD)
    pod.is_now(BAD)
    after = Shaky(pod)
    assert after.desired.damped() == {A}
    after.clock.now = 30.0
    assert after.is_now(BAD).reason is Reason.FLAPPING


def test_other_rules_are_in_force_from_the_next_look_on() -> None:
    pod = Shaky()
    pod.is_now(GOOD)
    pod.desired.apply(DampingRules(0, 15.0, 60.0))
    for health in (BAD, GOOD, BAD):
        assert pod.is_now(health).status is health.state


def test_a_quiet_time_shortened_by_a_reload_began_when_it_did_and_ends_sooner() -> None:
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
