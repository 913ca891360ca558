"""An ASGI application on a port, served by uvicorn in a thread named "web".

The port is bound by whoever calls `start`, so that a port in use is an error there and not a line in a log. Signals are
left alone: whoever owns the process calls `stop`.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp

from controller.config.web_access import WebAccess
from controller.web.basic_auth import BasicAuth
from controller.web.certificates import RenewedContext
from controller.web.connection import Connection, everybody
from controller.web.gate import Gate
from controller.web.listener import CONNECTIONS, Listener

BACKLOG = 128
TASKS = 2 * CONNECTIONS
"""Requests that are being answered, those among them whose clients have gone."""
KEEP_ALIVE = 5
GRACE = 1
EVERYBODY = WebAccess()

TICK = 1.0
"""Seconds between two looks at the date, which every answer bears."""


class ListenError(Exception):
    """The address cannot be listened on; the message names it and says why."""


class _Server(uvicorn.Server):
    """A server with our `Listener`. It waits to be told to stop; uvicorn polls ten times a second. `tls` is None
    for a server without TLS."""

    def __init__(self, config: uvicorn.Config, tls: RenewedContext | None) -> None:
        super().__init__(config)
        self._tls = tls
        self._ended = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._door: Listener | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        admits = self._tls.admits if self._tls else everybody

        def connect() -> Connection:
            return Connection(self.config, self.server_state, self.lifespan.state, admits)

        for listener in sockets or ():
            self._door = Listener(listener, connect, self._tls.present if self._tls else None)
            self._door.open()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Who does not read its answer must not keep its connection beyond our end."""
        if self._door is not None:
            self._door.close()
        await super().shutdown(sockets)
        if self._door is not None:
            await self._door.clear()

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
    """Serves `app` on `host` ("": every address) and `port`, to whom `access` admits; port 0 takes a free one.

    `names` are this machine's, and `allowed_hosts` further ones that a request may be for; see `Gate`. `before_stop`
    ends the answers that would not end by themselves.
    """

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        port: int,
        access: WebAccess = EVERYBODY,
        *,
        names: Collection[str] = (),
        allowed_hosts: Collection[str] = (),
        before_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self._before_stop = before_stop
        self._host = host
        self._port = port
        self._thread: threading.Thread | None = None
        self._access = access
        self._basic_auth = BasicAuth(app, access.basic_auth_users)
        self._gate = Gate(self._basic_auth, (host, *names), allowed_hosts)
        self._server: _Server | None = None

    @property
    def port(self) -> int:
        """The port that is listened on; after `start` a real one."""
        return self._port

    def start(self) -> None:
        """Listen, and answer from now on.

        Raises:
            ListenError: the address is in use, not ours, or not allowed, or its certificate is not to be had any more.
        """
        server = self._made()
        both = socket.has_dualstack_ipv6()
        host = self._host or ("::" if both else "0.0.0.0")  # noqa: S104, the operator asks for every address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listener = socket.create_server(
                (host, self._port), family=family, backlog=BACKLOG, dualstack_ipv6=both and family is socket.AF_INET6
            )
        except OSError as error:
            raise ListenError(f"cannot listen on {host} port {self._port}: {error.strerror}") from None
        self._port = listener.getsockname()[1]
        self._server = server
        serve = server.serve(sockets=[listener])
        self._thread = threading.Thread(target=asyncio.run, args=(serve,), name="web", daemon=True)
        self._thread.start()

    def apply(self, access: WebAccess) -> bool:
        """Admit its users from now on; whether all of it is in force, or the rest waits for another server."""
        self._basic_auth.apply(access.basic_auth_users)
        return access == self._access.model_copy(update={"basic_auth_users": access.basic_auth_users})

    def stop(self, timeout: float = 3.0) -> None:
        """Stop listening, let answers under way end within a second, and drop the rest. Does nothing before `start`."""
        self._before_stop()
        if self._server is not None:
            self._server.end()
        if self._thread is not None:
            self._thread.join(timeout)

    def _made(self) -> _Server:
        tls = self._access.tls_server_config
        try:
            renewed = RenewedContext(tls) if tls else None
        except OSError as error:
            why = tls.trouble(error) if tls else ""
            raise ListenError(f"cannot serve {self._host} port {self._port} over TLS: {why}") from None
        return _Server(_config(self._gate, self._access.headers), renewed)


def _config(app: ASGIApp, headers: Mapping[str, str]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="asyncio",
        http=Connection,
        headers=list(headers.items()),
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        limit_concurrency=TASKS,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
    )
