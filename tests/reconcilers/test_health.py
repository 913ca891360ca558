"""The state machine of health: tables, and random histories against a model that reads the whole history."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcilers.health import NO_CERTIFICATE, Certificate, CheckHealth, HealthState, Outcome, ProbeResult, Reason
from reconcilers.spec import NO_VERSION, CheckSpec, HttpGet, ManifestVersion, Output, PodKey

KEY = PodKey("web1", "isup")
LETTERS = {
    "s": (Outcome.SUCCESS, Reason.NONE),
    "f": (Outcome.FAILURE, Reason.TIMEOUT),
    "r": (Outcome.FAILURE, Reason.REFUSED),
    "l": (Outcome.LOCAL, Reason.LOCAL),
}
"""A history is a string of letters: success, failure by timeout, failure by refusal, our own fault."""

HISTORIES = st.text("sfrl", max_size=40)
THRESHOLDS = st.integers(1, 4)


def spec(failures: int, successes: int, delay: float = 0.0) -> CheckSpec:
    return CheckSpec(KEY, HttpGet("web1", 8000, "/_status"), 5.0, 5.0, failures, successes, delay)


def result(letter: str, number: int) -> ProbeResult:
    outcome, reason = LETTERS[letter]
    return ProbeResult(KEY, 1, outcome, 1_000.0 + number, 0.1, reason, f"{letter}{number}", f"body {number}")


def run(history: str, failures: int, successes: int, delay: float = 0.0) -> list[CheckHealth]:
    """The health before the first and after each result; result number n started at 1000 + n, n from 1.

    The check was born at 1000, so with a delay of d the first d - 1 results started within it.
    """
    healths = [CheckHealth(born=1_000.0)]
    for number, letter in enumerate(history, 1):
        healths.append(healths[-1].after(result(letter, number), spec(failures, successes, delay)))
    return healths


def model(history: str, failures: int, successes: int) -> HealthState:
    """The state, computed from the whole history instead of from counts."""
    if not history:
        return HealthState.UNKNOWN
    last_run = "".join(takewhile(lambda letter: (letter == "s") == (history[-1] == "s"), reversed(history)))
    if history[-1] == "s" and len(last_run) >= successes:
        return HealthState.PASSING
    if history[-1] != "s" and len(last_run) >= failures:
        evidence = len(last_run.replace("l", ""))
        return HealthState.CRITICAL if evidence >= failures else HealthState.UNKNOWN
    return model(history[:-1], failures, successes)


def word(healths: Sequence[CheckHealth]) -> str:
    return "".join(health.state.value[0] for health in healths[1:])


@pytest.mark.parametrize(
    ("failures", "successes", "history", "states"),
    [
        (1, 1, "sfsfs", "pcpcp"),
        (1, 1, "lsl", "upu"),
        (1, 1, "fl", "cc"),
        (1, 2, "sss", "upp"),
        (1, 3, "ssfsss", "uucccp"),
        (2, 1, "sfsfsf", "pppppp"),
        (2, 1, "sffs", "ppcp"),
        (3, 1, "fffsff", "uucppp"),
        (2, 1, "slf", "ppu"),
        (2, 1, "slff", "ppuc"),
        (2, 1, "sflf", "ppuc"),
        (2, 1, "sll", "ppu"),
        (2, 2, "ffsl", "uccc"),
        (2, 2, "ffsll", "ucccu"),
        (2, 2, "ffsfss", "uccccp"),
        (2, 2, "llss", "uuup"),
        (3, 2, "lllllfff", "uuuuuuuc"),
    ],
)
def test_thresholds_count_results_in_a_row(failures: int, successes: int, history: str, states: str) -> None:
    assert word(run(history, failures, successes)) == states


def test_a_check_that_was_not_probed_is_unknown_without_a_verdict() -> None:
    health = CheckHealth()
    assert (health.state, health.reason, health.since) == (HealthState.UNKNOWN, Reason.NONE, 0.0)


def test_too_few_results_are_no_verdict() -> None:
    assert [health.since for health in run("ff", 3, 1)] == [0.0, 0.0, 0.0]
    assert [health.since for health in run("sf", 2, 2)] == [0.0, 0.0, 0.0]


def test_a_state_begins_with_the_probe_that_changed_it() -> None:
    assert [health.since for health in run("ssfrfss", 1, 1)[1:]] == [1001, 1001, 1003, 1003, 1003, 1006, 1006]


def test_unknown_because_of_our_own_fault_begins_with_that_result() -> None:
    first = run("l", 1, 1)[-1]
    assert (first.state, first.reason, first.since, first.detail) == (HealthState.UNKNOWN, Reason.LOCAL, 1001.0, "l1")


def test_reason_detail_and_output_are_those_of_the_result_that_changed_state_or_reason() -> None:
    healths = run("sffrrs", 1, 1)[1:]
    assert [health.detail for health in healths] == ["s1", "f2", "f2", "r4", "r4", "s6"]
    assert [health.output for health in healths] == ["body 1", "body 2", "body 2", "body 4", "body 4", "body 6"]
    assert [health.reason.value for health in healths] == ["", "timeout", "timeout", "refused", "refused", ""]


def test_our_own_fault_does_not_change_a_critical_check() -> None:
    healths = run("fll", 1, 1)
    assert healths[-1].reason is Reason.TIMEOUT
    assert healths[-1].detail == "f1"


def test_a_success_in_a_row_of_successes_changes_nothing_at_all() -> None:
    healths = run("sss", 1, 1)
    assert healths[1] is healths[2] is healths[3]


@pytest.mark.parametrize(
    ("history", "after", "state"),
    [
        ("ssf", "f", HealthState.PASSING),
        ("ssf", "ff", HealthState.CRITICAL),
        ("sffs", "s", HealthState.CRITICAL),
        ("sffs", "ss", HealthState.PASSING),
        ("ss", "f", HealthState.PASSING),
    ],
)
def test_without_counts_only_later_results_change_the_state(history: str, after: str, state: HealthState) -> None:
    health = run(history, 2, 2)[-1].without_counts()
    for number, letter in enumerate(after, 10):
        health = health.after(result(letter, number), spec(2, 2))
    assert health.state is state


def test_a_deploying_pod_is_unknown_where_it_would_be_critical_and_its_misses_count() -> None:
    health = CheckHealth(HealthState.PASSING, since=900.0, successes=1)
    for number in range(1, 4):
        health = health.after(result("r", number), spec(2, 1), deploying=True)
    assert (health.state, health.reason, health.since) == (HealthState.UNKNOWN, Reason.DEPLOYING, 1_002.0)
    assert health.detail == "being deployed, and not well yet: r2"
    assert health.after(result("l", 4), spec(2, 1)).reason is Reason.DEPLOYING
    late = health.after(result("r", 4), spec(2, 1))
    assert (late.state, late.reason, late.since) == (HealthState.CRITICAL, Reason.REFUSED, 1_004.0)


@given(HISTORIES, THRESHOLDS, THRESHOLDS)
def test_deploying_changes_nothing_but_critical(history: str, failures: int, successes: int) -> None:
    told = health = CheckHealth(born=1_000.0)
    for number, letter in enumerate(history, 1):
        told = told.after(result(letter, number), spec(failures, successes))
        health = health.after(result(letter, number), spec(failures, successes), deploying=True)
        expected = HealthState.UNKNOWN if told.state is HealthState.CRITICAL else told.state
        assert (health.state, health.misses, health.successes) == (expected, told.misses, told.successes)


def test_a_health_has_the_version_of_its_last_counted_result() -> None:
    old, new, check = ManifestVersion(1, b"old"), ManifestVersion(2, b"new"), spec(1, 1, 10.0)
    young = CheckHealth(born=1_000.0).after(replace(result("f", 1), version=old), check)
    assert young.version == NO_VERSION, "a miss within the initial delay is not counted"
    passing = young.after(replace(result("s", 2), version=old), check)
    assert (passing.version, passing.version.data) == (old, b"old")
    assert passing.after(replace(result("s", 3), version=old), check) is passing
    again = passing.after(replace(result("s", 3), version=new), check)
    assert (again.version, again.state, again.since) == (new, passing.state, passing.since)
    assert passing.after(replace(result("f", 3), version=new), check).version == new
    late = again.after(replace(result("f", 4), version=old), check)
    assert late.version == old, "a probe that started under the old version is evidence about the old version"


def test_versions_are_equal_by_their_serial_number() -> None:
    assert ManifestVersion(1, b"a", 5.0) == ManifestVersion(1, b"b", 6.0)
    assert ManifestVersion(1, b"a") != ManifestVersion(2, b"a")


def test_state_reason_or_version_are_news_and_counts_are_not() -> None:
    passing = CheckHealth(HealthState.PASSING, since=900.0, successes=1)
    assert not passing.is_news_after(passing)
    assert not replace(passing, misses=1, detail="other").is_news_after(passing)
    assert not CheckHealth(misses=1, version=ManifestVersion(1)).is_news_after(CheckHealth()), "there is no verdict"
    for other in (
        replace(passing, state=HealthState.CRITICAL),
        replace(passing, reason=Reason.STATUS),
        replace(passing, version=ManifestVersion(1)),
    ):
        assert other.is_news_after(passing)


@given(HISTORIES, THRESHOLDS, THRESHOLDS)
def test_the_state_is_what_the_whole_history_says(history: str, failures: int, successes: int) -> None:
    for length, health in enumerate(run(history, failures, successes)):
        assert health.state is model(history[:length], failures, successes)


@given(HISTORIES, THRESHOLDS, THRESHOLDS)
def test_passing_begins_only_with_enough_successes_in_a_row(history: str, failures: int, successes: int) -> None:
    for number, (before, after) in enumerate(pairwise(run(history, failures, successes)), 1):
        if after.state is HealthState.PASSING and before.state is not HealthState.PASSING:
            assert history[:number].endswith("s" * successes)


@given(HISTORIES, THRESHOLDS, THRESHOLDS)
def test_passing_ends_with_enough_misses_in_a_row(history: str, failures: int, successes: int) -> None:
    for number, health in enumerate(run(history, failures, successes)):
        if health.state is HealthState.PASSING:
            assert "s" in history[max(0, number - failures) : number]


@given(HISTORIES, THRESHOLDS, THRESHOLDS)
def test_critical_begins_only_with_enough_failures_since_the_last_success(
    history: str, failures: int, successes: int
) -> None:
    for number, (before, after) in enumerate(pairwise(run(history, failures, successes)), 1):
        if after.state is HealthState.CRITICAL and before.state is not HealthState.CRITICAL:
            assert history[number - 1] in "fr"
            assert len(history[:number].rpartition("s")[2].replace("l", "")) >= failures


@given(HISTORIES, THRESHOLDS, THRESHOLDS)
def test_our_own_fault_changes_a_state_only_to_unknown(history: str, failures: int, successes: int) -> None:
    for letter, (before, after) in zip(history, pairwise(run(history, failures, successes)), strict=True):
        if letter == "l" and after.state is not before.state:
            assert after.state is HealthState.UNKNOWN
        if after.state is HealthState.CRITICAL:
            assert after.reason is not Reason.LOCAL


@given(st.text("sl", max_size=40), THRESHOLDS, THRESHOLDS)
def test_without_a_failure_nothing_is_ever_critical(history: str, failures: int, successes: int) -> None:
    assert "c" not in word(run(history, failures, successes))


@given(HISTORIES, THRESHOLDS, THRESHOLDS)
def test_a_verdict_has_a_reason_exactly_when_it_is_not_passing(history: str, failures: int, successes: int) -> None:
    for health in run(history, failures, successes):
        assert bool(health.reason) == (health.since > 0 and health.state is not HealthState.PASSING)


@given(HISTORIES, THRESHOLDS, THRESHOLDS)
def test_since_moves_exactly_with_the_state(history: str, failures: int, successes: int) -> None:
    for number, (before, after) in enumerate(pairwise(run(history, failures, successes)), 1):
        if after.state is not before.state or (after.since and not before.since):
            assert after.since == 1_000.0 + number
        else:
            assert after.since == before.since


@given(HISTORIES)
def test_with_thresholds_of_one_each_result_of_the_pod_is_the_state(history: str) -> None:
    for letter, health in zip(history, run(history, 1, 1)[1:], strict=True):
        if letter != "l":
            assert health.state is (HealthState.PASSING if letter == "s" else HealthState.CRITICAL)


@pytest.mark.parametrize(
    ("failures", "successes", "history", "states", "verdicts"),
    [
        (1, 1, "ffffff", "uuuccc", "000444"),
        (1, 1, "ffsfff", "uupccc", "003444"),
        (1, 1, "llllll", "uuuuuu", "000444"),
        (2, 1, "ffffff", "uuuucc", "000055"),
        (2, 1, "fflfff", "uuuucc", "000055"),
        (2, 1, "sff", "ppc", "113"),
        (2, 2, "sff", "uuc", "003"),
        (3, 2, "sfffff", "uuuccc", "000444"),
        (1, 2, "sffff", "ucccc", "02222"),
        (1, 2, "ffssff", "uuupcc", "000455"),
    ],
)
def test_a_miss_within_the_initial_delay_counts_only_after_a_success(
    failures: int, successes: int, history: str, states: str, verdicts: str
) -> None:
    """The fourth result is the first after the delay; `verdicts` are the results that states began with."""
    healths = run(history, failures, successes, delay=4.0)
    assert word(healths) == states
    assert [health.since for health in healths[1:]] == [int(digit) and 1_000.0 + int(digit) for digit in verdicts]


def test_misses_are_counted_when_the_clock_was_set_back() -> None:
    """Otherwise no check would become critical until the clock reaches its old time."""
    for delay in (0.0, 30.0):
        born_later = CheckHealth(born=5_000.0)
        assert born_later.after(result("f", 1), spec(1, 1, delay)).state is HealthState.CRITICAL


def test_results_that_are_not_counted_change_nothing() -> None:
    healths = run("flrf", 1, 1, delay=100.0)
    assert all(health is healths[0] for health in healths)


@given(HISTORIES, THRESHOLDS, THRESHOLDS, st.integers(0, 45))
def test_an_initial_delay_only_drops_the_misses_at_the_beginning(
    history: str, failures: int, successes: int, delay: int
) -> None:
    within = history[: max(0, delay - 1)]
    counted = within.lstrip("frl") + history[len(within) :]
    dropped = len(history) - len(counted)
    delayed, prompt = run(history, failures, successes, delay), run(counted, failures, successes)
    assert word(delayed) == "u" * dropped + word(prompt)
    assert [bool(health.since) for health in delayed] == [False] * dropped + [bool(health.since) for health in prompt]


@given(HISTORIES, THRESHOLDS, THRESHOLDS, st.integers(0, 45))
def test_the_initial_delay_never_delays_passing(history: str, failures: int, successes: int, delay: int) -> None:
    for delayed, prompt in zip(
        run(history, failures, successes, delay), run(history, failures, successes), strict=True
    ):
        if prompt.state is HealthState.PASSING:
            assert delayed.state is HealthState.PASSING


def test_born_never_changes() -> None:
    assert {health.born for health in run("sfrlsssff", 2, 2, 5.0)} == {1_000.0}


def test_a_certificate_ends_with_the_chain_that_verifies_or_else_with_the_first_of_all_that_was_sent() -> None:
    assert Certificate(expires=100.0, chain_expires=900.0).ends == 900.0
    assert Certificate(expires=100.0).ends == 100.0
    assert NO_CERTIFICATE.ends == 0.0


@pytest.mark.parametrize(
    ("output", "kept"), [(Output.ALWAYS, {True, False}), (Output.FAILURES, {False}), (Output.NEVER, set())]
)
def test_an_excerpt_is_kept_of_the_probes_that_it_is_allowed_for(output: Output, kept: set[bool]) -> None:
    assert {success for success in (True, False) if output.keeps(success=success)} == kept
