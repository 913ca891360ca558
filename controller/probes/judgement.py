"""Decides whether the end of a probe is evidence about the pod or about this controller."""

from collections.abc import Sequence

from controller.probes import certificate
from controller.probes.dialogue import Dialogue
from controller.probes.failure import Cause, Failure
from controller.probes.files import TlsSettings
from controller.probes.refusal import RIGHT_AFTER
from controller.probes.running_probe import RunningProbe
from controller.probes.trust import parsed
from controller.probes.verdict import Verdict, bracketed, reason, sentence
from controller.probes.worker import Worker
from reconcilers.health import Outcome, Reason
from reconcilers.warning import Measured, Warned, warned

OUR_SHARE = 0.5
"""If this controller or the resolver used more than this share of the timeout, a failure does not count for the pod."""
WITHIN_A_STEP = frozenset({Cause.EMPTY, Cause.CUT_SHORT, Cause.RESET})
IMPATIENCE = frozenset({Reason.TIMEOUT, Reason.TLS, Reason.PROTOCOL})
"""The possible reasons if a server closed the connection because we sent nothing for too long."""


def judge(worker: Worker, probe: RunningProbe, sent: Sequence[bytes], settings: TlsSettings | None) -> Verdict:
    """Returns the verdict on a probe that ended. `sent` are the certificates that the target sent, as DER."""
    assert worker.kind is not None  # noqa: S101 - a probe in flight has a kind
    failure, spec = probe.failure, worker.spec
    if failure is None:
        return worker.kind.verdict(probe.exchange, spec)
    if failure.cause is Cause.CERTIFICATE and settings:
        chain = parsed(sent)
        expired = settings.trust.is_expired(chain, worker.started_wall)
        detail = certificate.explain(failure.objections, chain, worker.server_name, by_expired=expired)
    else:
        detail = _place(probe, failure) + sentence(failure, _where(worker), worker.server_name)
    why = reason(failure)
    if why in IMPATIENCE and probe.lost > spec.timeout * OUR_SHARE:
        return _delayed(probe, detail)
    outcome = Outcome.LOCAL if why is Reason.LOCAL else Outcome.FAILURE
    output = worker.kind.excerpt(probe.exchange) if spec.output.keeps(success=False) else ""
    return Verdict(outcome, why, detail, output, probe.exchange.status)


def with_warnings(verdict: Verdict, worker: Worker, probe: RunningProbe, since: float) -> Verdict:
    """Returns the verdict on a probe of a check that can warn: a success may be a warning.

    The answer may have been ready `since` then. The pod is not blamed for the time that this controller used.
    """
    if not verdict.outcome.is_good:
        return verdict
    took = (probe.closing_at or since) - worker.started - probe.lost
    measured = Measured(took, worker.dns, worker.started_wall, worker.certificate.ends)
    before = Warned(verdict.reason, verdict.detail) if verdict.reason else None
    found = warned(worker.spec, measured, before)
    return verdict._replace(outcome=Outcome.WARNING, reason=found.reason, detail=found.detail) if found else verdict


def deadline(worker: Worker, probe: RunningProbe) -> float:
    """Returns when the probe times out. The pod gets back the time that this controller used, at most one timeout."""
    end = worker.started + worker.spec.timeout + min(probe.lost, worker.spec.timeout)
    return min(end, probe.closing_at + RIGHT_AFTER) if probe.closing_at else end


def overdue(worker: Worker, probe: RunningProbe) -> Verdict:
    """Returns the verdict on a probe that did not end before its `deadline`."""
    assert worker.kind is not None  # noqa: S101 - a probe in flight has a kind
    spec = worker.spec
    if worker.dns > spec.timeout * OUR_SHARE:
        detail = f"of {spec.timeout:g} s, {worker.dns:.2f} went by until {spec.probe.host} was resolved"
        return Verdict(Outcome.LOCAL, Reason.DNS, f"{detail}: too few were left for an answer")
    if code := probe.local_errno():
        return Verdict(Outcome.LOCAL, Reason.LOCAL, sentence(Failure(Cause.CONNECT, code), _where(worker), ""))
    fault = probe.exchange.fault if isinstance(probe.exchange, Dialogue) else None
    why, detail = fault or (Reason.TIMEOUT, _timeout(worker, probe))
    if probe.lost > spec.timeout:
        return _delayed(probe, detail)
    output = worker.kind.excerpt(probe.exchange) if spec.output.keeps(success=False) else ""
    return Verdict(Outcome.FAILURE, why, detail, output, probe.exchange.status)


def _place(probe: RunningProbe, failure: Failure) -> str:
    """Returns the step of a dialogue that a failure of the connection has interrupted, for a sentence."""
    is_in_step = isinstance(probe.exchange, Dialogue) and failure.cause in WITHIN_A_STEP
    return probe.exchange.label if isinstance(probe.exchange, Dialogue) and is_in_step else ""


def _timeout(worker: Worker, probe: RunningProbe) -> str:
    seconds = f"{worker.spec.timeout:g} s"
    match probe.stage():
        case "body":
            return f"the answer was not complete after {seconds}"
        case "answer":
            return f"connected, then nothing for {seconds}"
        case "handshake":
            return f"connected, then no TLS handshake for {seconds}"
        case _:
            return f"no connection to {_where(worker)} for {seconds}"


def _where(worker: Worker) -> str:
    spec = worker.spec
    return f"{bracketed(spec.address or spec.probe.host)}:{spec.probe.port}"


def _delayed(probe: RunningProbe, detail: str) -> Verdict:
    return Verdict(
        Outcome.LOCAL, Reason.LOCAL, f"this controller kept the pod waiting for {probe.lost:.2f} s: {detail}"
    )
