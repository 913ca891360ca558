"""How healthy a check is: the one state machine for thresholds, and the words for what a probe found.

Counts results, never time: when a probe started is given by whoever ran it.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

from reconcilers.spec import CheckSpec, PodKey


class Outcome(StrEnum):
    """What one probe is evidence of. `LOCAL` is our own fault (no descriptors, no memory), never the pod's."""

    SUCCESS = "success"
    FAILURE = "failure"
    LOCAL = "local"


class Reason(StrEnum):
    """Why a probe did not succeed; bounded, because it is a metric's label."""

    NONE = ""
    DNS = "dns"
    CONNECT = "connect"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    TLS = "tls"
    CERTIFICATE = "certificate"
    STATUS = "status"
    REDIRECT = "redirect"
    BODY = "body"
    PROTOCOL = "protocol"
    NOT_SERVING = "not_serving"
    DENIED = "denied"
    LOCAL = "local"
    FLAPPING = "flapping"
    DEPLOYING = "deploying"


class HealthState(StrEnum):
    """Consul's and p2's words; p2 orders them critical < unknown < warning < passing."""

    PASSING = "passing"
    WARNING = "warning"
    CRITICAL = "critical"
    UNKNOWN = "unknown"


class Phases(NamedTuple):
    """How long the parts of one probe took, in seconds; 0 for a part that it did not come to."""

    dns: float = 0.0
    connect: float = 0.0
    tls: float = 0.0
    first_byte: float = 0.0
    transfer: float = 0.0


NO_PHASES = Phases()


class Certificate(NamedTuple):
    """What a target's certificate says of itself: for which hosts it is and who signed it, as OpenSSL writes them.

    Times are seconds since the epoch. `expires` is when the first of all certificates that the target sent expires, 0
    where none was seen. `chain_expires` is until when the target is accepted with what it sent, 0 where it was not
    verified or not accepted. What it sent may have certificates that verification has no need of.
    """

    expires: float = 0.0
    names: str = ""
    issuer: str = ""
    chain_expires: float = 0.0

    @property
    def ends(self) -> float:
        """The expiry that a person is told: of the chain that verifies, where one does."""
        return self.chain_expires or self.expires


NO_CERTIFICATE = Certificate()


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What one probe saw.

    `generation` names the worker that ran it: a result of an older worker is dropped. `started` is seconds since the
    epoch, `duration` seconds. `detail` is a sentence for a person, `output` an excerpt of the answer's body.
    `status_code` is 0 where no status line was read. `certificate` is the one that was seen last.
    """

    key: PodKey
    generation: int
    outcome: Outcome
    started: float
    duration: float
    reason: Reason = Reason.NONE
    detail: str = ""
    output: str = ""
    status_code: int = 0
    phases: Phases = NO_PHASES
    certificate: Certificate = NO_CERTIFICATE


@dataclass(frozen=True, slots=True)
class CheckHealth:
    """The health of one check after all results so far; `since` is when `state` began (seconds since the epoch).

    `successes`, `failures` and `misses` count results in a row: a miss is any result that is no success. `reason`,
    `detail` and `output` are those of the result that last changed the state or the reason. `born` is when the check
    began to run (seconds since the epoch). `manifest` is the one that asked for the last probe that counted.
    """

    state: HealthState = HealthState.UNKNOWN
    reason: Reason = Reason.NONE
    since: float = 0.0
    detail: str = "not probed yet"
    output: str = ""
    successes: int = 0
    failures: int = 0
    misses: int = 0
    born: float = 0.0
    manifest: bytes = field(default=b"", repr=False)

    def after(self, result: ProbeResult, spec: CheckSpec, *, deploying: bool = False) -> "CheckHealth":
        """The health after one more result.

        Passing needs `success_threshold` successes in a row, and ends with `failure_threshold` misses in a row.
        Critical needs as many failures with no success between them; misses of our own making neither count towards
        it nor speak for it, so a check that left passing without that evidence is unknown. A miss that started within
        the initial delay, before the first success, does not count at all. A pod that is `deploying` is not critical
        but unknown: its misses count, and speak for themselves as soon as it is not any more.
        """
        if result.outcome is Outcome.SUCCESS and self._is_settled(spec):
            return self
        if result.outcome is not Outcome.SUCCESS and self._is_young(result, spec):
            return self
        counted = self._count(result, spec)
        state = _judge(counted, spec)
        if state is None or (state is HealthState.CRITICAL and result.outcome is Outcome.LOCAL):
            return counted
        reason, detail = Reason.NONE if state is HealthState.PASSING else result.reason, result.detail
        if state is HealthState.CRITICAL and deploying:
            state, reason, detail = HealthState.UNKNOWN, Reason.DEPLOYING, f"being deployed, and not well yet: {detail}"
        if state is self.state and reason is self.reason:
            return counted
        return replace(
            counted,
            state=state,
            reason=reason,
            since=self.since if state is self.state and self.since else result.started,
            detail=detail,
            output=result.output,
        )

    def anew(self) -> "CheckHealth":
        """The same state, with nothing counted towards another one: what was counted is no evidence any more."""
        counts_nothing = self.state is HealthState.PASSING and not self.misses
        return self if counts_nothing else replace(self, successes=0, failures=0, misses=0)

    def _is_settled(self, spec: CheckSpec) -> bool:
        """Whether one more success says nothing new."""
        return self.state is HealthState.PASSING and not self.misses and self.manifest is spec.manifest

    def _is_young(self, result: ProbeResult, spec: CheckSpec) -> bool:
        """Whether nothing has counted yet, and need not. A clock that was set back since ends the delay."""
        counted = self.since or self.successes or self.misses
        return not counted and 0 <= result.started - self.born < spec.initial_delay

    def _count(self, result: ProbeResult, spec: CheckSpec) -> "CheckHealth":
        if result.outcome is Outcome.SUCCESS:
            return replace(self, successes=self.successes + 1, failures=0, misses=0, manifest=spec.manifest)
        failures = self.failures + (result.outcome is Outcome.FAILURE)
        return replace(self, successes=0, failures=failures, misses=self.misses + 1, manifest=spec.manifest)


def _judge(counted: CheckHealth, spec: CheckSpec) -> HealthState | None:
    """The state that the counts ask for; None where they are not enough to leave the present one."""
    if counted.successes:
        return HealthState.PASSING if counted.successes >= spec.success_threshold else None
    if counted.misses < spec.failure_threshold:
        return None
    if counted.failures >= spec.failure_threshold:
        return HealthState.CRITICAL
    return HealthState.UNKNOWN
