"""What a transfer that ended is evidence of: of the pod, or of us."""

import pycurl

from controller.probes.transfer import Transfer, Verdict
from controller.probes.worker import Worker
from reconcilers.health import Outcome, Reason

DNS_SHARE = 0.5
"""The share of a probe's time that its name may take: where it took more, a timeout says nothing of the pod."""


def judge(worker: Worker, transfer: Transfer, code: int, message: str, stood_still: float) -> Verdict:
    """The verdict over a transfer that libcurl ended with `code` (0 for none) and `message`. `stood_still` is when this
    thread last came back from standing still."""
    assert worker.kind is not None  # noqa: S101 - a worker in flight has a kind
    if code == pycurl.E_OK:
        return worker.kind.answered(transfer, worker.spec)
    verdict = worker.kind.failed(transfer, code, message, worker.spec)
    return _blamed(worker, verdict, stood_still) if verdict.reason is Reason.TIMEOUT else verdict


def _blamed(worker: Worker, verdict: Verdict, stood_still: float) -> Verdict:
    """A timeout is no evidence when we ourselves took the time: the answer may have been there, or come in time."""
    if worker.started < stood_still:
        return Verdict(Outcome.LOCAL, Reason.LOCAL, "timed out while this controller stood still")
    spec = worker.spec
    if worker.dns > spec.timeout * DNS_SHARE:
        detail = f"of {spec.timeout:g} s, {worker.dns:.2f} went by until {spec.probe.host} was resolved"
        return Verdict(Outcome.LOCAL, Reason.DNS, f"{detail}: too few were left for an answer")
    return verdict
