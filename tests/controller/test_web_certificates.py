"""Client certificates: a client must have a valid certificate at each request, not only at its first handshake."""

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from controller.web.server import ListenError, WebServer
from tests.support.authority import Authority
from tests.support.net import until
from tests.support.webserver import HOST, Servers, ask, trusting, with_tls

HELLO = "hello\n"
VERSIONS = {"TLS 1.2": ssl.TLSVersion.TLSv1_2, "TLS 1.3": ssl.TLSVersion.TLSv1_3}
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"

Client = Callable[..., ssl.SSLContext]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
def clients(tmp_path: Path) -> trustme.CA:
    """The authority of the clients, which the server's file names."""
    ca = trustme.CA()
    trust(tmp_path, ca)
    return ca


@pytest.fixture(params=VERSIONS)
def client(request: pytest.FixtureRequest, authority: Authority, clients: trustme.CA) -> Client:
    """Returns the context of a client with its own certificate, which supports one version of TLS."""

    def make(**options: Any) -> ssl.SSLContext:
        context = trusting(authority, clients.issue_cert("prometheus", **options))
        context.minimum_version = context.maximum_version = VERSIONS[request.param]
        return context

    return make


@pytest.fixture
def server(serve: Servers, tmp_path: Path, authority: Authority, clients: trustme.CA) -> WebServer:
    return serve(
        with_tls(tmp_path, authority, ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: clients.pem")
    )


def trust(folder: Path, ca: trustme.CA) -> None:
    """Replaces the file by another one."""
    ca.cert_pem.write_to_path(str(folder / "clients.new"))
    (folder / "clients.new").replace(folder / "clients.pem")


def connect(server: WebServer, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
    plain = socket.create_connection((HOST, server.port), timeout=30)
    return context.wrap_socket(plain, server_hostname=HOST, session=session)


def answer(connection: ssl.SSLSocket) -> str:
    """Returns the body of the answer, or nothing without an answer."""
    found = b""
    try:
        connection.sendall(REQUEST)
        while not found.endswith(b"hello\n") and (data := connection.recv(1_000)):
            found += data
    except OSError:
        return ""
    return found.partition(b"\r\n\r\n")[2].decode()


def gets_in(server: WebServer, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> bool:
    """Sends a request over a new connection that resumes `session`."""
    try:
        with connect(server, context, session) as connection:
            return bool(answer(connection))
    except OSError:
        return False


def test_a_session_of_a_client_ends_with_the_authority_of_its_certificate(
    server: WebServer, client: Client, tmp_path: Path
) -> None:
    context = client()
    with connect(server, context) as first:
        assert answer(first) == HELLO
        session = first.session
    trust(tmp_path, trustme.CA())
    assert not gets_in(server, context, session)
    assert not gets_in(server, context)


def test_no_session_is_resumed_and_each_handshake_asks_for_the_certificate(server: WebServer, client: Client) -> None:
    context = client()
    session = None
    for _ in range(3):
        with connect(server, context, session) as connection:
            assert answer(connection) == HELLO
            assert not connection.session_reused
            session = connection.session


def test_without_client_certificates_a_session_is_resumed(serve: Servers, tmp_path: Path, authority: Authority) -> None:
    server, context = serve(with_tls(tmp_path, authority)), trusting(authority)
    with connect(server, context) as first:
        assert answer(first) == HELLO
        session = first.session
    with connect(server, context, session) as again:
        assert answer(again) == HELLO
        assert again.session_reused


def test_a_kept_connection_ends_with_the_authority_of_the_client(
    server: WebServer, client: Client, tmp_path: Path
) -> None:
    with connect(server, client()) as kept:
        assert answer(kept) == answer(kept) == HELLO
        trust(tmp_path, trustme.CA())
        assert answer(kept) == ""


def test_a_pipelined_request_is_not_answered_after_the_authority_is_gone(
    server: WebServer, client: Client, tmp_path: Path
) -> None:
    with connect(server, client()) as kept:
        kept.sendall(b"GET /late HTTP/1.1\r\nHost: localhost\r\n\r\n" + REQUEST)
        found = kept.recv(12)
        trust(tmp_path, trustme.CA())
        with suppress(OSError):
            while data := kept.recv(1_000):
                found += data
    assert found.count(b"HTTP/1.1 200 OK") == 1


def test_a_client_whose_certificate_expires_is_refused(server: WebServer, client: Client) -> None:
    """At a new connection, and over the connection that it has."""
    context = client(not_after=datetime.now(UTC) + timedelta(seconds=5))
    with connect(server, context) as kept:
        assert answer(kept) == HELLO
        session = kept.session
        until(lambda: answer(kept) == "", 30, "the certificate has expired")
    assert not gets_in(server, context, session)
    assert not gets_in(server, context)


def test_a_client_without_a_certificate_is_admitted_if_none_is_required(
    serve: Servers, tmp_path: Path, authority: Authority, clients: trustme.CA
) -> None:
    server = serve(
        with_tls(tmp_path, authority, ", client_auth_type: VerifyClientCertIfGiven, client_ca_file: clients.pem")
    )
    assert ask(server, context=trusting(authority)) == (200, "hello\n")
    assert ask(server, context=trusting(authority, clients.issue_cert("prometheus"))) == (200, "hello\n")
    assert not gets_in(server, trusting(authority, trustme.CA().issue_cert("prometheus")))


def test_a_certificate_that_was_removed_after_the_configuration_was_read_is_an_error_at_the_start(
    serve: Servers, tmp_path: Path, authority: Authority
) -> None:
    access = with_tls(tmp_path, authority)
    (tmp_path / "key.pem").unlink()
    with pytest.raises(ListenError, match=r"over TLS: expected a readable file: .*key\.pem"):
        serve(access)
