"""What Consul's answers say and its transactions take: shapes, and what does not have them.

Every answer is decoded as the type that it must have: one of another shape ends at its first wrong value, whatever its
size, and what nobody reads of it becomes no object. It ends in one of `MISSHAPEN`, which consul.py takes for "not
Consul's answer".
"""

import json
import math
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Struct
from msgspec.json import Decoder

from controller.consul.transport import Response

MAX_OPERATIONS = 64
MAX_TRANSACTION_BYTES = 512 * 1024

_TTL_BOUND = re.compile(r"[Ii]nvalid Session TTL.*must be between \[((?:\d+h)?(?:\d+m)?\d+(?:\.\d+)?s)=")
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")

_UNKNOWN_CHECK = re.compile("does not have associated TTL|[Uu]nknown check")

NO_ANSWER = Response(0, {}, b"")

MISSHAPEN = (ValueError, RecursionError, msgspec.MsgspecError)
"""What reading an answer of an unexpected shape ends in."""


@dataclass(frozen=True, slots=True)
class KvPair:
    """One key as it stands in Consul. `session` holds it, or is empty."""

    key: str
    value: bytes
    modify_index: int
    session: str = ""
    create_index: int = 0


@dataclass(frozen=True, slots=True)
class Operation:
    """One step of a transaction."""

    verb: Literal["get", "get-tree", "set", "delete", "lock", "unlock", "check-session"]
    key: str
    value: bytes = b""
    session: str = ""

    def payload(self, namespace: str = "", partition: str = "") -> dict[str, Any]:
        """As Consul reads it; in a transaction each operation names where its key is."""
        fields: dict[str, Any] = {"Verb": self.verb, "Key": self.key}
        fields |= {name: text for name, text in (("Namespace", namespace), ("Partition", partition)) if text}
        if self.verb in {"set", "lock", "unlock"}:
            fields["Value"] = b64encode(self.value).decode()
        if self.session:
            fields["Session"] = self.session
        return {"KV": fields}

    @property
    def size(self) -> int:
        """Bytes that it takes in a transaction's body, or a few more."""
        return 320 + len(json.dumps(self.key)) + (len(self.value) + 2) // 3 * 4


@dataclass(frozen=True, slots=True)
class TransactionResult:
    """How a transaction ended: `failed` is empty, or names each failed operation and why, and nothing was changed.

    `pairs` are what its operations touched, in their order; only a `get` shows the value, a `delete` shows nothing.
    """

    failed: Mapping[int, str] = field(default_factory=dict)
    pairs: Sequence[KvPair] = ()


@dataclass(frozen=True, slots=True)
class AgentService:
    """A service as it is registered with one agent; without `address` it is reached at the agent's."""

    id: str
    name: str
    port: int = 0
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    address: str = ""


@dataclass(frozen=True, slots=True)
class AgentCheck:
    """A check of a service; `status` is passing, warning or critical, `notes` are for people."""

    id: str
    service: str
    name: str = ""
    notes: str = ""
    status: str = ""
    output: str = ""


def doubt(answer: Response) -> str:
    """Why a key's absence from this answer proves nothing; empty when it does."""
    match answer.headers.get("X-Consul-Knownleader"):
        case "true":
            return ""
        case None:
            return "the answer does not say whether there is a leader"
        case _:
            return "Consul has no leader"


def is_filtered(answer: Response) -> bool:
    """Whether ACLs hid something of this answer. Consul says so since 1.12; older ones never do."""
    return answer.headers.get("X-Consul-Results-Filtered-By-Acls") == "true"


# --- the shapes, with Consul's own names ---

T = TypeVar("T")


class _Pair(Struct, frozen=True, gc=False):
    Key: str
    Value: bytes | None
    ModifyIndex: int
    CreateIndex: int
    Session: str | None = None


class _Result(Struct, frozen=True):
    KV: _Pair


class _Failure(Struct, frozen=True):
    OpIndex: int
    What: str


class _Done(Struct, frozen=True):
    Results: list[_Result] | None


class _Undone(Struct, frozen=True):
    Errors: list[_Failure]


class _Session(Struct, frozen=True):
    ID: str
    TTL: str = ""


class _Service(Struct, frozen=True):
    ID: str
    Service: str
    Port: int
    Tags: list[str] | None
    Meta: dict[str, str] | None
    Address: str


class _Check(Struct, frozen=True):
    CheckID: str
    ServiceID: str
    Name: str
    Notes: str
    Status: str
    Output: str


class _AgentConfig(Struct, frozen=True):
    NodeName: str


class _Agent(Struct, frozen=True):
    Config: _AgentConfig


class _Address(Struct, frozen=True):
    Address: str


class _Node(Struct, frozen=True):
    Node: _Address


_PAIRS = Decoder(list[_Pair])
_KEYS = Decoder(list[str])
_DONE = Decoder(_Done)
_UNDONE = Decoder(_Undone)
_SESSION = Decoder(_Session)
_SESSIONS = Decoder(list[_Session])
_SERVICES = Decoder(dict[str, _Service])
_CHECKS = Decoder(dict[str, _Check])
_AGENT = Decoder(_Agent)
_NODE = Decoder(_Node | None)
_TEXT = Decoder(str)
_BOOLEAN = Decoder(bool)


# --- what they say ---


def index_of(answer: Response) -> int:
    """Consul's index: a number of at least 1; without it somebody else answered."""
    text = answer.headers.get("X-Consul-Index")
    if not (text and text.isascii() and text.isdigit() and 1 <= int(text[:20]) < 2**64):
        raise ValueError(f"the index is {text!r}")
    return int(text)


def pairs_of(answer: Response) -> list[KvPair]:
    """Keys with their values."""
    return [_pair(item) for item in _found(answer, _PAIRS)]


def keys_of(answer: Response) -> list[str]:
    """Keys without values."""
    return [_named(key) for key in _found(answer, _KEYS)]


def result_of(answer: Response, operations: int) -> TransactionResult:
    """How a transaction of so many operations ended."""
    if answer.code == 409:
        failed = {error.OpIndex: _named(error.What) for error in _UNDONE.decode(answer.content).Errors}
        if not failed or not failed.keys() <= set(range(operations)):
            raise ValueError("a conflict that names none of the operations")
        return TransactionResult(failed)
    return TransactionResult(pairs=[_pair(each.KV) for each in _read(answer, _DONE).Results or ()])


def session_of(answer: Response) -> str:
    """The id of a new session."""
    return _named(_read(answer, _SESSION).ID)


def renewed_ttl(answer: Response, session: str) -> int:
    """The TTL in whole seconds for which Consul prolonged this session; 0 when it says that there is none."""
    if answer.code == 404:
        if session not in answer.beginning:
            raise ValueError("404 without naming the session")
        return 0
    (renewed,) = _read(answer, _SESSIONS)
    if session != renewed.ID:
        raise ValueError("another session")
    if (seconds := int(_go_seconds(renewed.TTL))) < 1:
        raise ValueError("a session without TTL")
    return seconds


def done(answer: Response) -> None:
    """Nothing, where Consul says that it was done."""
    if not _read(answer, _BOOLEAN):
        raise ValueError("neither true nor an error")


def services_of(answer: Response) -> list[AgentService]:
    """The services that an agent lists."""
    return [
        AgentService(
            _named(each.ID), _named(each.Service), each.Port, tuple(each.Tags or ()), each.Meta or {}, each.Address
        )
        for each in _read(answer, _SERVICES).values()
    ]


def checks_of(answer: Response) -> list[AgentCheck]:
    """The checks that an agent lists."""
    return [
        AgentCheck(_named(each.CheckID), each.ServiceID, each.Name, each.Notes, _named(each.Status), each.Output)
        for each in _read(answer, _CHECKS).values()
    ]


def is_unknown_check(answer: Response) -> bool:
    """Whether an agent said that it has no such TTL check: 404, or 500 up to Consul 1.9."""
    return answer.code == 404 or (answer.code == 500 and bool(_UNKNOWN_CHECK.search(answer.beginning)))


def shortest_session_ttl(answer: Response) -> int:
    """The shortest TTL in whole seconds that Consul allows a session (`session_ttl_min`), where it refused a shorter
    one by this answer; 0 for any other answer."""
    found = _TTL_BOUND.search(answer.beginning) if answer.code in {400, 500} else None
    return math.ceil(_go_seconds(found[1])) if found else 0


def _go_seconds(text: str) -> float:
    """Seconds of a duration as Go's `Duration.String` writes it, of a second or more: `10s`, `1m0s`, `24h0m0s`."""
    found = _DURATION.fullmatch(text)
    if not found:
        raise ValueError(f"not a duration: {text[:20]!r}")
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return 3600 * hours + 60 * minutes + seconds


def node_name_of(answer: Response) -> str:
    """What an agent's node is called."""
    return _named(_read(answer, _AGENT).Config.NodeName)


def address_of(answer: Response) -> str | None:
    """The address of a node of the catalog; None for one that is not there."""
    node = _read(answer, _NODE)
    return _named(node.Node.Address) if node else None


def leader_of(answer: Response) -> str:
    """The leader's address; empty when there is none."""
    return _read(answer, _TEXT)


def _read(answer: Response, decoder: Decoder[T]) -> T:
    if answer.code != 200:
        raise ValueError(str(answer.code))
    return decoder.decode(answer.content)


def _found(answer: Response, decoder: Decoder[list[T]]) -> list[T]:
    """What is there is in the answer; for nothing Consul says 404."""
    if answer.code == 404:
        return []
    found = _read(answer, decoder)
    if not found:
        raise ValueError("an empty answer")
    return found


def _pair(item: _Pair) -> KvPair:
    return KvPair(_named(item.Key), item.Value or b"", item.ModifyIndex, item.Session or "", item.CreateIndex)


def _named(text: str) -> str:
    """`text`, where it is not empty."""
    if not text:
        raise ValueError("expected text, found none")
    return text
