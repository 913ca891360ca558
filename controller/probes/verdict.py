"""The verdict on one probe: the reason of a failure, and the sentence that describes it."""

import errno
import os
from typing import NamedTuple

from controller.probes.failure import Cause, Failure
from controller.probes.text import sound
from reconcilers.health import Outcome, Reason

LOCAL_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
"""Errors of a connection that are this machine's fault."""

REASONS = {
    Cause.LOCAL: Reason.LOCAL,
    Cause.NOT_TLS: Reason.TLS,
    Cause.TLS_VERSION: Reason.TLS,
    Cause.TLS_ALERT: Reason.TLS,
    Cause.TLS_CLOSED: Reason.TLS,
    Cause.TLS_RESET: Reason.TLS,
    Cause.TLS_OTHER: Reason.TLS,
    Cause.CLIENT_CERTIFICATE: Reason.TLS,
    Cause.TURNED_AWAY: Reason.TLS,
    Cause.CERTIFICATE: Reason.CERTIFICATE,
    Cause.REDIRECT: Reason.REDIRECT,
}
"""The reason of each cause outside of the protocol above TLS."""

SENTENCES = {
    Cause.NOT_TLS: "{where} does not speak TLS",
    Cause.TLS_VERSION: "{where} speaks no version of TLS that is accepted here (1.2 or newer)",
    Cause.TLS_CLOSED: "{where} closed the connection during the TLS handshake",
    Cause.TLS_RESET: "{where} reset the connection during the TLS handshake",
    Cause.TLS_OTHER: "no TLS with {where}: {words}",
    Cause.CLIENT_CERTIFICATE: "{where} demands a client certificate (tls.cert_file, tls.key_file)",
    Cause.TURNED_AWAY: "closed right after the TLS handshake: perhaps a client certificate is demanded",
    Cause.EMPTY: "the connection was closed without an answer",
    Cause.CUT_SHORT: "the connection was closed in the middle of the answer",
    Cause.RESET: "the connection was reset before the answer was complete",
    Cause.NOT_HTTP: "the answer is not HTTP",
    Cause.STATUS_LINE: "the answer's status line cannot be understood",
    Cause.HEAD_TOO_LONG: "the answer's headers are longer than 64 KiB",
    Cause.MALFORMED: "the answer cannot be understood: {words}",
    Cause.REDIRECT: "{words}",
    Cause.NOT_HTTP2: "the answer is not HTTP/2, which gRPC and http_version: 2 need",
    Cause.NO_HTTP2: "{where} does not offer HTTP/2 by ALPN, which gRPC and http_version: 2 need",
    Cause.GOAWAY: "the connection was closed before an answer, and so was each of the next ones",
    Cause.GONE: "the connection was closed before an answer, as the server had announced",
    Cause.REFUSED_STREAM: "the server refused the call (REFUSED_STREAM), also on a new connection",
}

ALERTS = {
    40: "{where} refused the handshake: it has no cipher or no elliptic curve (group) in common with this controller",
    42: "{where} does not accept our client certificate",
    43: "{where} does not accept our client certificate",
    45: "{where} says that our client certificate has expired",
    46: "{where} does not accept our client certificate",
    48: "{where} does not trust the authority that signed our client certificate",
    112: "{where} has no certificate for {host}",
    116: "{where} demands a client certificate (tls.cert_file, tls.key_file)",
    120: "{where} offers only other protocols by ALPN, such as HTTP/2 alone, which http_version: 2 would ask for",
}
"""The meaning of an alert of the target (RFC 8446, 6.2)."""


class Verdict(NamedTuple):
    """The result of one probe; see `ProbeResult` for the fields."""

    outcome: Outcome
    reason: Reason = Reason.NONE
    detail: str = ""
    output: str = ""
    status_code: int = 0


def reason(failure: Failure) -> Reason:
    """Returns why a probe failed, as a label."""
    if failure.cause is not Cause.CONNECT:
        return REASONS.get(failure.cause, Reason.PROTOCOL)
    if failure.errno == errno.ECONNREFUSED:
        return Reason.REFUSED
    return Reason.LOCAL if failure.errno in LOCAL_ERRNOS else Reason.CONNECT


def sentence(failure: Failure, where: str, host: str) -> str:
    """Returns the sentence for a failure. `where` is the address with the port, `host` the name that TLS verifies.

    The sentence for a certificate is `certificate.explain`'s.
    """
    match failure.cause:
        case Cause.CONNECT if failure.errno == errno.ECONNREFUSED:
            return f"connection to {where} refused"
        case Cause.CONNECT:
            return f"no connection to {where}: {os.strerror(failure.errno)}"
        case Cause.LOCAL:
            return f"the probe could not be sent: {sound(failure.words)}"
        case Cause.TLS_ALERT:
            text = ALERTS.get(failure.alert, SENTENCES[Cause.TLS_OTHER])
        case _:
            text = SENTENCES[failure.cause]
    return text.format(where=where, host=host, words=sound(failure.words))


def bracketed(address: str) -> str:
    """Returns an address as it is written in a URL: IPv6 in brackets."""
    return f"[{address}]" if ":" in address else address
