"""From when on the members of a fleet count: later where they are added, at once where they are lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcilers.members_in_effect import MembersInEffect
from reconcilers.membership import TTL
from reconcilers.share import FleetView

TWO = MembersInEffect(FleetView(10, ("m1", "m2")))
THREE = TWO.after(FleetView(20, ("m1", "m2", "m3")), "m1", 100.0)

ids = st.sets(st.sampled_from(["m1", "m2", "m3", "m4"])).map(lambda members: tuple(sorted(members)))
steps = st.lists(st.tuples(ids, st.integers(1, 3), st.floats(0.0, 2 * TTL)), max_size=12)


def test_before_the_first_view_there_is_no_member() -> None:
    assert MembersInEffect().view() == FleetView()
    assert MembersInEffect().without("m1") == MembersInEffect().reaching(0) == MembersInEffect()


def test_all_members_of_the_first_view_count() -> None:
    first = MembersInEffect().after(FleetView(10, ("m1", "m2"), ("m3",)), "m2", 100.0)
    assert first.view() == FleetView(10, ("m1", "m2"), ("m3",))
    assert first.due is None


def test_a_member_that_joins_counts_one_ttl_after_it_was_seen() -> None:
    assert THREE.view() == FleetView(19, ("m1", "m2"), ("m3",))
    assert THREE.due == 100.0 + TTL
    assert THREE.at(100.0 + TTL - 0.001) == THREE
    assert THREE.at(100.0 + TTL).view() == FleetView(20, ("m1", "m2", "m3"))


def test_a_newer_view_does_not_let_a_member_wait_longer() -> None:
    later = THREE.after(FleetView(30, ("m1", "m2", "m3", "m4")), "m1", 103.0)
    assert later.view() == FleetView(29, ("m1", "m2"), ("m3", "m4"))
    assert later.at(100.0 + TTL).view() == FleetView(29, ("m1", "m2", "m3"), ("m4",))
    assert later.at(103.0 + TTL).view() == FleetView(30, ("m1", "m2", "m3", "m4"))


def test_a_member_that_is_lost_does_not_count_any_more_although_another_one_waits() -> None:
    assert TWO.after(FleetView(20, ("m2",)), "m2", 100.0).view() == FleetView(20, ("m2",))
    assert THREE.after(FleetView(30, ("m1", "m3")), "m1", 101.0).view() == FleetView(29, ("m1",), ("m3",))


def test_a_member_that_returns_waits_again() -> None:
    returned = THREE.at(106.0).after(FleetView(30, ("m1", "m2")), "m1", 107.0)
    again = returned.after(FleetView(40, ("m1", "m2", "m3")), "m1", 108.0)
    assert again.view().members == ("m1", "m2")
    assert again.due == 108.0 + TTL


def test_of_the_members_that_start_together_the_one_that_is_passing_for_longest_counts_at_once() -> None:
    """One of them sees the other one alone first, the other one sees both at once."""
    none = MembersInEffect().after(FleetView(5), "", 100.0)
    alone, both = FleetView(10, ("m2",)), FleetView(11, ("m1", "m2"))
    one = none.after(alone, "m2", 100.1).after(both, "m2", 100.2)
    other = none.after(both, "m2", 100.2)
    assert one.view() == other.view() == FleetView(10, ("m2",), ("m1",))
    assert one.at(100.2 + TTL).view() == both


def test_a_member_that_waits_counts_when_all_others_are_lost() -> None:
    assert THREE.after(FleetView(30, ("m3",)), "m3", 101.0).view() == FleetView(30, ("m3",))


def test_a_view_without_a_member_leaves_the_members_as_they_are() -> None:
    kept = THREE.after(FleetView(30), "", 101.0)
    assert kept.view() == FleetView(29, ("m1", "m2"), ("m3",))
    assert kept.at(100.0 + TTL).view() == FleetView(30, ("m1", "m2", "m3"))


@pytest.mark.parametrize(("index", "waits"), [(19, True), (20, False), (21, True)])
def test_nobody_waits_for_a_member_any_more_when_another_one_has_written_with_the_newest_view(
    index: int, waits: bool
) -> None:
    assert bool(THREE.reaching(index).waiting) is waits


def test_a_controller_that_may_have_lost_its_membership_waits_like_a_new_one() -> None:
    alone = TWO.without("m2").after(FleetView(20, ("m1", "m2")), "m1", 100.0)
    assert alone.view() == FleetView(19, ("m1",), ("m2",))
    assert THREE.without("m3").view() == FleetView(20, ("m1", "m2"))


@given(steps)
def test_the_index_never_falls_and_only_members_of_the_newest_view_count(
    steps: list[tuple[tuple[str, ...], int, float]],
) -> None:
    now, index = 100.0, 10
    members = MembersInEffect().after(FleetView(index, ("m1",)), "m1", now)
    for ids, newer, later in steps:
        before = members.view().index
        now, index = now + later, index + newer
        waited = members.at(now)
        members = waited.after(FleetView(index, ids), min(ids, default=""), now)
        assert before <= waited.view().index <= members.view().index <= index
        assert members.view().members, "somebody checks the nodes"
        if ids:
            assert {*members.view().members} <= {*ids}
            assert {*members.view().members, *members.waiting} == {*ids}


@given(ids.filter(bool), ids.filter(bool), ids.filter(bool))
def test_members_that_see_the_same_views_agree_whether_or_not_they_see_each_of_them_in_time(
    old: tuple[str, ...], middle: tuple[str, ...], new: tuple[str, ...]
) -> None:
    members = MembersInEffect(FleetView(10, old)).after(FleetView(20, middle), middle[0], 100.0)
    members = members.after(FleetView(30, new), new[0], 101.0).at(101.0 + TTL)
    assert members.view() == FleetView(30, new)
