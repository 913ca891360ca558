"""TCP probes over TLS: the handshake is the check, so a target that closes after it is healthy unless it refuses us."""

import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from controller.probes.refusal import RIGHT_AFTER
from reconcilers.health import Outcome, ProbeResult, Reason
from reconcilers.spec import Tls
from tests.support import targets
from tests.support.authority import Authority, self_signed
from tests.support.checks import ending, tcp
from tests.support.probing import Bench
from tests.support.targets import Behaviour, BlackHole, Connection, Target

TLS = Tls()
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


def shaken(context: ssl.SSLContext, then: Callable[[ssl.SSLSocket, Connection], None]) -> Behaviour:
    """A greeting: shake hands, and then do this with the connection."""

    def behave(connection: Connection) -> None:
        connection.sock.settimeout(30)
        connection.sock = sock = context.wrap_socket(connection.sock, server_side=True)
        then(sock, connection)

    return behave


def reads(sock: ssl.SSLSocket, _: Connection) -> None:
    sock.recv(1)


def unwraps(sock: ssl.SSLSocket, connection: Connection) -> None:
    connection.sock = sock.unwrap()


def hangs(_: ssl.SSLSocket, connection: Connection) -> None:
    connection.hold()


def says(sock: ssl.SSLSocket, connection: Connection) -> None:
    sock.sendall(b"hello")
    connection.hold()


def cut(sock: ssl.SSLSocket, connection: Connection) -> None:
    connection.sock = socket.socket(fileno=sock.detach())


def reset(sock: ssl.SSLSocket, connection: Connection) -> None:
    cut(sock, connection)
    connection.reset()


def of_version(context: ssl.SSLContext, version: ssl.TLSVersion) -> ssl.SSLContext:
    context.minimum_version = context.maximum_version = version
    return context


def probed(bench: Bench, context: ssl.SSLContext, then: Callable[[ssl.SSLSocket, Connection], None]) -> ProbeResult:
    with Target() as target:
        target.greeting = shaken(context, then)
        return bench.result(tcp(target.port, "tls", tls=TLS))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("then", [reads, unwraps, cut, reset, hangs, says])
def test_however_a_target_goes_on_after_the_handshake_it_is_healthy(
    bench: Bench, authority: Authority, then: Callable[[ssl.SSLSocket, Connection], None], version: ssl.TLSVersion
) -> None:
    result = probed(bench, of_version(authority.server(), version), then)
    assert (result.outcome, result.reason, result.detail) == (Outcome.SUCCESS, Reason.NONE, "")
    assert result.certificate.expires
    assert result.certificate.chain_expires
    assert result.phases.tls > 0
    assert result.phases.first_byte + result.phases.transfer < RIGHT_AFTER, "the wait for the end is not the target's"
    assert result.duration - sum(result.phases) < RIGHT_AFTER
    assert result.output == ("hello" if then is says else "")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("then", [reads, unwraps, cut, reset])
def test_a_target_that_demands_a_client_certificate_is_not_healthy_without_one(
    bench: Bench, authority: Authority, then: Callable[[ssl.SSLSocket, Connection], None], version: ssl.TLSVersion
) -> None:
    with Target() as target:
        target.greeting = shaken(of_version(authority.demanding(), version), then)
        result = ending(bench, tcp(target.port, "tls", tls=TLS), Outcome.FAILURE, Reason.TLS)
    assert "demands a client certificate (tls.cert_file, tls.key_file)" in result.detail


def test_a_target_that_demands_a_client_certificate_is_healthy_with_one(bench: Bench, authority: Authority) -> None:
    cert, key = authority.files("client.example")
    with Target(authority.demanding()) as target:
        mutual = Tls(cert_file=str(cert), key_file=str(key))
        assert bench.result(tcp(target.port, "mutual", tls=mutual)).outcome is Outcome.SUCCESS


def test_a_client_certificate_that_the_target_does_not_trust_is_refused(
    bench: Bench, authority: Authority, tmp_path: pytest.TempPathFactory
) -> None:
    cert, key = Authority(tmp_path / "other").files("client.example")  # type: ignore[operator]
    with Target(authority.demanding()) as target:
        mutual = tcp(target.port, "mutual", tls=Tls(cert_file=str(cert), key_file=str(key)))
        result = ending(bench, mutual, Outcome.FAILURE, Reason.TLS)
    assert "our client certificate" in result.detail


def test_a_certificate_that_is_not_accepted_is_a_failure_and_its_expiry_is_known(
    bench: Bench, authority: Authority
) -> None:
    past = datetime.now(UTC) - timedelta(days=3)
    outdated = authority.server(not_before=past - timedelta(days=9), not_after=past)
    contexts = {"expired": outdated, "of another": authority.server("other.example"), "self-signed": self_signed()}
    for name, context in contexts.items():
        with Target(context) as target:
            result = bench.result(tcp(target.port, name, tls=TLS))
        assert (result.outcome, result.reason) == (Outcome.FAILURE, Reason.CERTIFICATE), name
        assert result.certificate.expires, name


def test_a_name_and_an_exception_apply_as_for_https(bench: Bench, authority: Authority) -> None:
    with Target(authority.server("other.example")) as target:
        for tls in (Tls(server_name="other.example"), Tls(insecure_skip_verify=True)):
            assert bench.result(tcp(target.port, "tls", tls=tls)).outcome is Outcome.SUCCESS


def test_a_target_without_tls_is_a_failure(bench: Bench, target: Target) -> None:
    cases: dict[str, tuple[Behaviour, Reason, str]] = {
        "plain": (targets.raw(b"220 mail\r\n"), Reason.TLS, "does not speak TLS"),
        "closes": (targets.close, Reason.TLS, "closed the connection during the TLS handshake"),
        "silent": (targets.hang, Reason.TIMEOUT, "connected, then no TLS handshake for 1 s"),
    }
    for name, (behaviour, reason, words) in cases.items():
        target.greeting = behaviour
        result = ending(bench, tcp(target.port, name, tls=TLS, timeout=1.0), Outcome.FAILURE, reason)
        assert words in result.detail
    with BlackHole() as hole:
        result = bench.result(tcp(hole.port, "hole", host="127.0.0.1", tls=TLS, timeout=1.0))
    assert (result.reason, result.detail) == (Reason.TIMEOUT, f"no connection to 127.0.0.1:{hole.port} for 1 s")


def test_a_silent_target_is_healthy_at_a_deadline_that_is_shorter_than_the_wait(
    bench: Bench, authority: Authority, target: Target
) -> None:
    target.greeting = shaken(authority.server(), hangs)
    result = ending(bench, tcp(target.port, "tls", tls=TLS, timeout=0.5), Outcome.SUCCESS, Reason.NONE)
    assert result.certificate.expires


def test_an_endless_target_is_healthy_at_its_first_word(bench: Bench, authority: Authority) -> None:
    def floods(sock: ssl.SSLSocket, connection: Connection) -> None:
        while not connection.closing.is_set():
            sock.sendall(b"x" * 16_384)

    assert probed(bench, authority.server(), floods).outcome is Outcome.SUCCESS
