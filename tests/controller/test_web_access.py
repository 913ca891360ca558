"""Access to the page: the web configuration file, TLS, client certificates, passwords, and time limits."""

import asyncio
import base64
import http.client
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bcrypt
import pytest
import trustme
from starlette.responses import PlainTextResponse

from controller.config.web_access import WebAccessError, read
from controller.web.basic_auth import GUESSES, REMEMBERED, BasicAuth
from tests.support.authority import Authority
from tests.support.net import until
from tests.support.webserver import Servers, ask, trusting, with_tls, written

ALICE = bcrypt.hashpw(b"s3cret", bcrypt.gensalt(4)).decode()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


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
def test_an_error_names_its_field(tmp_path: Path, text: str, complaint: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(WebAccessError) as error:
        read(file)
    assert str(error.value).startswith(f"{file}: ")
    assert complaint in str(error.value)
    assert "hunter2" not in str(error.value)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WebAccessError, match="cannot be read: No such file"):
        read(tmp_path / "web.yml")


def test_an_empty_file_admits_everybody(tmp_path: Path, serve: Servers) -> None:
    assert ask(serve(read(written(tmp_path, "")))) == (200, "hello\n")


# TLS


def test_with_a_certificate_only_tls_is_accepted(tmp_path: Path, serve: Servers, authority: Authority) -> None:
    server = serve(with_tls(tmp_path, authority))
    assert ask(server, context=trusting(authority)) == (200, "hello\n")
    with pytest.raises((OSError, http.client.HTTPException)):
        ask(server)
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(server, context=ssl.create_default_context())


def test_the_versions_and_suites_are_those_of_the_file(tmp_path: Path, serve: Servers, authority: Authority) -> None:
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


def test_a_client_without_a_valid_certificate_is_refused(tmp_path: Path, serve: Servers) -> None:
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
    tmp_path: Path, serve: Servers, authority: Authority, caplog: pytest.LogCaptureFixture
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
    assert "the page keeps its previous certificate" in caplog.text


# Passwords


def test_users_need_their_password(tmp_path: Path, serve: Servers) -> None:
    server = serve(read(written(tmp_path, f"basic_auth_users: {{alice: '{ALICE}'}}")))
    assert ask(server, "alice:s3cret") == (200, "hello\n")
    for wrong in ("", "alice:secret", "bob:s3cret", "alice", ":", f"alice:{'x' * 100}", f"alice:{'x' * 2_000}"):
        assert ask(server, wrong)[0] == 401
    assert ask(server, "alice:s3cret") == (200, "hello\n")


@pytest.mark.parametrize("header", ["Basic", "Basic ???", "Basic /w==", "Bearer abc", "Basic " + "A" * 4_000])
def test_malformed_credentials_are_refused(tmp_path: Path, serve: Servers, header: str) -> None:
    server = serve(read(written(tmp_path, f"basic_auth_users: {{alice: '{ALICE}'}}")))
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", "/", headers={"Authorization": header})
    answer = connection.getresponse()
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")
    connection.close()


def test_a_known_password_is_accepted_without_waiting(tmp_path: Path, serve: Servers) -> None:
    """Wrong guesses wait for bcrypt. A request with a known password does not wait for them."""
    slow = bcrypt.hashpw(b"s3cret", bcrypt.gensalt(11)).decode()
    server = serve(read(written(tmp_path, f"basic_auth_users: {{alice: '{slow}'}}")))
    assert ask(server, "alice:s3cret")[0] == 200
    with ThreadPoolExecutor(16) as pool:
        guesses = [pool.submit(ask, server, f"alice:{number}") for number in range(16)]
        until(lambda: any(guess.done() for guess in guesses), 30)
        for _ in range(5):
            assert ask(server, "alice:s3cret")[0] == 200
        assert sum(guess.done() for guess in guesses) < len(guesses) / 2
        assert {guess.result()[0] for guess in guesses} == {401}


def test_the_number_of_requests_that_wait_for_bcrypt_is_limited(tmp_path: Path, serve: Servers) -> None:
    """A refused request may be repeated. Known passwords do not wait, and clients at other addresses can still wait."""
    slow = bcrypt.hashpw(b"s3cret", bcrypt.gensalt(11)).decode()
    server = serve(read(written(tmp_path, f"basic_auth_users: {{alice: '{slow}', bob: '{slow}'}}")))
    assert ask(server, "alice:s3cret")[0] == 200
    with ThreadPoolExecutor(3 * GUESSES) as pool:
        guesses = [pool.submit(ask, server, f"alice:{number}") for number in range(3 * GUESSES)]
        until(lambda: any(guess.done() and guess.result()[0] == 503 for guess in guesses), 30, "the line is full")
        assert ask(server, "alice:s3cret")[0] == 200
        assert ask(server, "bob:s3cret", source="127.0.0.2")[0] == 200
        assert {guess.result()[0] for guess in guesses} == {401, 503}
        assert sum(guess.result()[0] == 401 for guess in guesses) >= GUESSES


def test_the_cache_of_passwords_is_bounded() -> None:
    users = {f"user{number}": ALICE for number in range(REMEMBERED + 10)}
    basic_auth = BasicAuth(PlainTextResponse("hello"), users)

    async def authenticate_all() -> None:
        for name in users:
            encoded = base64.b64encode(f"{name}:s3cret".encode()).decode()
            scope = {"type": "http", "headers": [(b"authorization", f"Basic {encoded}".encode())]}
            assert await basic_auth._is_authenticated(scope)

    asyncio.run(authenticate_all())
    assert len(basic_auth._right) == REMEMBERED


def test_changed_users_are_in_force_at_once_and_changed_tls_is_not(
    tmp_path: Path, serve: Servers, authority: Authority
) -> None:
    server = serve(read(written(tmp_path, f"basic_auth_users: {{alice: '{ALICE}', bob: '{ALICE}'}}")))
    assert ask(server, "bob:s3cret")[0] == 200
    assert server.apply(read(written(tmp_path, f"basic_auth_users: {{alice: '{ALICE}'}}")))
    assert [ask(server, f"{name}:s3cret")[0] for name in ("alice", "bob")] == [200, 401]
    assert server.apply(read(written(tmp_path, "")))
    assert ask(server)[0] == 200
    assert not server.apply(with_tls(tmp_path, authority))


def test_headers_of_the_file_are_sent(tmp_path: Path, serve: Servers) -> None:
    text = "http_server_config: {headers: {Strict-Transport-Security: max-age=31536000}}"
    server = serve(read(written(tmp_path, text)))
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", "/")
    assert connection.getresponse().headers["Strict-Transport-Security"] == "max-age=31536000"
    connection.close()
