"""When a controller counts as a member of its fleet."""

from collections.abc import Collection

import pytest

from reconcilers.membership import LATE, SETTLING, TTL, Membership

OTHERS = ("m2", "m3")


@pytest.mark.parametrize(
    ("members", "admitted"),
    [((), True), (("m1",), True), (("m1", *OTHERS), True), (OTHERS, False), (None, False)],
)
def test_a_new_controller_waits_only_for_a_fleet_that_has_other_members(
    members: Collection[str] | None, admitted: bool
) -> None:
    assert Membership().considered("m1", members, 100.0).is_admitted is admitted


def test_a_fleet_admits_a_controller_after_a_while_of_unbroken_renewals() -> None:
    joining = Membership().after(100.0)
    for moment in range(101, 100 + int(SETTLING)):
        joining = joining.considered("m1", OTHERS, float(moment)).after(float(moment))
        assert not joining.is_admitted
    assert joining.considered("m1", OTHERS, 100.0 + SETTLING).is_admitted


def test_the_members_must_be_known() -> None:
    assert not Membership(100.0, 199.0).considered("m1", None, 200.0).is_admitted


def test_an_admitted_controller_stays_so_when_others_come() -> None:
    first = Membership().considered("m1", (), 100.0)
    assert first.considered("m1", OTHERS, 101.0).is_admitted


@pytest.mark.parametrize(("later", "broken"), [(TTL, False), (TTL + 0.001, True)])
def test_a_membership_is_broken_when_the_check_may_have_expired(later: float, broken: bool) -> None:
    assert Membership().after(90.0).after(100.0).is_broken(100.0 + later) is broken


def test_what_has_never_been_renewed_cannot_break() -> None:
    assert not Membership().is_broken(1e9)


def test_after_a_break_nothing_is_sent_until_the_members_are_known_and_for_a_moment_longer() -> None:
    broken = Membership(has_lapsed=True).considered("m1", None, 100.0)
    assert broken.is_silent(1e9)
    known = broken.considered("m1", OTHERS, 200.0).considered("m1", OTHERS, 200.0 + LATE)
    assert known.is_silent(200.0 + LATE - 0.001)
    assert not known.is_silent(200.0 + LATE)
    assert not known.is_broken(200.0 + LATE)


def test_a_controller_that_consul_shows_after_a_break_is_a_member_at_once() -> None:
    known = Membership(has_lapsed=True).considered("m1", OTHERS, 200.0)
    shown = known.considered("m1", ("m1", *OTHERS), 201.0)
    assert shown.is_admitted
    assert not shown.is_silent(201.0)


def test_the_renewals_after_a_break_count_from_when_the_members_were_known() -> None:
    known = Membership(has_lapsed=True).considered("m1", OTHERS, 200.0).after(200.0 + LATE)
    assert not known.considered("m1", OTHERS, 200.0 + SETTLING - 0.001).is_admitted
    assert known.considered("m1", OTHERS, 200.0 + SETTLING).is_admitted


def test_a_new_controller_is_not_silent() -> None:
    assert not Membership().is_silent(100.0)
