"""Publishes health at the local Consul agent, for DNS, the UI and the API: one service with a TTL check for each pod.

A service is ours if its id is `podpulse:<node>:<pod>` and its meta has `external-source: podpulse`. Other services are
never changed. The services outlive this process: a restart within the TTL finds them unchanged, a later one critical.

The agent syncs a service to the catalog with the token of its registration. So every service is registered again when
our token has changed, and once after each start, because the token of its registration is not known then.

The update of a check needs no leader, a registration does. While a server hangs (but is not down), the agent may not
answer either, because Consul 1.8 holds a lock while it syncs. Checks that expire because of this are repaired.
"""

import logging
import math
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from controller.consul.answers import AgentCheck, AgentService
from controller.consul.client import ConsulClient, ConsulError, ConsulRefused, ConsulUnavailable
from controller.consul.ownership import OWNER, is_ours
from controller.publish.agent_service import ID_PREFIX, IN_DNS, NEW, ServiceState, parse_service_id, service_id
from controller.runtime.boottime import boottime
from controller.runtime.faults import Faults
from reconcilers.health import HealthState, Reason
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey

log = logging.getLogger(__name__)

TTL = 20.0
RENEWALS = 3
"""The number of renewals of a check within its TTL."""
MAX_UNANSWERED = 2
"""After this number of unanswered requests in a row the rest of a batch is not sent."""
REGISTERING_PATIENCE = 1.0
"""Seconds to wait for the registration of a known service. No check is renewed meanwhile."""
LEAVE_PATIENCE = 1.0
"""Seconds to wait for the removal of one service at the exit. After a timeout the rest is not tried."""
NOT_TRIED = "not tried, because the agent does not answer"
NO_MANIFEST = "the pod has no manifest that describes its service"
EXPIRED = "checks have expired meanwhile; health from before is not published"
LOST = "the agent no longer has the check; it will be registered again"


class AgentSink:
    """Implements `HealthSink`. Any thread may call it.

    `describe` returns the service of a pod, None if the pod is not known. `on_lost` gets the pods whose services differ
    from what was published, and queues them for publication. It must not wait for this sink. `void` is called before
    `on_lost` when checks have expired that were believed to be renewed: health that was determined before is no longer
    evidence. `ttl` is in seconds. `client` is for this sink alone.
    """

    def __init__(
        self,
        client: ConsulClient,
        describe: Callable[[PodKey], AgentService | None],
        on_lost: Callable[[Collection[PodKey]], None],
        *,
        void: Callable[[], None] = lambda: None,
        ttl: float = TTL,
        clock: Callable[[], float] = boottime,
        faults: Faults | None = None,
    ) -> None:
        self._faults = faults or Faults()
        self.period = ttl / RENEWALS
        self._client = client
        self._describe = describe
        self._on_lost = on_lost
        self._void = void
        self._ttl = ttl
        self._clock = clock
        self._notes = f"What Podpulse found. Critical when it has not been renewed for {ttl:g} s."
        self._write_lock = threading.Lock()
        self._lock = threading.Lock()
        self._known: dict[PodKey, ServiceState] = {}
        self._foreign: frozenset[PodKey] = frozenset()
        self._node = ""

    def published(self, key: PodKey) -> HealthRecord | None:
        """Returns the record as far as it is known, `Unsettled` if the service must be registered differently now."""
        if (state := self._current(key)) is None:
            return None
        return (state if state.is_registered_as(self._describe(key)) else state.unsettled()).record

    def published_without_break(self, key: PodKey) -> HealthRecord | None:
        """Returns a passing record, of this or an earlier run, if its check cannot have expired since."""
        state = self._current(key)
        return HealthRecord(key, HealthState.PASSING) if state and state.status == HealthState.PASSING else None

    def disown(self, keys: Collection[PodKey]) -> None:
        """See `HealthSink`. No other controller publishes into this agent."""

    def write(self, put: Collection[HealthRecord], delete: Collection[PodKey]) -> Mapping[PodKey, str]:
        """See `HealthSink`. Updates of registered checks come first, because they need no leader."""
        with self._write_lock:
            unregistered = {record.key for record in put if not self._is_registered(record.key)}
            try:
                if any(record.status.is_up for record in put) and self._discard_if_expired():
                    raise ConsulRefused(EXPIRED)
                if unregistered or delete:
                    self.refresh()
            except ConsulError as error:
                return self._fail([*(record.key for record in put), *delete], str(error))
            ordered = sorted(put, key=lambda record: record.key in unregistered)
            return self._write_each([*((record.key, record) for record in ordered), *((key, None) for key in delete)])

    def leftovers(self, node: str) -> Collection[PodKey]:
        """Reads and remembers the services of `node`. Returns their pods, which must be reconciled.

        No check is renewed before its pod was probed, so it may turn critical until then. `on_lost` gets the pods that
        this run has published already and whose services differ. Raises ConsulError if the services cannot be read.
        Then nothing is remembered.
        """
        with self._lock:
            states = self._read()
            if self._node != node:
                self._warn_about_other_node(node)
            self._node = node
            known_before = set(self._known)
            lost = self._accept(states) & known_before
            left = frozenset(key for key in self._known if key.node == node)
        if lost:
            self._on_lost(lost)
        return left

    def refresh(self) -> None:
        """Compares the agent's services with those published. `on_lost` gets the pods that differ. Raises ConsulError
        if the services cannot be read."""
        with self._lock:
            changed = self._accept(self._read())
        if changed:
            self._on_lost(changed)

    def renew(self, share: float) -> None:
        """Renews checks that were not updated for a period, oldest first: at most this share of all, but at least one.

        Checks that have expired because this process was frozen are not renewed but lost: Consul reports them as
        critical, and the health from before the freeze does not justify another status. Raises ConsulError if the agent
        does not answer. Then the rest was not tried.
        """
        latest = self._clock() - self.period
        states = self._known.copy().items()
        due = sorted((state.updated_at, key) for key, state in states if state.settled and state.updated_at <= latest)
        if due:
            self._discard_if_expired()
        lost: list[PodKey] = []
        try:
            for _, key in due[: math.ceil(share * len(self._known))]:
                with self._faults.contain(f"renewal of {service_id(key)}", but=(ConsulError,)):
                    if not self._renew(key):
                        lost.append(key)
        finally:
            if lost:
                self._on_lost(lost)

    def register_again(self, most: int) -> None:
        """Registers up to `most` services again whose token of registration is not the one in force.

        Services that DNS may have to leave out come first. Each check is renewed just before its registration. Raises
        ConsulError if the agent does not answer, or refuses. Then the rest was not tried.
        """
        token = self._client.token_mark()
        known = self._known.copy()
        due = [key for key, state in known.items() if state.settled and state.has_our_check and state.token != token]
        if due and self._discard_if_expired():
            return
        due.sort(key=lambda key: (known[key].status == HealthState.PASSING, known[key].updated_at))
        for key in due[:most]:
            with self._faults.contain(f"registration of {service_id(key)}", but=(ConsulError,)):
                if self._renew(key):
                    self._register_unchanged(key)
                else:
                    self._on_lost([key])

    def withdraw_all(self, within: float) -> None:
        """Removes all our services, within `within` seconds. This works after `cancel`, too. Raises ConsulError if the
        agent does not answer in time, or refuses. Then the rest was not tried."""
        deadline = self._clock() + within
        self._client.reopen()
        for done, key in enumerate(keys := list(self._known)):
            if (left := deadline - self._clock()) <= 0:
                raise ConsulUnavailable(f"{len(keys) - done} could not be removed within {within:.1f} s", sent=False)
            self._withdraw(key, min(left, LEAVE_PATIENCE))

    def _discard_if_expired(self) -> bool:
        """Discards the known health if checks have expired that were believed to be renewed. Returns whether it did.

        If our clocks stood still meanwhile, only the agent knows. The check that was updated first expires first.
        """
        known = self._known.copy()
        updated = [(one.updated_at, key) for key, one in known.items() if one.settled and one.status in IN_DNS]
        if not updated:
            return False
        now, (_, first) = self._clock(), min(updated)
        if overdue := [key for at, key in updated if now - at > self._ttl]:
            with self._lock:
                self._known |= {key: one.at(now, self._ttl) for key in overdue if (one := self._known.get(key))}
            self._void()
            self._on_lost(overdue)
            return True
        try:
            with self._lock:  # no other thread updates this check meanwhile
                checks = self._client.agent_checks(service_id(first)) if self._known.get(first) is known[first] else ()
        except ConsulRefused:
            return False
        if expired := any(check.id == service_id(first) and check.status == NEW for check in checks):
            log.warning("checks have expired that were believed to be renewed: their pods are probed before they pass")
            self._void()
            self.refresh()
        return expired

    # --- writing ---

    def _write_each(self, changes: Sequence[tuple[PodKey, HealthRecord | None]]) -> dict[PodKey, str]:
        """Publishes each record, and withdraws pods without one. Returns the errors of the pods that failed."""
        failed: dict[PodKey, str] = {}
        unanswered = 0
        for at, (key, record) in enumerate(changes):
            try:
                if record:
                    if refused := self._publish(record):
                        failed[key] = refused
                elif key in self._known:
                    self._withdraw(key)
                unanswered = 0
            except ConsulError as error:
                failed[key] = str(error)
                self._unsettle(key, refused=isinstance(error, ConsulRefused))
                unanswered = unanswered + 1 if isinstance(error, ConsulUnavailable) else 0
                if unanswered == MAX_UNANSWERED:
                    return failed | self._fail([key for key, _ in changes[at + 1 :]], NOT_TRIED)
        return failed

    def _publish(self, record: HealthRecord) -> str:
        """Registers the service if needed, then updates its check. Returns an error, or "".

        If Consul would delay the change in the catalog, the service is registered once more. If a new name or port is
        refused, the check of the old service is updated and still renewed, and the error is returned.
        """
        service = self._describe(record.key)
        if service is None:
            raise ConsulRefused(NO_MANIFEST)
        if record.key in self._foreign:
            raise ConsulRefused(f"the agent has a service {service.id!r} whose meta lacks {'='.join(OWNER)}: not ours")
        before = self._current(record.key)
        if before is None and record.reason is Reason.DEPLOYING:
            return ""  # Consul could only show it as critical
        token = before.token if before else ""
        if before is None or not before.is_registered_as(service):
            try:
                token = self._register(service)
            except ConsulRefused as error:
                if before is None:
                    raise
                state = ServiceState.desired(record, before.service, before, token)
                self._update_check(record.key, replace(state, has_our_check=before.has_our_check))
                return str(error)
        state = ServiceState.desired(record, service, before, token)
        self._update_check(record.key, state)
        if state.needs_registration_after(before, self._client.token_mark()):
            self._register_unchanged(record.key)
        return ""

    def _withdraw(self, key: PodKey, within: float | None = None) -> None:
        """Removes a service. The agent removes it from the catalog with the token of its registration, too."""
        self._unsettle(key)
        state = self._known.get(key)
        if state and state.token != self._client.token_mark():
            self._register(state.service, within=within)
        with self._lock:
            self._client.deregister_service(service_id(key), within)
            self._known.pop(key, None)

    def _register(self, service: AgentService, status: str = "", within: float | None = None) -> str:
        """Registers a service with its check. Returns the mark of the token of the registration. If the token's file is
        replaced meanwhile, the mark is that of the older token, and the service is registered once more later."""
        check = AgentCheck(service.id, service.id, "Podpulse", self._notes, status)
        with self._lock:
            token = self._client.token_mark()
            self._client.register_service(service, check, self._ttl, within)
        return token

    def _register_unchanged(self, key: PodKey) -> None:
        """Registers a known service again right after an update of its check. Its status stays the same."""
        if state := self._known.get(key):
            token = self._register(state.service, state.status, REGISTERING_PATIENCE)
            with self._lock:
                if current := self._known.get(key):
                    self._known[key] = replace(current, token=token)

    def _update_check(self, key: PodKey, state: ServiceState) -> None:
        with self._lock:
            updated_at = self._clock()
            if not self._client.update_check(service_id(key), state.status, state.output):
                self._known.pop(key, None)
                raise ConsulRefused(LOST)
            self._known[key] = replace(state, updated_at=updated_at)

    def _renew(self, key: PodKey) -> bool:
        """Sends a check's status again. Returns False if it is lost. If unanswered, it is sent again after a period."""
        with self._lock:
            state = self._known.get(key)
            if state is None or not state.settled:
                return True
            state = state.at(self._clock(), self._ttl)
            if not state.settled:
                self._known[key] = state
                return False
            self._known[key] = replace(state, updated_at=self._clock())
            try:
                if self._client.update_check(service_id(key), state.status, state.output):
                    return True
            except ConsulRefused:
                self._known[key] = state.after_refusal()
                return False
            del self._known[key]
            return False

    def _fail(self, keys: Collection[PodKey], error: str) -> dict[PodKey, str]:
        for key in keys:
            self._unsettle(key)
        return dict.fromkeys(keys, error)

    def _unsettle(self, key: PodKey, *, refused: bool = False) -> None:
        """Marks a service whose state is wrong or unknown. It is not renewed until it is written again."""
        with self._lock:
            if state := self._known.get(key):
                self._known[key] = state.after_refusal() if refused else state.unsettled()

    # --- the known state ---

    def _current(self, key: PodKey) -> ServiceState | None:
        state = self._known.get(key)
        return state.at(self._clock(), self._ttl) if state else None

    def _warn_about_other_node(self, node: str) -> None:
        try:
            agent_node = self._client.agent_node()
        except ConsulError as error:
            log.debug("the node of the Consul agent cannot be read: %s", error)
            return
        if agent_node.casefold() != node.casefold():
            text = "the Consul agent is that of node %s: the services of node %s's pods belong to it, and go with it"
            log.warning(text, agent_node, node)

    def _is_registered(self, key: PodKey) -> bool:
        return bool((state := self._known.get(key)) and state.is_registered_as(self._describe(key)))

    def _accept(self, states: Mapping[PodKey, ServiceState]) -> set[PodKey]:
        """Remembers the agent's services. Returns the pods whose service has changed.

        Services that this run did not publish are ignored until `leftovers` is called, those of other nodes always.
        """
        changed = self._known.keys() - states.keys()
        for key in changed:
            del self._known[key]
        for key, state in states.items():
            known = self._known.get(key)
            if known and not known.settled:
                self._known[key] = state
            elif known.status != state.status if known else key.node == self._node:
                self._known[key] = state
                changed.add(key)
        return changed

    def _read(self) -> dict[PodKey, ServiceState]:
        """Reads our services from the agent, and remembers which of our ids foreign services have."""
        services = {key: one for one in self._client.agent_services(ID_PREFIX) if (key := parse_service_id(one.id))}
        checks = {check.id: check for check in self._client.agent_checks(ID_PREFIX)}
        self._foreign = frozenset(key for key, one in services.items() if not is_ours(one))
        return {
            key: ServiceState.from_agent(key, services[key], checks.get(services[key].id), self._notes)
            for key in services.keys() - self._foreign
        }
