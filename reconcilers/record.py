"""The health record as it stands in Consul: p2's JSON, which p2's own tools read, and a few fields more.

It is read as p2 reads it, by the rules of Go's encoding/json: names of fields whatever their case, the last of several
wins, null says nothing, unknown fields are passed over, and a status that nobody knows is `unknown`. All that p2 ever
wrote is understood.

Source: pkg/kp and pkg/store/consul (WatchResult), pkg/health (ToHealthState) of square/p2, 2015 to 2020.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from reconcilers.health import CheckHealth, HealthState, Reason
from reconcilers.spec import PodKey, is_name
from reconcilers.visible import json_visible

MAX_OUTPUT = 4_096
MAX_MESSAGE = 200
SHORT = 64 * 1024
"""Bytes that no record of ours has. Whatever stands in so many is read within 2 ms."""
CENTURY = timedelta(days=36_525)
LATEST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
STATES = frozenset(HealthState)
REASONS = frozenset(Reason)
SHA = re.compile(r"[0-9a-f]{64}")
GO_STRING = re.compile(
    r"([0-9-]{10} [0-9:]{8}(?:\.[0-9]{1,9})?) ([+-][0-9]{4}) [A-Z0-9+-]{1,9}(?: m=[+-][0-9.]{1,40})?", re.ASCII
)
"""How Go's `Time.String` writes a time, which p2's first records hold: `2015-07-16 15:01:02.5 -0700 PDT`."""

MISSHAPEN = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError, msgspec.MsgspecError)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class RecordError(ValueError):
    """A value below `health/` that is no health record."""


@dataclass(frozen=True, slots=True)
class HealthRecord:
    """What is published about one pod.

    Two records are equal when there is nothing new to say: times, the sentence and the excerpt alone are no news. Times
    are seconds since the epoch; `written` is set by a reader only. `manifest_sha` is p2's SHA of the manifest that was
    probed, which is an older one while the newest is not understood; empty where p2 would not read it.
    """

    key: PodKey
    status: HealthState
    reason: Reason = Reason.NONE
    detail: str = field(default="", compare=False)
    output: str = field(default="", compare=False)
    since: float = field(default=0.0, compare=False)
    last_probe: float = field(default=0.0, compare=False)
    written: float = field(default=0.0, compare=False)
    last_seen: HealthState | None = field(default=None, compare=False)
    changes: int = field(default=0, compare=False)
    manifest_sha: str = ""

    @classmethod
    def of(cls, key: PodKey, health: CheckHealth, last_probe: float, manifest_sha: str = "") -> "HealthRecord":
        """The record that says `health`."""
        output = (health.output or health.detail).encode("utf-8", "replace")[:MAX_OUTPUT].decode("utf-8", "ignore")
        return cls(
            key,
            health.state,
            health.reason,
            health.detail,
            output,
            health.since,
            last_probe,
            manifest_sha=manifest_sha,
        )

    @property
    def excerpt(self) -> str:
        """The excerpt of an answer; a record without one has its sentence in its place."""
        return self.output if self.output != self.detail else ""

    def is_news_after(self, published: "HealthRecord | None") -> bool:
        """Whether readers of `published` are to be told this. So they are where an excerpt is no longer there that they
        could read: perhaps it may not be published any more."""
        return self != published or bool(published.excerpt and not self.excerpt)

    def damped(self, changes: int) -> "HealthRecord":
        """The record that says of a flapping pod as much as is certain: what it was last seen as, and how often its
        status changed."""
        seen = f"last seen {self.status}{f' ({self.reason})' if self.reason else ''}"
        return replace(
            self,
            status=HealthState.UNKNOWN,
            reason=Reason.FLAPPING,
            detail=f"flapping: {changes} changes of status in a short time; {seen}",
            last_seen=self.status,
            changes=changes,
        )

    def encode(self, now: float) -> bytes:
        """p2's JSON, written at `now` (seconds since the epoch)."""
        fields: dict[str, str | int] = {
            "Id": self.key.pod,
            "Node": self.key.node,
            "Service": self.key.pod,
            "Status": self.status.value,
            "Output": self.output,
            "Time": timestamp(now),
            "Expires": timestamp(now, CENTURY),
            "Reason": self.reason.value,
            "Detail": self.detail,
            "Since": timestamp(self.since),
            "LastProbe": timestamp(self.last_probe),
            "ManifestSha": self.manifest_sha,
        }
        if self.last_seen:
            fields |= {"LastSeen": self.last_seen.value, "Changes": self.changes}
        return json_visible(_text(json.dumps(fields, ensure_ascii=False))).encode()


@dataclass(frozen=True, slots=True)
class Unsettled(HealthRecord):
    """Something stands there, or may, that is not known to be ours. It equals no record, so nobody rests on it."""

    @classmethod
    def of_record(cls, old: HealthRecord) -> "Unsettled":
        """The same, in doubt."""
        return cls(**{each.name: getattr(old, each.name) for each in fields(old)})


def decode(data: bytes) -> HealthRecord:
    """Read a record, of whatever time.

    Raises:
        RecordError: when it is none.
    """
    try:
        fields = json.loads(data, object_pairs_hook=_said) if len(data) <= SHORT else _said_at_length(data)
        pod = fields.get("service") or fields.get("id")
        return HealthRecord(
            PodKey(_name(fields.get("node")), _name(pod)),
            _state(fields.get("status", "")),
            _reason(fields.get("reason")),
            _text(fields.get("detail", "")),
            _text(fields.get("output", "")),
            _seconds(fields.get("since")),
            _seconds(fields.get("lastprobe")),
            _seconds(fields.get("time")),
            _state(fields["lastseen"]) if "lastseen" in fields else None,
            int(fields.get("changes", 0)),
            _sha(fields.get("manifestsha")),
        )
    except MISSHAPEN as error:
        raise RecordError(f"not a health record: {str(error)[:MAX_MESSAGE]}") from None


def timestamp(seconds: float, later: timedelta = timedelta()) -> str:
    """RFC 3339 in UTC with microseconds, as Go's `time.Time` reads it."""
    moment = datetime.fromtimestamp(seconds, UTC) + later
    return f"{moment.isoformat(timespec='microseconds').removesuffix('+00:00')}Z"


def _said(pairs: list[tuple[str, object]]) -> Mapping[str, Any]:
    """The fields that say something, by their names in lower case."""
    return {name.casefold(): value for name, value in pairs if value is not None}


def _said_at_length(data: bytes) -> Mapping[str, Any]:
    """The same of a long value: what a list or a mapping holds becomes no object, however many values that are."""
    fields = {name: bytes(raw) for name, raw in _FIELDS.decode(data).items()}
    return _said([(name, json.loads(raw)) for name, raw in fields.items() if raw[:1] not in {b"[", b"{"}])


def _name(text: object) -> str:
    if isinstance(text, str) and is_name(text):
        return text
    raise ValueError("Node or Service is no name")


def _text(text: object) -> str:
    """What anybody can write on: JSON may hold halves of characters, which are none."""
    return str(text).encode("utf-8", "replace").decode()


def _state(text: object) -> HealthState:
    if not isinstance(text, str):
        raise TypeError("a status that is no text")
    return HealthState(text) if text in STATES else HealthState.UNKNOWN


def _reason(text: object) -> Reason:
    """A reason that a later version may have is no reason to lose the status."""
    return Reason(text) if isinstance(text, str) and text in REASONS else Reason.NONE


def _sha(text: object) -> str:
    return text if isinstance(text, str) and SHA.fullmatch(text) else ""


def _seconds(text: object) -> float:
    """Seconds since the epoch; 0 for a time that is not there, or before (Go's zero time).

    One without offset would depend on this machine.
    """
    if not isinstance(text, str) or not text:
        return 0.0
    found = GO_STRING.fullmatch(text)
    moment = datetime.fromisoformat("".join(found.groups()) if found else text)
    if moment.tzinfo is None:
        raise ValueError("a time without offset from UTC")
    return min(max(0.0, moment.timestamp()), LATEST)
