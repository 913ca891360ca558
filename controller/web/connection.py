"""One connection to the web server: uvicorn's, with timeouts and a check of the client's certificate.

uvicorn waits without a bound for a request that is incomplete or never begins, and for a client that does not read its
answer. Some dozens of such connections would leave no connection for other clients.

`H11Protocol` is not part of uvicorn's documented interface. We use its `loop`, `transport`, `on_response_complete` and
`conn`, an h11 connection, whose states are documented. `pyproject.toml` bounds uvicorn's version for that reason, and
`test_uvicorn_has_the_undocumented_names_that_we_use` fails when one of the names is missing.
"""

import asyncio
import ssl
from collections.abc import Callable
from enum import Enum, auto

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

REQUEST_WITHIN = 10.0
"""Seconds within which a request must be complete, counted from the connection or from the previous answer."""
READ_WITHIN = 20.0
"""Seconds for which a client may leave unread what the server has for it."""
HEAD_START = 5.0
"""Seconds for which a client that still has to read counts as being as new as a client that has just connected."""
ANSWER_WITHIN = 300.0
"""Seconds after which a client that reads its answer too slowly is disconnected."""
PIECE = 4 * 1024
"""Bytes that the parser gets at a time. It limits the size of an incomplete head only, so a complete head that arrives
in one large piece would not be limited."""

CONNECTION = "podpulse.connection"
"""The name of the connection in the `state` of a request's scope."""

Admits = Callable[[ssl.SSLObject | None], bool]
"""Returns whether the client of a connection may send a request now; None is a connection without TLS."""


class _Awaited(Enum):
    """What the server waits for while the client has to act."""

    REQUEST = auto()
    READING = auto()


TIMEOUTS = {_Awaited.REQUEST: REQUEST_WITHIN, _Awaited.READING: READ_WITHIN}


class Connection(H11Protocol):
    """It exists from the acceptance of the connection on, before the TLS handshake. `on_lost` is called at its end.

    `awaited_since` is the loop's time since which the server has waited for the client; None while the client waits
    for the server.
    """

    def __init__(self, config: uvicorn.Config, server_state: ServerState, admits: Admits) -> None:
        super().__init__(config, server_state, {CONNECTION: self})
        self._admits = admits
        self._tls: ssl.SSLObject | None = None
        self._is_writing_paused = False
        self._awaited: _Awaited | None = _Awaited.REQUEST
        self._began = self.loop.time()
        self._timeout: asyncio.TimerHandle | None = None
        self.awaited_since: float | None = self._began
        self.on_lost: Callable[[], None] = lambda: None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._tls = transport.get_extra_info("ssl_object")
        self.update_awaited(restart=True)
        if not self._admits(self._tls):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._set_timeout(None)
        super().connection_lost(exc)
        self.on_lost()

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE):
            if self.transport.is_closing():
                break
            if not self._is_answering() and not self._admits(self._tls):
                self.transport.abort()
                break
            super().data_received(data[start : start + PIECE])
        self.update_awaited()

    def on_response_complete(self) -> None:
        """uvicorn calls this at the end of an answer. A request that was sent ahead begins here."""
        if not self._admits(self._tls):
            self.transport.abort()
        super().on_response_complete()
        self.update_awaited(restart=True)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._is_writing_paused = True
        self.update_awaited()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._is_writing_paused = False
        self.update_awaited()

    def update_awaited(self, *, restart: bool = False) -> None:
        """Finds out what the server waits for. Starts the timeout if that has changed, or if `restart` is set."""
        awaited = self._what_is_awaited()
        if awaited is self._awaited and not restart:
            return
        now = self.loop.time()
        if restart or _Awaited.REQUEST in (awaited, self._awaited):
            self._began = now
        self._awaited = awaited
        if awaited is None:
            self.awaited_since = None
            self._set_timeout(None)
        else:
            self.awaited_since = now if awaited is _Awaited.REQUEST else now + HEAD_START
            self._set_timeout(min(TIMEOUTS[awaited], self._began + ANSWER_WITHIN - now))

    def _what_is_awaited(self) -> _Awaited | None:
        if self._is_writing_paused or self.transport.is_closing():
            return _Awaited.READING
        if self._is_answering() and self.conn.their_state is not h11.SEND_BODY:
            return None
        return _Awaited.READING if self.transport.get_write_buffer_size() else _Awaited.REQUEST

    def _is_answering(self) -> bool:
        """Returns whether a request has begun whose answer is not complete."""
        return self.conn.our_state in {h11.SEND_RESPONSE, h11.SEND_BODY}

    def _set_timeout(self, seconds: float | None) -> None:
        """Aborts the connection after so many seconds; None cancels that."""
        if self._timeout is not None:
            self._timeout.cancel()
        self._timeout = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)
