"""The state warning: a table, and random histories with warnings against a model that reads the whole history."""

from dataclasses import replace
from itertools import pairwise, takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcilers.health import NO_COUNTS, Assessment, CheckHealth, HealthState, Outcome, ProbeResult, Reason
from reconcilers.spec import CheckSpec, HttpGet, ManifestVersion, PodKey

KEY = PodKey("web1", "isup")
LETTERS = {
    "s": (Outcome.SUCCESS, Reason.NONE),
    "w": (Outcome.WARNING, Reason.SLOW),
    "x": (Outcome.WARNING, Reason.STATUS),
    "f": (Outcome.FAILURE, Reason.TIMEOUT),
    "l": (Outcome.LOCAL, Reason.LOCAL),
}
"""A history is a string of letters: success, slow, a status that warns, failure, our own fault."""

HISTORIES = st.text("swxfl", max_size=40)
THRESHOLDS = st.integers(1, 4)
PASSING, WARNED, CRITICAL, UNKNOWN = HealthState
UP = {PASSING, WARNED}


def spec(failures: int, successes: int, delay: float = 0.0) -> CheckSpec:
    return CheckSpec(KEY, HttpGet("web1", 8000, "/_status"), 5.0, 5.0, failures, successes, delay)


def result(letter: str, number: int) -> ProbeResult:
    outcome, reason = LETTERS[letter]
    return ProbeResult(KEY, 1, outcome, 1_000.0 + number, 0.1, reason, f"{letter}{number}" if reason else "")


def run(history: str, failures: int, successes: int, delay: float = 0.0) -> list[CheckHealth]:
    """The health before the first and after each result."""
    healths = [CheckHealth(born=1_000.0)]
    for number, letter in enumerate(history, 1):
        healths.append(healths[-1].after(result(letter, number), spec(failures, successes, delay)))
    return healths


def word(history: str, failures: int, successes: int) -> str:
    return "".join(health.state.value[0] for health in run(history, failures, successes)[1:])


def model(history: str, failures: int, successes: int) -> HealthState:
    """The state, computed from the whole history instead of from counts."""
    state = UNKNOWN
    for length in range(1, len(history) + 1):
        state = _next(state, history[:length], failures, successes)
    return state


def _next(state: HealthState, history: str, failures: int, successes: int) -> HealthState:
    enough = history[-successes:] if len(history) >= successes else ""
    match history[-1]:
        case "s":
            return PASSING if set(enough) == {"s"} else state
        case "w" | "x" if state is PASSING:
            warnings = history.rpartition("s")[2]
            return WARNED if warnings.count("w") + warnings.count("x") >= failures else state
        case "w" | "x":
            return WARNED if state is WARNED or (enough and set(enough) <= set("swx")) else state
    misses = "".join(takewhile(lambda letter: letter in "fl", reversed(history)))
    if len(misses) < failures:
        return state
    if misses.count("f") >= failures:
        return CRITICAL if history[-1] == "f" else state
    return UNKNOWN


@pytest.mark.parametrize(
    ("failures", "successes", "history", "states"),
    [
        (1, 1, "swswsf", "pwpwpc"),
        (1, 1, "wsw", "wpw"),
        (1, 1, "wfwlw", "wcwuw"),
        (1, 1, "wxwx", "wwww"),
        (2, 1, "swswsww", "ppppppw"),
        (3, 1, "swwsswxw", "pppppppw"),
        (2, 1, "swfwf", "pppww"),  # a warning interrupts a row of failures, and a failure no row of warnings
        (2, 1, "swlw", "pppw"),
        (2, 1, "sfw", "ppp"),  # one warning and one failure are neither two warnings nor two failures
        (2, 1, "swff", "pppc"),
        (2, 1, "swwff", "ppwwc"),
        (2, 1, "swwlfl", "ppwwuu"),
        (2, 1, "swwfwf", "ppwwww"),
        (1, 2, "ww", "uw"),
        (1, 2, "fwsw", "cccw"),
        (1, 2, "fswss", "ccwwp"),
        (1, 2, "fwsss", "cccpp"),  # only a warning makes it warning
        (1, 2, "fwfww", "ccccw"),
        (1, 2, "wwswss", "uwwwwp"),
        (1, 3, "wswsss", "uuwwwp"),
        (2, 2, "swlffww", "uwwuccw"),
    ],
)
def test_thresholds_count_warnings(failures: int, successes: int, history: str, states: str) -> None:
    assert word(history, failures, successes) == states


@given(HISTORIES, THRESHOLDS, THRESHOLDS)
def test_the_state_is_what_the_whole_history_says(history: str, failures: int, successes: int) -> None:
    for length, health in enumerate(run(history, failures, successes)):
        assert health.state is model(history[:length], failures, successes)


@given(st.text("s", min_size=1, max_size=10), THRESHOLDS, THRESHOLDS)
def test_successes_alone_never_warn(history: str, failures: int, successes: int) -> None:
    assert set(word(history, failures, successes)) <= {"u", "p"}


@given(HISTORIES, THRESHOLDS, THRESHOLDS)
def test_a_warning_changes_a_state_only_to_warning(history: str, failures: int, successes: int) -> None:
    for letter, (before, after) in zip(history, pairwise(run(history, failures, successes)), strict=True):
        if letter in "wx" and after.state is not before.state:
            assert after.state is WARNED
        if letter not in "wx" and after.state is WARNED:
            assert before.state is WARNED


@given(st.text("swx", max_size=40), THRESHOLDS, THRESHOLDS)
def test_without_a_failure_nothing_is_ever_critical(history: str, failures: int, successes: int) -> None:
    assert "c" not in word(history, failures, successes)


@given(HISTORIES, THRESHOLDS, THRESHOLDS)
def test_a_row_of_failures_makes_every_state_critical(history: str, failures: int, successes: int) -> None:
    assert run(history + "f" * failures, failures, successes)[-1].state is CRITICAL


@given(HISTORIES, THRESHOLDS, THRESHOLDS)
def test_a_row_of_warnings_makes_every_state_warning(history: str, failures: int, successes: int) -> None:
    assert run(history + "w" * max(failures, successes), failures, successes)[-1].state is WARNED


@given(HISTORIES, THRESHOLDS)
def test_a_warning_counts_as_a_success_where_only_being_up_matters(history: str, failures: int) -> None:
    without = history.replace("w", "s").replace("x", "s")
    for warned, plain in zip(run(history, failures, 1), run(without, failures, 1), strict=True):
        assert (warned.state in UP) == (plain.state in UP)
        if warned.state not in UP:
            assert warned.state is plain.state


@given(HISTORIES, THRESHOLDS, THRESHOLDS)
def test_a_verdict_has_a_reason_exactly_when_it_is_not_passing(history: str, failures: int, successes: int) -> None:
    for health in run(history, failures, successes):
        assert bool(health.reason) == (health.since > 0 and health.state is not PASSING)


@given(HISTORIES, THRESHOLDS, THRESHOLDS)
def test_since_moves_exactly_with_the_state(history: str, failures: int, successes: int) -> None:
    for number, (before, after) in enumerate(pairwise(run(history, failures, successes)), 1):
        if after.state is not before.state or (after.since and not before.since):
            assert after.since == 1_000.0 + number
        else:
            assert after.since == before.since


@given(st.text("swxf", max_size=40), THRESHOLDS, THRESHOLDS)
def test_a_check_in_a_state_continues_elsewhere_with_its_pending_counts(
    history: str, failures: int, successes: int
) -> None:
    """Another controller gets the state and these counts, and reaches the same states with the same results."""
    healths = run(history, failures, successes)
    for cut, left in enumerate(healths):
        moved = replace(CheckHealth(left.state, left.reason, left.since, born=left.born), **left.pending._asdict())
        for number, letter in enumerate(history[cut:], cut + 1):
            moved = moved.after(result(letter, number), spec(failures, successes))
            assert (moved.state, moved.since) == (healths[number].state, healths[number].since)


def test_the_reason_of_a_warning_follows_the_last_warning_at_once() -> None:
    healths = run("swwxw", 1, 1)[1:]
    assert [health.reason.value for health in healths] == ["", "slow", "slow", "status", "slow"]
    assert [health.since for health in healths] == [1001, 1002, 1002, 1002, 1002]
    assert [health.detail for health in healths] == ["", "w2", "w2", "x4", "w5"]


def test_a_warning_in_a_row_of_equal_warnings_changes_nothing_at_all() -> None:
    healths = run("swww", 1, 1)
    assert healths[2] is healths[3] is healths[4]
    assert healths[4].pending == NO_COUNTS
    newer = result("w", 5)
    newer.version = ManifestVersion(2)
    assert healths[4].after(newer, spec(1, 1)).version == ManifestVersion(2)


def test_without_counts_only_later_warnings_change_the_state() -> None:
    passing = run("sw", 2, 1)[-1].without_counts()
    assert passing.warnings == 0
    assert passing.after(result("w", 3), spec(2, 1)).state is PASSING


def test_a_warning_within_the_initial_delay_is_counted() -> None:
    """The pod has answered. If it were unknown until the delay is over, DNS would not answer it."""
    assert run("w", 1, 1, delay=60.0)[-1].state is WARNED
    assert run("wf", 1, 2, delay=60.0)[-1].state is CRITICAL, "the delay is over"


def test_a_warning_is_counted_while_the_pod_is_being_deployed() -> None:
    health = CheckHealth(born=1_000.0)
    health = health.after(result("f", 1), spec(1, 1), deploying=True)
    assert (health.state, health.reason) == (UNKNOWN, Reason.DEPLOYING)
    assert health.after(result("w", 2), spec(1, 1), deploying=True).state is WARNED


def test_a_warning_is_the_last_success_of_an_assessment_and_ends_its_failures() -> None:
    failing = Assessment(CheckHealth(), failing_since=900.0)
    assert failing.after(result("w", 1), spec(1, 1))[1:] == (0.0, 1_001.0)
    assert failing.after(result("w", 1), spec(1, 1), voided=True)[1:] == (0.0, 0.0)


def test_a_warning_counts_while_this_node_is_cut_off() -> None:
    after = Assessment(CheckHealth()).after(result("w", 1), spec(1, 1), cut_off="no network")
    assert (after.health.state, after.health.reason) == (WARNED, Reason.SLOW)
