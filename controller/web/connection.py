"""One connection to the page: uvicorn's own, with an end to patience, and with a look at the client's certificate.

uvicorn waits for ever for a request that was begun, or never was, and for a client that does not read its answer; some
dozens of such connections would keep everybody else out.
"""

import asyncio
import ssl
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

REQUEST_WITHIN = 10.0
"""Seconds within which a request must be complete, counted from the connection or from the answer before."""
READ_WITHIN = 20.0
"""Seconds for which a client may leave unread what we have for it."""
HEAD_START = 5.0
"""Seconds for which a client that still has to read is as good as one that has just come."""
ANSWER_WITHIN = 300.0
"""Seconds from which on an answer has had its time: a client that reads too slowly for it is left alone no longer."""
PIECE = 4 * 1024
"""Bytes that are looked at at once. The parser bounds only what it was shown without an end to it, so a head that
comes in one large piece would not be bounded at all."""

Admits = Callable[[ssl.SSLObject | None], bool]
"""Whether whoever is at the other end of a connection may ask something now."""


class _Awaited(Enum):
    """What we wait for while the client has to do something."""

    REQUEST = auto()
    READING = auto()
    END = auto()


PATIENCE = {_Awaited.REQUEST: REQUEST_WITHIN, _Awaited.READING: READ_WITHIN, _Awaited.END: READ_WITHIN}


class Connection(H11Protocol):
    """`awaited_since` is since when we have waited for the client, in the loop's seconds; None while it waits for us.

    It exists from the moment the connection is accepted, before TLS is agreed on. `on_lost` is called at its end.
    """

    def __init__(
        self, config: uvicorn.Config, server_state: ServerState, app_state: dict[str, Any], admits: Admits
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._admits = admits
        self._tls: ssl.SSLObject | None = None
        self._awaited: _Awaited | None = _Awaited.REQUEST
        self._began = self.loop.time()
        self._patience: asyncio.TimerHandle | None = None
        self.awaited_since: float | None = self._began
        self.on_lost: Callable[[], None] = _nothing

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._tls = transport.get_extra_info("ssl_object")
        self.look(anew=True)
        if not self._is_admitted():
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait(None)
        super().connection_lost(exc)
        self.on_lost()

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE):
            if self.transport.is_closing():
                break
            if not self._is_answering() and not self._is_admitted():
                self.transport.abort()
                break
            super().data_received(data[start : start + PIECE])
        self.look()

    def on_response_complete(self) -> None:
        """What was sent ahead is asked now."""
        if not self._is_admitted():
            self.transport.abort()
        super().on_response_complete()
        self.look(anew=True)

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self.look()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.look()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.look()

    def look(self, *, anew: bool = False) -> None:
        """Find out what is waited for, and begin to count where that is something else than before."""
        awaited = self._what_is_awaited()
        if awaited is self._awaited and not anew:
            return
        now = self.loop.time()
        if anew or _Awaited.REQUEST in (awaited, self._awaited):
            self._began = now
        self._awaited = awaited
        if awaited is None:
            self.awaited_since = None
            self._wait(None)
        else:
            self.awaited_since = now if awaited is _Awaited.REQUEST else now + HEAD_START
            self._wait(min(PATIENCE[awaited], self._began + ANSWER_WITHIN - now))

    def _what_is_awaited(self) -> _Awaited | None:
        if self.flow.write_paused:
            return _Awaited.READING
        if self.transport.is_closing():
            return _Awaited.END
        if self._is_answering() and not self.cycle.more_body:
            return None
        return _Awaited.READING if self.transport.get_write_buffer_size() else _Awaited.REQUEST

    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _is_admitted(self) -> bool:
        return self._admits(self._tls)

    def _wait(self, seconds: float | None) -> None:
        """Be patient for so long from now on; None: for ever."""
        if self._patience is not None:
            self._patience.cancel()
        self._patience = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)


def everybody(_: ssl.SSLObject | None) -> bool:
    """The `Admits` that lets all in."""
    return True


def _nothing() -> None:
    """What a connection's end leads to as long as nobody cares."""
