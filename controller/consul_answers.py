"""What Consul's answers say and its transactions take: shapes, and what does not have them.

python-consul2 believes too much: an empty list for "none", bytes for base64 that are none, an index that is no number.
What it read is checked here; what is wrong ends in one of `MISSHAPEN`, which consul.py takes for "not Consul's answer".
"""

import json
import math
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from controller.consul_transport import Response

MAX_OPERATIONS = 64
MAX_TRANSACTION_BYTES = 512 * 1024

_NOT_BASE64 = re.compile(r'"Value"\s*:\s*"[A-Za-z0-9+/]*={0,2}[^A-Za-z0-9+/="]')

_TTL_BOUND = re.compile(r"[Ii]nvalid Session TTL.*must be between \[((?:\d+h)?(?:\d+m)?\d+(?:\.\d+)?s)=")
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")

_UNKNOWN_CHECK = re.compile("does not have associated TTL|[Uu]nknown check")

NO_ANSWER = Response(0, {}, "", b"")

MISSHAPEN = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)
"""What reading an answer of an unexpected shape ends in, within python-consul2 or here."""


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

    verb: Literal["get", "set", "delete", "lock", "unlock", "check-session"]
    key: str
    value: bytes = b""
    session: str = ""

    def payload(self) -> dict[str, Any]:
        """As Consul reads it."""
        fields: dict[str, Any] = {"Verb": self.verb, "Key": self.key}
        if self.verb in {"set", "lock", "unlock"}:
            fields["Value"] = b64encode(self.value).decode()
        if self.session:
            fields["Session"] = self.session
        return {"KV": fields}

    @property
    def size(self) -> int:
        """Bytes that it takes in a transaction's body, or a few more."""
        return 160 + len(json.dumps(self.key)) + (len(self.value) + 2) // 3 * 4


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


def pairs_of(answer: Response, items: object) -> list[KvPair]:
    """What python-consul2 made of an answer, where it can be that."""
    if items is None and answer.code == 404:
        return []
    if not isinstance(items, list) or _NOT_BASE64.search(answer.body):
        raise ValueError("not a list of keys")
    return [_pair(item) for item in items]


def index_of(text: object) -> int:
    """Consul's index: a number of at least 1; without it somebody else answered."""
    if not (isinstance(text, str) and text.isascii() and text.isdigit() and 1 <= int(text[:20]) < 2**64):
        raise ValueError(f"the index is {text!r}")
    return int(text)


def _pair(item: Mapping[str, Any]) -> KvPair:
    value = item["Value"] or b""
    modify, create = item["ModifyIndex"], item["CreateIndex"]
    if not (isinstance(value, bytes) and isinstance(modify, int) and isinstance(create, int)):
        raise TypeError("a key of another shape")
    return KvPair(text_of(item["Key"]), value, modify, str(item.get("Session") or ""), create)


def found_pair(item: Mapping[str, Any]) -> KvPair:
    """A key as a transaction shows it, with its value still in base64."""
    return _pair({**item, "Value": b64decode(item["Value"] or "", validate=True)})


def text_of(value: object) -> str:
    """`value`, where it is text and not empty."""
    if not (isinstance(value, str) and value):
        raise TypeError(f"expected text, found {value!r}")
    return value


def failures_of(message: str, operations: int) -> dict[int, str]:
    """The failed ones of so many operations, from a 409 as python-consul2 hands it over: `409 {...}`."""
    errors = json.loads(message.removeprefix("409 "))["Errors"]
    failed = {int(error["OpIndex"]): text_of(error["What"]) for error in errors}
    if not failed or not failed.keys() <= set(range(operations)):
        raise ValueError("a conflict that names none of the operations")
    return failed


def services_of(answer: Response) -> list[AgentService]:
    """The services that an agent lists."""
    return [
        AgentService(
            text_of(item["ID"]),
            text_of(item["Service"]),
            int(item["Port"]),
            tuple(map(str, item["Tags"] or ())),
            {str(name): str(text) for name, text in (item["Meta"] or {}).items()},
            str(item["Address"]),
        )
        for item in _listed(answer)
    ]


def checks_of(answer: Response) -> list[AgentCheck]:
    """The checks that an agent lists."""
    return [
        AgentCheck(
            text_of(item["CheckID"]),
            str(item["ServiceID"]),
            str(item["Name"]),
            str(item["Notes"]),
            text_of(item["Status"]),
            str(item["Output"]),
        )
        for item in _listed(answer)
    ]


def is_unknown_check(answer: Response) -> bool:
    """Whether an agent said that it has no such TTL check: 404, or 500 up to Consul 1.9."""
    return answer.code == 404 or (answer.code == 500 and bool(_UNKNOWN_CHECK.search(answer.body)))


def shortest_session_ttl(answer: Response) -> int:
    """The shortest TTL in whole seconds that Consul allows a session (`session_ttl_min`), where it refused a shorter
    one by this answer; 0 for any other answer."""
    found = _TTL_BOUND.search(answer.body) if answer.code in {400, 500} else None
    return math.ceil(_go_seconds(found[1])) if found else 0


def session_ttl(item: Mapping[str, Any]) -> int:
    """The TTL in whole seconds of a session as Consul shows it; at least 1."""
    if (seconds := int(_go_seconds(text_of(item["TTL"])))) < 1:
        raise ValueError("a session without TTL")
    return seconds


def _go_seconds(text: str) -> float:
    """Seconds of a duration as Go's `Duration.String` writes it, of a second or more: `10s`, `1m0s`, `24h0m0s`."""
    found = _DURATION.fullmatch(text)
    if not found:
        raise ValueError(f"not a duration: {text[:20]!r}")
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return 3600 * hours + 60 * minutes + seconds


def _listed(answer: Response) -> list[Mapping[str, Any]]:
    listed = json.loads(answer.body)
    if answer.code != 200 or not isinstance(listed, dict):
        raise ValueError("not what an agent lists")
    return list(listed.values())
