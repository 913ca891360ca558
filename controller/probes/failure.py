"""The ways in which a probe fails. No decision depends on the text of a library's error."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from OpenSSL import crypto


class Cause(Enum):
    """Why a probe got no complete answer."""

    CONNECT = auto()
    """The connection could not be opened; see `Failure.errno`."""
    LOCAL = auto()
    """This controller could not send the probe."""

    NOT_TLS = auto()
    TLS_VERSION = auto()
    TLS_ALERT = auto()
    """The target sent the fatal alert `Failure.alert`."""
    TLS_CLOSED = auto()
    TLS_RESET = auto()
    TLS_OTHER = auto()
    CLIENT_CERTIFICATE = auto()
    """The target asked for a client certificate, got none, and ended the connection without an answer."""
    TURNED_AWAY = auto()
    """The target closed the connection right after the handshake."""
    CERTIFICATE = auto()
    """The target's certificate was not accepted; see `Failure.objections`."""

    EMPTY = auto()
    """The connection was closed before the first byte of an answer."""
    CUT_SHORT = auto()
    """The connection was closed in the middle of the answer."""
    RESET = auto()
    NOT_HTTP = auto()
    STATUS_LINE = auto()
    HEAD_TOO_LONG = auto()
    MALFORMED = auto()
    REDIRECT = auto()
    """A redirect is not followed, for the reason in `Failure.words`."""
    NOT_HTTP2 = auto()
    NO_HTTP2 = auto()
    """The target did not agree on HTTP/2 by ALPN."""
    GOAWAY = auto()
    """The server has announced that it ends the connection and does not process the request."""
    GONE = auto()
    """The server ended the connection, as it had announced, before an answer. It may have processed the request."""
    REFUSED_STREAM = auto()
    """The server reset the stream with REFUSED_STREAM: it has not processed the call (RFC 9113, 8.7)."""


@dataclass(frozen=True, slots=True)
class Objection:
    """An error of OpenSSL's verification: its number (X509_STORE_CTX_get_error(3)), the certificate that it is about,
    and the depth of this certificate in the chain. The target's own certificate has depth 0."""

    code: int
    depth: int
    certificate: crypto.X509


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a probe got no complete answer. `words` is a library's text, which is only displayed."""

    cause: Cause
    errno: int = 0
    alert: int = 0
    words: str = ""
    objections: Sequence[Objection] = ()
