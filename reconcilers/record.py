"""The health record as it stands in Consul: p2's JSON, which p2's own tools read, and a few fields more.

Source: pkg/store/consul (WatchResult) of square/p2; readers there ignore fields that they do not know.
"""

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from reconcilers.health import CheckHealth, HealthState, Reason
from reconcilers.spec import PodKey, is_name

MAX_OUTPUT = 4_096
MAX_MESSAGE = 200
CENTURY = timedelta(days=36_525)


class RecordError(ValueError):
    """A value below `health/` that is no health record."""


@dataclass(frozen=True, slots=True)
class HealthRecord:
    """What is published about one pod.

    Two records are equal when there is nothing new to say: times, the sentence and the excerpt alone are no news. Times
    are seconds since the epoch; `written` is set by a reader only.
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

    @classmethod
    def of(cls, key: PodKey, health: CheckHealth, last_probe: float) -> "HealthRecord":
        """The record that says `health`."""
        output = (health.output or health.detail).encode("utf-8", "replace")[:MAX_OUTPUT].decode("utf-8", "ignore")
        return cls(key, health.state, health.reason, health.detail, output, health.since, last_probe)

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
        }
        if self.last_seen:
            fields |= {"LastSeen": self.last_seen.value, "Changes": self.changes}
        return json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace")


def decode(data: bytes) -> HealthRecord:
    """Read a record.

    Raises:
        RecordError: when it is none.
    """
    try:
        fields = json.loads(data)
        return HealthRecord(
            PodKey(_name(fields["Node"]), _name(fields["Service"])),
            HealthState(fields["Status"]),
            Reason(fields.get("Reason", "")),
            str(fields.get("Detail", "")),
            str(fields.get("Output", "")),
            _seconds(fields.get("Since")),
            _seconds(fields.get("LastProbe")),
            _seconds(fields.get("Time")),
            HealthState(fields["LastSeen"]) if "LastSeen" in fields else None,
            int(fields.get("Changes", 0)),
        )
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise RecordError(f"not a health record: {str(error)[:MAX_MESSAGE]}") from None


def timestamp(seconds: float, later: timedelta = timedelta()) -> str:
    """RFC 3339 in UTC with microseconds, as Go's `time.Time` reads it."""
    moment = datetime.fromtimestamp(seconds, UTC) + later
    return f"{moment.isoformat(timespec='microseconds').removesuffix('+00:00')}Z"


def _name(text: object) -> str:
    if isinstance(text, str) and is_name(text):
        return text
    raise ValueError("Node or Service is no name")


def _seconds(text: object) -> float:
    """Seconds since the epoch; 0 for a time that is not there. One without offset would depend on this machine."""
    if not isinstance(text, str):
        return 0.0
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without offset from UTC")
    return moment.timestamp()
