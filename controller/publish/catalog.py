"""Publishes health in Consul's catalog, for DNS, the UI and the API, for pods on nodes without an agent: node, service
and check.

Each write names the ModifyIndex that the entry had when it was read. So Consul refuses it if somebody has written in
the meantime. Then the node is read again. A node with an agent is left alone, because the agent removes services that
it does not know.

Nobody expires these checks: if all controllers are dead, each check keeps its last status. A check names the controller
that has written it, and the index of its view of the fleet. So it is written at each handover, a late write of the
previous member is refused, and nobody overwrites what was written with a newer view (see `fences`).

Consul deletes a node with all that is on it. A node is deleted only if it had nothing when it was read just before. If
somebody registers a service on it within these milliseconds, without changing the node, that service is lost.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from controller.consul.answers import AgentCheck, AgentService
from controller.consul.catalog import (
    EXTERNAL,
    CatalogNode,
    CatalogOperation,
    Committed,
    commit,
    external_nodes,
    read_node,
)
from controller.consul.client import ConsulClient, ConsulError, ConsulRefused, ConsulTooLarge, ConsulUnavailable
from controller.consul.ownership import OWNER
from controller.members.current_share import CurrentShare
from controller.publish.agent_service import ServiceState
from controller.publish.batches import SizeLimit, batches, body_size, halves
from controller.publish.catalog_entries import CatalogEntries, Entry, notes
from controller.publish.fences import Fences
from controller.publish.handover import Change
from controller.runtime.boottime import boottime
from reconcilers.health import HealthState, Reason
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey

log = logging.getLogger(__name__)

REFUSALS = 2
"""After this number of refused single changes in a row no other is tried."""
NO_MANIFEST = "the pod has no manifest that describes its service"
NOT_THERE = "the node is not in Consul's catalog, and with `address: catalog` it is not registered"


@dataclass(frozen=True, slots=True)
class _Step:
    """The operations that change one pod, and the state of its service after them; None if it is removed."""

    key: PodKey
    operations: Sequence[CatalogOperation]
    state: ServiceState | None


@dataclass(slots=True)
class _Outcome:
    """The errors of the pods that failed, and those of the pods whose entries others have changed."""

    failed: dict[PodKey, str] = field(default_factory=dict)
    stale: dict[PodKey, str] = field(default_factory=dict)


class CatalogSink:
    """Implements `HealthSink`. Any thread may call it.

    `describe` returns the service of a pod, None if the pod is not known. `address` returns the address to register a
    node with, None if only nodes that the catalog has are used. `client` and `fences` are for this sink alone.
    """

    def __init__(
        self,
        client: ConsulClient,
        describe: Callable[[PodKey], AgentService | None],
        address: Callable[[str], str | None],
        share: CurrentShare,
        fences: Fences,
        scheduled: Callable[[], Collection[PodKey]] = tuple,
        *,
        clock: Callable[[], float] = boottime,
    ) -> None:
        self._client = client
        self._describe = describe
        self._address = address
        self._share = share
        self._fences = fences
        self._scheduled = scheduled
        self._clock = clock
        self._limit = SizeLimit(clock)
        self._lock = threading.RLock()
        self._known = CatalogEntries(client, lambda: notes(share.current()), clock)

    def published(self, key: PodKey) -> HealthRecord | None:
        """Returns the record as far as it is known, `Unsettled` if the service must be registered differently now."""
        if (entry := self._known.entry(key)) is None:
            return None
        state = entry.state
        return (state if state.is_registered_as(self._describe(key)) else state.unsettled()).record

    def published_without_break(self, key: PodKey) -> HealthRecord | None:
        """Returns a passing record if the catalog has one, of whichever controller."""
        entry = self._known.entry(key)
        return HealthRecord(key, HealthState.PASSING) if entry and entry.state.status == HealthState.PASSING else None

    def disown(self, keys: Collection[PodKey]) -> None:
        """See `HealthSink`."""
        with self._lock:
            self._known.disown(keys)

    def write(self, put: Collection[HealthRecord], delete: Collection[PodKey]) -> Mapping[PodKey, str]:
        """See `HealthSink`. A change of an entry that others have written in the meantime is tried once more."""
        changes = [*(Change(record.key, record) for record in put), *(Change(key, None) for key in delete)]
        with self._lock:
            outcome = self._write(changes)
            if not outcome.stale:
                return outcome.failed
            again = self._write([change for change in changes if change.key in outcome.stale])
            refused = {key: f"Consul refused it: {error}" for key, error in again.stale.items()}
            return outcome.failed | again.failed | refused

    def leftovers(self, *nodes: str) -> Collection[PodKey]:
        """Reads and remembers our services on `nodes`. Returns their pods, which are to be reconciled.

        Raises:
            ConsulError: the catalog cannot be read.
        """
        changed: set[PodKey] = set()
        for node in nodes:
            with self._lock:
                changed |= self._known.read(node, lambda _: True)
        with self._lock:
            return self._known.keys_of(nodes) | changed

    def look_again(self, beat: Callable[[], None] = lambda: None) -> Collection[PodKey]:
        """Reads the known nodes of our share again. Returns the pods whose entries are not as they were written.

        Between two nodes other threads may write, and `beat` is called. Our nodes without any service are removed.

        Raises:
            ConsulError: the catalog cannot be read. The pods that were found to differ are returned the next time.
        """
        scheduled = frozenset(self._scheduled())
        with self._lock:
            self._fences.review()
            self._known.keep_nodes(self._share.owns)
            nodes = self._known.nodes()
        for node in nodes:
            beat()
            with self._lock:
                if self._share.owns(node):
                    self._known.note_changed(self._known.read(node, scheduled.__contains__))
                    self._tidy_if_empty(node)
        with self._lock:
            return self._known.take_changed()

    def find(self) -> Collection[PodKey]:
        """Returns the pods of our share that have a service of ours which nobody has asked for. Looks at all nodes that
        are marked as nodes without an agent. Our nodes without any service are removed.

        Raises:
            ConsulError: the catalog cannot be read.
        """
        with self._lock:
            nodes = {*external_nodes(self._client), *self._known.nodes()}
        found: set[PodKey] = set()
        for node in filter(self._share.owns, nodes):
            with self._lock:
                if not self._known.knows(node):
                    self._known.read(node, lambda _: False)
                    self._tidy_if_empty(node)
                found.update(self._known.strays(node))
        return found

    def adopt(self, keys: Collection[PodKey]) -> None:
        """Remembers our services of these pods, so that they are removed.

        Raises:
            ConsulError: the catalog cannot be read.
        """
        for node in {key.node for key in keys}:
            with self._lock:
                self._known.read(node, keys.__contains__)

    def withdraw_all(self, within: float) -> None:
        """Removes all our services and nodes, within `within` seconds. This works after `cancel`, too.

        Raises:
            ConsulError: Consul does not answer in time, or refuses. The rest was not tried.
        """
        deadline = self._clock() + within
        self._client.reopen()
        with self._lock:
            steps = [step for key in self._known.pods() if (step := self._step(Change(key, None))[0])]
            for batch in batches(steps, lambda step: step.operations, self._limit):
                if (left := deadline - self._clock()) <= 0:
                    raise ConsulUnavailable(f"services could not be removed within {within:.1f} s", sent=False)
                self._commit(batch, left)
            for node in self._known.nodes():
                if (left := deadline - self._clock()) > 0:
                    self._tidy(node, left)

    # --- writing ---

    def _write(self, changes: Sequence[Change]) -> _Outcome:
        outcome = _Outcome()
        try:
            problems = self._known.know({change.key for change in changes})
            changes = self._admit(changes)
            steps = self._on_registered(self._steps(changes, problems, outcome), outcome)
        except ConsulError as error:
            outcome.failed |= dict.fromkeys((change.key for change in changes), str(error))
            return outcome
        self._send_all([*batches(steps, lambda step: step.operations, self._limit)][::-1], outcome)
        for node in {step.key.node for step in steps if not step.state}:
            self._tidy_if_empty(node)
        return outcome

    def _admit(self, changes: Sequence[Change]) -> Sequence[Change]:
        """Returns the changes of our nodes. Nodes that were written with a newer view than ours are fenced before."""
        if self._share.current().only:
            return changes
        ahead: dict[str, int] = {}
        for key in (change.key for change in changes):
            if (entry := self._known.entry(key)) and self._fences.is_ahead(key.node, entry.view):
                ahead[key.node] = max(entry.view, ahead.get(key.node, 0))
        self._fences.add(ahead)
        ours = [change for change in changes if self._share.owns(change.key.node)]
        self.disown({change.key for change in changes}.difference(change.key for change in ours))
        return ours

    def _steps(self, changes: Iterable[Change], problems: Mapping[str, str], outcome: _Outcome) -> list[_Step]:
        """Returns the steps of the changes. `outcome` gets the changes that cannot be made."""
        steps = []
        for change in changes:
            step, error = self._step(change) if change.key.node not in problems else (None, problems[change.key.node])
            if error:
                outcome.failed[change.key] = error
            elif step:
                steps.append(step)
        return steps

    def _step(self, change: Change) -> tuple[_Step | None, str]:
        """Returns the step of a change, None if nothing is to be done, and the error if it cannot be done."""
        key, record = change.key, change.record
        before = self._known.entry(key)
        if not record:
            if not before:
                return None, ""
            return _Step(key, _removal(key, before), None), ""
        if (service := self._describe(key)) is None:
            return None, NO_MANIFEST
        if self._known.is_foreign(key):
            return None, f"the catalog has a service {service.id!r} whose meta lacks {'='.join(OWNER)}: not ours"
        if before is None and record.reason is Reason.DEPLOYING:
            return None, ""  # Consul could only show it as critical
        state = ServiceState.desired(record, service, before.state if before else None, "")
        return _Step(key, self._operations(key, state, before), state), ""

    def _operations(self, key: PodKey, state: ServiceState, before: Entry | None) -> list[CatalogOperation]:
        """The operations that write a service, if it has changed, and its check."""
        service, steps = state.service, []
        if before is None or before.state.service != service:
            index = before.service_index if before else 0
            steps.append(CatalogOperation.on_service("cas", key.node, service, index))
        written = notes(self._share.current())
        check = AgentCheck(service.id, service.id, "Podpulse", written, state.status, state.output)
        index = before.check_index if before else 0
        return [*steps, CatalogOperation.on_check("cas", key.node, check, service.name, index)]

    def _on_registered(self, steps: Sequence[_Step], outcome: _Outcome) -> list[_Step]:
        """Registers the nodes that need it. Returns the steps whose nodes are registered."""
        changed: list[CatalogNode] = []
        errors: dict[str, str] = {}
        for node in dict.fromkeys(step.key.node for step in steps if step.state):
            known, address = self._known.node(node), self._address(node)
            if known is None and address is None:
                errors[node] = NOT_THERE
            elif known is None and address:
                changed.append(CatalogNode(node, address, dict([EXTERNAL, OWNER])))
            elif known and known.is_ours and address not in {None, known.address}:
                changed.append(replace(known, address=address or ""))
        outcome.failed |= {step.key: errors[step.key.node] for step in steps if step.key.node in errors}
        stale = self._register(changed)
        outcome.stale |= {step.key: stale[step.key.node] for step in steps if step.key.node in stale}
        return [step for step in steps if step.key.node not in errors and step.key.node not in stale]

    def _register(self, nodes: Sequence[CatalogNode]) -> dict[str, str]:
        """Writes nodes. Returns the errors of those that others have changed."""
        stale: dict[str, str] = {}
        for batch in batches(nodes, lambda node: [CatalogOperation.on_node("cas", node)], self._limit):
            left = batch
            while left:
                result = self._send([CatalogOperation.on_node("cas", node) for node in left])
                stale |= {left[at].name: error for at, error in result.failed.items()}
                for node, index in zip(left, result.indexes, strict=False):
                    self._known.registered(replace(node, modify_index=index))
                left = [node for node in left if node.name not in stale] if result.failed else []
        self._known.forget(stale)
        return stale

    def _send_all(self, left: list[list[_Step]], outcome: _Outcome) -> None:
        """Makes these changes, the last batch first. If Consul does not answer, the rest is not tried."""
        refusals = 0
        while left:
            batch = left.pop()
            keys = [step.key for step in batch]
            try:
                outcome.stale |= self._commit(batch)
                refusals = 0
            except ConsulUnavailable as error:
                if error.sent:
                    self._known.unsettle(keys)
                rest = [step.key for other in left for step in other]
                outcome.failed |= dict.fromkeys([*keys, *rest], str(error))
                return
            except ConsulRefused as error:
                if len(batch) > 1:
                    left += halves(batch)
                    continue
                outcome.failed[keys[0]] = str(error)
                refusals += not isinstance(error, ConsulTooLarge)
                if refusals == REFUSALS:
                    outcome.failed |= {step.key: str(error) for other in left for step in other}
                    return

    def _commit(self, batch: Sequence[_Step], timeout: float | None = None) -> dict[PodKey, str]:
        """Makes as many of these changes as possible. Returns those that Consul names as failed, with the errors."""
        stale: dict[PodKey, str] = {}
        left = list(batch)
        while left:
            steps = [(step, operation) for step in left for operation in step.operations]
            result = self._send([operation for _, operation in steps], timeout)
            if not result.failed:
                self._settle(left, result)
                break
            stale |= {steps[at][0].key: error for at, error in result.failed.items()}
            left = [step for step in left if step.key not in stale]
        self._known.forget(key.node for key in stale)
        return stale

    def _settle(self, steps: Sequence[_Step], result: Committed) -> None:
        """Consul has made these changes."""
        indexes, view = iter(result.indexes), self._share.current().index
        for step in steps:
            before = self._known.entry(step.key)
            after = None
            if step.state:
                service_index = before.service_index if before and len(step.operations) == 1 else next(indexes)
                after = Entry(step.state, service_index, next(indexes), view)
            self._known.put(step.key, after)

    def _send(self, operations: Sequence[CatalogOperation], timeout: float | None = None) -> Committed:
        size = body_size(operations)
        try:
            result = commit(self._client, operations, timeout)
        except ConsulTooLarge:
            if len(operations) > 1:
                self._limit.refused(size)
            raise
        self._limit.passed(size)
        return result

    def _tidy_if_empty(self, node: str) -> None:
        known = self._known.node(node) if self._known.knows(node) else None
        is_candidate = known is None or known.is_ours
        if is_candidate and not self._known.keys_of([node]):
            self._tidy(node)

    def _tidy(self, node: str, timeout: float | None = None) -> None:
        """Removes a node of ours on which nothing is left. A failure is repaired by a later look."""
        try:
            found = read_node(self._client, node)
            if found.node and found.node.is_ours and not found.services and not found.checks:
                commit(self._client, [CatalogOperation.on_node("delete-cas", found.node)], timeout)
                self._known.forget([node])
        except ConsulError as error:
            log.debug("node %s cannot be removed from the catalog: %s", node, error)


def _removal(key: PodKey, entry: Entry) -> list[CatalogOperation]:
    """The operations that remove a service with its check, unless somebody has written either of them."""
    service = entry.state.service
    check = AgentCheck(service.id, service.id)
    removed = CatalogOperation.on_check("delete-cas", key.node, check, service.name, entry.check_index)
    checks = [removed] if entry.check_index else []
    return [*checks, CatalogOperation.on_service("delete-cas", key.node, service, entry.service_index)]
