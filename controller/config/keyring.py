"""Who may sign manifests: the certificates of a keyring, and the verification of signatures with them.

Only this file uses pysequoia, and so OpenPGP. Sequoia's standard policy decides what is strong enough: it accepts
neither SHA-1 nor keys that can be broken today.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pysequoia
from pysequoia import Cert, Sig
from pysequoia.packet import PacketPile, Tag

from reconcilers.clearsign import SIGNATURE, SignatureError

KEYS = (Tag.PublicKey, Tag.PublicSubkey, Tag.SecretKey, Tag.SecretSubkey)
KEYBOX = b"KBXf"
WEAK_HASHES = frozenset({"MD5", "SHA1", "RipeMD"})
CAUSE = re.compile(r"^ +(?:[0-9]+: )?(.+)$", re.MULTILINE)
MAX_SAID = 160


class KeyringError(ValueError):
    """A file that is not a keyring. The message says what was expected."""


@dataclass(frozen=True, slots=True)
class _Certificate:
    """One certificate. `fault` says why it can never be used; "" if it can."""

    cert: Cert
    expires: datetime | None = None
    fault: str = ""

    def objection(self) -> str:
        """Returns why a signature with this certificate is not valid today; "" if it is."""
        key = _short(self.cert.fingerprint)
        if self.cert.is_revoked:
            return f"signed by key {key}, which was revoked"
        if self.expires and self.expires <= datetime.now(UTC):
            return f"signed by key {key}, which expired on {self.expires:%Y-%m-%d}"
        return f"signed by key {key}, which cannot be used: {self.fault}" if self.fault else ""


class Keyring:
    """Certificates that are trusted to sign manifests, as the file had them when it was read."""

    def __init__(self, path: Path) -> None:
        """Reads the output of `gpg --export`. Raises KeyringError if no certificate in it can be used."""
        self._path = path
        self._certificates: dict[str, _Certificate] = {}
        self._of_key: dict[str, str] = {}
        for cert in _certificates(path):
            self._add(cert)
        if all(certificate.fault for certificate in self._certificates.values()):
            raise KeyringError(next(iter(self.notes), "expected at least one OpenPGP certificate"))

    def __eq__(self, other: object) -> bool:
        """Whether both have the same certificates."""
        return isinstance(other, Keyring) and self._contents() == other._contents()

    def __hash__(self) -> int:
        return hash(frozenset(self._certificates))

    def __str__(self) -> str:
        return str(self._path)

    def _contents(self) -> dict[str, bytes]:
        return {fingerprint: bytes(each.cert) for fingerprint, each in self._certificates.items()}

    @property
    def notes(self) -> Sequence[str]:
        """A sentence about each certificate that can never be used."""
        return [
            f"key {_short(fingerprint)} cannot be used: {certificate.fault}"
            for fingerprint, certificate in self._certificates.items()
            if certificate.fault
        ]

    def verify(self, message: bytes) -> bytes:
        """See `reconcilers.clearsign.Verify`. A signature is invalid once its key expired or was revoked.

        A signing subkey is judged at the time of its signature: to take one back, revoke it or its certificate.
        """
        signers: list[str] = []

        def certificates(keys: Sequence[str]) -> list[Cert]:
            signers.extend(keys)
            return [certificate.cert for certificate in self._certificates.values()]

        try:
            result = pysequoia.verify(message, certificates)
        except RuntimeError as error:
            raise SignatureError(self._objection(signers, message) or _sentence(error)) from None
        objections = [self._certificates[signature.certificate].objection() for signature in result.valid_sigs]
        if all(objections) or result.bytes is None:
            raise SignatureError(next(iter(objections), "no signature"))
        return result.bytes

    def _add(self, cert: Cert) -> None:
        """Adds a certificate. Two copies of one are merged, for example one with a revocation."""
        if known := self._certificates.get(cert.fingerprint):
            cert = known.cert.merge(cert)
        keys = [cert.fingerprint]
        try:
            keys += _keys(cert)
            self._certificates[cert.fingerprint] = _Certificate(cert, cert.expiration)
        except RuntimeError as error:
            self._certificates[cert.fingerprint] = _Certificate(cert, fault=_sentence(error))
        for key in keys:
            self._of_key[key] = self._of_key[_key_id(key)] = cert.fingerprint

    def _objection(self, signers: Sequence[str], message: bytes) -> str:
        """Returns why none of these signatures is valid; "" if none could be read."""
        known = [key for key in signers if key in self._of_key]
        for key in known:
            if objection := self._certificates[self._of_key[key]].objection():
                return objection
        if known:
            why = _weakness(message) or "it does not match the text"
            return f"the signature by key {_short(known[0])} is not good: {why}"
        return f"signed by key {_short(signers[0])}, which is not in {self._path}" if signers else ""


def _certificates(path: Path) -> list[Cert]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise KeyringError(f"expected a readable file: {error.strerror}") from None
    if data[8:12] == KEYBOX:
        raise KeyringError("expected the output of `gpg --export`, not GnuPG's own keybox")
    try:
        return Cert.split_bytes(data)
    except RuntimeError as error:
        raise KeyringError(
            f"expected OpenPGP certificates, as `gpg --export` writes them: {_sentence(error)}"
        ) from None


def _keys(cert: Cert) -> list[str]:
    """Returns the fingerprints of a certificate's keys, the primary key first."""
    return [
        packet.fingerprint for packet in PacketPile.from_bytes(bytes(cert)) if packet.tag in KEYS and packet.fingerprint
    ]


def _weakness(message: bytes) -> str:
    """Returns that the hash of the signature is too weak to be accepted; "" if it is not."""
    try:
        algorithm = Sig.from_bytes(message[message.rindex(SIGNATURE) :]).hash_algorithm
    except (RuntimeError, ValueError):
        return ""
    name = str(algorithm).rpartition(".")[2]
    return f"{name} is too weak" if name in WEAK_HASHES else ""


def _sentence(error: Exception) -> str:
    """Returns Sequoia's message with its first cause, without a backtrace of Rust."""
    head, _, rest = str(error).partition("Stack backtrace")[0].strip().partition("\n")
    causes = CAUSE.findall(rest)
    return ": ".join([head, *causes[-1:]])[:MAX_SAID]


def _key_id(fingerprint: str) -> str:
    """The key ID, which old signatures name instead of the fingerprint."""
    return fingerprint[:16] if len(fingerprint) == 64 else fingerprint[-16:]


def _short(key: str) -> str:
    return _key_id(key).upper()
