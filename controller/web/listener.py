"""Accepts the connections to the web server, never more than `CONNECTIONS` at a time.

uvicorn and asyncio accept every connection. Each one takes a descriptor from its acceptance on, long before its client
has sent a request, completed TLS or given a password. `controller.runtime.descriptors` reserves the descriptors of all
of them, so that the probes have enough. When the limit is reached, the listener ends the connection whose client has
been waited for longest, so that silent clients keep nobody out. It takes that connection from the address that has the
most, so that a client with many connections loses only its own.
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
"""Connections that are accepted before the loop serves the others."""
PAUSE = 0.05
"""Seconds until the next attempt to accept, if no connection could be ended."""
TLS_SHUTDOWN_WITHIN = 5.0
"""Seconds for a client to confirm the end of TLS."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Accepted:
    """A connection from its acceptance to its end. `setup` ends with the TLS handshake."""

    protocol: Connection
    address: str
    setup: asyncio.Task[None]

    @property
    def awaited_since(self) -> float | None:
        """Returns `Connection.awaited_since`, brought up to date."""
        if self.protocol.transport is not None:
            self.protocol.update_awaited()
        return self.protocol.awaited_since

    def end(self) -> None:
        if self.protocol.transport is None:
            self.setup.cancel()
        else:
            self.protocol.transport.abort()


class Listener:
    """Accepts from the socket `listening`. It belongs to the event loop that runs when it is constructed.

    `connect` makes the protocol of a connection. `secure` gives the TLS context of a connection; None is without TLS.
    """

    def __init__(
        self,
        listening: socket.socket,
        connect: Callable[[], Connection],
        secure: Callable[[], ssl.SSLContext] | None,
    ) -> None:
        self._listening = listening
        self._connect = connect
        self._secure = secure
        self._loop = asyncio.get_running_loop()
        self._connections: dict[Connection, _Accepted] = {}
        self._pause: asyncio.TimerHandle | None = None
        self._closed = False

    def open(self) -> None:
        self._listening.setblocking(False)
        self._loop.add_reader(self._listening, self._on_readable)

    def close(self) -> None:
        """Accepts no more connections. The caller closes the socket."""
        self._closed = True
        self._end_pause()
        self._loop.remove_reader(self._listening)

    async def end_connections(self) -> None:
        """Ends all connections at once."""
        for accepted in list(self._connections.values()):
            accepted.end()
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                while self._connections:
                    await asyncio.sleep(0)

    def _on_readable(self) -> None:
        """A client has connected."""
        if len(self._connections) >= CONNECTIONS:
            self._make_room()
            return
        for _ in range(min(AT_ONCE, CONNECTIONS - len(self._connections))):
            try:
                accepted, address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.warning("no connection to the page can be accepted: %s", error.strerror)
                self._start_pause()
                return
            self._add(accepted, str(address[0]))

    def _add(self, accepted: socket.socket, address: str) -> None:
        protocol = self._connect()
        protocol.on_lost = lambda: self._remove(protocol)
        setup = self._loop.create_task(self._set_up(protocol, accepted))
        self._connections[protocol] = _Accepted(protocol, address, setup)
        setup.add_done_callback(lambda _: self._on_set_up(protocol, accepted))

    async def _set_up(self, protocol: Connection, accepted: socket.socket) -> None:
        within = (REQUEST_WITHIN, TLS_SHUTDOWN_WITHIN) if self._secure else (None, None)
        with suppress(OSError):
            await self._loop.connect_accepted_socket(
                lambda: protocol,
                accepted,
                ssl=self._secure() if self._secure else None,
                ssl_handshake_timeout=within[0],
                ssl_shutdown_timeout=within[1],
            )

    def _on_set_up(self, protocol: Connection, accepted: socket.socket) -> None:
        """Removes a connection whose TLS handshake failed: asyncio does not report its loss."""
        if protocol.transport is None:
            accepted.close()
            self._remove(protocol)

    def _remove(self, protocol: Connection) -> None:
        self._connections.pop(protocol, None)
        if self._pause is not None:
            self._resume()

    def _make_room(self) -> None:
        """Ends one connection. The client that has connected waits until it is gone."""
        self._start_pause()
        if accepted := _next_to_end(list(self._connections.values())):
            accepted.end()

    def _start_pause(self) -> None:
        self._loop.remove_reader(self._listening)
        self._end_pause()
        self._pause = self._loop.call_later(PAUSE, self._resume)

    def _resume(self) -> None:
        self._end_pause()
        if not self._closed:
            self._loop.add_reader(self._listening, self._on_readable)

    def _end_pause(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None


def _next_to_end(connections: list[_Accepted]) -> _Accepted | None:
    """Returns the connection to end. None if all clients wait for the server."""
    held = Counter(each.address for each in connections)
    idle = [(-held[each.address], since, each) for each in connections if (since := each.awaited_since) is not None]
    return min(idle, key=lambda each: each[:2], default=(0, 0.0, None))[2]
