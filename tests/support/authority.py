"""Certificates of test authorities, good ones and bad ones, by trustme."""

import ssl
import warnings
from datetime import datetime
from pathlib import Path

import trustme

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


class Authority:
    """A certificate authority of this test alone; `file` is its bundle, which goes into `ca_file`."""

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
        """A server's context with a certificate for `names` (default: this machine's local ones)."""
        leaf = self._ca.issue_cert(*(names or LOCAL_NAMES), not_before=not_before, not_after=not_after)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf.configure_cert(context)
        return context

    def files(self, *names: str) -> tuple[Path, Path]:
        """Certificate chain and key of a server for `names`, as files."""
        self._count += 1
        leaf = self._ca.issue_cert(*(names or LOCAL_NAMES))
        cert, key = self._folder / f"cert-{self._count}.pem", self._folder / f"key-{self._count}.pem"
        cert.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(str(key))
        return cert, key

    def demanding(self) -> ssl.SSLContext:
        """A server that demands a client's certificate."""
        context = self.server()
        self._ca.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def outdated(self) -> ssl.SSLContext:
        """A server that speaks TLS 1.0 only."""
        context = self.server()
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
        return context


def self_signed() -> ssl.SSLContext:
    """A server whose certificate is its own issuer."""
    issuer = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with issuer.cert_pem.tempfile() as cert, issuer.private_key_pem.tempfile() as key:
        context.load_cert_chain(cert, key)
    return context
