"""Which results are evidence, and when evidence is taken back: tables, and random histories against a simple model."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcilers.health import (
    Assessment,
    CheckHealth,
    HealthState,
    Outcome,
    ProbeResult,
    Reason,
    attributed,
    is_evidence,
)
from reconcilers.spec import ManifestVersion
from tests.reconcilers.test_health import HISTORIES, THRESHOLDS, result, spec

WHY = "this node is cut off"
BORN = 1_000.0


def run(history: str, failures: int = 1, successes: int = 1, cut_off: str = "") -> Assessment:
    """The assessment after `history`. Result number n, counted from 1, started at 1000 + n."""
    assessment = Assessment(CheckHealth(born=BORN))
    for number, letter in enumerate(history, 1):
        assessment = assessment.after(result(letter, number), spec(failures, successes), cut_off=cut_off)
    return assessment


@pytest.mark.parametrize(
    ("history", "failing_since", "last_success"),
    [
        ("", 0, 0),
        ("f", 1, 0),
        ("ff", 1, 0),
        ("ffs", 0, 3),
        ("ffsf", 4, 3),
        ("ffsfl", 4, 3),
        ("ffsflf", 4, 3),
        ("l", 0, 0),
        ("sl", 0, 1),
    ],
)
def test_a_check_fails_since_the_first_failure_after_the_last_success(
    history: str, failing_since: int, last_success: int
) -> None:
    assessment = run(history)
    assert assessment.failing_since == (failing_since and BORN + failing_since)
    assert assessment.last_success == (last_success and BORN + last_success)


@given(HISTORIES, THRESHOLDS, THRESHOLDS)
def test_the_times_of_evidence_are_what_the_whole_history_says(history: str, failures: int, successes: int) -> None:
    assessment, success = run(history, failures, successes), history.rfind("s") + 1
    row = [number for number, letter in enumerate(history, 1) if number > success and letter in "fr"]
    assert assessment.last_success == (success and BORN + success)
    assert assessment.failing_since == (row[0] + BORN if row else 0.0)


@pytest.mark.parametrize("letter", "sfrl")
def test_only_a_failure_is_attributed_to_us_and_only_while_cut_off(letter: str) -> None:
    seen = result(letter, 1)
    assert attributed(seen, "") is seen
    expected = replace(seen, outcome=Outcome.LOCAL, reason=Reason.LOCAL, detail=WHY) if letter in "fr" else seen
    assert attributed(seen, WHY) == expected


@given(HISTORIES, THRESHOLDS, THRESHOLDS)
def test_while_cut_off_nothing_becomes_critical_and_successes_count(
    history: str, failures: int, successes: int
) -> None:
    cut_off, ours = run(history, failures, successes, WHY), history.replace("f", "l").replace("r", "l")
    assert cut_off.health.state is not HealthState.CRITICAL
    assert cut_off.health.state is run(ours, failures, successes).health.state
    assert cut_off.failing_since == run(history, failures, successes).failing_since


@pytest.mark.parametrize(
    ("history", "since", "state"),
    [
        ("f", 2, HealthState.CRITICAL),  # it began to fail before
        ("f", 1, HealthState.CRITICAL),
        ("f", 0, HealthState.UNKNOWN),
        ("fsf", 1, HealthState.UNKNOWN),
        ("s", 0, HealthState.PASSING),
        ("l", 0, HealthState.UNKNOWN),
    ],
)
def test_a_critical_that_began_lately_is_taken_back(history: str, since: int, state: HealthState) -> None:
    before = run(history)
    after = before.without_failures_since(BORN + since, WHY, 2_000.0)
    assert after.health.state is state
    if before.health.state is not after.health.state:
        assert (after.health.reason, after.health.detail, after.health.output) == (Reason.LOCAL, WHY, "")
        assert after.health.since == 2_000.0
        assert after.health.is_news_after(before.health)
    else:
        assert not after.health.is_news_after(before.health)


def test_failures_before_critical_are_taken_back_too() -> None:
    after = run("sff", failures=3).without_failures_since(BORN, WHY, 2_000.0)
    assert (after.health.state, after.health.failures) == (HealthState.PASSING, 0)
    states = []
    for number in range(4, 7):
        after = after.after(result("f", number), spec(3, 1))
        states.append(after.health.state)
    assert states == [HealthState.UNKNOWN, HealthState.UNKNOWN, HealthState.CRITICAL]


@given(HISTORIES, THRESHOLDS, THRESHOLDS, st.integers(0, 40))
def test_failures_that_are_taken_back_count_for_nothing_later(
    history: str, failures: int, successes: int, since: int
) -> None:
    before = run(history, failures, successes)
    after = before.without_failures_since(BORN + since, WHY, 2_000.0)
    if before.failing_since <= BORN + since:
        assert after is before
        return
    assert (after.failing_since, after.last_success) == (before.failing_since, before.last_success)
    for number in range(failures - 1):
        after = after.after(result("f", 100 + number), spec(failures, successes))
        assert after.health.state is not HealthState.CRITICAL
    assert after.after(result("f", 199), spec(failures, successes)).health.state is HealthState.CRITICAL


@given(HISTORIES, THRESHOLDS, THRESHOLDS)
def test_voided_evidence_keeps_the_state_and_counts_for_nothing(history: str, failures: int, successes: int) -> None:
    before = run(history, failures, successes)
    voided = before.voided()
    assert voided.health.state is before.health.state
    assert not voided.health.is_news_after(before.health)
    assert (voided.health.failures, voided.health.misses, voided.last_success) == (0, 0, 0.0)
    assert voided.failing_since == before.failing_since


@pytest.mark.parametrize(("letter", "evidence"), [("s", True), ("f", True), ("r", True), ("l", False)])
def test_while_voided_an_ended_probe_is_no_evidence(letter: str, *, evidence: bool) -> None:
    assert is_evidence(result(letter, 1), voided=True) is evidence
    assert is_evidence(result(letter, 1), voided=False)


def test_while_voided_a_success_proves_nothing_later() -> None:
    success = result("s", 1)
    passing = Assessment(CheckHealth(born=BORN)).after(success, spec(1, 1), voided=True)
    assert (passing.health.state, passing.last_success) == (HealthState.PASSING, 0.0)
    assert passing.after(success, spec(1, 1)).last_success == success.started


def test_a_deploying_pod_fails_since_its_first_failure() -> None:
    check = spec(1, 1)
    deploying = Assessment(CheckHealth(born=BORN)).after(result("f", 1), check, deploying=True)
    assert (deploying.health.reason, deploying.failing_since) == (Reason.DEPLOYING, BORN + 1)


def test_another_version_is_news_with_its_first_counted_result() -> None:
    def succeeded(number: int, serial: int) -> ProbeResult:
        return replace(result("s", number), version=ManifestVersion(serial))

    old = Assessment(CheckHealth(born=BORN)).after(succeeded(1, serial=1), spec(1, 1))
    new = old.after(succeeded(2, serial=2), spec(1, 1))
    late = old.after(succeeded(3, serial=1), spec(1, 1))
    assert new.health.is_news_after(old.health)
    assert not late.health.is_news_after(old.health)
