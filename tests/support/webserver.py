"""The server of the page with a small application, for tests of access and of the limits for clients."""

import asyncio
import base64
import http.client
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import trustme
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from controller.config.web_access import WebAccess, read
from controller.web.chunks import in_chunks
from controller.web.server import WebServer
from tests.support.authority import Authority

HOST = "127.0.0.1"
LARGE = 8_000_000
SMALL = 60_000
"""Bytes. It is below the high-water mark of a transport, and above a small receive window."""


async def hello(_: Request) -> Response:
    return PlainTextResponse("hello\n")


async def large(_: Request) -> Response:
    return StreamingResponse(in_chunks(bytes(LARGE // 100) for _ in range(100)))


async def small(_: Request) -> Response:
    return Response(bytes(SMALL))


async def late(_: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b"hello"
        await asyncio.sleep(2)
        yield b"\n"

    return StreamingResponse(parts())


ROUTES = {"/": hello, "/small": small, "/large": large, "/late": late}


class Servers:
    """Starts servers that answer `ROUTES`, and stops all of them at the end."""

    def __init__(self) -> None:
        self._ends = ExitStack()

    def __call__(self, access: WebAccess) -> WebServer:
        app = Starlette(routes=[Route(path, endpoint) for path, endpoint in ROUTES.items()])
        server = WebServer(app, HOST, 0, access)
        server.start()
        self._ends.callback(server.stop)
        return server

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.close()


def written(folder: Path, text: str) -> Path:
    """Writes a web configuration file and returns its path."""
    file = folder / "web.yml"
    file.write_text(text)
    return file


def with_tls(folder: Path, authority: Authority, more: str = "") -> WebAccess:
    """Returns access over TLS. Certificate and key are in the folder of the file that names them."""
    cert, key = authority.files()
    shutil.copy(cert, folder / "cert.pem")
    shutil.copy(key, folder / "key.pem")
    return read(written(folder, f"tls_server_config: {{cert_file: cert.pem, key_file: key.pem{more}}}"))


def trusting(authority: Authority, client: trustme.LeafCert | None = None) -> ssl.SSLContext:
    """Returns the context of a client that sends the certificate `client`."""
    context = ssl.create_default_context(cafile=str(authority.file))
    if client:
        client.configure_cert(context)
    return context


def ask(
    server: WebServer, password: str = "", *, context: ssl.SSLContext | None = None, source: str = HOST
) -> tuple[int, str]:
    """Returns status and body of `/`, over a new connection from the address `source`."""
    if context:
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            HOST, server.port, timeout=60, context=context, source_address=(source, 0)
        )
    else:
        connection = http.client.HTTPConnection(HOST, server.port, timeout=60, source_address=(source, 0))
    header = {"Authorization": f"Basic {base64.b64encode(password.encode()).decode()}"} if password else {}
    try:
        connection.request("GET", "/", headers=header)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def connect(server: WebServer, begin: bytes = b"", *, window: int = 0) -> socket.socket:
    """Returns a new connection over which `begin` was sent. `window` is the size of its receive buffer in bytes."""
    client = socket.socket()
    client.settimeout(30)
    if window:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    client.connect((HOST, server.port))
    client.sendall(begin)
    return client


def is_ended(client: socket.socket, within: float = 0.0) -> bool:
    """Returns whether the server has closed a connection from which everything was read."""
    client.settimeout(within)
    try:
        return client.recv(1, socket.MSG_PEEK) == b""
    except ConnectionResetError:
        return True
    except (BlockingIOError, TimeoutError):
        return False


def received(client: socket.socket) -> int:
    """Returns the number of bytes that arrive before the end, or within ten seconds."""
    total = 0
    client.settimeout(10)
    try:
        while data := client.recv(65_536):
            total += len(data)
    except OSError:
        return total
    return total
