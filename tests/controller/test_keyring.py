"""Signatures of real GnuPG (see tests/data/signed/make) and of keys made here. Only signed text is used."""

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.config.keyring import Keyring, KeyringError
from reconcilers.clearsign import ClearsignError, SignatureError, read, verified
from reconcilers.manifest import ManifestError, parse
from reconcilers.options import Rules
from reconcilers.spec import PodKey
from tests.support.signing import Signer, keyring

SIGNED = Path(__file__).parent.parent / "data" / "signed"
KEYRING = Keyring(SIGNED / "keyring.asc")
KEY = PodKey("web1", "thepod")
MANIFEST = b"id: thepod\nstatus_port: 8000\n"
PLAINTEXT = MANIFEST + b"\n"
"""As Sequoia signs it: with one line end more."""


def data(name: str) -> bytes:
    return (SIGNED / f"{name}.yaml").read_bytes()


def plaintext(manifest: bytes) -> bytes:
    """Returns a manifest without blanks at the ends of its lines, which a cleartext signature does not cover."""
    return b"".join(line.rstrip(b" \t") + b"\n" for line in manifest.removesuffix(b"\n").split(b"\n"))


# Valid signatures


@pytest.mark.parametrize("name", ["alice", "bob", "carol", "bob-by-key-id", "alice-and-stranger"])
@pytest.mark.parametrize("form", ["keyring.asc", "keyring.gpg"])
def test_what_gnupg_signed_by_a_key_of_the_keyring_is_good(name: str, form: str) -> None:
    assert verified(data(name), Keyring(SIGNED / form).verify) == plaintext(data("manifest"))


def test_a_manifest_is_read_from_what_was_signed() -> None:
    manifest = parse(KEY, data("alice"), Rules(verify=KEYRING.verify))
    assert manifest.check
    assert manifest.check.probe.port == 8000


def test_line_ends_and_blanks_at_them_are_not_signed_and_change_nothing() -> None:
    for changed in (data("alice").replace(b"\n", b"\r\n"), data("alice").replace(b"8000\n", b"8000 \t \n")):
        assert changed != data("alice")
        assert verified(changed, KEYRING.verify) == plaintext(data("manifest"))


def test_keyrings_are_equal_when_they_say_the_same(tmp_path: Path) -> None:
    alice, bob = Signer("alice"), Signer("bob")
    ring = Keyring(keyring(tmp_path / "ring", alice))
    assert ring == Keyring(keyring(tmp_path / "other", alice))
    assert hash(ring) == hash(Keyring(tmp_path / "other"))
    assert ring != Keyring(keyring(tmp_path / "other", alice, bob))
    assert ring != "ring"


def test_a_keyring_may_be_several_exports_one_after_the_other(tmp_path: Path) -> None:
    alice, bob = Signer("alice"), Signer("bob")
    for armored in (True, False):
        ring = Keyring(keyring(tmp_path / "ring", alice, bob, armored=armored))
        assert verified(alice.sign(MANIFEST), ring.verify) == verified(bob.sign(MANIFEST), ring.verify) == PLAINTEXT


# Invalid signatures


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("manifest", "^not signed, but require_signature is set$"),
        ("stranger", r"^signed by key [0-9A-F]{16}, which is not in .*/keyring.asc$"),
        ("expired", r"^signed by key [0-9A-F]{16}, which expired on 2020-12-31$"),
        ("revoked", r"^signed by key [0-9A-F]{16}, which was revoked$"),
        ("sha1", r"^the signature by key [0-9A-F]{16} is not good: SHA1 is too weak$"),
        ("weak", r"^signed by key [0-9A-F]{16}, which cannot be used: No binding signature .* SHA1 is not considered"),
    ],
)
def test_what_is_not_good_says_why(name: str, problem: str) -> None:
    with pytest.raises(ManifestError, match=problem) as raised:
        parse(KEY, data(name), Rules(verify=KEYRING.verify))
    assert raised.value.field == ""
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"8000", b"8001"),
        (b"\nstatus_port", b"\n\nstatus_port"),
        (b"- - one", b"- one"),
        (b"- - -----two", b"- -----two"),
        (b"\nid:", b"\n id:"),
        (b"# From", b"#  From"),
    ],
)
def test_a_text_that_was_changed_is_refused(old: bytes, new: bytes) -> None:
    assert data("alice").count(old) == 1
    with pytest.raises(SignatureError, match=r"^the signature by key [0-9A-F]{16} is not good: it does not match the"):
        verified(data("alice").replace(old, new), KEYRING.verify)


WRAPPED = [
    pytest.param(b"id: evil\n" + data("alice"), "text before or after", id="before"),
    pytest.param(data("alice") + b"id: evil\n", "text before or after", id="after"),
    pytest.param(data("alice") + data("bob"), "text before or after", id="two messages"),
    pytest.param(data("stranger") + data("alice"), "text before or after", id="a good one after a bad one"),
    pytest.param(data("alice").replace(b"BEGIN PGP SIGNED", b"BEGIN PGP  SIGNED"), "not signed", id="no beginning"),
    pytest.param(b" " + data("alice"), "not signed", id="an indented beginning"),
    pytest.param(data("alice").replace(b"\n\nid", b"\nid: evil\n\nid", 1), "a header other than Hash", id="a header"),
    pytest.param(data("alice").replace(b"\n\nid", b"\n \nid: evil\n\nid", 1), "a header other", id="a blank header"),
    pytest.param(
        data("alice").replace(b"PGP SIGNATURE-----\n\n", b"PGP SIGNATURE-----\nid: evil\nbad\n\n"),
        "does not begin with headers",
        id="text below the signature's beginning",
    ),
    pytest.param(data("alice").replace(b"8000\n", b"8000\r\r\n"), "not", id="other line ends"),
    pytest.param(data("alice").replace(b"8000\n", b"8000\x0b\n"), "not good", id="other blanks"),
]


@pytest.mark.parametrize(("message", "problem"), WRAPPED)
def test_nothing_but_the_signed_message_can_be_slipped_in(message: bytes, problem: str) -> None:
    with pytest.raises(ClearsignError, match=problem):
        verified(message, KEYRING.verify)


def test_a_signature_of_another_kind_is_none() -> None:
    armored = (SIGNED / "keyring.asc").read_bytes()
    with pytest.raises(SignatureError, match="not signed"):
        verified(armored, KEYRING.verify)
    empty = data("alice")[: data("alice").index(b"-----BEGIN PGP SIGNATURE")]
    with pytest.raises(SignatureError):
        verified(empty + b"-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----\n", KEYRING.verify)


def test_a_message_that_is_not_clearsigned_is_no_signed_text(tmp_path: Path) -> None:
    alice = Signer()
    verify = Keyring(keyring(tmp_path / "ring.asc", alice)).verify
    assert verify(alice.sign_inline(MANIFEST)) == MANIFEST
    with pytest.raises(SignatureError, match="not signed"):
        verified(alice.sign_inline(MANIFEST), verify)
    with pytest.raises(SignatureError, match="is not good: it does not match the text"):
        verify(alice.sign_inline(MANIFEST).replace(b"8000", b"8001"))


def test_a_subkey_signs_for_its_certificate() -> None:
    ring = Keyring(SIGNED / "subkey.asc")
    assert verified(data("subkey"), ring.verify) == plaintext(data("manifest"))
    with pytest.raises(SignatureError, match=r"^the signature by key [0-9A-F]{16} is not good: it does not match"):
        verified(data("subkey").replace(b"8000", b"8001"), ring.verify)


@given(st.integers(0, len(data("alice-and-stranger")) - 1), st.integers(0, 255))
def test_whatever_byte_is_changed_the_text_is_the_signed_one_or_refused(place: int, byte: int) -> None:
    changed = bytearray(data("alice-and-stranger"))
    changed[place] = byte
    try:
        text = verified(bytes(changed), KEYRING.verify)
    except ClearsignError:
        return
    assert text == read(data("alice-and-stranger")).plaintext


# Keyrings


def test_a_key_can_be_revoked_by_a_later_part_of_the_keyring(tmp_path: Path) -> None:
    alice, bob = Signer("alice"), Signer("bob")
    file = keyring(tmp_path / "ring.gpg", alice, bob, armored=False)
    assert verified(alice.sign(MANIFEST), Keyring(file).verify) == PLAINTEXT
    file.write_bytes(file.read_bytes() + bytes(alice.certificate) + alice.revocation())
    with pytest.raises(SignatureError, match="which was revoked"):
        verified(alice.sign(MANIFEST), Keyring(file).verify)
    assert verified(bob.sign(MANIFEST), Keyring(file).verify) == PLAINTEXT


@given(st.integers(0, (SIGNED / "keyring.gpg").stat().st_size - 1), st.integers(0, 255))
def test_a_damaged_keyring_is_read_or_refused(place: int, byte: int) -> None:
    damaged = bytearray((SIGNED / "keyring.gpg").read_bytes())
    damaged[place] = byte
    with TemporaryDirectory() as folder, suppress(KeyringError, SignatureError):
        file = Path(folder) / "ring.gpg"
        file.write_bytes(damaged)
        Keyring(file).verify(data("alice"))


def test_a_key_that_cannot_be_used_is_noted_and_the_others_are_good() -> None:
    [note] = KEYRING.notes
    assert note.startswith("key ")
    assert "cannot be used: No binding signature" in note
    assert "SHA1 is not considered secure" in note


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        ("nowhere.asc", "expected a readable file: No such file or directory"),
        (".", "expected a readable file: Is a directory"),
        ("keybox.kbx", "expected the output of `gpg --export`, not GnuPG's own keybox"),
        ("manifest.yaml", "expected OpenPGP certificates, as `gpg --export` writes them: "),
        ("alice.yaml", "expected OpenPGP certificates, as `gpg --export` writes them: "),
        ("weak.asc", "cannot be used: No binding signature"),
    ],
)
def test_a_file_that_is_no_keyring_says_what_was_expected(file: str, problem: str) -> None:
    with pytest.raises(KeyringError, match=problem) as raised:
        Keyring(SIGNED / file)
    assert "\n" not in str(raised.value)


def test_an_empty_keyring_trusts_nobody_and_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(KeyringError, match="expected at least one OpenPGP certificate"):
        Keyring(tmp_path / "empty")
