"""A signer of manifests with a key that is created for the test."""

from pathlib import Path

from pysequoia import Cert, SignatureMode, Tsk, sign


class Signer:
    """A signer with one key, as `gpg --quick-gen-key` creates it."""

    def __init__(self, name: str = "alice") -> None:
        self._key = Tsk.generate(f"{name} <{name}@example.com>")

    @property
    def certificate(self) -> Cert:
        return self._key.extract_certificate()

    def sign(self, manifest: bytes) -> bytes:
        """Returns the manifest with a cleartext signature."""
        return sign(self._key.signer(), manifest, mode=SignatureMode.CLEAR)

    def sign_inline(self, manifest: bytes) -> bytes:
        """Returns the manifest in a binary message, as `gpg --sign` writes it."""
        return sign(self._key.signer(), manifest, mode=SignatureMode.INLINE, armor=False)

    def revocation(self) -> bytes:
        """Returns the revocation of the key, which is appended to its certificate."""
        return bytes(self.certificate.revoke(certifier=self._key.certifier()))


def keyring(path: Path, *signers: Signer, armored: bool = True) -> Path:
    """Writes the certificates of these signers to a file."""
    certificates = [signer.certificate for signer in signers]
    path.write_bytes(b"".join(str(each).encode() if armored else bytes(each) for each in certificates))
    return path
