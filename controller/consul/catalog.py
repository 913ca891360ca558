"""Nodes, services and checks that are written to Consul's catalog directly, for nodes without an agent.

Each write has a ModifyIndex: Consul refuses it if somebody has changed the entry since it was read. The index 0 stands
for an entry that does not exist.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from msgspec import Struct
from msgspec.json import Decoder

from controller.consul.answers import AgentCheck, AgentService, is_about
from controller.consul.client import ConsulClient
from controller.consul.ownership import OWNER
from controller.consul.transport import Response

AGENT_CHECK = "serfHealth"
"""The check that Consul keeps for each node with an agent."""
EXTERNAL = ("external-node", "true")
"""The mark in the meta of a node without an agent, by the convention of Consul's documentation."""

Verb = Literal["cas", "delete-cas"]


@dataclass(frozen=True, slots=True)
class CatalogNode:
    """A node as it is registered."""

    name: str
    address: str
    meta: Mapping[str, str] = field(default_factory=dict)
    modify_index: int = 0

    @property
    def is_ours(self) -> bool:
        """Whether Podpulse has registered the node."""
        return self.meta.get(OWNER[0]) == OWNER[1]


@dataclass(frozen=True, slots=True)
class NodeEntries:
    """A node with its services and checks, by their ids, each with its ModifyIndex. `node` is None if the catalog does
    not have it."""

    node: CatalogNode | None
    services: Mapping[str, tuple[AgentService, int]] = field(default_factory=dict)
    checks: Mapping[str, tuple[AgentCheck, int]] = field(default_factory=dict)

    @property
    def has_agent(self) -> bool:
        return AGENT_CHECK in self.checks


@dataclass(frozen=True, slots=True)
class CatalogOperation:
    """An operation of a transaction on a node, a service or a check. `fields` are those of Consul's form."""

    kind: Literal["Node", "Service", "Check"]
    verb: Verb
    node: str
    fields: Mapping[str, Any]

    @classmethod
    def on_node(cls, verb: Verb, node: CatalogNode) -> "CatalogOperation":
        """The operation on a node that has its `modify_index`."""
        fields = {"Node": node.name, "Address": node.address, "Meta": node.meta, "ModifyIndex": node.modify_index}
        return cls("Node", verb, node.name, fields)

    @classmethod
    def on_service(cls, verb: Verb, node: str, service: AgentService, index: int) -> "CatalogOperation":
        """The operation on a service. Consul deletes its checks with it."""
        fields = {
            "ID": service.id,
            "Service": service.name,
            "Port": service.port,
            "Tags": service.tags,
            "Meta": service.meta,
            "Address": service.address,
            "ModifyIndex": index,
        }
        return cls("Service", verb, node, fields)

    @classmethod
    def on_check(cls, verb: Verb, node: str, check: AgentCheck, service_name: str, index: int) -> "CatalogOperation":
        """The operation on a check of a service."""
        fields = {
            "Node": node,
            "CheckID": check.id,
            "Name": check.name,
            "Notes": check.notes,
            "Status": check.status,
            "Output": check.output,
            "ServiceID": check.service,
            "ServiceName": service_name,
            "ModifyIndex": index,
        }
        return cls("Check", verb, node, fields)

    @property
    def size(self) -> int:
        """Bytes of the operation in the body of a transaction, or a few more."""
        return 320 + len(json.dumps(self.fields))

    def payload(self, namespace: str = "", partition: str = "") -> dict[str, Any]:
        """See `Transactional`."""
        places = (("Namespace", "" if self.kind == "Node" else namespace), ("Partition", partition))
        inner = dict(self.fields) | {name: text for name, text in places if text}
        outer = {"Verb": self.verb, self.kind: inner}
        return {self.kind: outer | ({"Node": self.node} if self.kind == "Service" else {})}


@dataclass(frozen=True, slots=True)
class Committed:
    """The result of a transaction: the errors of the operations that failed, by their positions, or the ModifyIndex of
    each entry that was written, in the order of the operations. Consul changes nothing if an operation fails."""

    failed: Mapping[int, str] = field(default_factory=dict)
    indexes: Sequence[int] = ()


def commit(client: ConsulClient, operations: Sequence[CatalogOperation], timeout: float | None = None) -> Committed:
    """Carries out all operations, or none. `timeout` is in seconds.

    Raises:
        ConsulError: Consul does not answer, or refuses the request.
    """
    return client.transact(operations, lambda answer: _committed(answer, len(operations)), timeout)


def read_node(client: ConsulClient, name: str) -> NodeEntries:
    """Returns a node with its services and checks. Two requests are sent, so these may be of different times.

    Raises:
        ConsulError: the catalog cannot be read.
    """
    found = client.query("catalog_node", f"/v1/catalog/node/{name}", (), _node_of)
    if not found or not is_about(name, found.Node.Node):
        return NodeEntries(None)
    checks = client.query("catalog_checks", f"/v1/health/node/{name}", (), _checks_of)
    services = {each.ID: (_service(each), each.ModifyIndex) for each in (found.Services or {}).values()}
    node = found.Node
    return NodeEntries(CatalogNode(node.Node, node.Address, node.Meta or {}, node.ModifyIndex), services, checks)


def external_nodes(client: ConsulClient) -> Sequence[str]:
    """Returns the names of all nodes that are marked as nodes without an agent.

    Raises:
        ConsulError: the catalog cannot be read.
    """
    return client.query("catalog_nodes", "/v1/catalog/nodes", [("node-meta", ":".join(EXTERNAL))], _names_of)


class _Node(Struct, frozen=True):
    Node: str
    Address: str
    Meta: dict[str, str] | None = None
    ModifyIndex: int = 0


class _Service(Struct, frozen=True):
    ID: str
    Service: str
    Port: int
    Tags: list[str] | None
    Meta: dict[str, str] | None
    Address: str
    ModifyIndex: int


class _Check(Struct, frozen=True):
    CheckID: str
    ServiceID: str
    Name: str
    Notes: str
    Status: str
    Output: str
    ModifyIndex: int


class _Found(Struct, frozen=True):
    Node: _Node
    Services: dict[str, _Service] | None


class _Written(Struct, frozen=True):
    ModifyIndex: int


class _Result(Struct, frozen=True):
    Node: _Written | None = None
    Service: _Written | None = None
    Check: _Written | None = None


class _Failure(Struct, frozen=True):
    OpIndex: int
    What: str


class _Answer(Struct, frozen=True):
    Results: list[_Result] | None = None
    Errors: list[_Failure] | None = None


_FOUND = Decoder(_Found | None)
_CHECKS = Decoder(list[_Check])
_NAMES = Decoder(list[_Node])
_ANSWER = Decoder(_Answer)


def _node_of(answer: Response) -> _Found | None:
    _require(answer, 200)
    found: _Found | None = _FOUND.decode(answer.content)
    return found


def _checks_of(answer: Response) -> Mapping[str, tuple[AgentCheck, int]]:
    _require(answer, 200)
    return {
        each.CheckID: (
            AgentCheck(each.CheckID, each.ServiceID, each.Name, each.Notes, each.Status, each.Output),
            each.ModifyIndex,
        )
        for each in _CHECKS.decode(answer.content)
    }


def _names_of(answer: Response) -> Sequence[str]:
    _require(answer, 200)
    return [each.Node for each in _NAMES.decode(answer.content)]


def _service(each: _Service) -> AgentService:
    return AgentService(each.ID, each.Service, each.Port, tuple(each.Tags or ()), each.Meta or {}, each.Address)


def _committed(answer: Response, operations: int) -> Committed:
    _require(answer, 200, 409)
    decoded = _ANSWER.decode(answer.content)
    failed = {error.OpIndex: error.What for error in decoded.Errors or ()}
    if (answer.code == 409) != bool(failed) or not failed.keys() <= set(range(operations)):
        raise ValueError("the errors do not belong to the operations")
    written = [entry for each in decoded.Results or () for entry in (each.Node, each.Service, each.Check) if entry]
    return Committed(failed, [entry.ModifyIndex for entry in written])


def _require(answer: Response, *codes: int) -> None:
    if answer.code not in codes:
        raise ValueError(str(answer.code))
