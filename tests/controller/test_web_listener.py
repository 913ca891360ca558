"""The limits of the page's server: the number of connections, and their time limits."""

import asyncio
import os
import resource
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import h11
import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

from controller.config.web_access import WebAccess
from controller.web.connection import READ_WITHIN, REQUEST_WITHIN
from controller.web.listener import CONNECTIONS
from controller.web.server import WebServer
from tests.support.authority import Authority
from tests.support.net import until
from tests.support.webserver import HOST, LARGE, SMALL, Servers, ask, connect, is_ended, received, trusting, with_tls

MANY = 5 * CONNECTIONS
BEGUN = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
TOLERANCE = 8
"""The tolerance for connections that open and close while they are counted."""
LISTENS = "0A"
"""The state of a listening socket in the kernel's table."""


@pytest.fixture
def ends() -> Iterator[ExitStack]:
    with ExitStack() as ends:
        yield ends


@pytest.fixture(params=["plain", "TLS"])
def server(
    request: pytest.FixtureRequest, serve: Servers, tmp_path: Path, authority: Authority
) -> tuple[WebServer, ssl.SSLContext | None]:
    """A server with TLS and its client's context, and a server without TLS."""
    if request.param == "TLS":
        return serve(with_tls(tmp_path, authority)), trusting(authority)
    return serve(WebAccess()), None


def held(server: WebServer) -> int:
    """The number of accepted connections of a server. Only accepted connections have an inode."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{server.port:04X}") and row[3] != LISTENS and row[9] != "0" for row in rows)


def test_with_many_silent_connections_few_are_kept_and_requests_are_answered(
    server: tuple[WebServer, ssl.SSLContext | None], ends: ExitStack
) -> None:
    page, trusted = server
    for number in range(MANY):
        ends.enter_context(connect(page))
        if number % 50 == 0:
            assert ask(page, context=trusted) == (200, "hello\n")
        if number % 10 == 0:  # a silent connection that is held too much stays
            until(lambda: held(page) <= CONNECTIONS + TOLERANCE, what="no more are held than may be for a moment")
    for _ in range(10):
        assert ask(page, context=trusted) == (200, "hello\n")
    until(lambda: 0 < held(page) <= CONNECTIONS, what="no more are held than may be")


def test_the_connection_that_was_silent_longest_is_closed(serve: Servers, ends: ExitStack) -> None:
    server = serve(WebAccess())
    silent = [ends.enter_context(connect(server)) for _ in range(CONNECTIONS)]
    more = [ends.enter_context(connect(server)) for _ in range(10)]
    until(lambda: all(is_ended(client) for client in silent[:10]), what="the first have gone")
    assert not any(is_ended(client) for client in (*silent[10:], *more))


def test_a_client_with_many_connections_loses_its_own(serve: Servers, ends: ExitStack) -> None:
    server = serve(WebAccess())
    quiet = socket.create_connection((HOST, server.port), timeout=10, source_address=("127.0.0.2", 0))
    ends.enter_context(quiet)
    crowd = [ends.enter_context(connect(server)) for _ in range(MANY)]
    until(lambda: sum(is_ended(client) for client in crowd) > MANY - CONNECTIONS, what="the crowd has shrunk")
    quiet.sendall(BEGUN + b"\r\n")
    assert quiet.recv(12) == b"HTTP/1.1 200"


def test_a_connection_whose_answer_is_being_read_is_not_closed(serve: Servers, ends: ExitStack) -> None:
    server = serve(WebAccess())
    request = b"GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    reading = ends.enter_context(connect(server, request))
    total, end = 0, threading.Event()

    def crowd() -> None:
        while not end.is_set():
            ends.enter_context(connect(server))
            time.sleep(0.002)

    thread = threading.Thread(target=crowd)
    thread.start()
    try:
        while data := reading.recv(100_000):
            total += len(data)
            time.sleep(0.005)
    finally:
        end.set()
        thread.join()
    assert total > LARGE


def test_connections_that_do_not_read_are_closed_too(serve: Servers, ends: ExitStack) -> None:
    server = serve(WebAccess())
    for _ in range(CONNECTIONS):
        ends.enter_context(connect(server, b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n", window=4_096))
    assert ask(server) == (200, "hello\n")


def test_connections_that_wait_for_an_answer_are_not_closed_and_new_ones_wait(serve: Servers, ends: ExitStack) -> None:
    server = serve(WebAccess())
    request = b"GET /late HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    served = [ends.enter_context(connect(server, request)) for _ in range(CONNECTIONS)]
    assert _is_under_way(served)
    assert ask(server) == (200, "hello\n")
    for client in served:
        body = b""
        while data := client.recv(1_000):
            body += data
        assert body.endswith(b"0\r\n\r\n"), "the whole answer"


def test_without_a_free_descriptor_no_connection_is_accepted(
    serve: Servers, ends: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(WebAccess())
    assert ask(server) == (200, "hello\n")
    client = ends.enter_context(socket.socket())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as taken:
        taken.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (max(int(each.name) for each in Path("/proc/self/fd").iterdir()) + 20, hard)
        )
        with suppress(OSError):
            while True:
                taken.callback(os.close, os.dup(client.fileno()))
        client.connect((HOST, server.port))
        client.sendall(BEGUN + b"\r\n")
        until(lambda: "no connection to the page can be accepted: Too many open files" in caplog.text)
    client.settimeout(30)
    assert client.recv(12) == b"HTTP/1.1 200"


@pytest.mark.slow
def test_every_wait_for_a_client_has_a_time_limit(serve: Servers, ends: ExitStack) -> None:
    """Clients that send nothing or half a request, and clients that do not read: even if they go on to send, or if the
    connection is to be closed after the unread answer."""
    server = serve(WebAccess())
    get = b"GET /%s HTTP/1.1\r\nHost: localhost\r\n%s\r\n"
    silent = [ends.enter_context(connect(server, begin)) for begin in (b"", BEGUN, get % (b"", b""))]
    deaf = [
        ends.enter_context(connect(server, begin, window=4_096))
        for begin in (
            get % (b"large", b""),
            get % (b"large", b""),
            get % (b"small", b"Connection: close\r\n"),
        )
    ]
    until(lambda: _is_under_way(deaf), what="the answers have begun")
    deaf[1].sendall(b"GET")
    began = time.monotonic()
    until(lambda: all(is_ended(client) for client in (silent[0], silent[1])), REQUEST_WITHIN + 20, "silence has an end")
    assert time.monotonic() - began > REQUEST_WITHIN / 2
    until(lambda: held(server) == 0, READ_WITHIN + 40, "nobody waits for who does not read")
    assert all(received(client) < LARGE for client in deaf)
    assert ask(server) == (200, "hello\n")


def _is_under_way(clients: list[socket.socket]) -> bool:
    return all(client.recv(1, socket.MSG_PEEK) for client in clients)


@pytest.mark.slow
def test_a_stalled_handshake_has_a_time_limit(
    serve: Servers, ends: ExitStack, tmp_path: Path, authority: Authority
) -> None:
    server = serve(with_tls(tmp_path, authority))
    client = ends.enter_context(connect(server, b"\x16\x03\x01"))
    until(lambda: is_ended(client), REQUEST_WITHIN + 20, "silence has an end")


def test_a_slow_answer_does_not_close_the_connection(serve: Servers) -> None:
    """The time limit is for requests. The answer to a complete request and a client that reads may take longer."""
    server = serve(WebAccess())
    with connect(server) as client:
        for _ in range(2):
            client.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
            total = 0
            while total < LARGE:
                total += len(client.recv(1_000_000))
                time.sleep(0.02)


def test_an_endless_head_is_refused(serve: Servers) -> None:
    server = serve(WebAccess())
    with connect(server, BEGUN + b"X: y\r\n" * 40_000) as client:
        assert client.recv(12) in (b"HTTP/1.1 400", b"")


def test_small_answers_are_sent_whole(serve: Servers) -> None:
    server = serve(WebAccess())
    with connect(server, b"GET /small HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n") as client:
        assert received(client) > SMALL


def test_uvicorn_has_the_undocumented_names_that_we_use() -> None:
    """Without `on_response_complete` no time limit would start after an answer. `conn` gives the connection's state."""

    async def names() -> None:
        config = uvicorn.Config(PlainTextResponse("hello\n"), ws="none", log_config=None)
        server = uvicorn.Server(config)
        protocol = H11Protocol(config, server.server_state, {})
        assert isinstance(protocol, asyncio.Protocol)
        assert protocol.loop is asyncio.get_running_loop()
        assert protocol.transport is None
        assert isinstance(protocol.conn, h11.Connection)
        assert callable(protocol.on_response_complete)
        assert asyncio.iscoroutinefunction(server.startup)
        assert asyncio.iscoroutinefunction(server.shutdown)

    asyncio.run(names())
