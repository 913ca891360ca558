"""The certificates of a server that speaks TLS: its own, read again when its files change, and those of its clients.

What a client proved once counts only while it would be believed again. TLS knows sessions, by which a client comes back
without showing its certificate: OpenSSL then looks neither at the authorities nor at the date. So where clients are
asked for certificates, no session can be resumed, and those who are inside are judged anew with each request.
"""

import logging
import ssl
import time
from pathlib import Path
from typing import Any

from controller.config.web_access import TlsServer

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
        return self._for_one() if self._tls.asks_for_client else self._renewed()

    def admits(self, connection: ssl.SSLObject | None) -> bool:
        """Whether the client would get in, had it come now."""
        if not self._tls.asks_for_client:
            return True
        if connection is None or connection.context is not self._renewed():
            return False
        certificate: dict[str, Any] = connection.getpeercert() or {}
        if certificate and ssl.cert_time_to_seconds(certificate["notAfter"]) < time.time():
            return False
        allowed = self._tls.client_allowed_sans
        return not allowed or not names_of(certificate).isdisjoint(allowed)

    def _for_one(self) -> ssl.SSLContext:
        """Sessions and the keys of tickets belong to the context that a connection began with: of one that nobody else
        has, nobody can resume any. The rest is that of the context that is put into its place.

        OpenSSL asks at the beginning of each handshake which name is meant: the moment to do so.
        """
        context = self._tls.bare_context()
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
        context.sni_callback = self._on_hello
        return context

    def _on_hello(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._renewed()

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
