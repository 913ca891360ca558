"""Which member of a fleet checks a node: exactly one, evenly, and a change of members moves only what it must."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from reconcilers.share import FleetView, Share

NODES = [f"node{number:04}.example" for number in range(1000)]
ids = st.text("abcdefghijklmnopqrstuvwxyz0123456789.-", min_size=1, max_size=12)
fleets = st.sets(ids, min_size=1, max_size=10).map(lambda members: tuple(sorted(members)))


def a_fleet(size: int, prefix: str = "member") -> FleetView:
    return FleetView(7, tuple(sorted(f"{prefix}{number}" for number in range(size))))


def owned(view: FleetView) -> Counter[str | None]:
    return Counter(view.owner(node) for node in NODES)


@given(fleets, ids)
def test_exactly_one_member_owns_a_node(members: tuple[str, ...], node: str) -> None:
    view = FleetView(1, members)
    assert [member for member in members if Share(member, view).owns(node)] == [view.owner(node)]


@given(fleets, st.lists(ids, max_size=20))
def test_the_index_of_the_view_does_not_move_a_node(members: tuple[str, ...], nodes: list[str]) -> None:
    assert [FleetView(1, members).owner(each) for each in nodes] == [
        FleetView(9, members).owner(each) for each in nodes
    ]


@given(fleets, ids, st.lists(ids, max_size=50))
def test_a_member_that_joins_takes_nodes_only_for_itself(
    members: tuple[str, ...], joins: str, nodes: list[str]
) -> None:
    before, after = FleetView(1, members), FleetView(2, tuple(sorted({*members, joins})))
    assert all(after.owner(node) in {before.owner(node), joins} for node in nodes)


@given(fleets, st.data(), st.lists(ids, max_size=50))
def test_a_member_that_leaves_moves_only_its_own_nodes(
    members: tuple[str, ...], data: st.DataObject, nodes: list[str]
) -> None:
    leaves = data.draw(st.sampled_from(members))
    before, after = FleetView(1, members), FleetView(2, tuple(each for each in members if each != leaves))
    assert all(before.owner(node) in {after.owner(node), leaves} for node in nodes)


def test_the_shares_of_ten_members_are_within_a_quarter_of_a_tenth() -> None:
    shares = owned(a_fleet(10))
    assert len(shares) == 10
    assert all(75 <= size <= 125 for size in shares.values()), shares


def test_shares_are_even_whatever_the_members_are_called() -> None:
    """The size of a share varies as a binomial distribution does: by 9.5 nodes, so 25 are 2.6 standard deviations."""
    sizes = [size for prefix in range(50) for size in owned(a_fleet(10, f"host-{prefix}-")).values()]
    assert len(sizes) == 500
    assert sum(75 <= size <= 125 for size in sizes) >= 0.98 * len(sizes)
    assert all(50 <= size <= 150 for size in sizes)


def test_one_member_more_or_less_moves_little_more_than_its_part() -> None:
    ten, eleven = a_fleet(10), a_fleet(11)
    moved = sum(ten.owner(node) != eleven.owner(node) for node in NODES)
    assert 0 < moved <= 1.3 / 10 * len(NODES)


def test_a_fleet_without_members_owns_nothing() -> None:
    assert FleetView().owner("node1") is None
    assert not Share("member1").owns("node1")


def test_one_member_owns_every_node() -> None:
    share = Share("member0", a_fleet(1))
    assert all(share.owns(node) for node in NODES)


def test_who_is_not_a_member_owns_nothing() -> None:
    share = Share("stranger", a_fleet(3))
    assert not any(share.owns(node) for node in NODES)


def test_without_a_fleet_a_controller_owns_its_own_node_alone() -> None:
    share = Share.of_node("node1")
    assert share.owns("node1")
    assert not share.owns("node2")
    assert share.index == 0


def test_a_fenced_node_is_owned_again_when_the_view_is_as_new() -> None:
    share = Share("member0", a_fleet(1)).fencing("node1", 9)
    assert not share.owns("node1")
    assert share.owns("node2")
    assert not share.seeing(FleetView(8, ("member0",))).owns("node1")
    reached = share.seeing(FleetView(9, ("member0",)))
    assert reached.owns("node1")
    assert not reached.fenced


def test_a_fence_can_be_ended_for_one_node() -> None:
    share = Share("member0", a_fleet(1)).fencing("node1", 9).fencing("node2", 9).unfencing("node1")
    assert share.owns("node1")
    assert not share.owns("node2")


@given(fleets, ids, st.lists(ids, max_size=50))
def test_exactly_the_nodes_that_a_joining_controller_would_take_may_be_lost(
    members: tuple[str, ...], joins: str, nodes: list[str]
) -> None:
    joining = (joins,) if joins not in members else ()
    before, after = FleetView(1, members, joining), FleetView(2, tuple(sorted({*members, joins})))
    for member in members:
        share = Share(member, before)
        assert [node for node in nodes if share.owns(node) and share.may_lose(node)] == [
            node for node in nodes if share.owns(node) and after.owner(node) != member
        ]


def test_a_controller_that_leaves_may_lose_every_node_and_one_without_a_fleet_none() -> None:
    assert Share("member0", a_fleet(1), is_leaving=True).may_lose("node1")
    assert not Share("member0", a_fleet(1)).may_lose("node1")
    assert not Share.of_node("node1").may_lose("node1")
