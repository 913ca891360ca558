"""The stores of manifests and of health: the last good manifest is kept, and only evidence changes a state."""

from dataclasses import replace

import pytest

from controller.health.store import HealthStore
from controller.intent.manifest_store import UNEXPECTED, ManifestStore
from controller.runtime.faults import Faults
from reconcilers.adoption import Inherited
from reconcilers.gate import Entry, Listing
from reconcilers.health import CheckHealth, HealthState, Outcome, ProbeResult, Reason
from reconcilers.options import CheckOptions, Rules
from reconcilers.spec import CheckSpec, HttpGet, ManifestVersion, Output, PodKey, Unprobed
from tests.support.recorders import Announced, FakeClock

A, B = PodKey("web1", "a"), PodKey("web1", "b")
SPEC = CheckSpec(A, HttpGet("web1", 80, "/_status"), interval=5, timeout=5)


def good(key: PodKey, port: int = 80) -> bytes:
    return f"id: {key.pod}\nstatus_port: {port}\n".encode()


BAD = b"id: [\n"


def listing(*entries: tuple[PodKey, int, bytes]) -> Listing:
    return Listing(1, {key: Entry((version,), data) for key, version, data in entries})


def port(store: ManifestStore, key: PodKey) -> int:
    manifest = store.manifest(key)
    assert manifest
    assert manifest.check
    return manifest.check.probe.port


@pytest.fixture
def store() -> ManifestStore:
    return ManifestStore(Rules(), wall_clock=FakeClock(100.0))


def test_new_changed_and_removed_pods_are_named_and_others_are_not(store: ManifestStore) -> None:
    assert store.replace(listing((A, 1, good(A)), (B, 1, good(B)))) == {A, B}
    assert store.replace(listing((A, 1, good(A)), (B, 2, good(B, 81)))) == {B}
    for _ in range(2):
        store.remove([B])
        assert store.replace(listing((A, 1, good(A)))) == frozenset()
    assert (store.manifest(B), len(store)) == (None, 1)


def test_a_pod_that_is_only_missing_is_kept(store: ManifestStore) -> None:
    store.replace(listing((A, 1, good(A))))
    assert store.replace(listing()) == frozenset()
    assert port(store, A) == 80


def test_bytes_whose_version_did_not_change_are_not_parsed_again(store: ManifestStore) -> None:
    store.replace(listing((A, 1, good(A))))
    before = store.manifest(A)
    assert store.replace(listing((A, 1, BAD))) == frozenset()
    assert store.manifest(A) is before


def test_a_broken_new_version_keeps_the_last_good_manifest_and_says_what_is_wrong(
    store: ManifestStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.replace(listing((A, 1, good(A))))
    store.replace(listing((A, 2, BAD)))
    assert port(store, A) == 80
    intent = store.intents()[A]
    assert (intent.data, intent.invalid_since) == (BAD, 100.0)
    assert intent.error is not None
    assert len(caplog.records) == 1
    store.replace(listing((A, 2, BAD)))
    assert len(caplog.records) == 1, "logged once per version"


def test_the_bytes_of_the_manifest_in_force_are_kept(store: ManifestStore) -> None:
    store.replace(listing((A, 1, good(A))))
    for version in (2, 3):
        store.replace(listing((A, version, BAD)))
    intent = store.intent(A)
    assert intent
    assert (intent.data, intent.good) == (BAD, good(A))
    assert store.intent(B) is None


def test_the_version_of_manifests_is_another_one_when_any_changed(store: ManifestStore) -> None:
    versions = [store.version]
    for entries, removed in (((A, 1, good(A)),), ()), (((A, 2, BAD),), ()), ((), [A]):
        for _ in range(2):
            store.replace(listing(*entries))
            store.remove(removed)
        versions.append(store.version)
    assert len(set(versions)) == len(versions) == 4


def test_unknown_fields_are_logged_once_per_version_with_what_was_meant(
    store: ManifestStore, caplog: pytest.LogCaptureFixture
) -> None:
    odd = b"id: a\nport: 80\nstatus: {intervall: 5s}\n"
    store.replace(listing((A, 1, odd)))
    store.replace(listing((A, 1, odd)))
    store.apply(Rules(assume_passing=True))
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        "manifest of web1/a: port: unknown field, ignored; write status_port; "
        "status.intervall: unknown field, ignored; did you mean status.interval?"
    )
    store.replace(listing((A, 3, b"# again\n" + odd)))
    assert len(caplog.records) == 2


def test_an_unexpected_exception_is_an_error_of_its_manifest_alone(caplog: pytest.LogCaptureFixture) -> None:
    faults = Faults()
    store = ManifestStore(Rules(), faults=faults)
    store.replace(listing((A, 1, good(A))))
    unforeseen: bytes = None  # type: ignore[assignment]
    assert store.replace(listing((A, 2, unforeseen), (B, 1, good(B)))) == {A, B}
    assert (port(store, A), port(store, B)) == (80, 80)
    assert store.intents()[A].error is UNEXPECTED
    assert store.replace(listing((A, 2, unforeseen), (B, 1, good(B)))) == frozenset()
    assert sum(faults.counts().values()) == 2
    assert caplog.messages == ["manifest of web1/a: unexpected exception; everything else goes on"]
    assert store.replace(listing((A, 3, good(A, 81)))) == {A}
    assert (port(store, A), store.intents()[A].error) == (81, None)


def test_a_manifest_is_invalid_since_its_first_broken_version() -> None:
    clock = FakeClock(100.0)
    store = ManifestStore(Rules(), wall_clock=clock)
    store.replace(listing((A, 1, BAD)))
    clock.advance(50)
    store.replace(listing((A, 2, b"id: {\n")))
    assert store.intents()[A].invalid_since == 100.0
    store.replace(listing((A, 3, good(A, 82))))
    assert (store.intents()[A].error, store.intents()[A].invalid_since, port(store, A)) == (None, 0.0, 82)
    clock.advance(50)
    store.replace(listing((A, 4, BAD)))
    assert (store.intents()[A].invalid_since, port(store, A)) == (200.0, 82)


def test_each_accepted_version_has_a_serial_number_of_its_own_and_the_time_at_which_it_was_read() -> None:
    clock = FakeClock(100.0)
    store = ManifestStore(Rules(), clock)
    store.replace(listing((A, 1, good(A)), (B, 1, good(B))))
    clock.advance(50)
    store.replace(listing((A, 2, good(A, 81)), (B, 1, good(B))))
    checks = [manifest.check for key in (A, B) if (manifest := store.manifest(key))]
    versions = [check.version for check in checks if check]
    assert [(version.serial, version.data, version.read_at) for version in versions] == [
        (3, good(A, 81), 150.0),
        (2, good(B), 100.0),
    ]


def test_the_same_bytes_keep_their_serial_number_and_a_broken_version_gets_none(store: ManifestStore) -> None:
    serials = []
    for number, data in enumerate((good(A), good(A), BAD, good(A), good(A, 81), good(A)), 1):
        store.replace(listing((A, number, data)))
        serials.append(store.intents()[A].in_force.serial)
    store.apply(Rules(CheckOptions(interval=60.0)))
    assert interval(store, A) == 60.0
    serials.append(store.intents()[A].in_force.serial)
    store.remove([A])
    store.replace(listing((A, 9, good(A))))
    serials.append(store.intents()[A].in_force.serial)
    assert serials == [1, 1, 1, 1, 2, 3, 3, 4]


def test_the_operators_rules_are_those_of_every_manifest() -> None:
    """tests/reconcilers has the tests of what the rules allow."""
    store = ManifestStore(Rules(CheckOptions(interval=60.0), allow_headers=False))
    store.replace(listing((A, 1, good(A)), (B, 1, b"id: b\nstatus_port: 80\nstatus: {headers: {X-A: b}}\n")))
    manifest = store.manifest(A)
    assert manifest
    assert manifest.check
    assert manifest.check.interval == 60.0
    assert "not allowed" in str(store.intents()[B].error)


def test_a_pod_whose_first_manifest_is_broken_is_known_and_has_none(store: ManifestStore) -> None:
    assert store.replace(listing((A, 1, BAD), (B, 1, good(B)))) == {A, B}
    assert store.manifest(A) is None
    assert port(store, B) == 80


def test_a_removed_pod_that_returns_broken_does_not_get_its_old_manifest_back(store: ManifestStore) -> None:
    store.replace(listing((A, 1, good(A))))
    store.remove([A])
    store.replace(listing((A, 5, BAD)))
    assert store.manifest(A) is None


def test_what_intents_gives_does_not_change_afterwards(store: ManifestStore) -> None:
    store.replace(listing((A, 1, good(A))))
    intents = store.intents()
    store.remove([A])
    assert A in intents


# History


def result(
    generation: int = 1, outcome: Outcome = Outcome.SUCCESS, reason: Reason = Reason.NONE, started: float = 1.0
) -> ProbeResult:
    return ProbeResult(A, generation, outcome, started, 0.25, reason, "why", "body", 200)


def failed(started: float, generation: int = 1) -> ProbeResult:
    return result(generation, Outcome.FAILURE, Reason.REFUSED, started)


# Health


@pytest.fixture
def announced() -> Announced:
    return Announced()


@pytest.fixture
def healths(announced: Announced) -> HealthStore:
    return HealthStore(announced, history_size=3)


def state(healths: HealthStore, key: PodKey = A) -> HealthState:
    found = healths.health(key)
    assert found
    return found[0].state


def test_a_new_check_is_unknown_until_its_first_result(healths: HealthStore, announced: Announced) -> None:
    assert healths.health(A) is None
    healths.follow([(SPEC, 1)])
    assert state(healths) is HealthState.UNKNOWN
    assert announced.batches == []


def test_only_a_changed_state_or_reason_is_announced(healths: HealthStore, announced: Announced) -> None:
    healths.follow([(SPEC, 1)])
    failed = Outcome.FAILURE
    healths.observe([result()])
    healths.observe([result(), result()])
    assert announced.batches == [{A}]
    healths.observe([result(outcome=failed, reason=Reason.REFUSED)])
    healths.observe([result(outcome=failed, reason=Reason.REFUSED)])
    healths.observe([result(outcome=failed, reason=Reason.TIMEOUT)])
    assert announced.batches == [{A}] * 3
    assert state(healths) is HealthState.CRITICAL


def test_another_version_is_announced_with_the_next_result_of_the_same_worker(
    healths: HealthStore, announced: Announced
) -> None:
    old, new = (replace(result(), version=ManifestVersion(serial)) for serial in (1, 2))
    healths.follow([(replace(SPEC, success_threshold=2), 1)])
    healths.observe([old])
    assert announced.batches == [], "one success is no verdict"
    healths.observe([old])
    healths.observe([old])
    assert announced.batches == [{A}]
    healths.observe([new])
    healths.observe([new])
    assert announced.batches == [{A}] * 2
    health, _ = healths.health(A) or (None, 0)
    assert health
    assert health.version.serial == 2


def test_results_of_another_generation_or_of_an_unknown_pod_are_dropped(
    healths: HealthStore, announced: Announced
) -> None:
    healths.observe([result()])
    healths.follow([(SPEC, 2)])
    healths.observe([result(generation=1), result(generation=3)])
    tracked = healths.tracked(A)
    assert tracked
    assert (tracked.counts[Outcome.SUCCESS], list(tracked.history), announced.batches) == (0, [], [])


def test_another_worker_of_a_pod_starts_without_evidence_and_keeps_counters_and_history(healths: HealthStore) -> None:
    healths.follow([(SPEC, 1)])
    healths.observe([result()])
    healths.follow([(SPEC, 2)])
    tracked = healths.tracked(A)
    assert tracked
    assert state(healths) is HealthState.UNKNOWN
    assert (tracked.counts[Outcome.SUCCESS], len(list(tracked.history))) == (1, 1)
    healths.observe([result(generation=1)])
    assert state(healths) is HealthState.UNKNOWN


@pytest.mark.parametrize(
    ("output", "failed", "left"),
    [
        (Output.ALWAYS, False, "secret"),
        (Output.FAILURES, False, ""),
        (Output.FAILURES, True, "secret"),
        (Output.NEVER, True, ""),
    ],
)
def test_an_excerpt_that_the_new_check_must_not_keep_is_dropped_at_once(
    healths: HealthStore, output: Output, left: str, *, failed: bool
) -> None:
    """Its first probe may be an hour away."""
    healths.follow([(SPEC, 1)])
    outcome = Outcome.FAILURE if failed else Outcome.SUCCESS
    healths.observe([replace(result(), outcome=outcome, output="secret")])
    healths.follow([(replace(SPEC, output=output), 2)])
    tracked = healths.tracked(A)
    assert tracked
    assert tracked.last
    assert tracked.last.output == left


def test_the_version_of_the_store_changes_only_with_a_state(healths: HealthStore) -> None:
    versions = [healths.version]

    def looked() -> None:
        versions.append(healths.version)

    healths.follow([(SPEC, 1)])
    looked()
    healths.observe([ProbeResult(A, 1, Outcome.SUCCESS, 1.0, 0.1)])
    looked()
    healths.observe([ProbeResult(A, 1, Outcome.SUCCESS, 6.0, 0.1)])
    assert healths.version == versions[-1]
    healths.observe([ProbeResult(A, 1, Outcome.FAILURE, 11.0, 0.1, Reason.STATUS)])
    looked()
    healths.forget([A])
    looked()
    assert len(set(versions)) == len(versions)


def test_a_forgotten_pod_has_no_health_and_is_announced(healths: HealthStore, announced: Announced) -> None:
    healths.follow([(SPEC, 1)])
    healths.forget([A])
    assert (healths.health(A), healths.tracked(A), healths.all()) == (None, None, [])
    assert announced.batches == [{A}]
    healths.observe([result()])
    assert healths.health(A) is None


def test_health_has_the_time_of_the_last_probe(healths: HealthStore) -> None:
    healths.follow([(SPEC, 1)])
    assert healths.health(A)[1:] == (0.0,)  # type: ignore[index]
    healths.observe([result(started=7.0), result(started=9.0)])
    assert healths.health(A)[1:] == (9.0,)  # type: ignore[index]


def test_a_pod_that_is_not_probed_has_a_state_but_no_probe(healths: HealthStore) -> None:
    healths.follow([(SPEC, 1)])
    healths.observe([result(generation=1)])
    healths.follow([(replace(SPEC, probe=Unprobed()), 2)])
    healths.observe([result(generation=2)])
    tracked = healths.tracked(A)
    assert tracked
    assert (tracked.health.state, tracked.last, sum(tracked.counts.values())) == (HealthState.PASSING, None, 1)
    found = healths.health(A)
    assert found
    assert found[1] == 0.0, "the time of the last probe"
    assert len(list(tracked.history)) == 1, "the one of the old check"


def test_transitions_are_counted(healths: HealthStore) -> None:
    healths.follow([(SPEC, 1)])
    healths.observe([result(), result(outcome=Outcome.FAILURE, reason=Reason.STATUS), result(), result()])
    tracked = healths.tracked(A)
    assert tracked
    assert tracked.transitions == 3


def test_the_log_says_what_changed_and_why(healths: HealthStore, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    healths.follow([(SPEC, 1)])
    healths.observe([result()])
    healths.observe([result(outcome=Outcome.FAILURE, reason=Reason.STATUS)])
    assert [record.getMessage() for record in caplog.records] == ["web1/a is passing", "web1/a is critical: why"]


def test_another_worker_of_a_pod_has_its_own_initial_delay() -> None:
    clock = FakeClock(1_000.0)
    healths = HealthStore(Announced(), wall_clock=clock)
    delayed = replace(SPEC, initial_delay=30.0)
    healths.follow([(delayed, 1)])
    healths.observe([failed(1_040.0)])
    clock.advance(50)
    healths.follow([(delayed, 2)])
    healths.observe([failed(1_060.0, 2)])
    assert state(healths) is HealthState.UNKNOWN
    healths.observe([failed(1_081.0, 2)])
    assert state(healths) is HealthState.CRITICAL


# Cut off


WHY = "this node is cut off"


def test_checks_that_became_critical_lately_become_unknown_and_are_announced(
    healths: HealthStore, announced: Announced
) -> None:
    other = replace(SPEC, key=B)
    healths.follow([(SPEC, 1), (other, 1)])
    healths.observe([failed(10.0), replace(failed(90.0), key=B)])
    announced.batches.clear()
    healths.declare_cut_off(WHY, since=50.0)
    assert (state(healths), state(healths, B)) == (HealthState.CRITICAL, HealthState.UNKNOWN)
    health = healths.health(B)
    assert health
    assert (health[0].reason, health[0].detail, health[0].output) == (Reason.LOCAL, WHY, "")
    assert announced.batches == [{B}]
    tracked = healths.tracked(B)
    assert tracked
    assert tracked.transitions == 2


def test_while_cut_off_failures_are_our_own_fault_and_successes_count(healths: HealthStore) -> None:
    healths.follow([(SPEC, 1)])
    healths.observe([result(started=1.0)])
    healths.declare_cut_off(WHY, since=0.0)
    assert (healths.cut_off, state(healths)) == (WHY, HealthState.PASSING)
    healths.observe([failed(2.0)])
    tracked = healths.tracked(A)
    assert tracked
    assert tracked.last
    assert (tracked.last.outcome, tracked.last.reason, tracked.last.detail) == (Outcome.LOCAL, Reason.LOCAL, WHY)
    assert (state(healths), tracked.assessment.failing_since) == (HealthState.UNKNOWN, 2.0)
    assert tracked.counts == {Outcome.SUCCESS: 1, Outcome.WARNING: 0, Outcome.FAILURE: 0, Outcome.LOCAL: 1}
    healths.observe([result(started=3.0)])
    assert state(healths) is HealthState.PASSING
    healths.end_cut_off()
    assert healths.cut_off == ""
    healths.observe([failed(4.0)])
    assert state(healths) is HealthState.CRITICAL


class InDeployment(dict[PodKey, ManifestVersion]):
    """The versions that are being deployed until their first success."""

    def succeeded(self, key: PodKey, version: ManifestVersion) -> None:
        if self.get(key) == version:
            del self[key]

    def excuses(self, key: PodKey, started: float) -> bool:
        assert started
        return key in self


def test_a_pod_that_is_being_deployed_is_not_critical_before_its_first_success(announced: Announced) -> None:
    healths = HealthStore(announced, deployments=InDeployment({A: ManifestVersion(2)}))
    healths.follow([(SPEC, 1)])
    healths.observe([failed(1.0)])
    health, _ = healths.health(A) or (None, 0)
    assert health
    assert (health.state, health.reason, healths.deploying()) == (HealthState.UNKNOWN, Reason.DEPLOYING, 1)
    assert health.detail == "being deployed, and not well yet: why"
    healths.observe([failed(2.0)])
    assert announced.batches == [{A}]
    healths.observe([replace(result(), version=ManifestVersion(1)), failed(3.5)])
    assert healths.deploying() == 1, "an earlier version answered"
    healths.observe([replace(result(), version=ManifestVersion(2)), failed(4.0)])
    assert (state(healths), healths.deploying()) == (HealthState.CRITICAL, 0)


def test_a_cut_off_that_changes_no_state_is_not_announced(healths: HealthStore, announced: Announced) -> None:
    healths.follow([(SPEC, 1)])
    healths.declare_cut_off(WHY, since=0.0)
    assert announced.batches == []


# Other rules


def asking(text: str, pod: str = "a") -> bytes:
    return f"id: {pod}\nstatus_port: 80\nstatus: {{{text}}}\n".encode()


def interval(store: ManifestStore, key: PodKey) -> float:
    manifest = store.manifest(key)
    assert manifest
    assert manifest.check
    return manifest.check.interval


def test_other_defaults_change_only_the_manifests_that_rest_on_them() -> None:
    store = ManifestStore(Rules())
    store.replace(listing((A, 1, good(A)), (B, 1, asking("interval: 7s", "b"))))
    untouched = store.intents()[B]
    assert store.apply(Rules(CheckOptions(interval=6.0))) == {A}
    assert (interval(store, A), interval(store, B)) == (6.0, 7.0)
    assert store.intents()[B] is untouched
    assert store.apply(Rules(CheckOptions(interval=6.0))) == frozenset()


def test_a_manifest_that_new_rules_do_not_allow_keeps_its_last_valid_version() -> None:
    store = ManifestStore(Rules())
    store.replace(listing((A, 1, asking("timeout: 5s"))))
    assert store.apply(Rules(CheckOptions(interval=1.0, timeout=1.0))) == {A}
    assert interval(store, A) == 5.0
    assert "timeout" in str(store.intents()[A].error)
    assert store.apply(Rules()) == {A}
    assert store.intents()[A].error is None


def test_invalid_manifests_are_parsed_again_under_the_same_rules(caplog: pytest.LogCaptureFixture) -> None:
    missing = {"/ca.pem"}
    rules = Rules(unreadable=lambda path: "No such file" if path in missing else "")
    store = ManifestStore(rules)
    store.replace(listing((A, 1, asking("tls: {ca_file: /ca.pem}"))))
    assert store.manifest(A) is None
    assert store.apply(rules) == frozenset()
    assert len(caplog.records) == 1
    missing.clear()
    assert store.apply(rules) == {A}
    assert store.manifest(A) is not None


# Proof


def test_after_a_long_silence_only_a_success_proves_that_a_pod_is_passing(announced: Announced) -> None:
    now = FakeClock(1_000.0)
    healths = HealthStore(announced, wall_clock=now)
    healths.follow([(replace(SPEC, failure_threshold=3), 1)])
    assert healths.is_proven(A), "unknown needs no proof"
    healths.observe([result(started=1_000.0)])
    assert healths.is_proven(A)
    now.advance(3_600.0)
    assert not healths.is_proven(A)
    healths.observe([result(started=1_004.0)])
    assert not healths.is_proven(A), "that probe started before the silence"
    healths.observe([failed(started=now.now)])
    assert not healths.is_proven(A), "the first miss of three"
    assert state(healths) is HealthState.PASSING
    healths.observe([result(started=now.now)])
    assert healths.is_proven(A)
    assert announced.batches == [{A}]


def test_voided_evidence_is_replaced_only_by_probes_that_started_later(announced: Announced) -> None:
    healths = HealthStore(announced, wall_clock=FakeClock(1_000.0))
    healths.follow([(SPEC, 1)])
    healths.observe([result(started=1_000.0)])
    healths.void()
    healths.void()
    assert (healths.is_proven(A), state(healths)) == (False, HealthState.PASSING)
    healths.count_again()
    healths.observe([result(started=1_000.0)])
    assert not healths.is_proven(A), "no probe has started since evidence was voided the second time"
    healths.count_again()
    assert not healths.is_proven(A)
    healths.observe([result(started=1_000.0)])
    assert healths.is_proven(A)


def test_a_probe_that_ended_because_evidence_was_voided_is_counted_and_changes_nothing(announced: Announced) -> None:
    healths = HealthStore(announced)
    healths.follow([(SPEC, 1)])
    healths.observe([result()])
    announced.batches.clear()
    healths.void()
    healths.observe([replace(result(), outcome=Outcome.LOCAL, reason=Reason.LOCAL)])
    (tracked,) = healths.all()
    assert tracked.counts[Outcome.LOCAL] == 1
    assert (state(healths), announced.batches) == (HealthState.PASSING, [])


@pytest.mark.parametrize(("outcome", "proven"), [(Outcome.SUCCESS, True), (Outcome.FAILURE, False)])
def test_the_last_probe_of_an_earlier_run_is_proof_if_it_was_a_success(outcome: Outcome, proven: bool) -> None:
    before = Inherited(CheckHealth(HealthState.PASSING, since=5.0), last=result(7, outcome, started=999.0))
    healths = HealthStore(Announced(), wall_clock=FakeClock(1_000.0), inherit=lambda _: before)
    healths.follow([(SPEC, 1)])
    assert healths.is_proven(A) is proven
    healths.follow([(replace(SPEC, interval=7), 2)])
    healths.observe([result(2, started=1.0)])
    assert not healths.is_proven(A), "another check is proven by its own probes"


# The state of an earlier run


def test_the_time_of_the_last_probe_is_returned_for_a_check_that_continues() -> None:
    inherited = {A: Inherited(CheckHealth(), last=result(7, started=3.0)), B: Inherited(CheckHealth())}
    healths = HealthStore(Announced(), inherit=lambda spec: inherited.get(spec.key))
    others = [replace(SPEC, key=PodKey("web1", "other"))]
    assert healths.follow([(spec, 1) for spec in (SPEC, replace(SPEC, key=B), *others)]) == {A: 3.0}


def test_a_check_that_another_controller_has_probed_has_no_time_of_its_last_probe() -> None:
    inherited = {A: Inherited(CheckHealth(), is_handed_over=True)}
    healths = HealthStore(Announced(), inherit=lambda spec: inherited.get(spec.key))
    assert healths.follow([(spec, 1) for spec in (SPEC, replace(SPEC, key=B))]) == {A: None}


def test_a_check_continues_where_an_earlier_run_ended_and_is_announced() -> None:
    announced, before = Announced(), CheckHealth(HealthState.CRITICAL, since=5.0, failures=3)
    healths = HealthStore(announced, inherit=lambda spec: Inherited(before, 4.0) if spec.key == A else None)
    healths.follow([(SPEC, 1), (replace(SPEC, key=B), 2)])
    assert healths.health(A) == (before, 0.0)
    assert announced.batches == [frozenset({A})]
    tracked = healths.tracked(B)
    assert tracked
    assert tracked.health.state is HealthState.UNKNOWN


# In a fleet


def test_a_change_of_the_counts_is_announced_while_the_node_may_move_to_another_controller() -> None:
    announced, moving = Announced(), set[str]()
    healths = HealthStore(announced, moves=moving.__contains__)
    healths.follow([(replace(SPEC, failure_threshold=5), 1)])
    healths.observe([result(1, started=1.0)])
    healths.observe([result(1, Outcome.FAILURE, started=2.0)])
    assert announced.batches == [{A}], "the first verdict"
    assert healths.pending() == [A]
    moving.add("web1")
    healths.observe([result(1, Outcome.FAILURE, started=3.0)])
    healths.observe([result(1, started=4.0)])
    assert announced.batches == [{A}] * 3
    assert healths.pending() == []
    healths.observe([result(1, started=5.0)])
    assert announced.batches == [{A}] * 3, "nothing has changed"
