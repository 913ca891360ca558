"""The meaning of each failure of a probe, and its sentence for a person."""

import errno

import pytest

from controller.probes.failure import Cause, Failure
from controller.probes.verdict import ALERTS, bracketed, reason, sentence
from reconcilers.health import Reason

WHERE, HOST = "10.0.0.1:443", "web1"

SENTENCES = {
    Cause.CONNECT: (Reason.CONNECT, "no connection to 10.0.0.1:443: No route to host"),
    Cause.LOCAL: (Reason.LOCAL, "the probe could not be sent: the words"),
    Cause.NOT_TLS: (Reason.TLS, "10.0.0.1:443 does not speak TLS"),
    Cause.TLS_VERSION: (
        Reason.TLS,
        "10.0.0.1:443 speaks no version of TLS that is accepted here (1.2 or newer)",
    ),
    Cause.TLS_ALERT: (Reason.TLS, "no TLS with 10.0.0.1:443: the words"),
    Cause.TLS_CLOSED: (Reason.TLS, "10.0.0.1:443 closed the connection during the TLS handshake"),
    Cause.TLS_RESET: (Reason.TLS, "10.0.0.1:443 reset the connection during the TLS handshake"),
    Cause.TLS_OTHER: (Reason.TLS, "no TLS with 10.0.0.1:443: the words"),
    Cause.CLIENT_CERTIFICATE: (Reason.TLS, "10.0.0.1:443 demands a client certificate (tls.cert_file, tls.key_file)"),
    Cause.TURNED_AWAY: (
        Reason.TLS,
        "closed right after the TLS handshake: perhaps a client certificate is demanded",
    ),
    Cause.EMPTY: (Reason.PROTOCOL, "the connection was closed without an answer"),
    Cause.CUT_SHORT: (Reason.PROTOCOL, "the connection was closed in the middle of the answer"),
    Cause.RESET: (Reason.PROTOCOL, "the connection was reset before the answer was complete"),
    Cause.NOT_HTTP: (Reason.PROTOCOL, "the answer is not HTTP"),
    Cause.STATUS_LINE: (Reason.PROTOCOL, "the answer's status line cannot be understood"),
    Cause.HEAD_TOO_LONG: (Reason.PROTOCOL, "the answer's headers are longer than 64 KiB"),
    Cause.MALFORMED: (Reason.PROTOCOL, "the answer cannot be understood: the words"),
    Cause.REDIRECT: (Reason.REDIRECT, "the words"),
    Cause.NOT_HTTP2: (Reason.PROTOCOL, "the answer is not HTTP/2, which gRPC and http_version: 2 need"),
    Cause.NO_HTTP2: (
        Reason.PROTOCOL,
        "10.0.0.1:443 does not offer HTTP/2 by ALPN, which gRPC and http_version: 2 need",
    ),
    Cause.GOAWAY: (
        Reason.PROTOCOL,
        "the connection was closed before an answer, and so was each of the next ones",
    ),
    Cause.GONE: (Reason.PROTOCOL, "the connection was closed before an answer, as the server had announced"),
    Cause.REFUSED_STREAM: (
        Reason.PROTOCOL,
        "the server refused the call (REFUSED_STREAM), also on a new connection",
    ),
}
"""All causes but CERTIFICATE, which `certificate.explain` puts into words."""


def test_every_cause_is_in_the_table() -> None:
    assert SENTENCES.keys() == set(Cause) - {Cause.CERTIFICATE}
    assert reason(Failure(Cause.CERTIFICATE)) is Reason.CERTIFICATE


@pytest.mark.parametrize("cause", SENTENCES)
def test_each_cause_has_its_reason_and_its_sentence(cause: Cause) -> None:
    failure = Failure(cause, errno=errno.EHOSTUNREACH, words="the words")
    assert (reason(failure), sentence(failure, WHERE, HOST)) == SENTENCES[cause]


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ECONNREFUSED, (Reason.REFUSED, "connection to 10.0.0.1:443 refused")),
        (errno.ENETUNREACH, (Reason.CONNECT, "no connection to 10.0.0.1:443: Network is unreachable")),
        (errno.ETIMEDOUT, (Reason.CONNECT, "no connection to 10.0.0.1:443: Connection timed out")),
        (errno.EMFILE, (Reason.LOCAL, "no connection to 10.0.0.1:443: Too many open files")),
        (errno.ENFILE, (Reason.LOCAL, "no connection to 10.0.0.1:443: Too many open files in system")),
        (errno.ENOBUFS, (Reason.LOCAL, "no connection to 10.0.0.1:443: No buffer space available")),
        (errno.ENOMEM, (Reason.LOCAL, "no connection to 10.0.0.1:443: Cannot allocate memory")),
        (errno.EADDRNOTAVAIL, (Reason.LOCAL, "no connection to 10.0.0.1:443: Cannot assign requested address")),
    ],
)
def test_an_error_of_the_connection_says_whose_fault_it_is(number: int, expected: tuple[Reason, str]) -> None:
    failure = Failure(Cause.CONNECT, errno=number)
    assert (reason(failure), sentence(failure, WHERE, HOST)) == expected


ALERT_SENTENCES = {
    40: "10.0.0.1:443 refused the handshake: "
    "it has no cipher or no elliptic curve (group) in common with this controller",
    42: "10.0.0.1:443 does not accept our client certificate",
    43: "10.0.0.1:443 does not accept our client certificate",
    45: "10.0.0.1:443 says that our client certificate has expired",
    46: "10.0.0.1:443 does not accept our client certificate",
    48: "10.0.0.1:443 does not trust the authority that signed our client certificate",
    112: "10.0.0.1:443 has no certificate for web1",
    116: "10.0.0.1:443 demands a client certificate (tls.cert_file, tls.key_file)",
    120: "10.0.0.1:443 offers only other protocols by ALPN, such as HTTP/2 alone, which http_version: 2 would ask for",
    80: "no TLS with 10.0.0.1:443: the words",
}


@pytest.mark.parametrize("alert", sorted({*ALERTS, 80}))
def test_each_alert_has_its_sentence(alert: int) -> None:
    failure = Failure(Cause.TLS_ALERT, alert=alert, words="the words")
    assert sentence(failure, WHERE, HOST) == ALERT_SENTENCES[alert]
    assert reason(failure) is Reason.TLS


@pytest.mark.parametrize("cause", [Cause.MALFORMED, Cause.LOCAL, Cause.TLS_OTHER])
def test_words_of_a_target_are_made_printable(cause: Cause) -> None:
    said = sentence(Failure(cause, words="a\x1b[31m{host}\n"), WHERE, HOST)
    assert said.endswith(": a\ufffd[31m{host}\ufffd")


def test_an_address_of_ipv6_is_bracketed() -> None:
    assert [bracketed(each) for each in ("fd00::1", "10.0.0.1", "web1")] == ["[fd00::1]", "10.0.0.1", "web1"]
