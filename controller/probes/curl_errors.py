"""Maps the errors of libcurl and OpenSSL to a reason, to our own fault or the target's, and to a sentence.

The input is numbers and texts, never a libcurl handle. The text decides where one number stands for several faults.

Sources: libcurl's error codes (libcurl-errors(3)) and texts, and OpenSSL's names of TLS alerts (RFC 8446, 6.2).
"""

import errno
import os

import pycurl

from reconcilers.health import Reason

TOO_LARGE = 100
CLIENT_CERTIFICATE = 98
"""Two of libcurl's codes for which pycurl has no name."""

LOCAL_ERRNOS = frozenset({0, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})

REASONS = {
    pycurl.E_COULDNT_RESOLVE_HOST: Reason.DNS,
    pycurl.E_OPERATION_TIMEDOUT: Reason.TIMEOUT,
    pycurl.E_SSL_CONNECT_ERROR: Reason.TLS,
    CLIENT_CERTIFICATE: Reason.TLS,
    pycurl.E_PEER_FAILED_VERIFICATION: Reason.CERTIFICATE,
    pycurl.E_SSL_ISSUER_ERROR: Reason.CERTIFICATE,
    pycurl.E_SSL_CERTPROBLEM: Reason.LOCAL,
    pycurl.E_SSL_CACERT_BADFILE: Reason.LOCAL,
    pycurl.E_BAD_FUNCTION_ARGUMENT: Reason.LOCAL,
    pycurl.E_OUT_OF_MEMORY: Reason.LOCAL,
    pycurl.E_FAILED_INIT: Reason.LOCAL,
}

TLS_SENTENCES = {
    "wrong version number": "{where} does not speak TLS",
    "packet length too long": "{where} does not speak TLS",
    "alert protocol version": "{where} speaks no version of TLS that is accepted here (1.2 or newer)",
    "unsupported protocol": "{where} speaks no version of TLS that is accepted here (1.2 or newer)",
    "alert certificate required": "{where} demands a client certificate",
    "alert handshake failure": "{where} refused the handshake: no cipher in common, or it demands a client certificate",
    "alert unknown ca": "{where} does not trust the authority that signed our client certificate",
    "alert certificate expired": "{where} says that our client certificate has expired",
    "alert bad certificate": "{where} does not accept our client certificate",
    "alert unsupported certificate": "{where} does not accept our client certificate",
    "alert certificate unknown": "{where} does not accept our client certificate",
    "unrecognized name": "{where} has no certificate for {host}",
    "unexpected eof": "{where} closed the connection during the TLS handshake",
    "errno 104": "{where} reset the connection during the TLS handshake",
}
PROTOCOL_SENTENCES = {
    "Received HTTP/0.9": "the answer is not HTTP",
    "Unsupported HTTP": "the answer's status line cannot be understood",
    "Version mismatch": "the answer's status line cannot be understood",
    "expected SETTINGS frame": "the answer is not HTTP/2, which gRPC needs",
    "Empty reply": "the connection was closed without an answer",
    "end of response": "the connection was closed in the middle of the answer",
    "outstanding read data": "the connection was closed in the middle of the answer",
    "unexpected eof": "the connection was closed in the middle of the answer",
    "Connection reset": "the connection was reset before the answer was complete",
    "Broken pipe": "the connection was closed before the answer was complete",
    "errno 104": "the connection was reset before the answer was complete",
    "Connection died": "the connection was closed before an answer, and so was each of the next ones",
}
SILENT_CODES = {
    TOO_LARGE: "the answer's headers are longer than is read",
    pycurl.E_HTTP2: "the connection was closed without an answer",
}
"""For errors that libcurl reports without a text."""


def reason(code: int, message: str, number: int) -> Reason:
    """Returns why a transfer that ended with libcurl's `code` failed. `number` is the system's errno, 0 for none.

    In TLS 1.3 a server demands a client certificate only after the handshake, so its alert comes in place of an answer.
    """
    match code:
        case pycurl.E_COULDNT_CONNECT:
            return _not_connected(number)
        case pycurl.E_RECV_ERROR | pycurl.E_SEND_ERROR if " alert " in message:
            return Reason.TLS
        case _:
            return REASONS.get(code, Reason.PROTOCOL)


def no_connection(where: str, number: int) -> str:
    """Returns the sentence for a connection that could not be opened."""
    if number == errno.ECONNREFUSED:
        return f"connection to {where} refused"
    return f"no connection to {where}: {os.strerror(number)}" if number else "the probe could not be sent"


def no_tls(message: str, where: str, host: str) -> str:
    """Returns the sentence for a TLS handshake that failed. `host` is the name that was asked for."""
    sentence = _known(TLS_SENTENCES, message) or "no TLS with {where}: {message}"
    return sentence.format(where=where, host=host, message=message)


def no_answer(code: int, message: str) -> str:
    """Returns the sentence for an answer that is missing, incomplete or malformed."""
    if message:
        return _known(PROTOCOL_SENTENCES, message) or f"the answer cannot be understood: {message}"
    return SILENT_CODES.get(code, "the answer cannot be understood")


def _not_connected(number: int) -> Reason:
    """Without an errno of the system there was not even a socket, so nothing was sent."""
    if number == errno.ECONNREFUSED:
        return Reason.REFUSED
    return Reason.LOCAL if number in LOCAL_ERRNOS else Reason.CONNECT


def _known(sentences: dict[str, str], message: str) -> str:
    return next((sentence for sign, sentence in sentences.items() if sign in message), "")
