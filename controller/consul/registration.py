"""Registers this controller as a service of the local Consul agent, so that Prometheus and people find it there.

A TTL check shows Consul that the controller is alive. Unlike an HTTP check, it also works where the agent cannot reach
the address of the page, and it expires when the controller dies. The service then remains, critical, so that monitoring
notices. A clean stop removes it. No other service of the agent is changed. The agent writes the service to the catalog
with the token of its registration. After a change of the token, the service is registered again.
"""

import logging
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Protocol

from controller.consul.client import AgentCheck, AgentService, ConsulClient, ConsulError, ConsulRefused, ConsulSettings
from controller.consul.holders import NAME, Holders, controller_id, page_of
from controller.consul.ownership import OWNER, is_ours
from controller.runtime.background_thread import BackgroundThread
from controller.runtime.heartbeat import Heartbeat
from controller.runtime.log.once import LogOnce

log = logging.getLogger(__name__)

TTL = 15.0
PERIOD = 3.0
"""Seconds between two renewals. A service that the agent has lost is registered again within this time."""
LONGEST_PAUSE = 60.0
CONNECT_WITHIN = 1.0
NOTES = "The controller. Critical when it hangs, or when it has not renewed this check for {ttl:g} s."

Complaints = Callable[[], Sequence[str]]
"""Returns a sentence for each problem."""


class CheckStatus(Protocol):
    """Decides the status of the controller's TTL check, and hears whether Consul's agent took it."""

    @property
    def ttl(self) -> float:
        """Seconds after which the agent makes a check critical that was not renewed."""
        ...

    @property
    def period(self) -> float:
        """Seconds until the next renewal."""
        ...

    def is_silent(self) -> bool:
        """Whether nothing may be sent now. Called in each turn."""
        ...

    def current(self) -> tuple[str, str]:
        """Returns the status and the output that are sent now."""
        ...

    def renewed(self) -> None:
        """The agent has taken the last status."""
        ...

    def failed(self, error: ConsulError) -> None:
        """The agent has not taken the last status."""
        ...


class ReadyStatus:
    """Implements `CheckStatus` without a fleet: passing while the controller is ready, critical while it hangs."""

    def __init__(self, healthy: Complaints, ready: Complaints) -> None:
        self._healthy = healthy
        self._ready = ready

    @property
    def ttl(self) -> float:
        return TTL

    @property
    def period(self) -> float:
        return PERIOD

    def is_silent(self) -> bool:
        """See `CheckStatus`."""
        return False

    def current(self) -> tuple[str, str]:
        """See `CheckStatus`."""
        stuck, unready = self._healthy(), self._ready()
        status = "critical" if stuck else "warning" if unready else "passing"
        return status, "\n".join([*stuck, *unready]) or "ok"

    def renewed(self) -> None:
        """See `CheckStatus`."""

    def failed(self, error: ConsulError) -> None:
        """See `CheckStatus`."""


def controller_service(
    node: str, version: str, scheme: str, host: str, port: int, more: Mapping[str, str] | None = None
) -> AgentService:
    """The service of a controller, with `more` meta. A controller that listens on all addresses is reached at the
    agent's address."""
    meta = {"node": node, "version": version, "scheme": scheme, OWNER[0]: OWNER[1], **(more or {})}
    return AgentService(controller_id(node), NAME, port, (), meta, "" if _is_wildcard(host) else host)


class RegistrationKeeper:
    """Runs in a thread with the name of its heartbeat. `describe` is called once, by the thread.

    A refusal of Consul is logged once. The next attempt follows after a pause, which doubles with each refusal. The
    service is also not registered while another controller of this node runs: it holds the keys of the node, as
    `holders` says, or it is registered with another address and accepts connections there, which `holders` records.
    """

    def __init__(
        self,
        client: ConsulClient,
        describe: Callable[[], AgentService],
        status: CheckStatus,
        holders: Holders,
        heartbeat: Heartbeat,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._describe = describe
        self._status = status
        self._holders = holders
        self._clock = clock
        self._registered = ""
        """The digest of the token that the service is registered with, "" while it is not registered."""
        self._may_be_registered = False
        self._noted_loopback = False
        self._pause = 0.0
        self._due = 0.0
        self._service: AgentService | None = None
        self._thread = BackgroundThread(self._turn, heartbeat, at_end=self._leave, interrupt=client.cancel)
        self._problem = LogOnce(log, self._thread.stopped)

    def start(self) -> None:
        self._thread.start()

    def apply(self, settings: ConsulSettings) -> None:
        """Use these settings from the next request on. For any thread."""
        self._client.apply(settings)

    def stop(self, timeout: float) -> None:
        """End the thread and remove the service. Wait up to `timeout` seconds."""
        self._thread.stop(timeout)

    def _turn(self) -> float:
        if self._service is None:
            self._service = self._describe()
            self._holders.page = page_of(self._service, self._service.meta["node"])
        if not self._status.is_silent() and self._clock() >= self._due:
            self._renew(self._service)
        return self._status.period

    def _leave(self) -> None:
        self._client.reopen()
        if self._service and self._may_be_registered:
            self._withdraw(self._service)
        self._client.close()

    def _renew(self, service: AgentService) -> None:
        """Renew the TTL check. Register the service when the agent does not know the check."""
        try:
            if owner := self._holders.owner():
                self._remove_own(service)
                raise ConsulRefused(owner)
            if not (self._is_registered() and self._update_check(service)):
                self._register(service)
                self._log_registered(service)
            self._pause = 0.0
            self._problem.clear()
            self._status.renewed()
        except ConsulError as error:
            self._registered = ""
            self._status.failed(error)
            refused = isinstance(error, ConsulRefused) and not self._holders.owner()
            self._pause = min(max(self._status.period, 2 * self._pause), LONGEST_PAUSE) if refused else 0.0
            text = f"not registered with Consul, so this controller cannot be found there: {error}"
            self._problem.warn(text, type(error))
        self._due = self._clock() + self._pause

    def _register(self, service: AgentService) -> None:
        if other := self._find(service):
            if not is_ours(other):
                raise ConsulRefused(f"the meta of service {service.id!r} lacks {'='.join(OWNER)}: it is not Podpulse's")
            if not _is_same(other, service) and self._is_alive(other):
                page = page_of(other, service.meta["node"])
                whose = "with this id" if "fleet" in service.meta else "of this node"
                self._holders.elsewhere = f"another controller {whose} runs at {page}"
                raise ConsulRefused(self._holders.elsewhere)
        self._holders.elsewhere = ""
        self._may_be_registered = True
        token, ttl = self._client.token_mark(), self._status.ttl
        check = AgentCheck(service.id, service.id, "Podpulse", NOTES.format(ttl=ttl), self._status.current()[0])
        self._client.register_service(service, check, ttl)
        self._registered = token if self._update_check(service) else ""

    def _find(self, service: AgentService) -> AgentService | None:
        """Returns the agent's service with the same id."""
        return next((each for each in self._client.agent_services(service.id) if each.id == service.id), None)

    def _is_alive(self, other: AgentService) -> bool:
        """Whether a registered controller has renewed its check, and accepts connections if its address is known."""
        checks = {check.id: check.status for check in self._client.agent_checks(other.id)}
        return checks.get(other.id, "critical") != "critical" and (not other.address or _accepts(other))

    def _remove_own(self, service: AgentService) -> None:
        """Remove the service unless another controller has registered it: that controller registers itself again."""
        if self._may_be_registered and (found := self._find(service)) and _is_same(found, service):
            self._client.deregister_service(service.id)
        self._may_be_registered, self._registered = False, ""

    def _log_registered(self, service: AgentService) -> None:
        log.info("registered with Consul as service %s, id %s", service.name, service.id)
        if _is_loopback(service.address) and not self._noted_loopback:
            self._noted_loopback = True
            log.info("registered at %s, which only this host and its Prometheus can reach: see listen", service.address)

    def _is_registered(self) -> bool:
        return self._registered == self._client.token_mark()

    def _update_check(self, service: AgentService) -> bool:
        """Returns False if the agent does not know the check."""
        return self._client.update_check(service.id, *self._status.current())

    def _withdraw(self, service: AgentService) -> None:
        """Remove the service. The agent removes it from the catalog with the token of its last registration. If the
        token has changed, the service is registered again first."""
        try:
            if not self._is_registered():
                self._register(service)
            self._client.deregister_service(service.id)
        except ConsulError as error:
            log.warning("service %s stays registered: %s", service.id, error)


def _is_same(one: AgentService, other: AgentService) -> bool:
    """Whether both have the same address and port. Two running controllers never do."""
    return (one.address, one.port) == (other.address, other.port)


def _accepts(service: AgentService) -> bool:
    try:
        with socket.create_connection((service.address, service.port), CONNECT_WITHIN):
            return True
    except OSError:
        return False


def _is_wildcard(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
