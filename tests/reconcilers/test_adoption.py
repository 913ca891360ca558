"""What is taken over from an earlier run: only the state of an equal check, and of two sources the newer one."""

from dataclasses import replace
from math import inf, nan

import pytest

from reconcilers.adoption import HINT, Inherited, Saved, adopt, digest, identity
from reconcilers.health import Assessment, CheckHealth, Counts, HealthState, Outcome, ProbeResult, Reason
from reconcilers.p2.manifest import sha_or_empty
from reconcilers.record import Elsewhere, HealthRecord
from reconcilers.spec import NO_VERSION, CheckSpec, HttpGet, ManifestVersion, Output, PodKey, TcpConnect, Tls

KEY = PodKey("web1", "isup")
MANIFEST = b"id: isup\nstatus_port: 8000\n"
VERSION = ManifestVersion(3, MANIFEST)
SPEC = CheckSpec(
    KEY,
    HttpGet("web1", 8000, "/_status", Tls()),
    5.0,
    5.0,
    failure_threshold=3,
    success_threshold=2,
    version=VERSION,
)
NOW = 1000.0
LAST = ProbeResult(KEY, 7, Outcome.SUCCESS, 995.0, 0.004, status_code=200)
PASSING = CheckHealth(HealthState.PASSING, since=900.0, successes=2, misses=1, failures=1, born=890.0, version=VERSION)
WARNED = CheckHealth(HealthState.WARNING, Reason.SLOW, 940.0, "the probe took 612 ms", successes=1, version=VERSION)
CRITICAL = CheckHealth(
    HealthState.CRITICAL,
    Reason.STATUS,
    950.0,
    "answered with status 503",
    failures=4,
    misses=4,
    version=VERSION,
)


def saved(health: CheckHealth, at: float = 998.0, **fields: object) -> Saved:
    return replace(Saved.of(SPEC, at, health, 960.0, LAST), **fields)  # type: ignore[arg-type]


def record(health: CheckHealth, written: float = 990.0) -> HealthRecord:
    return replace(HealthRecord.of(KEY, health, 989.0), written=written)


def test_of_a_state_about_another_version_of_the_manifest_only_the_counts_are_used() -> None:
    other = replace(SPEC, version=ManifestVersion(3, MANIFEST + b"# another\n"))
    assert identity(other) == identity(SPEC)
    adopted = adopt(other, saved(PASSING), record(PASSING), NOW)
    assert adopted
    assert (adopted.health.since, adopted.health.successes) == (0.0, 2)
    young = CheckHealth(misses=2, born=890.0)
    assert adopt(other, saved(young), record(PASSING), NOW) == Inherited(young, 960.0, LAST)
    assert saved(PASSING).manifest == digest(MANIFEST)
    assert (saved(PASSING).health.version, saved(PASSING).health.version.data) == (NO_VERSION, b"")


def test_a_serial_number_of_an_earlier_run_says_nothing() -> None:
    """The digest of the bytes tells the versions apart."""
    mine = replace(SPEC, version=ManifestVersion(77, MANIFEST))
    adopted = adopt(mine, saved(PASSING), record(PASSING), NOW)
    assert adopted
    assert (adopted.health.state, adopted.health.version.serial) == (HealthState.PASSING, 77)
    last = replace(LAST, version=VERSION)
    assert Saved.of(SPEC, NOW, PASSING, 0.0, last).last == LAST


@pytest.mark.parametrize(
    ("last", "last_success"), [(None, 0.0), (LAST, 995.0), (replace(LAST, outcome=Outcome.FAILURE), 0.0)]
)
def test_a_last_probe_that_was_a_success_is_the_last_success(last: ProbeResult | None, last_success: float) -> None:
    assert Inherited(PASSING, 960.0, last).assessment == Assessment(PASSING, 960.0, last_success)


def test_a_saved_state_that_equals_the_published_one_continues() -> None:
    assert adopt(SPEC, saved(PASSING), record(PASSING), NOW) == Inherited(PASSING, 960.0, LAST)
    assert adopt(SPEC, saved(CRITICAL), record(CRITICAL), NOW) == Inherited(CRITICAL, 960.0, LAST)


def test_the_excerpt_comes_from_the_published_record() -> None:
    published = record(replace(CRITICAL, output="no disk"))
    assert adopt(SPEC, saved(CRITICAL), published, NOW) == Inherited(replace(CRITICAL, output="no disk"), 960.0, LAST)
    assert adopt(SPEC, saved(replace(CRITICAL, reason=Reason.BODY)), published, NOW) == Inherited(
        replace(CRITICAL, reason=Reason.BODY), 960.0, LAST
    )


def test_a_record_published_after_the_saving_wins_and_has_no_counts() -> None:
    published = record(replace(CRITICAL, output="no disk"), written=999.0)
    assert adopt(SPEC, saved(PASSING), published, NOW) == Inherited(
        CheckHealth(
            HealthState.CRITICAL,
            Reason.STATUS,
            950.0,
            "answered with status 503",
            output="no disk",
            born=890.0,
            version=VERSION,
        )
    )


def test_an_equal_record_published_after_the_saving_keeps_the_counts() -> None:
    assert adopt(SPEC, saved(CRITICAL), record(CRITICAL, written=999.0), NOW) == Inherited(CRITICAL, 960.0, LAST)


def test_a_state_saved_after_the_publishing_wins_if_it_is_not_passing() -> None:
    assert adopt(SPEC, saved(CRITICAL), record(PASSING), NOW) == Inherited(CRITICAL, 960.0, LAST)


def test_a_saved_state_alone_never_makes_a_check_passing() -> None:
    adopted = adopt(SPEC, saved(PASSING), record(CRITICAL), NOW)
    assert adopted is not None
    assert (adopted.health.state, adopted.health.successes) == (HealthState.CRITICAL, 0)


def test_a_flapping_pod_has_the_state_that_was_last_seen() -> None:
    flapping = record(PASSING).damped(5)
    assert adopt(SPEC, saved(PASSING), flapping, NOW) == Inherited(PASSING, 960.0, LAST)
    flapping = record(CRITICAL).damped(5)
    adopted = adopt(SPEC, saved(PASSING), flapping, NOW)
    assert adopted is not None
    assert (adopted.health.state, adopted.health.reason) == (HealthState.UNKNOWN, Reason.FLAPPING)


def test_without_a_published_record_only_the_counts_are_used() -> None:
    adopted = adopt(SPEC, saved(PASSING), None, NOW)
    assert adopted == Inherited(CheckHealth(successes=2, failures=1, misses=1, born=890.0))
    assert adopted is not None
    assert not adopted.health.since
    assert adopted.health.after(replace(LAST, started=NOW), SPEC).state is HealthState.PASSING


def test_a_saved_state_with_a_warning_is_taken_over_unless_readers_have_had_a_worse_one() -> None:
    assert adopt(SPEC, saved(WARNED), record(WARNED), NOW) == Inherited(WARNED, 960.0, LAST)
    assert adopt(SPEC, saved(WARNED), record(PASSING), NOW) == Inherited(WARNED, 960.0, LAST), "the older one"
    newer = adopt(SPEC, saved(WARNED), record(PASSING, written=999.0), NOW)
    assert newer is not None
    assert newer.health.state is HealthState.PASSING
    for worse in (record(CRITICAL), record(CRITICAL).damped(5), HealthRecord(KEY, HealthState.UNKNOWN)):
        adopted = adopt(SPEC, saved(WARNED), worse, NOW)
        assert adopted is not None
        assert adopted.health.state is worse.status


def test_a_last_probe_with_a_warning_is_a_success_that_proves_the_state() -> None:
    last = replace(LAST, outcome=Outcome.WARNING, reason=Reason.SLOW)
    assert Inherited(WARNED, last=last).assessment == Assessment(WARNED, 0.0, 995.0)
    assert Inherited(WARNED, last=replace(last, outcome=Outcome.FAILURE)).assessment.last_success == 0.0


def test_warnings_towards_another_state_are_continued() -> None:
    shaky = replace(PASSING, failures=0, misses=0, warnings=2)
    warning = replace(LAST, outcome=Outcome.WARNING, reason=Reason.SLOW, version=VERSION)
    for adopted in (
        adopt(SPEC, saved(shaky), record(shaky), NOW),
        adopt(SPEC, None, replace(elsewhere(shaky), counts=shaky.pending), NOW),
    ):
        assert adopted is not None
        assert adopted.health.after(warning, SPEC).state is HealthState.WARNING
    hint = adopt(SPEC, saved(shaky), None, NOW)
    assert hint is not None
    assert hint.health.warnings == 0, "a check without a state counts other warnings"


@pytest.mark.parametrize("now", [998.0 + HINT, 997.0])
def test_old_counts_and_counts_of_the_future_are_not_used(now: float) -> None:
    assert adopt(SPEC, saved(PASSING), None, now) is None


@pytest.mark.parametrize("health", [PASSING, CRITICAL, CheckHealth(misses=2, born=890.0)])
def test_the_counts_are_kept_when_the_clock_was_set_back(health: CheckHealth) -> None:
    assert adopt(SPEC, saved(health, at=500.0), record(health), 502.0) == Inherited(health, 960.0, LAST)


def test_a_changed_check_starts_without_the_saved_state() -> None:
    assert adopt(replace(SPEC, interval=6.0), saved(PASSING), record(PASSING), NOW) is None


@pytest.mark.parametrize(
    "odd",
    [
        replace(PASSING, since=nan),
        replace(PASSING, since=inf),
        replace(PASSING, born=-1.0),
        replace(PASSING, since=2000.0),
        replace(PASSING, misses=-1),
        replace(PASSING, warnings=-1),
    ],
)
def test_an_impossible_state_is_not_used(odd: CheckHealth) -> None:
    assert adopt(SPEC, replace(saved(odd), at=998.0), record(PASSING), NOW) is None
    assert adopt(SPEC, saved(PASSING, last=None), record(PASSING), NOW) is not None
    assert adopt(SPEC, saved(PASSING, failing_since=nan), record(PASSING), NOW) is None


def test_equal_checks_have_the_same_identity() -> None:
    assert identity(SPEC) == identity(replace(SPEC, version=ManifestVersion(4, b"other", 12.0)))
    assert identity(SPEC) == identity(replace(SPEC, probe=HttpGet("web1", 8000, "/_status", Tls(), method="GET")))


@pytest.mark.parametrize(
    "other",
    [
        replace(SPEC, timeout=4.0),
        replace(SPEC, output=Output.NEVER),
        replace(SPEC, address="127.0.0.1"),
        replace(SPEC, probe=TcpConnect("web1", 8000)),
        replace(SPEC, probe=HttpGet("web1", 8000, "/_status")),
        replace(SPEC, probe=HttpGet("web1", 8000, "/_status", Tls(ca_file="ca.pem"))),
        replace(SPEC, probe=HttpGet("web1", 8000, "/_status", Tls(cert_file="ca.pem"))),
    ],
)
def test_checks_that_differ_in_any_field_have_another_identity(other: CheckSpec) -> None:
    assert identity(other) != identity(SPEC)


def test_an_identity_is_the_same_in_every_version() -> None:
    """One version of the program reads what another one saved. A change here makes every upgrade lose its states."""
    assert identity(SPEC) == "0ee21ffcb6826f481a6b384e"


# What another controller has published


SHA = sha_or_empty(MANIFEST)


def elsewhere(health: CheckHealth, sha: str = SHA) -> Elsewhere:
    return Elsewhere.of_record(replace(record(health), manifest_sha=sha))


@pytest.mark.parametrize("before", [None, saved(PASSING)], ids=["nothing saved", "saved long ago"])
@pytest.mark.parametrize("health", [PASSING, CRITICAL, WARNED], ids=["passing", "critical", "warning"])
def test_a_record_of_another_controller_alone_is_taken_over_without_counts(
    before: Saved | None, health: CheckHealth
) -> None:
    adopted = adopt(SPEC, before, elsewhere(health), NOW)
    expected = replace(health, successes=0, failures=0, misses=0, born=NOW, version=VERSION)
    assert adopted == Inherited(expected, is_handed_over=True)
    assert HealthRecord.of(KEY, expected, 0.0, SHA) == elsewhere(health).ours(), "readers see no difference"


@pytest.mark.parametrize("sha", ["", "0" * 64], ids=["none", "another"])
def test_a_record_of_another_controller_about_another_manifest_says_nothing(sha: str) -> None:
    assert adopt(SPEC, None, elsewhere(PASSING, sha), NOW) == Inherited(CheckHealth(born=NOW), is_handed_over=True)


def test_a_record_of_another_controller_without_the_time_of_its_state_has_the_time_of_its_writing() -> None:
    adopted = adopt(SPEC, None, elsewhere(replace(PASSING, since=0.0)), NOW)
    assert adopted
    assert adopted.health.since == 990.0


def test_without_a_saved_state_the_record_of_an_earlier_run_is_not_used() -> None:
    assert adopt(SPEC, None, record(PASSING), NOW) is None


def test_the_counts_in_a_record_of_another_controller_are_continued_for_the_same_manifest_only() -> None:
    moving = replace(elsewhere(PASSING), counts=PASSING.pending)
    adopted = adopt(SPEC, None, moving, NOW)
    assert adopted
    assert (adopted.health.successes, adopted.health.failures, adopted.health.misses) == (0, 1, 1)
    other = adopt(SPEC, None, replace(moving, manifest_sha="0" * 64), NOW)
    assert other == Inherited(CheckHealth(born=NOW), is_handed_over=True)


@pytest.mark.parametrize("health", [PASSING, CRITICAL, WARNED], ids=["passing", "critical", "warning"])
def test_a_flapping_pod_of_another_controller_continues_with_what_was_last_seen(health: CheckHealth) -> None:
    damped = Elsewhere.of_record(replace(record(health).damped(16), manifest_sha=SHA))
    adopted = adopt(SPEC, None, damped, NOW)
    assert adopted
    assert (adopted.health.state, adopted.health.reason, adopted.health.since) == (
        health.state, Reason.NONE, health.since
    )  # fmt: skip
    assert adopted.health.detail == f"last seen {health.state} by the controller that checked it before"


@pytest.mark.parametrize(
    ("health", "pending"),
    [
        (PASSING, Counts(0, 1, 1)),
        (CRITICAL, Counts()),
        (replace(CRITICAL, successes=1), Counts(1)),
        (CheckHealth(HealthState.UNKNOWN, misses=3, failures=1), Counts(0, 1, 3)),
        (replace(PASSING, warnings=2), Counts(0, 1, 1, 2)),
        (replace(CRITICAL, warnings=1), Counts(warnings=1)),
        (WARNED, Counts(1)),
        (replace(WARNED, successes=0, failures=1, misses=2), Counts(0, 1, 2)),
    ],
)
def test_the_counts_towards_another_state_are_pending(health: CheckHealth, pending: Counts) -> None:
    assert health.pending == pending


def test_no_check_takes_over_what_is_saved_of_a_pod_without_a_check() -> None:
    saved = Saved.without_check(SPEC.key, 1000.0, "u:5:0:")
    assert saved.uptime == "u:5:0:"
    assert adopt(SPEC, saved, None, 1000.0) is None
