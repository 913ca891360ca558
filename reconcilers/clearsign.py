"""A text signed by PGP's cleartext framework: what was signed, taken out of its wrapping.

No signature is computed here, and nobody may conclude from `signed` that one is good: it says only that there is one.
Whoever can tell is handed to `verified`, and gets the raw bytes, as they stand in Consul.

Source: RFC 9580 (and RFC 4880), section 7. Where the RFC leaves freedom, as p2 does: the message may stand among other
text, which is not part of it, and what is not a complete message is ordinary text.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

BEGIN = re.compile(rb"(?:\A|\n)-----BEGIN PGP SIGNED MESSAGE-----[^\n]*\n")
SIGNATURE = b"-----BEGIN PGP SIGNATURE-----"
END = b"\n-----END PGP SIGNATURE-----"
HEADER = b"Hash"
DASH = b"- "


class ClearsignError(ValueError):
    """A signed message that is not well formed; the message says what was found."""


class SignatureError(ClearsignError):
    """A text whose signature is not good, or that has none; the message says why."""


Verify = Callable[[bytes], bytes]
"""Gives the text of a clearsigned message, of which at least one signature is good; raises `SignatureError` else."""


@dataclass(frozen=True, slots=True)
class Clearsigned:
    """What was signed, each line ended by `\\n`, without blanks at its end; if nothing was, all bytes as they are.

    `hashes` are the names in the `Hash` headers, as they are given. `alone` says that nothing but blanks stands before
    and after the message.
    """

    plaintext: bytes
    signed: bool
    hashes: tuple[str, ...] = ()
    alone: bool = True


def read(data: bytes) -> Clearsigned:
    """Take the plaintext out of a clearsigned message.

    Raises:
        ClearsignError: for a complete message with a header other than `Hash`, which no signature would protect, and
            for one whose signature has no place to stand.
    """
    begin = BEGIN.search(data)
    if begin is None:
        return Clearsigned(data, signed=False)
    lines = data[begin.end() :].split(b"\n")
    blank = next((number for number, line in enumerate(lines) if line in {b"", b"\r"}), len(lines))
    signature = next((n for n in range(blank + 1, len(lines)) if lines[n].removesuffix(b"\r") == SIGNATURE), len(lines))
    _, end, after = b"\n".join(lines[signature:]).partition(END)
    if not end:
        return Clearsigned(data, signed=False)
    if not _is_armor(lines[signature + 1 :]):
        raise ClearsignError("a signed message whose signature does not begin with headers and an empty line")
    plaintext = b"".join(_unescaped(line) + b"\n" for line in lines[blank + 1 : signature])
    hashes = tuple(name for line in lines[:blank] for name in _hashes(line))
    alone = not (data[: begin.start()] + after).strip()
    return Clearsigned(plaintext, signed=True, hashes=hashes, alone=alone)


def verified(data: bytes, verify: Verify) -> bytes:
    """The plaintext of a message with a good signature that stands alone: what is used is exactly what was signed.

    Two readers of one message need not agree on where it begins and what is escaped in it, and a signature says
    nothing about a text that only one of them sees. So they have to agree.

    Raises:
        SignatureError: the text is not signed, or more stands there than what is signed, or the signature is not good.
        ClearsignError: as `read`.
    """
    message = read(data)
    if not message.signed:
        raise SignatureError("not signed, and require_signature asks for a signature")
    if not message.alone:
        raise SignatureError("text before or after the signed message, of which no signature speaks")
    lines = verify(data).split(b"\n")
    if b"".join(_without_blanks(line) + b"\n" for line in lines) != message.plaintext:
        raise SignatureError("the text that is signed is not the one that is read here")
    return message.plaintext


def _is_armor(lines: list[bytes]) -> bool:
    blank = next((number for number, line in enumerate(lines) if not line.strip()), None)
    return blank is not None and all(b": " in line for line in lines[:blank])


def _unescaped(line: bytes) -> bytes:
    return line.removesuffix(b"\r").removeprefix(DASH).rstrip(b" \t")


def _without_blanks(line: bytes) -> bytes:
    return line.removesuffix(b"\r").rstrip(b" \t")


def _hashes(line: bytes) -> list[str]:
    name, colon, value = line.partition(b":")
    if name.strip() != HEADER or not colon:
        raise ClearsignError(f"a header other than Hash in a signed message: {line[:40].decode('ascii', 'replace')!r}")
    return [part.strip().decode("ascii", "replace") for part in value.split(b",")]
