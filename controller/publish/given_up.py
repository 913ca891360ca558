"""Lets controllers without a fleet take over the health keys of a fleet whose last member stops.

The last member marks its keys: their Flags become `GIVEN_UP`. Its session holds them for up to 20 seconds more. In this
time any controller may take them over, also one of a single node, so no key vanishes when a fleet is replaced by the
controllers of its nodes. A key that nobody takes over vanishes with the session.
"""

import logging
import threading
from collections.abc import Callable, Collection

from controller.consul import parts
from controller.consul.client import ConsulClient, ConsulError, Operation
from controller.publish.batches import SizeLimit, batches
from reconcilers.keys import health_key
from reconcilers.spec import PodKey

log = logging.getLogger(__name__)

GIVEN_UP = 1 << 63
"""The Flags of a key that its holder has given up. No index of Consul is as high."""


class LastKeys:
    """A `Keeper` that gives up the keys of `scheduled` at the end, unless there are heirs, who take them over anyway.

    Nothing may be written to them any more. `session` is the session that holds them.
    """

    def __init__(
        self, client: ConsulClient, scheduled: Callable[[], Collection[PodKey]], has_heirs: Callable[[], bool]
    ) -> None:
        self._client = client
        self._scheduled = scheduled
        self._has_heirs = has_heirs
        self.session = ""

    def start(self) -> None:
        """See `Keeper`."""

    def stop(self, timeout: float, *, destroy: bool) -> None:
        """See `Keeper`. What is not given up within `timeout` seconds vanishes with the session."""
        if destroy or self._has_heirs() or not self.session:
            return
        self._client.reopen()
        end = threading.Timer(timeout, self._client.cancel)
        end.start()
        try:
            self._give_up()
        except ConsulError as error:
            log.warning("controllers without a fleet cannot take over the health keys before they vanish: %s", error)
        finally:
            end.cancel()

    def _give_up(self) -> None:
        limit = SizeLimit()
        for keys in batches([Operation("get", health_key(key)) for key in self._scheduled()], lambda one: [one], limit):
            ours = [
                Operation("lock", pair.key, pair.value, self.session, GIVEN_UP)
                for pair in parts.read(self._client, [one.key for one in keys]).pairs
                if pair.session == self.session
            ]
            for some in batches(ours, lambda one: [one], limit):
                self._write(some)

    def _write(self, left: list[Operation]) -> None:
        """Writes the operations that Consul does not refuse."""
        while left and (failed := self._client.transaction(left).failed):
            left = [one for at, one in enumerate(left) if at not in failed]
