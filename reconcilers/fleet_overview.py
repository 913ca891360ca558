"""What the controllers of a fleet share among them: the members, and which of them checks which node.

`reconcilers.share` decides who checks a node. This module counts what follows from it, for the page, the API and the
command line.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from reconcilers.health import HealthState
from reconcilers.membership import TTL
from reconcilers.share import FleetView

SEVERITY = (HealthState.CRITICAL, HealthState.UNKNOWN, HealthState.WARNING)
"""The states that are problems, the worst first."""
Counts = Mapping[HealthState, int]
NONE: Counts = dict.fromkeys(HealthState, 0)


class MemberState(StrEnum):
    """Whether a controller is a member of its fleet, the worst first."""

    GONE = "gone"
    JOINING = "joining"
    MEMBER = "member"


@dataclass(frozen=True, slots=True)
class RegisteredController:
    """A controller as Consul has it. `status` is the worst status of its checks. `started` is in seconds since the
    epoch, 0 if it is not known. `output` is what its check says."""

    id: str
    page: str
    status: HealthState
    output: str = ""
    version: str = ""
    started: float = 0.0


@dataclass(frozen=True, slots=True)
class FleetMember:
    """A controller of the fleet with its share. `pods` counts the published pods, and `states` those of a known state.
    `detail` says why it is not a member, or what is wrong with it; "" if nothing is."""

    id: str
    state: MemberState
    page: str
    detail: str
    version: str
    started: float
    nodes: int
    pods: int
    states: Counts


@dataclass(frozen=True, slots=True)
class FleetNode:
    """A node, the member that checks it ("" if there is none), and its published pods, as in `FleetMember`."""

    node: str
    member: str
    pods: int
    states: Counts


@dataclass(frozen=True, slots=True)
class FleetOverview:
    """A fleet as of one view. `members` and `nodes` are sorted, the worst first.

    `read` counts the pods whose state was read. It is lower than `pods` if a fleet has too many to read all of them.
    """

    fleet: str
    index: int
    members: Sequence[FleetMember]
    nodes: Sequence[FleetNode]
    pods: int
    read: int

    @property
    def unchecked(self) -> int:
        """The number of nodes that nobody checks."""
        return sum(1 for node in self.nodes if not node.member)

    @property
    def gone(self) -> int:
        """The number of controllers that are registered and are not members any more."""
        return sum(1 for member in self.members if member.state is MemberState.GONE)


def overview(
    fleet: str,
    view: FleetView,
    controllers: Collection[RegisteredController],
    nodes: Iterable[str],
    pods: Mapping[str, int],
    states: Mapping[str, Counts],
) -> FleetOverview:
    """Returns the overview of a fleet with these `nodes`. `pods` counts the published pods by node, and `states` those
    whose record was read. A node without manifests that still has pods is a node of the fleet too."""
    shares = [_node(view, node, pods.get(node, 0), states.get(node, {})) for node in {*nodes, *pods}]
    by_member = defaultdict[str, list[FleetNode]](list)
    for share in shares:
        by_member[share.member].append(share)
    members = [_member(view, each, by_member[each.id]) for each in controllers]
    known = {member.id for member in members}
    members += [
        _member(view, RegisteredController(name, "", HealthState.CRITICAL), by_member[name])
        for name in view.members
        if name not in known
    ]
    read = sum(sum(counts.values()) for counts in states.values())
    return FleetOverview(
        fleet,
        view.index,
        sorted(members, key=lambda member: ([*MemberState].index(member.state), member.id, member.page)),
        sorted(shares, key=lambda share: (bool(share.member), *_severity(share.states), share.node)),
        sum(pods.values()),
        read,
    )


def has_words(text: str, words: Iterable[str]) -> bool:
    """Returns whether `text` contains each word; words are in lower case."""
    text = text.lower()
    return all(word in text for word in words)


def _node(view: FleetView, node: str, pods: int, states: Counts) -> FleetNode:
    return FleetNode(node, view.owner(node) or "", pods, {**NONE, **states} if states else NONE)


def _member(view: FleetView, controller: RegisteredController, shares: Sequence[FleetNode]) -> FleetMember:
    state, detail = _state(view, controller)
    counts = {each: sum(share.states[each] for share in shares) for each in HealthState}
    return FleetMember(
        controller.id,
        state,
        controller.page,
        detail,
        controller.version,
        controller.started,
        len(shares),
        sum(share.pods for share in shares),
        counts,
    )


def _state(view: FleetView, controller: RegisteredController) -> tuple[MemberState, str]:
    output = "" if controller.output == "ok" else controller.output
    match controller.status:
        case HealthState.PASSING if controller.id in view.members:
            return MemberState.MEMBER, output
        case HealthState.PASSING if controller.id in view.joining:
            return MemberState.JOINING, output or f"it gets its nodes within {TTL:g} s"
        case HealthState.PASSING | HealthState.WARNING:
            return MemberState.JOINING, output or "it is not a member in this view"
    return MemberState.GONE, output or "it does not renew its registration"


def _severity(states: Counts) -> Sequence[int]:
    return [-states[each] for each in SEVERITY]
