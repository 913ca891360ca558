"""Computes the state of a check from the results of its probes. All decisions about a state are in this module.

The state machine counts results. It reads no clock: a result says when its probe started.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from reconcilers.probe_details import ProbeDetails
from reconcilers.spec import NO_VERSION, CheckSpec, ManifestVersion, PodKey


class Outcome(StrEnum):
    """The outcome of one probe. `WARNING` is an answer that the check accepts with a warning, see `warning`. `LOCAL` is
    a fault of this controller (no descriptors, no memory), never of the pod."""

    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"
    LOCAL = "local"

    @property
    def is_good(self) -> bool:
        """Whether the pod answered as it should, perhaps with a warning."""
        return self is SUCCESS or self is WARNING


SUCCESS, WARNING, FAILURE = Outcome.SUCCESS, Outcome.WARNING, Outcome.FAILURE
"""For what is done for each probe: Python 3.11 needs 0.2 us to read a member of an enum from its class."""


class Reason(StrEnum):
    """Why a probe did not succeed, or is a warning. The set is bounded because it is a label of a metric."""

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
    SLOW = "slow"
    EXPIRY = "expiry"
    LOCAL = "local"
    FLAPPING = "flapping"
    DEPLOYING = "deploying"


class HealthState(StrEnum):
    """The states of Consul and p2. p2 orders them critical < unknown < warning < passing."""

    PASSING = "passing"
    WARNING = "warning"
    CRITICAL = "critical"
    UNKNOWN = "unknown"

    @property
    def is_up(self) -> bool:
        """Whether the pod serves: Consul's DNS answers pods in these states."""
        return self is PASSING or self is WARNED


PASSING, WARNED = HealthState.PASSING, HealthState.WARNING
"""As `SUCCESS`."""


class Phases(NamedTuple):
    """How long the parts of one probe took, in seconds; 0 for a part that the probe did not reach."""

    dns: float = 0.0
    connect: float = 0.0
    tls: float = 0.0
    first_byte: float = 0.0
    transfer: float = 0.0


NO_PHASES = Phases()
PHASE_NAMES = ("resolve", "connect", "tls", "processing", "transfer")
"""What the parts of a probe are called for users, as blackbox_exporter calls them. The order is that of `Phases`."""


class Certificate(NamedTuple):
    """The certificates that a target sent. `names` (the hosts of its own certificate) and `issuer` are OpenSSL's text.

    Times are seconds since the epoch. `expires` is when the first of all sent certificates expires, 0 if no certificate
    was seen. `chain_expires` is when the verified chain expires, 0 if the chain was not verified or not accepted. A
    target may send certificates that are not part of the verified chain.
    """

    expires: float = 0.0
    names: str = ""
    issuer: str = ""
    chain_expires: float = 0.0

    @property
    def ends(self) -> float:
        """The expiry to show: of the verified chain if there is one, else of all sent certificates."""
        return self.chain_expires or self.expires


NO_CERTIFICATE = Certificate()


@dataclass(slots=True)
class ProbeResult:
    """The result of one probe. It is never changed; a frozen class would triple the time to create one.

    `generation` identifies the worker that ran the probe; results of a replaced worker are dropped. `version` is the
    version of the manifest that was in force when the probe started. `started` is seconds since the epoch, `duration`
    is seconds. `detail` is a sentence for a person, `output` an excerpt of the response body. `status_code` is 0 if no
    status line was read. `certificate` is the one that was read last. `details` exist only with `metrics: full`.
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
    version: ManifestVersion = NO_VERSION
    details: ProbeDetails | None = None


class Counts(NamedTuple):
    """Numbers of results; see `CheckHealth`."""

    successes: int = 0
    failures: int = 0
    misses: int = 0
    warnings: int = 0


NO_COUNTS = Counts()


@dataclass(frozen=True, slots=True)
class CheckHealth:
    """The health of one check after all results so far. `since` is when `state` began (seconds since the epoch).

    `successes` counts consecutive successes. `failures` and `misses` count results since the last success or warning. A
    miss is every result that is neither. `warnings` counts towards the state warning: while the state is passing, the
    warnings since the last success, and otherwise the consecutive successes and warnings up to the last warning.
    `reason`, `detail` and `output` are those of the result that last changed the state or the reason. `born` is when
    the check started to run (seconds since the epoch). `version` is the version of the manifest that the last counted
    probe was for.
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
    version: ManifestVersion = NO_VERSION
    warnings: int = 0

    def after(self, result: ProbeResult, spec: CheckSpec, *, deploying: bool = False) -> "CheckHealth":
        """Returns the health after one more result.

        The state becomes passing after `success_threshold` consecutive successes. It stops being passing or warning
        after `failure_threshold` consecutive misses, and becomes critical if there were as many failures since the last
        success or warning. Otherwise it becomes unknown: results with the outcome LOCAL are no evidence for critical.

        Only a warning makes the state warning. A passing check needs `failure_threshold` warnings since the last
        success, and any other check `success_threshold` consecutive results that are successes or warnings.

        Misses that started within the initial delay and before the first success or warning are not counted. While the
        pod is `deploying`, the state is unknown instead of critical; its misses are counted, so it can become critical
        with the first failure after the deployment.
        """
        if result.outcome is SUCCESS:
            if self._is_settled(result.version):
                return self
        elif result.outcome is WARNING:
            if self._is_settled_warning(result):
                return self
        elif self._is_within_initial_delay(result, spec):
            return self
        counted = self._count(result)
        state = _state_by_counts(counted, spec, result.outcome)
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
            warnings=0,
        )

    def is_news_after(self, before: "CheckHealth") -> bool:
        """Whether readers of `before` must be told: there is a verdict, and state, reason or version changed."""
        if self is before or not self.since:
            return False
        return (self.state, self.reason, self.version) != (before.state, before.reason, before.version)

    @property
    def pending(self) -> Counts:
        """The counts that another controller needs to reach a threshold with the same probe as this one."""
        match self.state:
            case HealthState.PASSING:
                return Counts(0, self.failures, self.misses, self.warnings)
            case HealthState.CRITICAL:
                return Counts(self.successes, warnings=self.warnings)
        return Counts(self.successes, self.failures, self.misses, self.warnings)

    def without_counts(self) -> "CheckHealth":
        """The same state, with all counts set to 0."""
        counts_nothing = self.state is HealthState.PASSING and not (self.misses or self.warnings)
        return self if counts_nothing else replace(self, successes=0, failures=0, misses=0, warnings=0)

    def without_failures(self, why: str, now: float) -> "CheckHealth":
        """The health if all counted failures were our own fault. A critical check becomes unknown, because of `why`."""
        health = replace(self, failures=0)
        if self.state is not HealthState.CRITICAL:
            return health
        return replace(health, state=HealthState.UNKNOWN, reason=Reason.LOCAL, since=now, detail=why, output="")

    def _is_settled(self, version: ManifestVersion) -> bool:
        """Whether one more success changes nothing."""
        if self.state is not PASSING or self.misses or self.warnings:
            return False
        return self.version.serial == version.serial

    def _is_settled_warning(self, result: ProbeResult) -> bool:
        """Whether one more warning changes nothing."""
        if self.state is not WARNED or self.misses or self.successes or self.reason is not result.reason:
            return False
        return self.version.serial == result.version.serial

    def _is_within_initial_delay(self, result: ProbeResult, spec: CheckSpec) -> bool:
        """Whether no result has been counted and this one started within the delay.

        The delay is over when the clock was set back to before the start of the check.
        """
        counted = self.since or self.successes or self.misses or self.warnings
        return not counted and 0 <= result.started - self.born < spec.initial_delay

    def _count(self, result: ProbeResult) -> "CheckHealth":
        successes, failures, misses, warnings = 0, 0, 0, self.warnings
        match result.outcome:
            case Outcome.SUCCESS:
                successes, warnings = self.successes + 1, 0 if self.state.is_up else warnings
            case Outcome.WARNING if self.state is WARNED:
                warnings = 0
            case Outcome.WARNING:
                warnings += 1 if self.state is PASSING else 1 + self.successes
            case outcome:
                failures, misses = self.failures + (outcome is FAILURE), self.misses + 1
                warnings = warnings if self.state is PASSING else 0
        return replace(
            self, successes=successes, failures=failures, misses=misses, warnings=warnings, version=result.version
        )


class Assessment(NamedTuple):
    """The health of one check, and the times that decide how long its evidence is good.

    `failing_since` is when the first failure since the last success or warning started, 0 if there is none.
    `last_success` is when the last probe with such a result started, 0 if none is known. Both are seconds since the
    epoch.
    """

    health: CheckHealth
    failing_since: float = 0.0
    last_success: float = 0.0

    def after(
        self, result: ProbeResult, spec: CheckSpec, *, cut_off: str = "", deploying: bool = False, voided: bool = False
    ) -> "Assessment":
        """Returns the assessment after one more result that is evidence, see `is_evidence`.

        `cut_off` says why failures are our own fault at the moment, see `attributed`; they count for `failing_since`
        nevertheless. With `voided` the probe started before all evidence was voided: a success does not become the
        `last_success`.
        """
        failing_since, last_success = self.failing_since, self.last_success
        if result.outcome is SUCCESS or result.outcome is WARNING:
            failing_since, last_success = 0.0, 0.0 if voided else result.started
        elif result.outcome is FAILURE:
            failing_since = failing_since or result.started
        health = self.health.after(attributed(result, cut_off), spec, deploying=deploying)
        return Assessment(health, failing_since, last_success)

    def without_failures_since(self, since: float, why: str, now: float) -> "Assessment":
        """The assessment if failures were our own fault when the first of them started after `since`."""
        if self.failing_since <= since:
            return self
        return self._replace(health=self.health.without_failures(why, now))

    def voided(self) -> "Assessment":
        """The same state without any evidence: no counts, and no last success."""
        return self._replace(health=self.health.without_counts(), last_success=0.0)


def is_evidence(result: ProbeResult, *, voided: bool) -> bool:
    """Whether a result can change the state. While evidence is `voided`, ended probes have the outcome LOCAL."""
    return not (voided and result.outcome is Outcome.LOCAL)


def attributed(result: ProbeResult, cut_off: str) -> ProbeResult:
    """The result as it counts: a failure is our own fault while this node is cut off. `cut_off` says why, or is ""."""
    if not cut_off or result.outcome is not FAILURE:
        return result
    return replace(result, outcome=Outcome.LOCAL, reason=Reason.LOCAL, detail=cut_off)


def _state_by_counts(counted: CheckHealth, spec: CheckSpec, outcome: Outcome) -> HealthState | None:
    """Returns the new state if the last result makes the counts reach a threshold, else None."""
    if outcome is SUCCESS:
        return HealthState.PASSING if counted.successes >= spec.success_threshold else None
    if outcome is WARNING:
        needed = spec.failure_threshold if counted.state is PASSING else spec.success_threshold
        return HealthState.WARNING if counted.state is WARNED or counted.warnings >= needed else None
    if counted.misses < spec.failure_threshold:
        return None
    if counted.failures >= spec.failure_threshold:
        return HealthState.CRITICAL
    return HealthState.UNKNOWN
