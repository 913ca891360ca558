"""The share in force: readers see a change at once, and listeners hear of each change and of nothing else."""

from controller.members.current_share import CurrentShare
from reconcilers.membership import TTL
from reconcilers.share import FleetView, Share

ALONE = FleetView(3, ("member1",))
BOTH = FleetView(5, ("member1", "member2"))


def changes_of(current: CurrentShare) -> list[int]:
    heard: list[int] = []
    current.listen(lambda: heard.append(current.current().index))
    return heard


def test_a_view_is_in_force_before_listeners_are_called() -> None:
    current = CurrentShare(Share("member1"))
    heard = changes_of(current)
    assert not current.owns("node1")
    current.apply(ALONE)
    assert current.owns("node1")
    current.apply(BOTH)
    assert [current.owns(f"node{each}") for each in range(20)] == [
        BOTH.owner(f"node{each}") == "member1" for each in range(20)
    ]
    assert heard == [3, 5]


def test_the_same_view_is_not_a_change() -> None:
    current = CurrentShare(Share("member1", ALONE))
    heard = changes_of(current)
    current.apply(ALONE)
    assert heard == []


def test_a_fence_holds_until_the_view_is_as_new() -> None:
    current = CurrentShare(Share("member1", ALONE))
    heard = changes_of(current)
    current.fence("node1", 4)
    assert not current.owns("node1")
    current.apply(FleetView(4, ("member1",)))
    assert current.owns("node1")
    assert heard == [3, 4]


def test_a_fence_of_an_older_view_is_ignored() -> None:
    current = CurrentShare(Share("member1", ALONE))
    heard = changes_of(current)
    current.fence("node1", 3)
    assert current.owns("node1")
    assert heard == []


def test_a_fence_can_be_ended() -> None:
    current = CurrentShare(Share("member1", ALONE))
    current.fence("node1", 4)
    current.unfence("node1")
    assert current.owns("node1")
    assert current.current() == Share("member1", ALONE)


def test_without_a_fleet_there_is_one_node() -> None:
    current = CurrentShare(Share.of_node("node1"))
    assert (current.owns("node1"), current.owns("node2")) == (True, False)


def test_no_probe_begins_if_the_share_was_not_confirmed_for_the_ttl() -> None:
    now = [100.0]
    current = CurrentShare(Share("member1", ALONE), clock=lambda: now[0])
    assert not current.may_probe("node1")
    current.confirm(100.0)
    now[0] += TTL
    assert current.may_probe("node1")
    now[0] += 0.001
    assert not current.may_probe("node1")
    assert current.owns("node1")


def test_no_probe_of_a_node_of_another_member_begins() -> None:
    current = CurrentShare(Share("member1", BOTH), clock=lambda: 100.0)
    current.confirm(100.0)
    nodes = [f"node{each}" for each in range(20)]
    assert [current.may_probe(node) for node in nodes] == [current.owns(node) for node in nodes]
