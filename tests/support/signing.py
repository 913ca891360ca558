"""Somebody who signs manifests, with a key of his own that is made for the test."""

from pathlib import Path

from pysequoia import Cert, SignatureMode, Tsk, sign


class Signer:
    """One key, as `gpg --quick-gen-key` would make it."""

    def __init__(self, name: str = "alice") -> None:
        self._key = Tsk.generate(f"{name} <{name}@example.com>")

    @property
    def certificate(self) -> Cert:
        return self._key.extract_certificate()

    def sign(self, manifest: bytes) -> bytes:
        """The manifest with a cleartext signature."""
        return sign(self._key.signer(), manifest, mode=SignatureMode.CLEAR)

    def sign_inline(self, manifest: bytes) -> bytes:
        """The manifest within a binary message, as `gpg --sign` makes it."""
        return sign(self._key.signer(), manifest, mode=SignatureMode.INLINE, armor=False)

    def revocation(self) -> bytes:
        """What takes the key back, to be appended to its certificate."""
        return bytes(self.certificate.revoke(certifier=self._key.certifier()))


def keyring(path: Path, *signers: Signer, armored: bool = True) -> Path:
    """Write the certificates of these to a file."""
    certificates = [signer.certificate for signer in signers]
    path.write_bytes(b"".join(str(each).encode() if armored else bytes(each) for each in certificates))
    return path
