"""Reads from Consul who the members of a fleet are: the passing instances of the service of the controllers."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from msgspec import Struct
from msgspec.json import Decoder

from controller.consul.answers import AgentService, index_of
from controller.consul.client import ConsulClient, ConsulError
from controller.consul.holders import NAME, page_of
from controller.consul.transport import Response
from reconcilers.fleet_overview import RegisteredController
from reconcilers.health import HealthState
from reconcilers.share import FleetView
from reconcilers.spec import is_name

FLEET, MEMBER, STARTED = "fleet", "member", "started"
"""The names in the meta of a member's service. `started` is a time as in RFC 3339."""
WORST_FIRST = (HealthState.CRITICAL, HealthState.WARNING)
SCHEMES = frozenset({"http", "https"})
"""A page with another scheme is not shown, because a link to it could run a script."""
MOST_NODES = 100
"""The nodes whose controllers are searched for at once."""
PATH = f"/v1/health/service/{NAME}"


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """A member by its id, with the URL of its page and the time of its start. `passed` is the index of Consul at which
    its check has changed last."""

    id: str
    page: str
    started: str = ""
    passed: int = 0


@dataclass(frozen=True, slots=True)
class Members:
    """The members as of one index of Consul, sorted. `joining` are the ids of controllers of the fleet that may become
    members soon. `others` are other fleets that have members."""

    index: int
    members: tuple[Member, ...] = ()
    joining: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def first(self) -> str:
        """The member that is passing for longest; "" if there is none."""
        return min(((each.passed, each.id) for each in self.members), default=(0, ""))[1]

    def view(self) -> FleetView:
        return FleetView(self.index, tuple(sorted({member.id for member in self.members})), self.joining)


class _Node(Struct, frozen=True):
    Node: str
    Address: str


class _Service(Struct, frozen=True):
    ID: str
    Meta: dict[str, str] | None
    Address: str
    Port: int


class _Check(Struct, frozen=True):
    Status: str
    Output: str
    ServiceID: str
    ModifyIndex: int = 0


class _Instance(Struct, frozen=True):
    Node: _Node
    Service: _Service
    Checks: list[_Check]


_INSTANCES = Decoder(list[_Instance])


def read_members(client: ConsulClient, fleet: str, index: int = 0, wait: float = 0.0) -> Members:
    """Returns the members of `fleet`. With an `index`, returns after a change or after `wait` seconds.

    A token that may not read the service or the nodes gets an answer without them, and no error.

    Raises:
        ConsulError: Consul did not answer, or refused the request.
    """
    asked = [("filter", f'"{FLEET}" in Service.Meta')]
    return client.query("members", PATH, asked, lambda answer: _members_of(answer, fleet), index, wait)


def read_controllers(client: ConsulClient) -> Mapping[str, Sequence[RegisteredController]]:
    """Returns the registered controllers of all fleets, by fleet. They are members only if they are passing.

    Raises:
        ConsulError: Consul did not answer, or refused the request.
    """
    found = defaultdict[str, list[RegisteredController]](list)
    asked = [("filter", f'"{FLEET}" in Service.Meta')]
    for instance in client.query("members", PATH, asked, _instances_of):
        fleet = (instance.Service.Meta or {}).get(FLEET, "")
        if is_name(fleet) and (member := _member(instance)):
            found[fleet].append(_controller(member, instance))
    return found


@dataclass(frozen=True, slots=True)
class Prober:
    """A registered controller that checks a node, in words, with the URL of its page ("" if it has none)."""

    name: str
    page: str
    status: HealthState


def read_probers(client: ConsulClient, node: str) -> Sequence[Prober]:
    """Returns the registered controllers that check `node`: its own one, and in each fleet the member that has it.

    Raises:
        ConsulError: Consul did not answer, or refused the request.
    """
    return _probers(client.query("members", PATH, (), _instances_of), node)


def read_pages(client: ConsulClient, nodes: Collection[str]) -> Sequence[str]:
    """Returns the pages of the passing controllers that check any of these nodes, each once. Raises ConsulError."""
    instances = client.query("members", PATH, (), _instances_of) if nodes else []
    probers = [each for node in sorted(nodes)[:MOST_NODES] for each in _probers(instances, node)]
    return list(dict.fromkeys(each.page for each in probers if each.page and each.status is not HealthState.CRITICAL))


def _probers(instances: Sequence[_Instance], node: str) -> Sequence[Prober]:
    fleets = defaultdict[str, dict[str, Prober]](dict)
    found = []
    for instance in instances:
        service, meta = instance.Service, instance.Service.Meta or {}
        fleet, status = meta.get(FLEET, ""), _status(instance)
        registered = AgentService(service.ID, NAME, service.Port, (), meta, service.Address)
        page = page_of(registered, instance.Node.Address) if meta.get("scheme", "http") in SCHEMES else ""
        member = meta.get(MEMBER, "")
        if not fleet and meta.get("node") == node:
            found.append(Prober(f"the controller of node {node}", page, status))
        elif fleet and status is HealthState.PASSING:
            fleets[fleet][member] = Prober(f"member {member} of fleet {fleet}", page, status)
    owners = [members[FleetView(0, tuple(members)).owner(node) or ""] for members in fleets.values()]
    return sorted([*found, *owners], key=lambda each: each.status is not HealthState.PASSING)


def describe_member(client: ConsulClient, session: str) -> str:
    """Describes the member of a fleet that has this session, as far as the token may read who it is."""
    try:
        kind, *rest = client.session_name(session).split(":")
        member = rest[0] if kind == "health" and rest else ""
        fleets = read_controllers(client)
    except ConsulError:
        return "a member of a fleet"
    for fleet, controllers in fleets.items():
        for each in controllers:
            if each.id == member:
                return " ".join(filter(None, ("member", member, "of fleet", fleet, each.page and f"({each.page})")))
    names = " or ".join(sorted(fleets))
    return f"member {member} of a fleet" if member else f"a member of fleet {names}" if names else "a member of a fleet"


def _instances_of(answer: Response) -> list[_Instance]:
    if answer.code != 200:
        raise ValueError(str(answer.code))
    return _INSTANCES.decode(answer.content)


def _members_of(answer: Response, fleet: str) -> Members:
    members = defaultdict[str, set[Member]](set)
    joining = set[str]()
    for instance in _instances_of(answer):
        if member := _member(instance):
            name, status = (instance.Service.Meta or {})[FLEET], _status(instance)
            if status is HealthState.PASSING:
                members[name].add(member)
            elif status is HealthState.WARNING and name == fleet:
                joining.add(member.id)
    ours = tuple(sorted(members.pop(fleet, ())))
    joining.difference_update(each.id for each in ours)
    return Members(index_of(answer), ours, tuple(sorted(joining)), tuple(sorted(members)))


def _status(instance: _Instance) -> HealthState:
    """The worst status of its checks."""
    statuses = {check.Status for check in instance.Checks}
    return next((state for state in WORST_FIRST if state in statuses), HealthState.PASSING)


def _controller(member: Member, instance: _Instance) -> RegisteredController:
    meta = instance.Service.Meta or {}
    status = _status(instance)
    output = next((check.Output for check in instance.Checks if check.Status == status and check.ServiceID), "")
    page = member.page if meta.get("scheme", "http") in SCHEMES else ""
    return RegisteredController(
        member.id, page, status, output.strip(), meta.get("version", ""), _seconds(meta.get(STARTED, ""))
    )


def _seconds(text: str) -> float:
    """Returns seconds since the epoch; 0 if `text` is not a time with an offset."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return 0.0
    return max(0.0, moment.timestamp()) if moment.tzinfo else 0.0


def _member(instance: _Instance) -> Member | None:
    service, meta = instance.Service, instance.Service.Meta or {}
    if not is_name(name := meta.get(MEMBER, "")):
        return None
    controller = AgentService(service.ID, NAME, service.Port, (), meta, service.Address)
    passed = max((check.ModifyIndex for check in instance.Checks if check.ServiceID), default=0)
    page = page_of(controller, instance.Node.Address or instance.Node.Node)
    return Member(name, page, meta.get(STARTED, ""), passed)
