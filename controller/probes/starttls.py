"""How a client asks for TLS in the protocols that begin without it. No I/O is done here.

Sources: RFC 3207 and RFC 5321 (SMTP), RFC 9051 (IMAP), RFC 2595 and RFC 1939 (POP3), RFC 4511, 4.14 (LDAP), and "SSL
Session Encryption" in the chapter "Message Flow" of PostgreSQL's documentation.
"""

import struct
from collections.abc import Callable, Generator, Mapping

from controller.probes.incoming import Incoming

Negotiation = Generator[bytes, None, None]
"""Yields what has to be sent, b"" for nothing, and continues when more bytes have come. It returns when the target is
ready for the handshake."""

MAX_SHOWN = 200
CLIENT = b"podpulse.invalid"
"""The name of this client for SMTP. Some servers accept only the form of a full name (RFC 2606, 2: it cannot exist)."""
SSL_REQUEST = struct.pack(">ii", 8, 80877103)
LDAP_OID = b"1.3.6.1.4.1.1466.20037"
LDAP_REQUEST = bytes([0x30, 0x1D, 2, 1, 1, 0x77, 0x18, 0x80, 0x16]) + LDAP_OID
"""An ExtendedRequest for StartTLS with the message id 1, in BER."""
SEQUENCE, INTEGER, ENUMERATED, OCTETS, EXTENDED_RESPONSE = 0x30, 2, 10, 4, 0x78


class Refused(Exception):
    """The target refuses TLS, or does not speak the protocol. The text says what it answered."""


def _line(incoming: Incoming) -> Generator[bytes, None, bytes]:
    while (line := incoming.line()) is None:
        yield b""
    return line


def _bytes(incoming: Incoming, size: int) -> Generator[bytes, None, bytes]:
    while (data := incoming.take(size)) is None:
        yield b""
    return data


def _shown(answer: bytes) -> str:
    return repr(answer[:MAX_SHOWN].decode("utf-8", "replace"))


def _smtp(incoming: Incoming) -> Negotiation:
    yield from _smtp_reply(incoming, b"220", "the greeting is")
    yield b"EHLO " + CLIENT + b"\r\n"
    lines = yield from _smtp_reply(incoming, b"250", "EHLO was answered with")
    if not any(line[4:].strip().upper() == b"STARTTLS" for line in lines[1:]):
        raise Refused("the server does not offer STARTTLS")
    yield b"STARTTLS\r\n"
    yield from _smtp_reply(incoming, b"220", "STARTTLS was answered with")


def _smtp_reply(incoming: Incoming, code: bytes, what: str) -> Generator[bytes, None, list[bytes]]:
    """Returns the lines of one reply. Raises Refused if it has another code; `what` introduces it."""
    lines = []
    while True:
        lines.append(line := (yield from _line(incoming)))
        if line[:3] != code or line[3:4] not in (b"-", b" ", b""):
            raise Refused(f"{what} {_shown(line)}")
        if line[3:4] != b"-":
            return lines


def _imap(incoming: Incoming) -> Negotiation:
    greeting = yield from _line(incoming)
    if greeting[:5].upper() != b"* OK ":
        raise Refused(f"the greeting is {_shown(greeting)}")
    yield b"a STARTTLS\r\n"
    while (line := (yield from _line(incoming)))[:2] == b"* ":
        pass
    if line[:5].upper() != b"A OK ":
        raise Refused(f"STARTTLS was answered with {_shown(line)}")


def _pop3(incoming: Incoming) -> Negotiation:
    for request, what in ((b"STLS\r\n", "the greeting is"), (b"", "STLS was answered with")):
        line = yield from _line(incoming)
        if line[:3].upper() != b"+OK":
            raise Refused(f"{what} {_shown(line)}")
        if request:
            yield request


def _postgres(incoming: Incoming) -> Negotiation:
    yield SSL_REQUEST
    answer = yield from _bytes(incoming, 1)
    if answer == b"N":
        raise Refused("the server has no TLS: it answered SSLRequest with 'N'")
    if answer != b"S":
        raise Refused(f"SSLRequest was answered with {_shown(answer)}, which is not PostgreSQL's")


def _ldap(incoming: Incoming) -> Negotiation:
    yield LDAP_REQUEST
    body = yield from _message(incoming)
    try:
        code, said = _extended_response(body)
    except (IndexError, ValueError):
        raise Refused(f"StartTLS was answered with {_shown(body)}, which is not LDAP's") from None
    if code:
        raise Refused(f"StartTLS was answered with the result code {code}{f': {_shown(said)}' if said else ''}")


def _message(incoming: Incoming) -> Generator[bytes, None, bytes]:
    """Returns the content of one LDAPMessage."""
    head = yield from _bytes(incoming, 2)
    octets = head[1] & 0x7F if head[1] & 0x80 else 0
    if head[0] != SEQUENCE or octets > 4:
        raise Refused(f"StartTLS was answered with {_shown(head)}, which is not LDAP's")
    size = int.from_bytes((yield from _bytes(incoming, octets))) if octets else head[1]
    return (yield from _bytes(incoming, size))


def _extended_response(message: bytes) -> tuple[int, bytes]:
    """Returns the result code and the diagnostic message of the ExtendedResponse in an LDAPMessage.

    Raises:
        ValueError, IndexError: it is another message.
    """
    _, rest = _element(message, INTEGER)
    response, _ = _element(rest, EXTENDED_RESPONSE)
    code, rest = _element(response, ENUMERATED)
    _, rest = _element(rest, OCTETS)
    said, _ = _element(rest, OCTETS)
    return int.from_bytes(code), said


def _element(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """Returns the content of the element with this tag at the beginning of `data` (BER), and what follows it."""
    size, at = data[1], 2
    if size & 0x80:
        at += size & 0x7F
        size = int.from_bytes(data[2:at])
    if data[0] != tag or len(data) < at + size:
        raise ValueError("another element")
    return data[at : at + size], data[at + size :]


NEGOTIATIONS: Mapping[str, Callable[[Incoming], Negotiation]] = {
    "smtp": _smtp,
    "imap": _imap,
    "pop3": _pop3,
    "postgres": _postgres,
    "ldap": _ldap,
}
"""By `status.starttls` of a manifest."""
