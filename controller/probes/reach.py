"""Where a probe connects to: the name is resolved beside the probe thread, and the guard judges what it stands for."""

from controller.probes.resolver import Answer, Resolver
from controller.probes.transfer import Verdict, Where, where
from controller.probes.worker import Worker
from reconcilers.guard import Guard
from reconcilers.health import Outcome, Reason
from reconcilers.spec import UNKNOWN_ADDRESS

ASSUMED = Verdict(Outcome.SUCCESS, detail="taken for passing without a probe: the manifest has no status_port")
LOOPBACK = Answer(("127.0.0.1", "::1"))
"""What `localhost` stands for, whatever a resolver says (RFC 6761)."""


class Reach:
    """Finds the way for workers; for the probe thread only."""

    def __init__(self, resolver: Resolver, guard: Guard) -> None:
        self._resolver = resolver
        self._guard = guard

    def take(self, guard: Guard) -> None:
        """From now on `guard` judges; a worker's way that was found before has to be forgotten."""
        self._guard = guard

    def find(self, worker: Worker) -> Where | Verdict | None:
        """Where to connect; or why not, as the verdict over the probe; or None while the name is being looked up."""
        if worker.kind is None:
            return ASSUMED
        if worker.where is not None and worker.spec.address is not None:
            return worker.where
        answer = self._answer(worker)
        if answer is None:
            return None
        if worker.where is None or worker.resolved is not answer:
            if isinstance(found := self._judge(worker, answer), Verdict):
                return found
            worker.where, worker.resolved = found.after(worker.where) if worker.where else found, answer
        return worker.where

    def _answer(self, worker: Worker) -> Answer | None:
        host = worker.spec.probe.host
        if worker.spec.address == UNKNOWN_ADDRESS:
            return Answer(
                (), f"the address of node {host} is not known: Consul's catalog has not named it", temporary=True
            )
        if worker.spec.address is not None:
            return Answer((worker.spec.address,))
        return LOOPBACK if host == "localhost" else self._resolver.lookup(host)

    def _judge(self, worker: Worker, answer: Answer) -> Where | Verdict:
        probe = worker.spec.probe
        if not answer.addresses:
            outcome, reason = (Outcome.LOCAL, Reason.LOCAL) if answer.temporary else (Outcome.FAILURE, Reason.DNS)
            return Verdict(outcome, reason, answer.error)
        objections = {address: self._guard.objection(address, probe.port) for address in answer.addresses}
        allowed = tuple(address for address, objection in objections.items() if not objection)
        if not allowed:
            return Verdict(Outcome.LOCAL, Reason.DENIED, next(iter(objections.values())))
        return where(probe.host, probe.port, allowed)
