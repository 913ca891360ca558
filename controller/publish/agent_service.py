"""The service of one pod at the Consul agent: its id, its registration, and the status and output of its check.

Consul has no status `unknown`. Unknown health is not evidence, so it neither removes a pod from DNS nor adds one. The
check becomes `warning` if it was passing or warning before, because DNS still answers these, and else `critical`.
"""

from dataclasses import dataclass, replace
from typing import Self

from controller.consul.client import AgentCheck, AgentService
from reconcilers.escaping import safe_lines, safe_utf8
from reconcilers.health import HealthState
from reconcilers.record import MAX_OUTPUT, HealthRecord, Unsettled
from reconcilers.spec import PodKey, is_name

ID_PREFIX = "podpulse:"
NEW = "critical"
"""The status of a check that was registered and not updated yet. This is Consul's default."""
IN_DNS = frozenset({"passing", "warning"})


@dataclass(frozen=True, slots=True)
class ServiceState:
    """The known state of one pod's service: its registration, and the status and output of its check.

    `updated_at` is the time of the check's last update on a monotonic clock, in seconds, and 0 if it is not known.
    `has_our_check` is False if the check is missing or is not ours. `token` is the mark of the token of the
    registration, empty if it is not known. The agent syncs the service with that token, whoever updates the check.
    """

    record: HealthRecord
    service: AgentService
    status: str = NEW
    output: str = ""
    updated_at: float = 0.0
    has_our_check: bool = True
    token: str = ""

    @classmethod
    def from_agent(cls, key: PodKey, service: AgentService, check: AgentCheck | None, notes: str) -> Self:
        """The state that the agent reports. It is unsettled until it is written. Our check has these `notes`."""
        record = Unsettled(key, HealthState.UNKNOWN, detail="found at the agent")
        if check is None:
            return cls(record, service, has_our_check=False)
        return cls(record, service, check.status, check.output, has_our_check=check.notes == notes)

    @classmethod
    def desired(cls, record: HealthRecord, service: AgentService, before: "ServiceState | None", token: str) -> Self:
        """The state to publish after the state `before`, with the token of the registration."""
        return cls(record, service, _status(record, before.status if before else NEW), _output(record), token=token)

    def is_registered_as(self, service: AgentService | None) -> bool:
        """Whether the registration needs no change."""
        return self.has_our_check and self.service == service

    @property
    def settled(self) -> bool:
        return not isinstance(self.record, Unsettled)

    def unsettled(self) -> Self:
        return replace(self, record=Unsettled.of_record(self.record))

    def after_refusal(self) -> Self:
        """The state after Consul refused an update: unsettled, with an unknown token. The agent's sync may have been
        refused, too, and the agent does not repeat it before the next registration."""
        return replace(self.unsettled(), token="")

    def at(self, now: float, ttl: float) -> Self:
        """The state at `now` on the same clock: a check that was not updated for `ttl` seconds is critical."""
        return replace(self.unsettled(), status=NEW, updated_at=0.0) if 0.0 < self.updated_at < now - ttl else self

    def needs_registration_after(self, before: "ServiceState | None", token: str) -> bool:
        """Whether the change from `before` needs a registration to reach the catalog. `token` is the one in force.

        A changed state or reason with the same status needs one, and so does a removed excerpt: Consul delays a change
        of the output alone for minutes. A changed status needs one if the token of the registration, which may be
        invalid by now, differs.
        """
        status, output = (before.status, before.output) if before else (NEW, "")
        if self.status != status:
            return self.token != token
        return _headline(self.output) != _headline(output) or ("\n" in output and "\n" not in self.output)


def service_id(key: PodKey) -> str:
    """The id of a pod's service and of its check. It is unique, because names contain no colon."""
    return f"{ID_PREFIX}{key.node}:{key.pod}"


def parse_service_id(text: str) -> PodKey | None:
    """Returns the pod whose service has this id, None for another form of id."""
    match text.removeprefix(ID_PREFIX).split(":"):
        case [node, pod] if text.startswith(ID_PREFIX) and is_name(node) and is_name(pod):
            return PodKey(node, pod)
        case _:
            return None


def _status(record: HealthRecord, before: str) -> str:
    if record.status is HealthState.UNKNOWN:
        return "warning" if before in IN_DNS else "critical"
    return record.status.value


def _output(record: HealthRecord) -> str:
    """State, reason and sentence, and the excerpt below; at most 4 KiB, which Consul does not truncate."""
    reason = f" ({record.reason})" if record.reason else ""
    headline = f"{record.status}{reason}" + (f": {record.detail}" if record.detail else "")
    lines = [headline, *record.excerpt.splitlines()]
    return safe_utf8(safe_lines("\n".join(lines)), MAX_OUTPUT)


def _headline(output: str) -> str:
    """State and reason of an output: a change of these must reach the catalog."""
    return output.partition("\n")[0].partition(":")[0]
