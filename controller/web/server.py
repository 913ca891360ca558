"""An ASGI application on a port, served by uvicorn in a thread named "web".

The port is bound by whoever calls `start`, so that a port in use is an error there and not a line in a log. Signals are
left alone: whoever owns the process calls `stop`.
"""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp

from controller.web.access import RenewedContext, TlsServer, WebAccess
from controller.web.connection import admitting
from controller.web.doorman import Doorman

BACKLOG = 128
CONNECTIONS = 64
KEEP_ALIVE = 5
GRACE = 1
EVERYBODY = WebAccess()


TICK = 1.0
"""Seconds between two looks at the date, which every answer bears."""


class ListenError(Exception):
    """The address cannot be listened on; the message names it and says why."""


def _renewing(tls: TlsServer) -> Callable[..., ssl.SSLContext]:
    return lambda *_: RenewedContext(tls).context


class _Server(uvicorn.Server):
    """Waits to be told of its end, where uvicorn's own looks ten times a second whether it has come."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ended = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), TICK)

    def end(self) -> None:
        """For any thread."""
        self.should_exit = True
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: it has ended already
                self._loop.call_soon_threadsafe(self._ended.set)


class WebServer:
    """Serves `app` on `host` and `port`, to whom `access` admits; port 0 takes a free one.

    `before_stop` ends the answers that would not end by themselves.
    """

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        port: int,
        access: WebAccess = EVERYBODY,
        *,
        before_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self._before_stop = before_stop
        self._host = host
        self._port = port
        self._thread: threading.Thread | None = None
        self._access = access
        self._doorman = Doorman(app, access.basic_auth_users)
        tls = access.tls_server_config
        self._server = _Server(
            uvicorn.Config(
                self._doorman,
                loop="asyncio",
                http=admitting(tls.client_allowed_sans if tls else ()),
                ssl_context_factory=_renewing(tls) if tls else None,
                headers=list(access.headers.items()),
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                backlog=BACKLOG,
                limit_concurrency=CONNECTIONS,
                timeout_keep_alive=KEEP_ALIVE,
                timeout_graceful_shutdown=GRACE,
            )
        )

    @property
    def port(self) -> int:
        """The port that is listened on; after `start` a real one."""
        return self._port

    def start(self) -> None:
        """Listen, and answer from now on.

        Raises:
            ListenError: the address is in use, not ours, or not allowed.
        """
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        both = family is socket.AF_INET6 and socket.has_dualstack_ipv6()
        try:
            listener = socket.create_server(
                (self._host, self._port), family=family, backlog=BACKLOG, dualstack_ipv6=both
            )
        except OSError as error:
            raise ListenError(f"cannot listen on {self._host} port {self._port}: {error.strerror}") from None
        self._port = listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, args=(listener,), name="web", daemon=True)
        self._thread.start()

    def follow(self, access: WebAccess) -> bool:
        """Admit its users from now on; whether all of it is in force, or the rest waits for another server."""
        self._doorman.follow(access.basic_auth_users)
        return access == self._access.model_copy(update={"basic_auth_users": access.basic_auth_users})

    def stop(self, timeout: float = 3.0) -> None:
        """Stop listening, let answers under way end within a second, and drop the rest. Does nothing before `start`."""
        self._before_stop()
        self._server.end()
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self, listener: socket.socket) -> None:
        asyncio.run(self._serve(listener))

    async def _serve(self, listener: socket.socket) -> None:
        await self._server.serve(sockets=[listener])
        await self._drop_connections()

    async def _drop_connections(self) -> None:
        """Who does not read its answer must not keep its connection beyond our end."""
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)
