"""One pod's service at the Consul agent: whose it is, what it is known to say, and in which words.

Consul has no word for `unknown`. It is not evidence, so it neither takes a pod out of DNS nor lets one in: `warning`
where the check was passing or warning before, which DNS goes on to answer, else `critical`.
"""

from dataclasses import dataclass, replace

from controller.consul.client import AgentCheck, AgentService
from controller.consul.ownership import OWNER
from controller.publish.services import Service
from reconcilers.escaping import safe_lines, safe_utf8
from reconcilers.health import HealthState
from reconcilers.record import MAX_OUTPUT, HealthRecord, Unsettled
from reconcilers.spec import PodKey, is_name

ID_PREFIX = "podpulse:"
NEW = "critical"
"""What a check says that was registered and told nothing yet: Consul's own default."""
IN_DNS = frozenset({"passing", "warning"})


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of one pod's service: how it is registered, what its check says, and when it was last told that
    (seconds of a monotonic clock).

    `sound` is False where its check is not as it should be. `token` is the mark of the token that it was registered
    with, empty where that is not known: the agent passes a service on to the catalog with that token, whoever updates
    the check.
    """

    record: HealthRecord
    service: AgentService
    status: str = NEW
    output: str = ""
    told: float = 0.0
    sound: bool = True
    token: str = ""

    @classmethod
    def found(cls, key: PodKey, service: AgentService, check: AgentCheck | None, notes: str) -> "Standing":
        """As the agent has it: in doubt, until somebody writes it. Our check has these `notes`."""
        record = Unsettled(key, HealthState.UNKNOWN, detail="found at the agent")
        if check is None:
            return cls(record, service, sound=False)
        return cls(record, service, check.status, check.output, sound=check.notes == notes)

    @classmethod
    def wanted(cls, record: HealthRecord, service: AgentService, before: "Standing | None", token: str) -> "Standing":
        """As it is to be, where `before` stands now, and is registered with this token."""
        return cls(record, service, _status(record, before.status if before else NEW), _output(record), token=token)

    def is_registered_as(self, service: AgentService | None) -> bool:
        """Whether nothing is to be changed but what the check says."""
        return self.sound and self.service == service

    @property
    def settled(self) -> bool:
        return not isinstance(self.record, Unsettled)

    def in_doubt(self) -> "Standing":
        return replace(self, record=Unsettled.of_record(self.record))

    def refused(self) -> "Standing":
        """As it stands where Consul refused an update: in doubt. The agent may have been refused too, and does not try
        again what it could not pass on to the catalog; registering makes it try."""
        return replace(self.in_doubt(), token="")

    def at(self, now: float, ttl: float) -> "Standing":
        """As it stands at `now` (of the same clock): Consul turns a check critical that was told nothing for `ttl`
        seconds. When one was told that was only found is not known, and is 0."""
        return replace(self.in_doubt(), status=NEW, told=0.0) if 0.0 < self.told < now - ttl else self

    def hides_news_after(self, before: "Standing | None", token: str) -> bool:
        """Whether there is news that only registering brings to the catalog, with the token that is in force now.

        So it is where state or reason changed and the status did not, or the excerpt went: Consul keeps a change of the
        output alone from the catalog for minutes. And so is a change of the status where the service was registered
        with another token, which may be no good any more.
        """
        status, output = (before.status, before.output) if before else (NEW, "")
        if self.status != status:
            return self.token != token
        return _headline(self.output) != _headline(output) or ("\n" in output and "\n" not in self.output)


def service_id(key: PodKey) -> str:
    """The id of a pod's service and of its check. Names have no colon, so no two pods share one."""
    return f"{ID_PREFIX}{key.node}:{key.pod}"


def parse_service_id(text: str) -> PodKey | None:
    """The pod whose service has this id; None for an id of another form."""
    match text.removeprefix(ID_PREFIX).split(":"):
        case [node, pod] if text.startswith(ID_PREFIX) and is_name(node) and is_name(pod):
            return PodKey(node, pod)
        case _:
            return None


def agent_service(key: PodKey, service: Service) -> AgentService:
    """How a pod is registered, with the mark that it is ours."""
    meta = {**service.meta, OWNER[0]: OWNER[1]}
    return AgentService(service_id(key), service.name, service.port, service.tags, meta, service.address)


def _status(record: HealthRecord, before: str) -> str:
    if record.status is HealthState.UNKNOWN:
        return "warning" if before in IN_DNS else "critical"
    return record.status.value


def _output(record: HealthRecord) -> str:
    """State and reason, the sentence, and below it the excerpt; at most 4 KiB, which Consul does not cut."""
    reason = f" ({record.reason})" if record.reason else ""
    headline = f"{record.status}{reason}" + (f": {record.detail}" if record.detail else "")
    lines = [headline, *record.excerpt.splitlines()]
    return safe_utf8(safe_lines("\n".join(lines)), MAX_OUTPUT)


def _headline(output: str) -> str:
    """The part of an output that is news when it changes: state and reason."""
    return output.partition("\n")[0].partition(":")[0]
