"""The shapes of Consul's answers and of the operations of a transaction.

Every answer is decoded as the type that it must have. Decoding stops at the first value of another type, whatever the
size of the answer, and raises one of `DECODE_ERRORS`. Fields that are not used become no objects.
"""

import math
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii
from typing import Annotated, Any, Literal, NamedTuple, Protocol, TypeVar

import msgspec
from msgspec import Struct
from msgspec.json import Decoder

from controller.consul.transport import Response

MAX_OPERATIONS = 64
MAX_TRANSACTION_BYTES = 512 * 1024

_TTL_BOUND = re.compile(r"[Ii]nvalid Session TTL.*must be between \[((?:\d+h)?(?:\d+m)?\d+(?:\.\d+)?s)=")
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")

_UNKNOWN_CHECK = re.compile("does not have associated TTL|[Uu]nknown check")

DECODE_ERRORS = (ValueError, RecursionError, msgspec.MsgspecError)
"""What decoding an answer of an unexpected shape raises."""

PART = 128 * 1024
_NEXT_PAIR = re.compile(rb'\}\s*,\s*\{\s*"LockIndex"')
"""The end of a pair and the beginning of the next one in Consul's lists. An agent in dev mode sends them indented."""
_NEXT_RESULT = re.compile(rb'\}\s*\}\s*,\s*\{\s*"KV"')
"""The same in the answer to a transaction."""


class KvPair(NamedTuple):
    """A key in Consul. `session` is the session that holds it, or "". `flags` is a number that its writers chose."""

    key: str
    value: bytes
    modify_index: int
    session: str = ""
    create_index: int = 0
    flags: int = 0


class Transactional(Protocol):
    """An operation of a transaction."""

    @property
    def size(self) -> int:
        """Bytes of the operation in the body of a transaction, or a few more."""
        ...

    def payload(self, namespace: str = "", partition: str = "") -> dict[str, Any]:
        """Returns the operation in Consul's form. Each operation of a transaction names its namespace and partition."""
        ...


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of a transaction. `lock` and `unlock` write value and flags. `index` is for `check-index` alone: the
    ModifyIndex that the key must have."""

    verb: Literal[
        "get", "get-tree", "set", "delete", "lock", "unlock", "check-session", "check-index", "check-not-exists"
    ]
    key: str
    value: bytes = b""
    session: str = ""
    flags: int = 0
    index: int = 0

    def payload(self, namespace: str = "", partition: str = "") -> dict[str, Any]:
        """See `Transactional`."""
        fields: dict[str, Any] = {"Verb": self.verb, "Key": self.key}
        if namespace or partition:
            fields |= {name: text for name, text in (("Namespace", namespace), ("Partition", partition)) if text}
        if self.verb == "get":
            return {"KV": fields}
        if self.verb in {"set", "lock", "unlock"}:
            fields["Value"] = b64encode(self.value).decode()
        others = (("Session", self.session), ("Flags", self.flags), ("Index", self.index))
        return {"KV": fields | {name: given for name, given in others if given}}

    @property
    def size(self) -> int:
        """Bytes of the operation in the body of a transaction, or a few more."""
        return 320 + len(encode_basestring_ascii(self.key)) + (len(self.value) + 2) // 3 * 4


@dataclass(frozen=True, slots=True)
class TransactionResult:
    """The result of a transaction. `failed` has the error of each failed operation. Consul then changes nothing.

    `pairs` has the keys of the operations, in their order. Only a `get` returns a value. A `delete` returns no key.
    """

    failed: Mapping[int, str] = field(default_factory=dict)
    pairs: Sequence[KvPair] = ()


@dataclass(frozen=True, slots=True)
class AgentService:
    """A service that is registered with an agent. Without `address`, it is reached at the agent's address."""

    id: str
    name: str
    port: int = 0
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    address: str = ""


@dataclass(frozen=True, slots=True)
class AgentCheck:
    """A check of a service. `status` is passing, warning or critical. `notes` are for people."""

    id: str
    service: str
    name: str = ""
    notes: str = ""
    status: str = ""
    output: str = ""


def doubt(answer: Response) -> str:
    """Returns why a key that is missing in this answer may exist. "" if it surely does not exist."""
    match answer.headers.get("X-Consul-Knownleader"):
        case "true":
            return ""
        case None:
            return "the answer does not say whether there is a leader"
        case _:
            return "Consul has no leader"


def is_filtered(answer: Response) -> bool:
    """Whether ACLs removed keys from this answer. Consul versions before 1.12 never say so."""
    return answer.headers.get("X-Consul-Results-Filtered-By-Acls") == "true"


# --- the types of answers, with Consul's own names ---

T = TypeVar("T")
_Text = Annotated[str, msgspec.Meta(min_length=1)]


class _Pair(Struct, frozen=True, gc=False):
    Key: _Text
    Value: bytes | None
    ModifyIndex: int
    CreateIndex: int
    Session: str | None = None
    Flags: int = 0


class _Result(Struct, frozen=True):
    KV: _Pair


class _Failure(Struct, frozen=True):
    OpIndex: int
    What: _Text


class _Committed(Struct, frozen=True):
    Results: list[_Result] | None


class _RolledBack(Struct, frozen=True):
    Errors: list[_Failure]


class _Session(Struct, frozen=True):
    ID: _Text
    TTL: str = ""
    Name: str = ""


class _Service(Struct, frozen=True):
    ID: _Text
    Service: _Text
    Port: int
    Tags: list[str] | None
    Meta: dict[str, str] | None
    Address: str


class _Check(Struct, frozen=True):
    CheckID: _Text
    ServiceID: str
    Name: str
    Notes: str
    Status: _Text
    Output: str


class _AgentConfig(Struct, frozen=True):
    NodeName: _Text


class _Agent(Struct, frozen=True):
    Config: _AgentConfig


class _Address(Struct, frozen=True):
    Node: _Text
    Address: _Text


class _Node(Struct, frozen=True):
    Node: _Address


_PAIRS = Decoder(list[_Pair])
_KEYS = Decoder(list[_Text])
_COMMITTED = Decoder(_Committed)
_ROLLED_BACK = Decoder(_RolledBack)
_SESSION = Decoder(_Session)
_SESSIONS = Decoder(list[_Session])
_SERVICES = Decoder(dict[str, _Service])
_CHECKS = Decoder(dict[str, _Check])
_AGENT = Decoder(_Agent)
_NODE = Decoder(_Node | None)
_TEXT = Decoder(str)
_BOOLEAN = Decoder(bool)


# --- reading answers ---


def index_of(answer: Response) -> int:
    """Returns Consul's index, which is at least 1. An answer without an index is not from Consul."""
    text = answer.headers.get("X-Consul-Index")
    if not (text and text.isascii() and text.isdigit() and 1 <= int(text[:20]) < 2**64):
        raise ValueError(f"the index is {text!r}")
    return int(text)


def pairs_of(answer: Response, known: Mapping[str, KvPair] | None = None) -> list[KvPair]:
    """Returns the pairs of a list. A pair that has not changed since `known` was read is the same object as there."""
    before = known or {}
    return [_same(item, before.get(item.Key)) or _pair(item) for item in _items(answer, _PAIRS)]


def _same(item: _Pair, before: KvPair | None) -> KvPair | None:
    is_same = before and (before.modify_index, before.create_index) == (item.ModifyIndex, item.CreateIndex)
    return before if is_same else None


def keys_of(answer: Response) -> list[str]:
    return _items(answer, _KEYS)


def result_of(answer: Response, operations: int, known: Mapping[str, KvPair] | None = None) -> TransactionResult:
    """Returns the result of a transaction of that many `operations`. For `known`, see `pairs_of`."""
    if answer.code == 409:
        failed = {error.OpIndex: error.What for error in _ROLLED_BACK.decode(answer.content).Errors}
        if not failed or not failed.keys() <= set(range(operations)):
            raise ValueError("the conflict names no operation of the transaction")
        return TransactionResult(failed)
    if answer.code != 200:
        raise ValueError(str(answer.code))
    before, results = known or {}, (_COMMITTED.decode(part).Results or () for part in _result_parts(answer.content))
    return TransactionResult(
        pairs=[_same(each.KV, before.get(each.KV.Key)) or _pair(each.KV) for part in results for each in part]
    )


def session_of(answer: Response) -> str:
    return _decode(answer, _SESSION).ID


def name_of(answer: Response) -> str:
    """Returns the name of a session. "" if Consul does not know the session, or the token may not read it."""
    return next((each.Name for each in _decode(answer, _SESSIONS)), "")


def renewed_ttl(answer: Response, session: str) -> int:
    """Returns the TTL of the renewed session in whole seconds. 0 if Consul does not know the session."""
    if answer.code == 404:
        if session not in answer.beginning:
            raise ValueError("404 without the id of the session")
        return 0
    (renewed,) = _decode(answer, _SESSIONS)
    if session != renewed.ID:
        raise ValueError("the answer is about another session")
    if (seconds := int(_go_seconds(renewed.TTL))) < 1:
        raise ValueError("the session has no TTL")
    return seconds


def require_true(answer: Response) -> None:
    if not _decode(answer, _BOOLEAN):
        raise ValueError("the answer is false")


def services_of(answer: Response) -> list[AgentService]:
    return [
        AgentService(each.ID, each.Service, each.Port, tuple(each.Tags or ()), each.Meta or {}, each.Address)
        for each in _decode(answer, _SERVICES).values()
    ]


def checks_of(answer: Response) -> list[AgentCheck]:
    return [
        AgentCheck(each.CheckID, each.ServiceID, each.Name, each.Notes, each.Status, each.Output)
        for each in _decode(answer, _CHECKS).values()
    ]


def is_unknown_check(answer: Response) -> bool:
    """Whether the agent has no such TTL check. Consul answers 404, and up to version 1.9 500."""
    return answer.code == 404 or (answer.code == 500 and bool(_UNKNOWN_CHECK.search(answer.beginning)))


def shortest_session_ttl(answer: Response) -> int:
    """Returns the shortest session TTL that Consul allows (`session_ttl_min`), in whole seconds, if this answer refuses
    a shorter one. 0 for any other answer."""
    found = _TTL_BOUND.search(answer.beginning) if answer.code in {400, 500} else None
    return math.ceil(_go_seconds(found[1])) if found else 0


def _go_seconds(text: str) -> float:
    """Returns the seconds of a Go duration of a second or more, such as `10s`, `1m0s` or `24h0m0s`."""
    found = _DURATION.fullmatch(text)
    if not found:
        raise ValueError(f"not a duration: {text[:20]!r}")
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return 3600 * hours + 60 * minutes + seconds


def node_name_of(answer: Response) -> str:
    return _decode(answer, _AGENT).Config.NodeName


def is_about(asked: str, found: str) -> bool:
    """Whether an answer with the node `found` is about the node `asked`. Consul ignores the case of names. If it has no
    node of that name, it answers with a node whose ID begins so: for `db1` with any node whose ID begins with `db`."""
    return asked.lower() == found.lower()


def address_of(answer: Response, name: str) -> str | None:
    """Returns the address of a node in the catalog. None if the catalog does not have the node."""
    found = _decode(answer, _NODE)
    return found.Node.Address if found and is_about(name, found.Node.Node) else None


def leader_of(answer: Response) -> str:
    """Returns the address of Consul's leader. "" if there is none."""
    return _decode(answer, _TEXT)


def _decode(answer: Response, decoder: Decoder[T]) -> T:
    if answer.code != 200:
        raise ValueError(str(answer.code))
    return decoder.decode(answer.content)


def _items(answer: Response, decoder: Decoder[list[T]]) -> list[T]:
    """Returns the items of a list, which is never empty: if there are no items, Consul answers 404."""
    if answer.code == 404:
        return []
    if answer.code != 200:
        raise ValueError(str(answer.code))
    found = [item for part in _parts(answer.content) for item in decoder.decode(part)]
    if not found:
        raise ValueError("the list is empty")
    return found


def _parts(content: bytes) -> Iterator[bytes]:
    """Splits a JSON array of pairs into arrays of about `PART` bytes.

    Decoding one of 10,000 pairs in one call would hold the interpreter for 7 ms. `_NEXT_PAIR` cannot be part of a JSON
    string, because a quotation mark in a string is escaped.
    """
    start, opening = 0, b""
    while found := _NEXT_PAIR.search(content, start + PART):
        yield opening + content[start : found.start() + 1] + b"]"
        start, opening = content.index(b"{", found.start()), b"["
    yield opening + content[start:]


def _result_parts(content: bytes) -> Iterator[bytes]:
    """Splits the answer to a transaction as `_parts` splits a list."""
    start, opening = 0, b""
    while found := _NEXT_RESULT.search(content, start + PART):
        yield opening + content[start : content.index(b"}", content.index(b"}", found.start()) + 1) + 1] + b"]}"
        start, opening = content.index(b"{", found.start()), b'{"Results":['
    yield opening + content[start:]


def _pair(item: _Pair) -> KvPair:
    return KvPair(item.Key, item.Value or b"", item.ModifyIndex, item.Session or "", item.CreateIndex, item.Flags)
