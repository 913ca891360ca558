"""One connection to the page: uvicorn's own, with an end to patience, and with a look at the client's certificate.

uvicorn waits for ever for a request that was begun, or never was, and for a client that does not read its answer; some
dozens of such connections would keep everybody else out.
"""

import asyncio
import ssl
from collections.abc import Collection
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

REQUEST_WITHIN = 10.0
"""Seconds within which a request must be complete, counted from the connection or from the answer before."""
READ_WITHIN = 20.0
"""Seconds for which a client may leave unread what we have for it."""


class Connection(H11Protocol):
    """With `allowed_names`, only clients whose certificate bears one of them are admitted."""

    allowed_names: ClassVar[frozenset[str]] = frozenset()
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.allowed_names and not names_of(transport) & self.allowed_names:
            transport.abort()
        else:
            self._wait(REQUEST_WITHIN)

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_answering() and not self.cycle.more_body:
            self._wait(None)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing() and not self._is_answering():
            self._wait(REQUEST_WITHIN)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._wait(READ_WITHIN)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._wait(None)

    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _wait(self, seconds: float | None) -> None:
        """Be patient for so long from now on; None: for ever."""
        if self._patience is not None:
            self._patience.cancel()
        self._patience = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)


def admitting(names: Collection[str]) -> type[asyncio.Protocol]:
    """The class of connections of clients whose certificate bears one of `names`; of all clients, if there is none."""
    return type("AdmittedConnection", (Connection,), {"allowed_names": frozenset(names)})


def names_of(transport: asyncio.Transport) -> set[str]:
    """The subject alternative names of the client's certificate."""
    sslobject: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    certificate: dict[str, Any] = (sslobject.getpeercert() if sslobject else None) or {}
    return {str(name) for _, name in certificate.get("subjectAltName", ())}
