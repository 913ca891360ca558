"""The certificates of a server that speaks TLS: its own, read again when its files change, and those of
its clients."""

import logging
import ssl
from pathlib import Path
from typing import Any

from controller.web.access import TlsServer

log = logging.getLogger(__name__)


class RenewedContext:
    """The context of a server whose certificate, key and authorities are read again when their files change.

    What cannot be used is said once, and the last good context stays.
    """

    def __init__(self, tls: TlsServer) -> None:
        """Raises:
        OSError: a file cannot be read, or is no certificate or key.
        """
        self._tls = tls
        self._seen = self._stamps()
        self._current = tls.context()

    def present(self) -> ssl.SSLContext:
        """For a connection that is about to begin."""
        return self._renewed()

    def admits(self, connection: ssl.SSLObject | None) -> bool:
        """Whether the client's certificate bears a name that is allowed."""
        allowed = self._tls.client_allowed_sans
        certificate: dict[str, Any] = (connection.getpeercert() if connection else None) or {}
        return not allowed or not names_of(certificate).isdisjoint(allowed)

    def _renewed(self) -> ssl.SSLContext:
        if (stamps := self._stamps()) != self._seen:
            self._seen = stamps
            try:
                self._current = self._tls.context()
                log.info("the page's certificate was read again: %s", self._tls.cert_file)
            except OSError as error:
                log.warning("the page's certificate stays what it was: %s", self._tls.trouble(error))
        return self._current

    def _stamps(self) -> tuple[tuple[int, int, int], ...]:
        return tuple(_stamp(file) for file in self._tls.files())


def names_of(certificate: dict[str, Any]) -> set[str]:
    """Its subject alternative names."""
    return {str(name) for _, name in certificate.get("subjectAltName", ())}


def _stamp(file: Path) -> tuple[int, int, int]:
    try:
        found = file.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_mtime_ns, found.st_size)
