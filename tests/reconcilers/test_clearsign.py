from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcilers.clearsign import Clearsigned, ClearsignError, SignatureError, read, verified

SIGNATURE = b"""-----BEGIN PGP SIGNATURE-----
Version: 1

iHUEARYIAB0WIQTH6icdvUBwVBk5Lfm5qu3C+JMiVAUCawKwCQAKCRC5qu3C+JMi
=1GO7
-----END PGP SIGNATURE-----
"""
BEGIN = b"-----BEGIN PGP SIGNED MESSAGE-----\n"


def message(text: bytes, headers: bytes = b"Hash: SHA256\n") -> bytes:
    return BEGIN + headers + b"\n" + text + b"\n" + SIGNATURE


def test_the_plaintext_is_read() -> None:
    assert read(message(b"id: x\na: b")) == Clearsigned(b"id: x\na: b\n", signed=True, hashes=("SHA256",))


def test_one_dash_escape_is_removed() -> None:
    text = b"- - a\n- -----BEGIN PGP SIGNATURE-----\n- plain\n  - b\n-c"
    assert read(message(text)).plaintext == b"- a\n-----BEGIN PGP SIGNATURE-----\nplain\n  - b\n-c\n"


def test_trailing_blanks_are_removed() -> None:
    assert read(message(b"a \t \n\t\n  b  ")).plaintext == b"a\n\n  b\n"


def test_line_endings_and_text_around_the_message_are_ignored() -> None:
    plain = message(b"id: x\n- - a")
    assert read(plain.replace(b"\n", b"\r\n")) == read(plain)
    assert read(b"before\n" + plain + b"after\n").plaintext == read(plain).plaintext


@pytest.mark.parametrize(
    ("headers", "hashes"),
    [(b"", ()), (b"Hash: SHA512\n", ("SHA512",)), (b"Hash: SHA1, SHA256\nHash:MD5\n", ("SHA1", "SHA256", "MD5"))],
)
def test_the_hashes_are_those_of_the_headers(headers: bytes, hashes: tuple[str, ...]) -> None:
    assert read(message(b"a", headers)).hashes == hashes


def test_an_empty_text_can_be_signed() -> None:
    assert read(BEGIN + b"\n" + SIGNATURE) == Clearsigned(b"", signed=True)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"id: x\n",
        b" " + message(b"a"),
        message(b"a").replace(b"BEGIN PGP SIGNED", b"BEGIN PGP"),
        message(b"a").replace(SIGNATURE, b""),
        message(b"a").replace(b"-----END PGP SIGNATURE-----", b""),
        BEGIN + b"Hash: SHA256\n",
        BEGIN.strip(),
    ],
)
def test_an_incomplete_message_is_unchanged_text(data: bytes) -> None:
    assert read(data) == Clearsigned(data, signed=False)


@pytest.mark.parametrize("header", [b"Comment: x", b"NotDashEscaped: yes", b"Hash", b"id: x", "Häsh: x".encode()])
def test_a_header_other_than_hash_is_refused(header: bytes) -> None:
    with pytest.raises(ClearsignError, match=r"^a header other than Hash in a signed message: "):
        read(message(b"a", header + b"\n"))


@pytest.mark.parametrize("broken", [SIGNATURE.replace(b"\n\n", b"\n"), SIGNATURE.replace(b"Version: 1", b"Version")])
def test_a_signature_without_headers_and_an_empty_line_is_refused(broken: bytes) -> None:
    with pytest.raises(ClearsignError, match="does not begin with headers and an empty line"):
        read(message(b"a").replace(SIGNATURE, broken))


@pytest.mark.parametrize(
    ("before", "after", "alone"),
    [
        (b"", b"", True),
        (b"\n \r\n", b"\r\n\t\n", True),
        (b"id: y\n", b"", False),
        (b"", b"id: y\n", False),
        (b"", b"\x00", False),
        (b"", message(b"id: y"), False),
        (SIGNATURE, b"", False),
    ],
)
def test_text_around_the_message_is_detected(before: bytes, after: bytes, alone: bool) -> None:
    assert read(before + message(b"a") + after).alone is alone
    assert read(before + message(b"a").rstrip() + after).alone is alone


def good(text: bytes) -> Callable[[bytes], bytes]:
    """Returns a verifier that accepts every signature and returns `text`."""
    return lambda _: text


def test_verified_returns_the_text_that_read_returns() -> None:
    text = b"id: x \n- - a\n\n- -----b\n"
    assert verified(message(text), good(b"id: x\n- a\n\n-----b\n")) == b"id: x\n- a\n\n-----b\n\n"
    crlf = message(text).replace(b"\n", b"\r\n")
    assert verified(crlf, good(b"id: x\r\n- a\r\n\r\n-----b\r\n")) == b"id: x\n- a\n\n-----b\n\n"
    assert verified(b"\n" + message(b"a") + b"\n", good(b"a")) == b"a\n"


def test_the_verifier_gets_the_unchanged_bytes() -> None:
    asked: list[bytes] = []
    data = b"\r\n" + message(b"id: x \n- - a")
    with pytest.raises(SignatureError, match=r"^by nobody$"):
        verified(data, refusing(asked))
    assert asked == [data]


def refusing(asked: list[bytes]) -> Callable[[bytes], bytes]:
    def verify(data: bytes) -> bytes:
        asked.append(data)
        raise SignatureError("by nobody")

    return verify


@pytest.mark.parametrize(
    ("text", "seen"),
    [(b"id: x", each) for each in (b"id: y", b"id: x\nb", b"id: x\n", b" id: x", b"")] + [(b"id: x\r\r", b"id: x")],
)
def test_a_text_that_the_verifier_reads_differently_is_refused(text: bytes, seen: bytes) -> None:
    with pytest.raises(SignatureError, match="the signed text differs from the text that is read"):
        verified(message(text), good(seen))


def test_an_unsigned_text_is_refused_without_the_verifier() -> None:
    asked: list[bytes] = []
    with pytest.raises(SignatureError, match="not signed, but require_signature is set"):
        verified(b"id: x\n", refusing(asked))
    assert asked == []


@pytest.mark.parametrize(
    "data", [b"id: y\n" + message(b"id: x"), message(b"id: x") * 2, message(b"id: x") + b"id: y\n"]
)
def test_text_outside_the_signed_message_is_refused(data: bytes) -> None:
    with pytest.raises(SignatureError, match="text before or after the signed message"):
        verified(data, good(b"id: x"))


LINES = st.lists(st.text(st.characters(exclude_characters="\n\r", codec="utf-8"), max_size=8), min_size=1, max_size=8)


@given(LINES)
def test_any_signed_text_is_read_without_trailing_blanks(lines: list[str]) -> None:
    escaped = [f"- {line}" if line.startswith("-") else line for line in lines]
    kept = "".join(line.rstrip(" \t") + "\n" for line in lines)
    assert read(message("\n".join(escaped).encode())).plaintext == kept.encode()


@given(st.lists(st.sampled_from([BEGIN, SIGNATURE, b"\n", b"a: b\n", b"Hash: x\n", b"- ", b"\r\n"])).map(b"".join))
def test_arbitrary_input_raises_only_clearsign_errors(data: bytes) -> None:
    try:
        result = read(data)
    except ClearsignError:
        return
    assert result.signed or result.plaintext == data
