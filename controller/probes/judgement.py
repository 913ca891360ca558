"""What a transfer that ended is evidence of: of the pod, or of us."""

import pycurl

from controller.probes.transfer import Transfer, Verdict
from controller.probes.worker import Worker
from reconcilers.health import Outcome, Reason

OUR_SHARE = 0.5
"""The share of a probe's timeout that may pass because of us, or for its name, and its failure still be the pod's."""
IMPATIENCE = frozenset({Reason.TIMEOUT, Reason.TLS, Reason.PROTOCOL})
"""How a probe fails that the pod gave up because it heard nothing from us."""


def judge(worker: Worker, transfer: Transfer, code: int, message: str) -> Verdict:
    """The verdict over a transfer that libcurl ended with `code` (0 for none) and `message`.

    libcurl's own timeout comes long after the engine's: only when the engine did not come to the transfer in time.
    """
    assert worker.kind is not None  # noqa: S101 - a worker in flight has a kind
    if code == pycurl.E_OK:
        return worker.kind.answered(transfer, worker.spec)
    if code == pycurl.E_OPERATION_TIMEDOUT:
        return Verdict(Outcome.LOCAL, Reason.LOCAL, "this controller stood still until the probe was over")
    verdict = worker.kind.failed(transfer, code, message, worker.spec)
    if verdict.reason in IMPATIENCE and transfer.lost > worker.spec.timeout * OUR_SHARE:
        return _delayed(transfer, verdict.detail)
    return verdict


def deadline(worker: Worker, transfer: Transfer) -> float:
    """When a probe's time is over: the pod gets back what this controller took of it, up to as much again."""
    return worker.started + worker.spec.timeout + min(transfer.lost, worker.spec.timeout)


def overdue(worker: Worker, transfer: Transfer) -> Verdict:
    """The verdict over a transfer that was not over at its `deadline`."""
    assert worker.kind is not None  # noqa: S101 - a worker in flight has a kind
    spec = worker.spec
    if worker.dns > spec.timeout * OUR_SHARE:
        detail = f"of {spec.timeout:g} s, {worker.dns:.2f} went by until {spec.probe.host} was resolved"
        return Verdict(Outcome.LOCAL, Reason.DNS, f"{detail}: too few were left for an answer")
    verdict = worker.kind.failed(transfer, pycurl.E_OPERATION_TIMEDOUT, "", spec)
    return _delayed(transfer, verdict.detail) if transfer.lost > spec.timeout else verdict


def _delayed(transfer: Transfer, detail: str) -> Verdict:
    return Verdict(
        Outcome.LOCAL, Reason.LOCAL, f"this controller kept the pod waiting for {transfer.lost:.2f} s: {detail}"
    )
