"""Valid and invalid certificates of test authorities, from trustme."""

import ssl
import warnings
from datetime import datetime
from pathlib import Path

import trustme

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


class Authority:
    """A certificate authority for one test. `file` is its bundle, for `ca_file`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._ca = trustme.CA()
        self.file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.file))
        self._count = 0

    def server(
        self, *names: str, not_before: datetime | None = None, not_after: datetime | None = None
    ) -> ssl.SSLContext:
        """Returns the context of a server with a certificate for `names` (default: the local names of this machine)."""
        leaf = self._ca.issue_cert(*(names or LOCAL_NAMES), not_before=not_before, not_after=not_after)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf.configure_cert(context)
        return context

    def files(self, *names: str) -> tuple[Path, Path]:
        """Returns the files of a certificate chain and a key for `names`."""
        self._count += 1
        leaf = self._ca.issue_cert(*(names or LOCAL_NAMES))
        cert, key = self._folder / f"cert-{self._count}.pem", self._folder / f"key-{self._count}.pem"
        cert.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(str(key))
        return cert, key

    def demanding(self) -> ssl.SSLContext:
        """Returns the context of a server that requires a client certificate."""
        context = self.server()
        self._ca.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def outdated(self) -> ssl.SSLContext:
        """Returns the context of a server that supports TLS 1.0 only."""
        context = self.server()
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
        return context


def self_signed() -> ssl.SSLContext:
    """Returns the context of a server with a self-signed certificate."""
    issuer = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with issuer.cert_pem.tempfile() as cert, issuer.private_key_pem.tempfile() as key:
        context.load_cert_chain(cert, key)
    return context
