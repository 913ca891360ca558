"""Decides whether the end of a transfer is evidence about the pod or about this controller."""

import pycurl

from controller.probes.transfer import Transfer, Verdict
from controller.probes.worker import Worker
from reconcilers.health import Outcome, Reason

OUR_SHARE = 0.5
"""If this controller or the resolver used more than this share of the timeout, a failure does not count for the pod."""
IMPATIENCE = frozenset({Reason.TIMEOUT, Reason.TLS, Reason.PROTOCOL})
"""The reasons of a probe whose server gave up because we sent nothing for too long."""


def judge(worker: Worker, transfer: Transfer, code: int, message: str) -> Verdict:
    """Returns the verdict on a transfer that libcurl ended with `code` (0 for success) and `message`.

    libcurl's own timeout is far longer than the engine's. It fires only if the engine did not run for that long.
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
    """Returns when the probe times out. The pod gets back the time that this controller used, at most one timeout."""
    return worker.started + worker.spec.timeout + min(transfer.lost, worker.spec.timeout)


def overdue(worker: Worker, transfer: Transfer) -> Verdict:
    """Returns the verdict on a transfer that did not end before its `deadline`."""
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
