"""Renews the TTL checks of `AgentSink`, and finds services that the agent lost, that others changed, or that an earlier
run left.

When this thread ends, Consul turns the checks critical after their TTL.
"""

import logging
import math
import threading
from collections.abc import Callable, Collection

from controller.consul.client import ConsulError
from controller.publish.agent import AgentSink
from controller.runtime.background_thread import BackgroundThread
from controller.runtime.heartbeat import Heartbeat
from controller.runtime.log.once import LogOnce
from reconcilers.spec import PodKey

log = logging.getLogger(__name__)

TICKS = 24
"""Turns in a period. Each turn renews a share of the checks, so that the requests are spread."""
HASTE = 2.0
"""Checks are renewed this many times faster than needed, to catch up after a pause."""
REGISTRATIONS = 30.0
"""Services a second that are registered again. For each one the agent writes a file and asks Consul's leader."""


class TtlKeeper:
    """Renews the TTLs of our services at the agent. `on_found` is called once with the pods of `node` whose services an
    earlier run left, as soon as the agent has answered."""

    def __init__(
        self, sink: AgentSink, node: str, on_found: Callable[[Collection[PodKey]], None], heartbeat: Heartbeat
    ) -> None:
        self._sink = sink
        self._node = node
        self._on_found = on_found
        self._found = threading.Event()
        self._tick = 0
        self._rest = 0
        self._withdraw_within = 0.0
        self._thread = BackgroundThread(self._turn, heartbeat, delay=sink.period / TICKS, at_end=self._withdraw)
        self._problem = LogOnce(log, self._thread.stopped)

    def start(self) -> None:
        self._thread.start()

    def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until `on_found` was called. Returns whether it was."""
        return self._found.wait(timeout)

    def stop(self, timeout: float, *, destroy: bool = False) -> None:
        """End the thread, and with `destroy` remove the services, within `timeout` seconds. The next run finds services
        that remain if it starts within the TTL; after that Consul turns them critical."""
        self._withdraw_within = timeout if destroy else 0.0
        self._thread.stop(timeout)

    def _withdraw(self) -> None:
        if not self._withdraw_within:
            return
        try:
            self._sink.withdraw_all(self._withdraw_within)
        except ConsulError as error:
            log.warning("services stay registered, critical after their TTL, until a controller starts here: %s", error)

    def _turn(self) -> float:
        """Renew a share of the checks. Once in a period, and after an error, compare all services first."""
        try:
            if not self._found.is_set():
                self._on_found(self._sink.leftovers(self._node))
                self._found.set()
            elif self._tick % TICKS == 0:
                self._sink.refresh()
            self._sink.renew(HASTE / TICKS)
            self._tick += 1
        except ConsulError as error:
            self._tick = 0
            self._problem.warn(f"checks cannot be renewed, after their TTL they turn critical: {error}", type(error))
        else:
            self._register_again()
        return self._sink.period / TICKS

    def _register_again(self) -> None:
        """Register some services again. After an error, checks are only renewed for a period."""
        if self._rest:
            self._rest -= 1
            return
        try:
            self._sink.register_again(math.ceil(REGISTRATIONS * self._sink.period / TICKS))
            self._problem.clear()
        except ConsulError as error:
            self._rest = TICKS
            self._problem.warn(
                f"services are not registered with our token, the catalog may keep old states: {error}", type(error)
            )
