"""Who may see the page: the web configuration file, TLS, client certificates, passwords, and an end to patience."""

import asyncio
import base64
import http.client
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import bcrypt
import pytest
import trustme
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from controller.web.access import WebAccess, WebAccessError, read
from controller.web.connection import READ_WITHIN, REQUEST_WITHIN
from controller.web.doorman import REMEMBERED, Doorman
from controller.web.server import CONNECTIONS, WebServer
from tests.support.authority import Authority
from tests.support.net import until

ALICE = bcrypt.hashpw(b"s3cret", bcrypt.gensalt(4)).decode()
LARGE = 8_000_000


async def hello(_: Request) -> Response:
    return PlainTextResponse("hello\n")


async def large(_: Request) -> Response:
    return Response(bytes(LARGE))


Serve = Callable[[WebAccess], WebServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as ends:

        def start(access: WebAccess) -> WebServer:
            app = Starlette(routes=[Route("/", hello), Route("/large", large)])
            server = WebServer(app, "127.0.0.1", 0, access)
            server.start()
            ends.callback(server.stop)
            return server

        yield start


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


def written(folder: Path, text: str) -> Path:
    file = folder / "web.yml"
    file.write_text(text)
    return file


def with_tls(folder: Path, authority: Authority, more: str = "") -> WebAccess:
    """The certificate and key lie beside the file that names them."""
    cert, key = authority.files()
    shutil.copy(cert, folder / "cert.pem")
    shutil.copy(key, folder / "key.pem")
    return read(written(folder, f"tls_server_config: {{cert_file: cert.pem, key_file: key.pem{more}}}"))


def ask(server: WebServer, password: str = "", *, context: ssl.SSLContext | None = None) -> tuple[int, str]:
    if context:
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            "127.0.0.1", server.port, timeout=10, context=context
        )
    else:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    header = {"Authorization": f"Basic {base64.b64encode(password.encode()).decode()}"} if password else {}
    try:
        connection.request("GET", "/", headers=header)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def trusting(authority: Authority, client: trustme.LeafCert | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.file))
    if client:
        client.configure_cert(context)
    return context


# The file


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[]", "the file: expected a mapping"),
        ("a: [", "line 2, column 1: did not find expected node content"),
        ("rate_limit: {burst: 3}", "rate_limit: not known, or not to be had here"),
        ("tls_server_config: {cert_file: cert.pem}", "tls_server_config.key_file: missing"),
        ("tls_server_config: {cert_file: a.pem, key_file: b.pem}", "expected a readable file: "),
        (
            "tls_server_config: {cert_file: web.yml, key_file: web.yml}",
            "tls_server_config: expected a certificate, its key, and authorities, as PEM",
        ),
        (
            "tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequireAndVerifyClientCert}",
            "client_ca_file: missing; client_auth_type RequireAndVerifyClientCert needs it",
        ),
        (
            "tls_server_config: {cert_file: a, key_file: b, client_ca_file: c}",
            "client_auth_type: expected RequireAndVerifyClientCert",
        ),
        (
            "tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequireAnyClientCert}",
            "expected 'NoClientCert', 'VerifyClientCertIfGiven' or 'RequireAndVerifyClientCert'",
        ),
        (
            "tls_server_config: {cert_file: a, key_file: b, client_allowed_sans: [x]}",
            "client_allowed_sans: of no use without client_auth_type RequireAndVerifyClientCert",
        ),
        ("tls_server_config: {cert_file: a, key_file: b, min_version: TLS10}", "expected 'TLS12' or 'TLS13'"),
        (
            "tls_server_config: {cert_file: a, key_file: b, min_version: TLS13, max_version: TLS12}",
            "min_version: expected one that is not above max_version",
        ),
        (
            "tls_server_config: {cert_file: a, key_file: b, cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]}",
            "cipher_suites: expected names such as TLS_ECDHE",
        ),
        ("http_server_config: {headers: {Set-Cookie: a}}", "expected only Content-Security-Policy"),
        ("basic_auth_users: {alice: hunter2}", "basic_auth_users.alice: expected a bcrypt hash"),
    ],
)
def test_what_is_wrong_is_said_with_its_field(tmp_path: Path, text: str, complaint: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(WebAccessError) as error:
        read(file)
    assert str(error.value).startswith(f"{file}: ")
    assert complaint in str(error.value)
    assert "hunter2" not in str(error.value)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(WebAccessError, match="cannot be read: No such file"):
        read(tmp_path / "web.yml")


def test_an_empty_file_admits_everybody(tmp_path: Path, serve: Serve) -> None:
    assert ask(serve(read(written(tmp_path, "")))) == (200, "hello\n")


# TLS


def test_with_a_certificate_only_tls_is_spoken(tmp_path: Path, serve: Serve, authority: Authority) -> None:
    server = serve(with_tls(tmp_path, authority))
    assert ask(server, context=trusting(authority)) == (200, "hello\n")
    with pytest.raises((OSError, http.client.HTTPException)):
        ask(server)
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(server, context=ssl.create_default_context())


def test_the_versions_and_suites_are_those_of_the_file(tmp_path: Path, serve: Serve, authority: Authority) -> None:
    only = ", max_version: TLS12, cipher_suites: [TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256]"
    server = serve(with_tls(tmp_path, authority, only))
    with socket.create_connection(("127.0.0.1", server.port)) as plain:
        context = trusting(authority)
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
            assert secure.version() == "TLSv1.2"
            assert (secure.cipher() or ("",))[0] == "ECDHE-ECDSA-CHACHA20-POLY1305"
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with pytest.raises(ssl.SSLError):
        ask(server, context=context)


def test_a_client_without_a_good_certificate_stays_outside(tmp_path: Path, serve: Serve) -> None:
    ca, other = trustme.CA(), trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "clients.pem"))
    authority = Authority(tmp_path / "ca")
    more = (
        ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: clients.pem, client_allowed_sans: [prometheus]"
    )
    server = serve(with_tls(tmp_path, authority, more))
    assert ask(server, context=trusting(authority, ca.issue_cert("prometheus"))) == (200, "hello\n")
    for client in (None, other.issue_cert("prometheus"), ca.issue_cert("somebody")):
        with pytest.raises((OSError, http.client.HTTPException)):
            ask(server, context=trusting(authority, client))
    assert ask(server, context=trusting(authority, ca.issue_cert("prometheus"))) == (200, "hello\n")


def test_a_renewed_certificate_is_used_and_a_broken_one_is_not(
    tmp_path: Path, serve: Serve, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    server = serve(with_tls(tmp_path, authority))
    assert ask(server, context=trusting(authority)) == (200, "hello\n")
    successor = Authority(tmp_path / "successor")
    cert, key = successor.files()
    key.replace(tmp_path / "key.pem")
    cert.replace(tmp_path / "cert.pem")
    assert ask(server, context=trusting(successor)) == (200, "hello\n")
    (tmp_path / "cert.pem").write_text("nothing")
    assert ask(server, context=trusting(successor)) == (200, "hello\n")
    assert "certificate was read again" in caplog.text
    assert "certificate stays what it was" in caplog.text


# Passwords


def test_users_are_asked_for_their_password(tmp_path: Path, serve: Serve) -> None:
    server = serve(read(written(tmp_path, f"basic_auth_users: {{alice: '{ALICE}'}}")))
    assert ask(server, "alice:s3cret") == (200, "hello\n")
    for wrong in ("", "alice:secret", "bob:s3cret", "alice", ":", f"alice:{'x' * 100}", f"alice:{'x' * 2_000}"):
        assert ask(server, wrong)[0] == 401
    assert ask(server, "alice:s3cret") == (200, "hello\n")


@pytest.mark.parametrize("header", ["Basic", "Basic ???", "Basic /w==", "Bearer abc", "Basic " + "A" * 4_000])
def test_odd_credentials_are_refused(tmp_path: Path, serve: Serve, header: str) -> None:
    server = serve(read(written(tmp_path, f"basic_auth_users: {{alice: '{ALICE}'}}")))
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", "/", headers={"Authorization": header})
    answer = connection.getresponse()
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")
    connection.close()


def test_who_was_let_in_waits_for_nobody_again(tmp_path: Path, serve: Serve) -> None:
    """Wrong guesses stand in line for bcrypt, more of them than are remembered; who is known passes them all."""
    slow = bcrypt.hashpw(b"s3cret", bcrypt.gensalt(12)).decode()
    server = serve(read(written(tmp_path, f"basic_auth_users: {{alice: '{slow}'}}")))
    assert ask(server, "alice:s3cret")[0] == 200
    with ThreadPoolExecutor(16) as pool:
        guesses = [pool.submit(ask, server, f"alice:{number}") for number in range(16)]
        until(lambda: any(guess.done() for guess in guesses), 30)
        for _ in range(5):
            assert ask(server, "alice:s3cret")[0] == 200
        assert sum(guess.done() for guess in guesses) < len(guesses) / 2
        assert {guess.result()[0] for guess in guesses} == {401}


def test_what_is_remembered_is_bounded() -> None:
    users = {f"user{number}": ALICE for number in range(REMEMBERED + 10)}
    doorman = Doorman(PlainTextResponse("hello"), users)

    async def come_in() -> None:
        for name in users:
            encoded = base64.b64encode(f"{name}:s3cret".encode()).decode()
            assert await doorman._is_welcome(f"Basic {encoded}")

    asyncio.run(come_in())
    assert len(doorman._right) == REMEMBERED


def test_other_users_are_in_force_at_once_and_other_tls_is_not(
    tmp_path: Path, serve: Serve, authority: Authority
) -> None:
    server = serve(read(written(tmp_path, f"basic_auth_users: {{alice: '{ALICE}', bob: '{ALICE}'}}")))
    assert ask(server, "bob:s3cret")[0] == 200
    assert server.follow(read(written(tmp_path, f"basic_auth_users: {{alice: '{ALICE}'}}")))
    assert [ask(server, f"{name}:s3cret")[0] for name in ("alice", "bob")] == [200, 401]
    assert server.follow(read(written(tmp_path, "")))
    assert ask(server)[0] == 200
    assert not server.follow(with_tls(tmp_path, authority))


def test_headers_of_the_file_are_sent(tmp_path: Path, serve: Serve) -> None:
    text = "http_server_config: {headers: {Strict-Transport-Security: max-age=31536000}}"
    server = serve(read(written(tmp_path, text)))
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", "/")
    assert connection.getresponse().headers["Strict-Transport-Security"] == "max-age=31536000"
    connection.close()


# Patience


@pytest.mark.slow
def test_clients_that_send_nothing_or_read_nothing_do_not_keep_others_out_for_long(serve: Serve) -> None:
    server = serve(WebAccess())
    with ExitStack() as open_ones:

        def connect(begin: bytes) -> socket.socket:
            client = open_ones.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            client.sendall(begin)
            return client

        silent = [connect(b"") for _ in range(CONNECTIONS // 2)]
        begun = [connect(b"GET / HTTP/1.1\r\nHost: x\r\n") for _ in range(CONNECTIONS // 4)]
        deaf = [connect(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(CONNECTIONS // 4)]
        until(lambda: ask(server)[0] == 503, 5, "the house is full")
        until(lambda: ask(server)[0] == 200, REQUEST_WITHIN + 10, "silence has an end")
        for client in (*silent, *begun):
            client.settimeout(REQUEST_WITHIN)
            assert _is_ended(client)
        time.sleep(READ_WITHIN - REQUEST_WITHIN)
        until(lambda: all(_received(client) < LARGE for client in deaf), 20, "nobody waits for who does not read")
        assert ask(server) == (200, "hello\n")


def _is_ended(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def _received(client: socket.socket) -> int:
    total = 0
    client.settimeout(10)
    try:
        while data := client.recv(65_536):
            total += len(data)
    except OSError:
        return total
    return total


def test_a_slow_answer_is_no_reason_to_hang_up(serve: Serve) -> None:
    """Patience is for requests: one that is complete may take its time, and so may a client that reads."""
    server = serve(WebAccess())
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        for _ in range(2):
            client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            received = 0
            while received < LARGE:
                received += len(client.recv(1_000_000))
                time.sleep(0.02)
