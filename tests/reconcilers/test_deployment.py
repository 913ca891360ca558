"""When a version of a pod is being deployed, and when its deployment ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcilers.deployment import Deployment, Reality
from reconcilers.health import HealthState, Reason
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey

UNREAD, ABSENT, OTHER, SAME = Reality


@pytest.mark.parametrize(
    ("reality", "published", "under_way"),
    [
        (UNREAD, None, True),
        (ABSENT, None, True),
        (OTHER, None, True),
        (SAME, None, False),
        (ABSENT, HealthState.UNKNOWN, True),
        (ABSENT, HealthState.PASSING, False),
        (UNREAD, HealthState.PASSING, False),
        (OTHER, HealthState.PASSING, True),
        (OTHER, HealthState.CRITICAL, False),
        (ABSENT, HealthState.CRITICAL, False),
    ],
)
def test_a_version_is_being_deployed_if_it_does_not_run_and_has_no_published_verdict(
    reality: Reality, published: HealthState | None, under_way: bool
) -> None:
    record = HealthRecord(PodKey("web1", "a"), published) if published else None
    assert Deployment.begun(reality, record, 100.0) == (Deployment(100.0, reality) if under_way else None)


@pytest.mark.parametrize(("reality", "known"), [(UNREAD, ABSENT), (ABSENT, ABSENT), (OTHER, OTHER), (SAME, SAME)])
@pytest.mark.parametrize(("since", "seen"), [(40.0, 40.0), (101.0, 100.0)])
def test_a_record_that_says_deploying_continues_the_deployment(
    reality: Reality, known: Reality, since: float, seen: float
) -> None:
    record = HealthRecord(PodKey("web1", "a"), HealthState.UNKNOWN, Reason.DEPLOYING, since=since)
    assert Deployment.begun(reality, record, 100.0) == Deployment(seen, known)


def test_a_version_that_ran_before_reality_was_read_is_not_being_deployed() -> None:
    assert Deployment(100.0, UNREAD).with_reality(SAME) is None
    assert Deployment(100.0, UNREAD).with_reality(OTHER) == Deployment(100.0, OTHER)


@pytest.mark.parametrize("before", [ABSENT, OTHER])
def test_a_launched_version_is_being_deployed_until_it_answers(before: Reality) -> None:
    launched = Deployment(100.0, before).with_reality(SAME)
    assert launched == Deployment(100.0, SAME)
    assert launched.after_success() is None


@pytest.mark.parametrize("reality", [UNREAD, ABSENT, SAME])
def test_the_first_success_ends_the_deployment(reality: Reality) -> None:
    assert Deployment(100.0, reality).after_success() is None


def test_a_success_while_another_version_runs_does_not_end_the_deployment() -> None:
    deployment = Deployment(100.0, OTHER)
    assert deployment.after_success() is deployment


@given(st.sampled_from(Reality), st.floats(0, 1e6), st.floats(-1e6, 1e6))
def test_failures_are_excused_during_the_grace_only(reality: Reality, grace: float, later: float) -> None:
    excused = Deployment(1e9, reality).excuses(1e9 + later, grace)
    assert excused is (0 <= (1e9 + later) - 1e9 < grace)
