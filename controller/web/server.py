"""An ASGI application on a port, served by uvicorn in a thread named "web".

`start` binds the port in the caller's thread, so that a port in use is an exception there and not a line of the log.
Signals are left to the owner of the process, who calls `stop`.
"""

import asyncio
import errno
import socket
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp

from controller.config.web_access import WebAccess
from controller.runtime.start_error import StartError
from controller.web.basic_auth import BasicAuth
from controller.web.certificates import RenewedContext
from controller.web.connection import Connection
from controller.web.listener import CONNECTIONS, Listener
from controller.web.trusted_hosts import TrustedHosts

BACKLOG = 128
TASKS = 2 * CONNECTIONS
"""Requests that are being answered, including those whose clients have disconnected."""
TICK = 1.0
"""Seconds between two updates of the Date header."""
KEEP_ALIVE = 5
GRACE = 1
OPEN_ACCESS = WebAccess()
"""Access for everybody, without TLS."""


class ListenError(StartError):
    """The address cannot be listened on; the message names it and says why."""


class _Server(uvicorn.Server):
    """uvicorn's server with our `Listener` instead of asyncio's. `tls` is None for a server without TLS.

    uvicorn's documentation does not name `startup`, `shutdown` and `server_state`; see `connection`.
    """

    def __init__(self, config: uvicorn.Config, tls: RenewedContext | None) -> None:
        super().__init__(config)
        self._tls = tls
        self._listener: Listener | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._exit = asyncio.Event()

    async def main_loop(self) -> None:
        """Ends after `exit`. uvicorn's own would wake up ten times a second to find that out."""
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._exit.wait(), TICK)

    def exit(self) -> None:
        """Ends the server. For any thread."""
        self.should_exit = True
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._exit.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        admits = self._tls.admits if self._tls else lambda _: True

        def connect() -> Connection:
            return Connection(self.config, self.server_state, admits)

        for listening in sockets or ():
            self._listener = Listener(listening, connect, self._tls.present if self._tls else None)
            self._listener.open()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Closes also the connections of clients that do not read their answers."""
        if self._listener is not None:
            self._listener.close()
        await super().shutdown(sockets)
        if self._listener is not None:
            await self._listener.end_connections()


class WebServer:
    """Serves `app` on `host` ("": every address) and `port` (0: a free one) to the clients that `access` admits.

    `names` are names of this machine, and `allowed_hosts` further names that the Host of a request may have; see
    `TrustedHosts`. `before_stop` ends the answers that would not end by themselves.
    """

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        port: int,
        access: WebAccess = OPEN_ACCESS,
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
        self._trusted_hosts = TrustedHosts(self._basic_auth, (host, *names), allowed_hosts)
        self._server: _Server | None = None

    @property
    def port(self) -> int:
        """The port that the server listens on; after `start` never 0."""
        return self._port

    def start(self) -> None:
        """Starts to listen and to answer. Raises ListenError if the address or the certificate cannot be used."""
        tls = self._access.tls_server_config
        try:
            renewed = RenewedContext(tls) if tls else None
        except OSError as error:
            why = tls.trouble(error) if tls else ""
            raise ListenError(f"cannot serve {self._host} port {self._port} over TLS: {why}") from None
        both = socket.has_dualstack_ipv6()
        host = self._host or ("::" if both else "0.0.0.0")  # noqa: S104, the operator asks for every address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listener = socket.create_server(
                (host, self._port), family=family, backlog=BACKLOG, dualstack_ipv6=both and family is socket.AF_INET6
            )
        except OSError as error:
            why = str(error.strerror).partition(" (while attempting")[0]  # what follows repeats the address
            other = "; another process has it, choose another with --listen" if error.errno == errno.EADDRINUSE else ""
            raise ListenError(f"cannot listen on {host} port {self._port}: {why}{other}") from None
        self._port = listener.getsockname()[1]
        self._server = _Server(_config(self._trusted_hosts, self._access.headers), renewed)
        serve = self._server.serve(sockets=[listener])
        self._thread = threading.Thread(target=asyncio.run, args=(serve,), name="web", daemon=True)
        self._thread.start()

    def apply(self, access: WebAccess) -> bool:
        """Admits the users of `access` from now on. Returns False if another part differs, which needs a restart."""
        self._basic_auth.apply(access.basic_auth_users)
        return access == self._access.model_copy(update={"basic_auth_users": access.basic_auth_users})

    def stop(self, timeout: float = 3.0) -> None:
        """Stops to listen, waits a second for unfinished answers, and ends the rest. Does nothing before `start`."""
        self._before_stop()
        if self._server is not None:
            self._server.exit()
        if self._thread is not None:
            self._thread.join(timeout)


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
