"""Finds where a probe connects: it resolves the name and lets the guard check the addresses."""

from controller.probes.resolver import Answer, Resolver
from controller.probes.target import Target, in_turns
from controller.probes.verdict import Verdict
from controller.probes.worker import Worker
from reconcilers.health import Outcome, Reason
from reconcilers.spec import UNKNOWN_ADDRESS
from reconcilers.target_guard import Guard, is_address

ASSUMED = Verdict(Outcome.SUCCESS, detail="reported as passing without a probe: the manifest has no status_port")
LOOPBACK = Answer(("127.0.0.1", "::1"))
"""The addresses of `localhost`, regardless of the resolver's answer (RFC 6761)."""

GIVEN = object()
"""Used in place of an answer when the check has an IP address, which needs no lookup."""


class TargetResolver:
    """Finds the target of a worker. For the probe thread only."""

    def __init__(self, resolver: Resolver, guard: Guard) -> None:
        self._resolver = resolver
        self._guard = guard

    def apply(self, guard: Guard) -> None:
        """Use `guard` from now on. The caller must forget the targets that were found before."""
        self._guard = guard

    def find(self, worker: Worker) -> Target | Verdict | None:
        """Returns where to connect; or a verdict that ends the probe; or None while the name is being resolved."""
        if worker.kind is None:
            return ASSUMED
        if worker.where is not None and worker.resolved is GIVEN:
            return worker.where
        answer = self._answer(worker)
        if answer is None:
            return None
        if worker.where is None or worker.resolved is not answer:
            if isinstance(found := self._judge(worker, answer), Verdict):
                return found
            worker.where, worker.resolved = found, answer
            if is_address(worker.spec.probe.host if worker.spec.address is None else worker.spec.address):
                worker.resolved = GIVEN
        return worker.where

    def doubt(self, worker: Worker) -> None:
        """Resolve the name of `worker` again, because its address did not answer."""
        name = worker.spec.address or worker.spec.probe.host
        if not is_address(name):
            self._resolver.doubt(name)

    def _answer(self, worker: Worker) -> Answer | None:
        address, host = worker.spec.address, worker.spec.probe.host
        if address == UNKNOWN_ADDRESS:
            return Answer(
                (), f"the address of node {host} is not known: Consul's catalog has not named it", temporary=True
            )
        name = host if address is None else address
        if is_address(name):
            return Answer((name,))
        return LOOPBACK if name == "localhost" else self._resolver.lookup(name)

    def _judge(self, worker: Worker, answer: Answer) -> Target | Verdict:
        probe = worker.spec.probe
        if not answer.addresses:
            outcome, reason = (Outcome.LOCAL, Reason.LOCAL) if answer.temporary else (Outcome.FAILURE, Reason.DNS)
            return Verdict(outcome, reason, answer.error)
        objections = {address: self._guard.objection(address, probe.port) for address in answer.addresses}
        allowed = tuple(address for address, objection in objections.items() if not objection)
        if not allowed:
            return Verdict(Outcome.LOCAL, Reason.DENIED, next(iter(objections.values())))
        return Target(in_turns(allowed), probe.port)
