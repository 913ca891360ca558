"""Reads the plaintext of a message signed with PGP's cleartext signature framework.

This module checks no signature itself. `Clearsigned.signed` only says that there is a signature, which may be bad.
`verified` passes the raw bytes to a function that checks the signature.

Source: RFC 9580 (and RFC 4880), section 7. Where the RFC leaves freedom, this module reads as p2 does: other text may
surround the message and is not part of it, and an incomplete message is ordinary text.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

BEGIN = re.compile(rb"(?:\A|\n)-----BEGIN PGP SIGNED MESSAGE-----[^\n]*\n")
SIGNATURE = b"-----BEGIN PGP SIGNATURE-----"
END = b"\n-----END PGP SIGNATURE-----"


class ClearsignError(ValueError):
    """A signed message is not well formed. The text of the error says what was found."""


class SignatureError(ClearsignError):
    """A text has no good signature. The text of the error says why."""


Verify = Callable[[bytes], bytes]
"""Returns the text of a clearsigned message. Raises `SignatureError` if none of its signatures is good."""


@dataclass(frozen=True, slots=True)
class Clearsigned:
    """The plaintext of a signed message, or all bytes of an unsigned text.

    Lines of a signed message end with `\\n` and have no trailing blanks. `hashes` are the unchanged names of the `Hash`
    headers. `alone` says that there are only blanks before and after the message.
    """

    plaintext: bytes
    signed: bool
    hashes: tuple[str, ...] = ()
    alone: bool = True


def read(data: bytes) -> Clearsigned:
    """Returns the plaintext of a clearsigned message. Raises ClearsignError if a complete message has a header other
    than `Hash`, which a signature would not protect, or its signature does not begin with headers and an empty line."""
    begin = BEGIN.search(data)
    if begin is None:
        return Clearsigned(data, signed=False)
    lines = data[begin.end() :].split(b"\n")
    blank = next((number for number, line in enumerate(lines) if line in {b"", b"\r"}), len(lines))
    signature = next((n for n in range(blank + 1, len(lines)) if lines[n].removesuffix(b"\r") == SIGNATURE), len(lines))
    _, end, after = b"\n".join(lines[signature:]).partition(END)
    if not end:
        return Clearsigned(data, signed=False)
    if not _is_armored(lines[signature + 1 :]):
        raise ClearsignError("a signed message whose signature does not begin with headers and an empty line")
    plaintext = _text(lines[blank + 1 : signature], b"- ")
    hashes = tuple(name for line in lines[:blank] for name in _hashes(line))
    alone = not (data[: begin.start()] + after).strip()
    return Clearsigned(plaintext, signed=True, hashes=hashes, alone=alone)


def verified(data: bytes, verify: Verify) -> bytes:
    """Returns the plaintext of a message with a good signature and without other text around it.

    Two readers of one message may disagree on where it begins and what is escaped. A signature does not cover a text
    that only one of them reads, so `verify` must return the same text as `read`. Raises SignatureError if the text is
    not signed, has text around the message, or has no good signature. Raises ClearsignError as `read`.
    """
    message = read(data)
    if not message.signed:
        raise SignatureError("not signed, but require_signature is set")
    if not message.alone:
        raise SignatureError("text before or after the signed message, which the signature does not cover")
    if _text(verify(data).split(b"\n")) != message.plaintext:
        raise SignatureError("the signed text differs from the text that is read")
    return message.plaintext


def _is_armored(lines: list[bytes]) -> bool:
    blank = next((number for number, line in enumerate(lines) if not line.strip()), None)
    return blank is not None and all(b": " in line for line in lines[:blank])


def _text(lines: list[bytes], prefix: bytes = b"") -> bytes:
    """Returns the lines without this prefix, without blanks at their ends, and with `\\n` after each."""
    return b"".join(line.removesuffix(b"\r").removeprefix(prefix).rstrip(b" \t") + b"\n" for line in lines)


def _hashes(line: bytes) -> list[str]:
    name, colon, value = line.partition(b":")
    if name.strip() != b"Hash" or not colon:
        raise ClearsignError(f"a header other than Hash in a signed message: {line[:40].decode('ascii', 'replace')!r}")
    return [part.strip().decode("ascii", "replace") for part in value.split(b",")]
