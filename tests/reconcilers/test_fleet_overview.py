"""Who is a member of a fleet, and what each member has of its nodes and pods."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from reconcilers.fleet_overview import FleetOverview, MemberState, RegisteredController, has_words, overview
from reconcilers.health import HealthState
from reconcilers.share import FleetView

PASSING, WARNING, CRITICAL, UNKNOWN = (
    HealthState.PASSING,
    HealthState.WARNING,
    HealthState.CRITICAL,
    HealthState.UNKNOWN,
)
VIEW = FleetView(7, ("m1", "m2"))
NODES = [f"node{number}" for number in range(20)]


def controller(name: str, status: HealthState = PASSING, output: str = "ok") -> RegisteredController:
    return RegisteredController(name, f"http://{name}:9815", status, output, "1.0", 5.0)


def overview_of(
    view: FleetView,
    controllers: Collection[RegisteredController],
    nodes: Collection[str],
    states: Mapping[str, HealthState | None],
) -> FleetOverview:
    """The overview with a pod on each of the nodes in `states`, where None is the state of a pod that was not read."""
    read = {node: {state: 1} for node, state in states.items() if state}
    return overview("f", view, controllers, nodes, dict.fromkeys(states, 1), read)


def test_every_node_has_the_member_that_the_view_gives_it() -> None:
    found = overview_of(VIEW, [controller("m1"), controller("m2")], NODES, {})
    assert {each.node: each.member for each in found.nodes} == {node: VIEW.owner(node) for node in NODES}
    assert (found.fleet, found.index, found.unchecked, found.gone) == ("f", 7, 0, 0)


@given(st.dictionaries(st.sampled_from(NODES), st.sampled_from([*HealthState, None])))
def test_the_members_have_together_what_the_fleet_has(states: Mapping[str, HealthState | None]) -> None:
    found = overview_of(VIEW, [controller("m1"), controller("m2")], NODES, states)
    assert sum(member.nodes for member in found.members) == len(NODES)
    assert sum(member.pods for member in found.members) == found.pods == len(states)
    read = sum(member.states[state] for member in found.members for state in HealthState)
    assert read == found.read == sum(1 for state in states.values() if state)


def test_the_worst_nodes_come_first_and_then_by_name() -> None:
    states = {"b": PASSING, "a": PASSING, "w": WARNING, "u": UNKNOWN, "c": CRITICAL, "not_read": None}
    found = overview_of(VIEW, [], ["z"], states)
    assert [each.node for each in found.nodes] == ["c", "u", "w", "a", "b", "not_read", "z"]


def test_without_members_nobody_checks_the_nodes() -> None:
    found = overview_of(FleetView(), [controller("m1", CRITICAL, "")], NODES, {})
    assert (found.unchecked, found.gone) == (len(NODES), 1)
    assert [each.member for each in found.nodes] == [""] * len(NODES)


def test_controllers_that_are_no_members_come_first_with_the_reason() -> None:
    controllers = [
        controller("m1"),
        controller("m2", PASSING, "the session is lost"),
        controller("m3", WARNING, "joining the fleet, which takes 10 s"),
        controller("m4", PASSING),
        controller("m5", CRITICAL, "TTL expired"),
        controller("m6", UNKNOWN, ""),
        controller("m7", PASSING),
    ]
    found = overview_of(replace(VIEW, joining=("m7",)), controllers, NODES, {})
    assert [(each.id, each.state, each.detail) for each in found.members] == [
        ("m5", MemberState.GONE, "TTL expired"),
        ("m6", MemberState.GONE, "it does not renew its registration"),
        ("m3", MemberState.JOINING, "joining the fleet, which takes 10 s"),
        ("m4", MemberState.JOINING, "it is not a member in this view"),
        ("m7", MemberState.JOINING, "it gets its nodes within 5 s"),
        ("m1", MemberState.MEMBER, ""),
        ("m2", MemberState.MEMBER, "the session is lost"),
    ]


def test_a_member_of_the_view_that_is_not_registered_any_more_is_gone() -> None:
    found = overview_of(VIEW, [controller("m1")], NODES, {})
    gone = found.members[0]
    assert (gone.id, gone.state, gone.page) == ("m2", MemberState.GONE, "")
    assert gone.nodes == sum(1 for node in NODES if VIEW.owner(node) == "m2")


def test_words_are_found_in_any_case_and_all_of_them() -> None:
    assert has_words("Web1/Isup", ["isup", "web"])
    assert has_words("web1", [])
    assert not has_words("web1/isup", ["web", "db"])
