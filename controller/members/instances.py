"""Reads from Consul who the members of a fleet are: the passing instances of the service of the controllers."""

from dataclasses import dataclass

from msgspec import Struct
from msgspec.json import Decoder

from controller.consul.answers import AgentService, index_of
from controller.consul.client import ConsulClient
from controller.consul.holders import NAME, page_of
from controller.consul.transport import Response
from reconcilers.share import FleetView
from reconcilers.spec import is_name

FLEET, MEMBER = "fleet", "member"
"""The names in the meta of a member's service."""


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """A member by its id, with the URL of its page."""

    id: str
    page: str


@dataclass(frozen=True, slots=True)
class Members:
    """The members as of one index of Consul, sorted."""

    index: int
    members: tuple[Member, ...] = ()

    def view(self) -> FleetView:
        return FleetView(self.index, tuple(sorted({member.id for member in self.members})))


class _Node(Struct, frozen=True):
    Node: str
    Address: str


class _Service(Struct, frozen=True):
    ID: str
    Meta: dict[str, str] | None
    Address: str
    Port: int


class _Instance(Struct, frozen=True):
    Node: _Node
    Service: _Service


_INSTANCES = Decoder(list[_Instance])


def read_members(client: ConsulClient, fleet: str, index: int = 0, wait: float = 0.0) -> Members:
    """Returns the members of `fleet`. With an `index`, returns after a change or after `wait` seconds.

    A token that may not read the service or the nodes gets an answer without them, and no error.

    Raises:
        ConsulError: Consul did not answer, or refused the request.
    """
    asked = [("passing", "1"), ("filter", f'Service.Meta.{FLEET} == "{fleet}"')]
    return client.query("members", f"/v1/health/service/{NAME}", asked, _members_of, index, wait)


def _members_of(answer: Response) -> Members:
    if answer.code != 200:
        raise ValueError(str(answer.code))
    found = [member for each in _INSTANCES.decode(answer.content) if (member := _member(each))]
    return Members(index_of(answer), tuple(sorted(found)))


def _member(instance: _Instance) -> Member | None:
    service, meta = instance.Service, instance.Service.Meta or {}
    if not is_name(name := meta.get(MEMBER, "")):
        return None
    controller = AgentService(service.ID, NAME, service.Port, (), meta, service.Address)
    return Member(name, page_of(controller, instance.Node.Address or instance.Node.Node))
