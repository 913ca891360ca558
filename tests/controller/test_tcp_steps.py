"""TCP probes that send and expect bytes, also over TLS and after STARTTLS, on real sockets."""

import socket
import ssl
from collections.abc import Callable

from controller.probes.dialogue import INJECTED
from reconcilers.health import Outcome, ProbeResult, Reason
from reconcilers.spec import Output, Step, Tls
from tests.support import targets
from tests.support.authority import Authority
from tests.support.checks import ending, probe_all, tcp
from tests.support.net import until
from tests.support.probing import Bench
from tests.support.targets import Behaviour, Connection, Target

TLS = Tls()
SUCCESS = (Outcome.SUCCESS, Reason.NONE, "")
FAILURE = Outcome.FAILURE

Talk = Callable[[socket.socket, Connection], None]


def greeting(*talks: Talk) -> Behaviour:
    """A greeting that runs these talks with the probe, one after the other."""

    def behave(connection: Connection) -> None:
        connection.sock.settimeout(30)
        for talk in talks:
            talk(connection.sock, connection)

    return behave


def says(data: bytes) -> Talk:
    return lambda sock, _: sock.sendall(data)


def hears(data: bytes) -> Talk:
    def talk(sock: socket.socket, _: Connection) -> None:
        got = b""
        while len(got) < len(data) and (more := sock.recv(len(data) - len(got))):
            got += more
        if got != data:
            raise ConnectionError(got)

    return talk


def shakes(context: ssl.SSLContext) -> Talk:
    def talk(sock: socket.socket, connection: Connection) -> None:
        connection.sock = context.wrap_socket(sock, server_side=True)

    return talk


def stays(_: socket.socket, connection: Connection) -> None:
    connection.hold()


def resets(_: socket.socket, connection: Connection) -> None:
    connection.reset()


def ended(result: ProbeResult) -> tuple[Outcome, Reason, str]:
    return result.outcome, result.reason, result.detail


SMTP = (
    says(b"220-mail.example.com\r\n220 ESMTP\r\n"),
    hears(b"EHLO podpulse.invalid\r\n"),
    says(b"250-mail.example.com\r\n250-SIZE 1000\r\n250-STARTTLS\r\n250 HELP\r\n"),
    hears(b"STARTTLS\r\n"),
)
GRANTED = says(b"220 go ahead\r\n")


def test_a_banner_is_expected_in_whatever_pieces_it_comes(bench: Bench, target: Target) -> None:
    banner = b"SSH-2.0-OpenSSH_9.2p1\r\n"
    for behaviour in (targets.raw(banner), targets.raw_then_hang(banner), targets.drip(banner, 0.001)):
        target.greeting = behaviour
        result = bench.result(tcp(target.port, "ssh", expect="^SSH-2.0-.*\r$"))
        assert ended(result) == SUCCESS
        assert result.output == banner.decode()
        assert result.phases.first_byte > 0
    target.greeting = targets.raw_then_hang(banner)
    assert bench.result(tcp(target.port, "quiet", expect="^SSH", output=Output.NEVER)).output == ""


def test_a_step_sends_and_the_answer_must_match(bench: Bench, target: Target) -> None:
    target.greeting = greeting(hears(b"PING\r\n"), says(b"+PONG\r\n"), stays)
    assert ended(bench.result(tcp(target.port, "redis", send=b"PING\r\n", expect=r"^\+PONG"))) == SUCCESS
    target.greeting = greeting(hears(b"PING\r\n"), says(b"-NOAUTH <b>\x1b[2J\r\n"), stays)
    check = tcp(target.port, "redis", send=b"PING\r\n", expect=r"^\+PONG", timeout=1.0)
    result = ending(bench, check, FAILURE, Reason.BODY)
    assert ended(result) == (FAILURE, Reason.BODY, r"what came back within 1 s does not match '^\\+PONG'")
    assert result.output == "-NOAUTH <b>\x1b[2J\r\n"


def test_bytes_are_sent_even_if_nothing_is_expected(bench: Bench, target: Target) -> None:
    heard: list[bytes] = []

    def listens(sock: socket.socket, _: Connection) -> None:
        while data := sock.recv(8192):
            heard.append(data)

    target.greeting = greeting(listens)
    steps = tuple(Step(bytes([number]) * 4096) for number in range(16))
    assert ended(bench.result(tcp(target.port, "sink", steps=steps))) == SUCCESS
    until(lambda: b"".join(heard) == b"".join(step.send for step in steps))


def test_the_sentence_names_the_step(bench: Bench, target: Target) -> None:
    steps = (Step(expect="^220 "), Step(b"NOOP\r\n", "^250 "))
    begins = says(b"220 hi\r\n"), hears(b"NOOP\r\n")
    cases: dict[str, tuple[Behaviour, Reason, str]] = {
        "another": (
            greeting(says(b"421 no\r\n")),
            Reason.BODY,
            "step 1: what came before the connection was closed does not match '^220 '",
        ),
        "closes": (greeting(*begins), Reason.PROTOCOL, "step 2: the connection was closed without an answer"),
        "resets": (
            greeting(*begins, resets),
            Reason.PROTOCOL,
            "step 2: the connection was reset before the answer was complete",
        ),
        "hangs": (greeting(*begins, stays), Reason.TIMEOUT, "step 2: connected, then nothing for 2 s"),
        "wrong": (
            greeting(*begins, says(b"500 what?\r\n"), stays),
            Reason.BODY,
            "step 2: what came back within 2 s does not match '^250 '",
        ),
        "endless": (
            targets.endless(),
            Reason.BODY,
            "step 1: the first 64 KiB of what came back do not match '^220 '",
        ),
    }
    for name, (behaviour, reason, words) in cases.items():
        target.greeting = behaviour
        result = ending(bench, tcp(target.port, name, steps=steps, timeout=2.0), FAILURE, reason)
        assert ended(result) == (FAILURE, reason, words), name
        assert len(result.output) <= 4096


def test_steps_are_inside_tls(bench: Bench, authority: Authority, target: Target) -> None:
    context = authority.server()
    target.greeting = greeting(shakes(context), _inside(hears(b"PING\r\n"), says(b"+PONG\r\n"), stays))
    result = bench.result(tcp(target.port, "rediss", tls=TLS, send=b"PING\r\n", expect=r"^\+PONG"))
    assert ended(result) == SUCCESS
    assert (result.output, bool(result.certificate.expires)) == ("+PONG\r\n", True)
    target.greeting = greeting(shakes(context), _inside(says(b"220 "), says(b"hi\r\n"), stays))
    assert ended(bench.result(tcp(target.port, "smtps", tls=TLS, expect="^220 hi"))) == SUCCESS
    target.greeting = greeting(shakes(context), _inside(hears(b"PING\r\n")))
    result = bench.result(tcp(target.port, "rediss", tls=TLS, send=b"PING\r\n", expect="x"))
    assert ended(result) == (FAILURE, Reason.PROTOCOL, "the connection was closed without an answer")


def _inside(*talks: Talk) -> Talk:
    """Runs these talks on the socket that the handshake has created."""

    def talk(_: socket.socket, connection: Connection) -> None:
        for each in talks:
            each(connection.sock, connection)

    return talk


def test_a_demanded_client_certificate_is_named_with_steps_too(
    bench: Bench, authority: Authority, target: Target
) -> None:
    target.greeting = greeting(shakes(authority.demanding()))
    for step in (Step(expect="x"), Step(b"x")):
        result = ending(bench, tcp(target.port, "mutual", tls=TLS, steps=(step,)), FAILURE, Reason.TLS)
        assert "demands a client certificate" in result.detail


def test_starttls_shakes_hands_on_the_same_connection(bench: Bench, authority: Authority, target: Target) -> None:
    inside = _inside(hears(b"QUIT\r\n"), says(b"221 bye\r\n"))
    target.greeting = greeting(*SMTP, GRANTED, shakes(authority.server()), inside)
    result = bench.result(tcp(target.port, "mail", tls=TLS, starttls="smtp", send=b"QUIT\r\n", expect="^221 "))
    assert ended(result) == SUCCESS
    assert result.certificate.chain_expires
    assert len(target.accepted()) == 1
    assert result.output.startswith("220-mail.example.com\r\n220 ESMTP\r\n250-")
    assert result.output.endswith("220 go ahead\r\n221 bye\r\n")


def test_starttls_without_steps_ends_after_the_handshake(bench: Bench, authority: Authority, target: Target) -> None:
    for then in (stays, resets, _inside(hears(b"x"))):
        target.greeting = greeting(*SMTP, GRANTED, shakes(authority.server()), then)
        assert ended(bench.result(tcp(target.port, "mail", tls=TLS, starttls="smtp"))) == SUCCESS
    target.greeting = greeting(*SMTP, GRANTED, shakes(authority.demanding()), stays)
    result = ending(bench, tcp(target.port, "mail", tls=TLS, starttls="smtp"), FAILURE, Reason.TLS)
    assert "demands a client certificate" in result.detail


def test_a_certificate_after_starttls_is_judged_as_for_https(
    bench: Bench, authority: Authority, target: Target
) -> None:
    target.greeting = greeting(*SMTP, GRANTED, shakes(authority.server("other.example")))
    result = bench.result(tcp(target.port, "mail", tls=TLS, starttls="smtp"))
    assert ended(result) == (
        FAILURE,
        Reason.CERTIFICATE,
        "the certificate is not for localhost but for DNS:other.example",
    )
    assert result.certificate.expires


def test_starttls_fails_where_it_fails(bench: Bench, target: Target) -> None:
    cases: dict[str, tuple[Behaviour, Reason, str]] = {
        "refused": (
            greeting(*SMTP, says(b"454 TLS not available\r\n"), stays),
            Reason.PROTOCOL,
            "STARTTLS (smtp): STARTTLS was answered with '454 TLS not available'",
        ),
        "injected": (
            greeting(*SMTP, says(b"220 go\r\n221 injected\r\n"), stays),
            Reason.PROTOCOL,
            f"STARTTLS (smtp): {INJECTED}",
        ),
        "injected later": (greeting(*SMTP, GRANTED, _pause, says(b"221 x\r\n"), stays), Reason.TLS, "localhost:"),
        "closes": (
            greeting(*SMTP),
            Reason.PROTOCOL,
            "STARTTLS (smtp): the connection was closed without an answer",
        ),
        "cut short": (
            greeting(says(b"220-")),
            Reason.PROTOCOL,
            "STARTTLS (smtp): the connection was closed in the middle of the answer",
        ),
        "hangs": (
            greeting(*SMTP, stays),
            Reason.TIMEOUT,
            "STARTTLS (smtp): no answer within 2 s",
        ),
        "no handshake": (
            greeting(*SMTP, GRANTED, stays),
            Reason.TIMEOUT,
            "connected, then no TLS handshake for 2 s",
        ),
        "closes the handshake": (
            greeting(*SMTP, GRANTED),
            Reason.TLS,
            "localhost:",
        ),
    }
    checks = {}
    for name, (behaviour, reason, words) in cases.items():
        target.greeting = behaviour
        check = tcp(target.port, name, tls=TLS, starttls="smtp", expect="221", timeout=2.0)
        result = ending(bench, check, FAILURE, reason)
        assert result.detail.startswith(words), name
        checks[name] = result.detail
    assert "does not speak TLS" in checks["injected later"]
    assert "closed the connection during the TLS handshake" in checks["closes the handshake"]


def _pause(_: socket.socket, connection: Connection) -> None:
    """Let the probe read what has arrived, and begin the handshake."""
    connection.sock.recv(1, socket.MSG_PEEK)


def test_many_slow_dialogues_leave_other_probes_alone(bench: Bench, target: Target) -> None:
    with Target() as other:
        target.greeting = targets.drip(b"x" * 400, 0.01)
        slow = [tcp(target.port, f"slow-{number}", expect="(x.*){60}y", timeout=3.0) for number in range(30)]
        other.greeting = targets.raw(b"ok")
        fine = [tcp(other.port, f"fine-{number}", expect="ok") for number in range(30)]
        found = probe_all(bench, [*slow, *fine])
    assert {ended(result) for name, result in found.items() if name.startswith("fine")} == {SUCCESS}
    assert {result.outcome for name, result in found.items() if name.startswith("slow")} == {FAILURE}
