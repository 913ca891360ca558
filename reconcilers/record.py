"""The health record in Consul: p2's JSON, which p2's tools read, with some more fields.

It is decoded as p2 decodes it, by the rules of Go's encoding/json: the case of field names is ignored, the last of
several equal names wins, null and unknown fields are ignored, and an unknown status becomes `unknown`. Records of all
versions of p2 can be read.

Source: pkg/kp and pkg/store/consul (WatchResult), pkg/health (ToHealthState) of square/p2, 2015 to 2020.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import msgspec

from reconcilers import uptime
from reconcilers.escaping import safe_json, safe_utf8
from reconcilers.health import NO_COUNTS, CheckHealth, Counts, HealthState, Reason
from reconcilers.spec import PodKey, is_name
from reconcilers.uptime import MAX_TEXT, TICK, Share, UptimeError

MAX_OUTPUT = 4_096
MAX_MESSAGE = 200
SHORT = 64 * 1024
"""No record of Podpulse has more bytes. A value of this length is decoded within 2 ms."""
CENTURY = timedelta(days=36_525)
LATEST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
STATES = frozenset(HealthState)
REASONS = frozenset(Reason)
SHA = re.compile(r"[0-9a-f]{64}")
GO_STRING = re.compile(
    r"([0-9-]{10} [0-9:]{8}(?:\.[0-9]{1,9})?) ([+-][0-9]{4}) [A-Z0-9+-]{1,9}(?: m=[+-][0-9.]{1,40})?", re.ASCII
)
"""The format of Go's `Time.String`, which p2's first records have: `2015-07-16 15:01:02.5 -0700 PDT`."""

MALFORMED = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError, msgspec.MsgspecError)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class RecordError(ValueError):
    """A value below `health/` is not a health record."""


@dataclass(frozen=True, slots=True)
class HealthRecord:
    """The published health of one pod.

    Two records are equal if readers need not know the difference: times, detail and output are not compared. Times
    are seconds since the epoch. `written` is set by `decode` only. `manifest_sha` is p2's SHA of the manifest that was
    probed. That is an older version while the newest is invalid. It is empty if p2 would not read the manifest.

    Only a fleet has `counts` and `tokens`, for the controller that takes the pod over: the `pending` counts of a pod
    that may move soon, and what is left of the tokens of the flap damping; None if the pod changes seldom. `uptime` is
    an encoded `Uptime` by the wall clock, or "".

    `awaiting` is only in a record that was taken over unchanged from another controller, whose probe was newer than
    ours. It is the time of our last probe then, 0 before the first one. The record stays until our next probe.
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
    counts: Counts = field(default=NO_COUNTS, compare=False)
    tokens: int | None = field(default=None, compare=False)
    uptime: str = field(default="", compare=False)
    awaiting: float | None = field(default=None, compare=False)

    @classmethod
    def of(cls, key: PodKey, health: CheckHealth, last_probe: float, manifest_sha: str = "") -> "HealthRecord":
        """Returns the record of `health`."""
        state, reason, since, detail = health.state, health.reason, health.since, health.detail
        output = safe_utf8(health.output or detail, MAX_OUTPUT)
        return cls(key, state, reason, detail, output, since, last_probe, manifest_sha=manifest_sha)

    @property
    def excerpt(self) -> str:
        """The excerpt of the response; "" if `output` has the detail in its place."""
        return self.output if self.output != self.detail else ""

    def shares(self, now: float) -> Sequence[Share]:
        """Returns the share of the time up in each window that ends at `now` (seconds since the epoch), for a record
        that is still published; empty if the record does not have it."""
        try:
            return uptime.decode(self.uptime).shares(int(now / TICK)) if self.uptime else ()
        except UptimeError:
            return ()

    def is_news_after(self, published: "HealthRecord | None") -> bool:
        """Whether readers of `published` must get this record.

        They must also get it if it has no excerpt any more: perhaps the excerpt must not be published any more. If only
        the counts differ, an heir needs it.
        """
        return self != published or self.counts != published.counts or bool(published.excerpt and not self.excerpt)

    def is_outdated_by(self, theirs: "HealthRecord") -> bool:
        """Whether a record that another controller has published is of a newer probe than this one.

        Before a probe of ours, this record is that of another controller (it has the time when it was written), or a
        state that began before that probe. The clocks of both controllers may differ.
        """
        if self.written:
            return self.written != theirs.written
        if self.last_probe:
            return self.last_probe < theirs.last_probe
        return self.manifest_sha == theirs.manifest_sha and self.since < theirs.last_probe

    def damped(self, changes: int) -> "HealthRecord":
        """Returns the record of a flapping pod: unknown, with its last status and the number of its changes."""
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
        """Returns p2's JSON of a record that is written at `now` (seconds since the epoch)."""
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
        if self.tokens is not None:
            fields |= {"Tokens": self.tokens, "Changes": self.changes}
        if self.uptime:
            fields["Uptime"] = self.uptime
        fields |= {name.title(): count for name, count in self.counts._asdict().items() if count}
        return safe_json(safe_utf8(json.dumps(fields, ensure_ascii=False))).encode()


@dataclass(frozen=True, slots=True)
class Unsettled(HealthRecord):
    """A record that may be published, but not certainly by this run. It equals no record, so it is written again."""

    @classmethod
    def of_record(cls, old: HealthRecord) -> Self:
        """Returns the same record as an uncertain one."""
        return cls(**{each.name: getattr(old, each.name) for each in fields(old)})


@dataclass(frozen=True, slots=True)
class Elsewhere(Unsettled):
    """A record that the living session of another controller keeps published. Readers have it without a break.

    It is written again, so that our session holds it.
    """

    def ours(self) -> HealthRecord:
        """Returns the same record as one that this controller publishes. It keeps the time when it was written. It has
        no counts: they were for this controller."""
        return replace(HealthRecord(**{each.name: getattr(self, each.name) for each in fields(self)}), counts=NO_COUNTS)


def decode(data: bytes) -> HealthRecord:
    """Reads a record of any version of p2 or Podpulse. Raises RecordError if `data` is not a record."""
    try:
        fields = json.loads(data, object_pairs_hook=_fields_of) if len(data) <= SHORT else _fields_of_long(data)
        pod = fields.get("service") or fields.get("id")
        return HealthRecord(
            PodKey(_name(fields.get("node")), _name(pod)),
            _state(fields.get("status", "")),
            _reason(fields.get("reason")),
            safe_utf8(str(fields.get("detail", ""))),
            safe_utf8(str(fields.get("output", ""))),
            _seconds(fields.get("since")),
            _seconds(fields.get("lastprobe")),
            _seconds(fields.get("time")),
            _state(fields["lastseen"]) if "lastseen" in fields else None,
            int(fields.get("changes", 0)),
            _sha(fields.get("manifestsha")),
            Counts(*(max(0, int(fields.get(name, 0))) for name in Counts._fields)),
            int(fields["tokens"]) if "tokens" in fields else None,
            _uptime(fields.get("uptime")),
        )
    except MALFORMED as error:
        raise RecordError(f"not a health record: {str(error)[:MAX_MESSAGE]}") from None


def timestamp(seconds: float, later: timedelta = timedelta()) -> str:
    """Returns RFC 3339 in UTC with microseconds, as Go's `time.Time` reads it."""
    moment = datetime.fromtimestamp(seconds, UTC) + later
    return f"{moment.isoformat(timespec='microseconds').removesuffix('+00:00')}Z"


def _fields_of(pairs: list[tuple[str, object]]) -> Mapping[str, Any]:
    """Returns the fields that are not null, by their names in lower case."""
    return {name.casefold(): value for name, value in pairs if value is not None}


def _fields_of_long(data: bytes) -> Mapping[str, Any]:
    """As `_fields_of`, for a long value: lists and mappings are skipped, so that they do not become many objects."""
    fields = {name: bytes(raw) for name, raw in _FIELDS.decode(data).items()}
    return _fields_of([(name, json.loads(raw)) for name, raw in fields.items() if raw[:1] not in {b"[", b"{"}])


def _name(text: object) -> str:
    if isinstance(text, str) and is_name(text):
        return text
    raise ValueError("Node or Service is not a valid name")


def _state(text: object) -> HealthState:
    if not isinstance(text, str):
        raise TypeError("the status is not a string")
    return HealthState(text) if text in STATES else HealthState.UNKNOWN


def _reason(text: object) -> Reason:
    """A reason of a later version is dropped, and the status kept."""
    return Reason(text) if isinstance(text, str) and text in REASONS else Reason.NONE


def _sha(text: object) -> str:
    return text if isinstance(text, str) and SHA.fullmatch(text) else ""


def _uptime(text: object) -> str:
    return text if isinstance(text, str) and len(text) <= MAX_TEXT else ""


def _seconds(text: object) -> float:
    """Returns seconds since the epoch, 0 for a missing time or one before the epoch (Go's zero time).

    A time without an offset is refused because it would depend on the time zone of this machine.
    """
    if not isinstance(text, str) or not text:
        return 0.0
    found = GO_STRING.fullmatch(text)
    moment = datetime.fromisoformat("".join(found.groups()) if found else text)
    if moment.tzinfo is None:
        raise ValueError("a time has no offset from UTC")
    return min(max(0.0, moment.timestamp()), LATEST)
