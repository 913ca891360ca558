"""Accepts the connections to the page, never more than `CONNECTIONS` at a time.

Each takes a descriptor from the moment it is accepted, long before it has said anything, agreed on TLS or given a
password; what they may take all together is counted among what `controller.descriptors` keeps from the probes.
uvicorn and asyncio accept whoever comes. When the house is full, whoever has been waited for longest has to go, so
that silence keeps nobody out; of those from the address that holds the most connections, so that one who opens many
pushes out none but its own.
"""

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from controller.web.connection import REQUEST_WITHIN, Connection

CONNECTIONS = 64
AT_ONCE = 8
"""Connections that are accepted before those that are there have their turn."""
PAUSE = 0.05
"""Seconds until somebody is let in again, where nobody could be sent away."""
GOODBYE_WITHIN = 5.0
"""Seconds for a client to agree to the end of TLS."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Connection:
    """A connection from its acceptance to its end; `greeting` ends with the TLS handshake."""

    connection: Connection
    socket: socket.socket
    address: str
    greeting: asyncio.Task[None]

    @property
    def awaited_since(self) -> float | None:
        """As `Connection.awaited_since`, which is looked at anew."""
        if self.connection.transport is not None:
            self.connection.look()
        return self.connection.awaited_since

    def end(self) -> None:
        if self.connection.transport is None:
            self.greeting.cancel()
        else:
            self.connection.transport.abort()


class Listener:
    """Of `listener`. `connect` makes the protocol of a connection, `secure` gives its TLS, None for plain ones.

    Belongs to the loop that runs when it is made.
    """

    def __init__(
        self,
        listener: socket.socket,
        connect: Callable[[], Connection],
        secure: Callable[[], ssl.SSLContext] | None,
    ) -> None:
        self._listener = listener
        self._connect = connect
        self._secure = secure
        self._loop = asyncio.get_running_loop()
        self._guests: dict[Connection, _Connection] = {}
        self._waiting: asyncio.TimerHandle | None = None
        self._closed = False

    def open(self) -> None:
        self._listener.setblocking(False)
        self._loop.add_reader(self._listener, self._arrive)

    def close(self) -> None:
        """Accept nobody any more. The listener is left to whoever made it."""
        self._closed = True
        self._stop_waiting()
        self._loop.remove_reader(self._listener)

    async def clear(self) -> None:
        """End all connections, whatever they are doing."""
        for guest in list(self._guests.values()):
            guest.end()
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                while self._guests:
                    await asyncio.sleep(0)

    def _arrive(self) -> None:
        """Somebody stands before the door."""
        if len(self._guests) >= CONNECTIONS:
            self._make_room()
            return
        for _ in range(min(AT_ONCE, CONNECTIONS - len(self._guests))):
            try:
                accepted, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.warning("no connection to the page can be accepted: %s", error.strerror)
                self._wait()
                return
            self._let_in(accepted, str(address[0]))

    def _let_in(self, accepted: socket.socket, address: str) -> None:
        connection = self._connect()
        connection.on_lost = lambda: self._gone(connection)
        greeting = self._loop.create_task(self._greet(connection, accepted))
        self._guests[connection] = _Connection(connection, accepted, address, greeting)
        greeting.add_done_callback(lambda _: self._greeted(connection, accepted))

    async def _greet(self, connection: Connection, accepted: socket.socket) -> None:
        within = (REQUEST_WITHIN, GOODBYE_WITHIN) if self._secure else (None, None)
        with suppress(OSError):
            await self._loop.connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=self._secure() if self._secure else None,
                ssl_handshake_timeout=within[0],
                ssl_shutdown_timeout=within[1],
            )

    def _greeted(self, connection: Connection, accepted: socket.socket) -> None:
        """A connection that was never made is not lost either."""
        if connection.transport is None:
            accepted.close()
            self._gone(connection)

    def _gone(self, connection: Connection) -> None:
        self._guests.pop(connection, None)
        if self._waiting is not None:
            self._go_on()

    def _make_room(self) -> None:
        """Whoever stands before the door waits until somebody is gone."""
        self._wait()
        if guest := _one_too_many(list(self._guests.values())):
            guest.end()

    def _wait(self) -> None:
        self._loop.remove_reader(self._listener)
        self._stop_waiting()
        self._waiting = self._loop.call_later(PAUSE, self._go_on)

    def _go_on(self) -> None:
        self._stop_waiting()
        if not self._closed:
            self._loop.add_reader(self._listener, self._arrive)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


def _one_too_many(guests: list[_Connection]) -> _Connection | None:
    """Who has to go; None while all of them wait for us."""
    crowds = Counter(guest.address for guest in guests)
    waited_for = [(-crowds[each.address], since, each) for each in guests if (since := each.awaited_since) is not None]
    return min(waited_for, key=lambda each: each[:2], default=(0, 0.0, None))[2]
