"""Health as services of the local Consul agent, for DNS, the UI and the API: a service and a TTL check for each pod.

A service is ours when its id is `podpulse:<node>:<pod>` and its meta says `external-source: podpulse`; no other service
is ever changed. Services outlive us: a restart within a TTL finds them as they were, later they are critical.

The agent hands a service on to the catalog with the token that it was registered with. So every service is registered
anew when our token has changed, and once after each start, when it is not known which token that was.

Telling a check its state needs no leader, registering waits for one. While a server hangs (not: is gone), the agent may
answer nothing either: Consul 1.8 holds a lock while it hands on what it has. Checks that run out by it are mended.
"""

import logging
import math
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from controller.consul.answers import AgentCheck, AgentService
from controller.consul.client import ConsulClient, ConsulError, ConsulRefused, ConsulUnavailable
from controller.consul.ownership import OWNER, is_ours
from controller.publish.agent_service import (
    ID_PREFIX,
    IN_DNS,
    NEW,
    Standing,
    agent_service,
    parse_service_id,
    service_id,
)
from controller.publish.services import ServiceDirectory
from controller.runtime.boottime import boottime
from controller.runtime.faults import Faults
from reconcilers.health import HealthState, Reason
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey

log = logging.getLogger(__name__)

TTL = 20.0
RENEWALS = 3
"""How often a check is renewed within its TTL."""
SILENCES = 2
"""After so many requests in a row without answer the rest of a batch is not sent."""
REGISTERING_PATIENCE = 1.0
"""Seconds that the agent has to register a service anew: meanwhile no check is renewed."""
LEAVE_PATIENCE = 1.0
"""Seconds that the agent has to remove one service at the end; when it does not, the rest is not tried."""
NOT_TRIED = "not tried, because the agent does not answer"
NO_MANIFEST = "there is no manifest that says what service this pod is"
RAN_OUT = "checks have run out meanwhile; what was found before is not told any more"
LOST = "the agent does not know the check any more; it is to be registered again"


class AgentSink:
    """Implements `HealthSink`. Any thread may call it.

    `on_lost` is told of pods that do not stand as they were published, so that somebody looks at them again; it must
    not wait for this sink. `void` is called before that when checks have run out which were taken for renewed: what was
    found before is no evidence any more. `ttl` is seconds. `client` is used by nobody else.
    """

    def __init__(
        self,
        client: ConsulClient,
        directory: ServiceDirectory,
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
        self._directory = directory
        self._on_lost = on_lost
        self._void = void
        self._ttl = ttl
        self._clock = clock
        self._notes = f"What Podpulse found. Critical when it has not been renewed for {ttl:g} s."
        self._writing = threading.Lock()
        self._lock = threading.Lock()
        self._known: dict[PodKey, Standing] = {}
        self._foreign: frozenset[PodKey] = frozenset()
        self._node = ""

    def published(self, key: PodKey) -> HealthRecord | None:
        """What stands there, as far as known; `Unsettled` when the service is to look otherwise by now."""
        standing = self._now(key)
        if standing is None or standing.is_registered_as(self._described(key)):
            return standing.record if standing else None
        return standing.in_doubt().record

    def published_without_break(self, key: PodKey) -> HealthRecord | None:
        """What was told the agent, by us or by an earlier run, and has not run out since. A critical check may be one
        that has."""
        found = self._now(key)
        return HealthRecord(key, HealthState.PASSING) if found and found.status == HealthState.PASSING else None

    def write(self, put: Collection[HealthRecord], delete: Collection[PodKey]) -> Mapping[PodKey, str]:
        """See `HealthSink`. What only has to be told comes first: it needs no leader."""
        with self._writing:
            unregistered = {record.key for record in put if not self._is_registered(record.key)}
            try:
                if any(record.status is HealthState.PASSING for record in put) and self._heed_expiry():
                    raise ConsulRefused(RAN_OUT)
                if unregistered or delete:
                    self.look()
            except ConsulError as error:
                return self._give_up([*(record.key for record in put), *delete], str(error))
            ordered = sorted(put, key=lambda record: record.key in unregistered)
            return self._attempt([*((record.key, record) for record in ordered), *((key, None) for key in delete)])

    def leftovers(self, node: str) -> Collection[PodKey]:
        """Read what stands published for `node`, and remember it; the pods are to be looked at (again).

        Nothing of it is renewed before its pod was probed: until then it may turn critical. What we had published
        already, and does not stand so, is told to `on_lost`.

        Raises:
            ConsulError: nothing is remembered then.
        """
        with self._lock:
            found = self._listed()
            if self._node != node:
                self._look_whose_agent_it_is(node)
            self._node = node
            ours = set(self._known)
            lost = self._take(found) & ours
            left = frozenset(key for key in self._known if key.node == node)
        if lost:
            self._on_lost(lost)
        return left

    def look(self) -> None:
        """Compare what the agent has with what was published; `on_lost` is told of differences.

        Raises:
            ConsulError: the agent does not say.
        """
        with self._lock:
            changed = self._take(self._listed())
        if changed:
            self._on_lost(changed)

    def renew(self, share: float) -> None:
        """Renew checks that were told nothing for a period, oldest first: at most this share of all, but one at least.

        Where they have run out, because this process was frozen, they are not renewed but lost: Consul says that they
        are critical, and what was known before the freeze is no reason to say otherwise.

        Raises:
            ConsulError: the agent does not answer; the rest was not tried.
        """
        latest = self._clock() - self.period
        due = sorted((one.told, key) for key, one in self._known.copy().items() if one.settled and one.told <= latest)
        if due:
            self._heed_expiry()
        lost: list[PodKey] = []
        try:
            for _, key in due[: math.ceil(share * len(self._known))]:
                with self._faults.contain(f"renewal of {service_id(key)}", but=(ConsulError,)):
                    if not self._renewed(key):
                        lost.append(key)
        finally:
            if lost:
                self._on_lost(lost)

    def register_anew(self, most: int) -> None:
        """Register up to `most` services anew that were registered with another token than the one in force, those
        first that DNS may have to leave out. Each check is told at the same moment what it says.

        Raises:
            ConsulError: the agent does not answer, or refuses; the rest was not tried.
        """
        token = self._client.token_mark()
        known = self._known.copy()
        due = [key for key, one in known.items() if one.settled and one.sound and one.token != token]
        if due and self._heed_expiry():
            return
        due.sort(key=lambda key: (known[key].status == HealthState.PASSING, known[key].told))
        for key in due[:most]:
            with self._faults.contain(f"registration of {service_id(key)}", but=(ConsulError,)):
                if self._renewed(key):
                    self._register_as_it_stands(key)
                else:
                    self._on_lost([key])

    def withdraw_all(self, within: float) -> None:
        """Remove every service of ours, as far as `within` seconds go; also after `cancel`.

        Raises:
            ConsulError: the agent does not answer, or refuses; the rest was not tried.
        """
        deadline = self._clock() + within
        self._client.reopen()
        for done, key in enumerate(keys := list(self._known)):
            if (left := deadline - self._clock()) <= 0:
                raise ConsulUnavailable(f"{len(keys) - done} could not be removed within {within:.1f} s", sent=False)
            self._withdraw(key, min(left, LEAVE_PATIENCE))

    def _heed_expiry(self) -> bool:
        """Where checks have run out that were taken for renewed, take what was found for void; whether that is so.

        Where none of our clocks went on meanwhile, only the agent knows: what was told longest ago runs out first.
        """
        known = self._known.copy()
        told = [(one.told, key) for key, one in known.items() if one.settled and one.status in IN_DNS]
        if not told:
            return False
        now, (_, first) = self._clock(), min(told)
        if gone := [key for at, key in told if now - at > self._ttl]:
            with self._lock:
                self._known |= {key: one.at(now, self._ttl) for key in gone if (one := self._known.get(key))}
            self._void()
            self._on_lost(gone)
            return True
        try:
            with self._lock:  # nobody tells that check anything else meanwhile
                checks = self._client.agent_checks(service_id(first)) if self._known.get(first) is known[first] else ()
        except ConsulRefused:
            return False
        if expired := any(check.id == service_id(first) and check.status == NEW for check in checks):
            log.warning("checks have run out that were taken for renewed: their pods are probed before they pass")
            self._void()
            self.look()
        return expired

    # --- writing ---

    def _attempt(self, wishes: Sequence[tuple[PodKey, HealthRecord | None]]) -> dict[PodKey, str]:
        """Publish each record, withdraw where there is none; the answer names those that failed, and why."""
        failed: dict[PodKey, str] = {}
        silences = 0
        for at, (key, record) in enumerate(wishes):
            try:
                if record:
                    if refused := self._publish(record):
                        failed[key] = refused
                elif key in self._known:
                    self._withdraw(key)
                silences = 0
            except ConsulError as error:
                failed[key] = str(error)
                self._doubt(key, refused=isinstance(error, ConsulRefused))
                silences = silences + 1 if isinstance(error, ConsulUnavailable) else 0
                if silences == SILENCES:
                    return failed | self._give_up([key for key, _ in wishes[at + 1 :]], NOT_TRIED)
        return failed

    def _publish(self, record: HealthRecord) -> str:
        """Register where needed, then tell. Registering once more brings news to the catalog that Consul would hold.

        Where another name or port is refused, what stands is told and goes on being renewed; the answer says why. It is
        empty otherwise.
        """
        service = self._described(record.key)
        if service is None:
            raise ConsulRefused(NO_MANIFEST)
        if record.key in self._foreign:
            raise ConsulRefused(f"the agent has a service {service.id!r} whose meta lacks {'='.join(OWNER)}: not ours")
        before = self._now(record.key)
        if before is None and record.reason is Reason.DEPLOYING:
            return ""  # all that Consul could say of it is critical
        token = before.token if before else ""
        if before is None or not before.is_registered_as(service):
            try:
                token = self._register(service)
            except ConsulRefused as error:
                if before is None:
                    raise
                stands = Standing.wanted(record, before.service, before, token)
                self._tell(record.key, replace(stands, sound=before.sound))
                return str(error)
        wanted = Standing.wanted(record, service, before, token)
        self._tell(record.key, wanted)
        if wanted.hides_news_after(before, self._client.token_mark()):
            self._register_as_it_stands(record.key)
        return ""

    def _withdraw(self, key: PodKey, within: float | None = None) -> None:
        """Remove a service. The agent removes it from the catalog with the token that it was registered with, too."""
        self._doubt(key)
        standing = self._known.get(key)
        if standing and standing.token != self._client.token_mark():
            self._register(standing.service, within=within)
        with self._lock:
            self._client.deregister_service(service_id(key), within)
            self._known.pop(key, None)

    def _register(self, service: AgentService, status: str = "", within: float | None = None) -> str:
        """Register a service with its check; the answer is the mark of the token that it is registered with. A file of
        the token that is replaced at this moment makes it an older one: then it is registered once more."""
        check = AgentCheck(service.id, service.id, "Podpulse", self._notes, status)
        with self._lock:
            token = self._client.token_mark()
            self._client.register_service(service, check, self._ttl, within)
        return token

    def _register_as_it_stands(self, key: PodKey) -> None:
        """Once more, right after its check was told what it says: what it said is not changed by that."""
        if standing := self._known.get(key):
            token = self._register(standing.service, standing.status, REGISTERING_PATIENCE)
            with self._lock:
                if now := self._known.get(key):
                    self._known[key] = replace(now, token=token)

    def _tell(self, key: PodKey, standing: Standing) -> None:
        with self._lock:
            told = self._clock()
            if not self._client.update_check(service_id(key), standing.status, standing.output):
                self._known.pop(key, None)
                raise ConsulRefused(LOST)
            self._known[key] = replace(standing, told=told)

    def _renewed(self, key: PodKey) -> bool:
        """Say once more what a check says; False when that is not to be had. Unanswered, it has to wait a period."""
        with self._lock:
            standing = self._known.get(key)
            if standing is None or not standing.settled:
                return True
            standing = standing.at(self._clock(), self._ttl)
            if not standing.settled:
                self._known[key] = standing
                return False
            self._known[key] = replace(standing, told=self._clock())
            try:
                if self._client.update_check(service_id(key), standing.status, standing.output):
                    return True
            except ConsulRefused:
                self._known[key] = standing.refused()
                return False
            del self._known[key]
            return False

    def _give_up(self, keys: Collection[PodKey], why: str) -> dict[PodKey, str]:
        for key in keys:
            self._doubt(key)
        return dict.fromkeys(keys, why)

    def _doubt(self, key: PodKey, *, refused: bool = False) -> None:
        """It is not what it should be, or not known; until it is, it is not renewed."""
        with self._lock:
            if standing := self._known.get(key):
                self._known[key] = standing.refused() if refused else standing.in_doubt()

    # --- what stands there ---

    def _now(self, key: PodKey) -> Standing | None:
        standing = self._known.get(key)
        return standing.at(self._clock(), self._ttl) if standing else None

    def _look_whose_agent_it_is(self, node: str) -> None:
        """Warn where it is another node's: nothing else would say so."""
        try:
            found = self._client.agent_node()
        except ConsulError as error:
            log.debug("whose agent it is cannot be told: %s", error)
            return
        if found.casefold() != node.casefold():
            log.warning(
                "Consul's agent is that of node %s: the services of node %s's pods stand under it, and go when it goes",
                found,
                node,
            )

    def _is_registered(self, key: PodKey) -> bool:
        return bool((one := self._known.get(key)) and one.is_registered_as(self._described(key)))

    def _described(self, key: PodKey) -> AgentService | None:
        service = self._directory.describe(key)
        return agent_service(key, service) if service else None

    def _take(self, found: Mapping[PodKey, Standing]) -> set[PodKey]:
        """Accept what the agent has. Returns the pods whose service has changed. Services that we did not publish are
        ignored until `leftovers` was called, and services of another node always."""
        lost = self._known.keys() - found.keys()
        changed = {key for key, standing in found.items() if self._is_news(key, standing)}
        for key in lost:
            del self._known[key]
        for key, standing in found.items():
            if key in changed or (key in self._known and not self._known[key].settled):
                self._known[key] = standing
        return changed | lost

    def _is_news(self, key: PodKey, standing: Standing) -> bool:
        known = self._known.get(key)
        return known.settled and known.status != standing.status if known else key.node == self._node

    def _listed(self) -> dict[PodKey, Standing]:
        """Our services as the agent has them; also remembers which of our ids are somebody else's."""
        services = {key: one for one in self._client.agent_services(ID_PREFIX) if (key := parse_service_id(one.id))}
        checks = {check.id: check for check in self._client.agent_checks(ID_PREFIX)}
        self._foreign = frozenset(key for key, one in services.items() if not is_ours(one))
        return {
            key: Standing.found(key, services[key], checks.get(services[key].id), self._notes)
            for key in services.keys() - self._foreign
        }
