"""The last probes of a check, packed: only what is too old is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.health.history import History, PastProbe
from reconcilers.health import Outcome, ProbeResult, Reason
from reconcilers.spec import PodKey

KEY = PodKey("web1", "a")


def probe(started: float, outcome: Outcome = Outcome.SUCCESS, reason: Reason = Reason.NONE) -> ProbeResult:
    return ProbeResult(KEY, 1, outcome, started, 0.25, reason)


@given(st.integers(1, 7), st.lists(st.floats(0, 2e9), max_size=30))
def test_the_history_keeps_the_last_probes_oldest_first(size: int, moments: list[float]) -> None:
    history = History(size)
    for moment in moments:
        history.add(probe(moment))
    assert [probe.started for probe in history] == moments[-size:]


@given(st.integers(1, 8), st.integers(1, 10), st.lists(st.floats(0, 1e9), max_size=20))
def test_the_last_of_a_history_are_its_end(size: int, count: int, moments: list[float]) -> None:
    history = History(size)
    for moment in moments:
        history.add(probe(moment))
    assert history.last(count) == list(history)[-count:]


def test_the_history_keeps_all_that_it_promises() -> None:
    history = History(2)
    history.add(ProbeResult(KEY, 1, Outcome.FAILURE, 1.7e9, 0.25, Reason.CERTIFICATE, "d", "o", 999_999))
    assert list(history) == [PastProbe(1.7e9, 0.25, Outcome.FAILURE, Reason.CERTIFICATE, 0xFFFF)]


@pytest.mark.parametrize("reason", list(Reason))
@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_and_reason_can_be_kept(outcome: Outcome, reason: Reason) -> None:
    history = History(1)
    history.add(probe(1.0, outcome, reason))
    assert [(probe.outcome, probe.reason) for probe in history] == [(outcome, reason)]
