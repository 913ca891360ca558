"""The certificates of the web server: its own, which is read again when its files change, and those of its clients.

A client's certificate must be valid at each request, not only at the handshake. When a client resumes a TLS session it
sends no certificate, and OpenSSL checks neither the authorities nor the date. So if client certificates are required,
no session can be resumed, and the certificate of an open connection is checked at each request.
"""

import logging
import ssl
import time
from typing import Any

from controller.config.web_access import TlsServer
from controller.runtime.plain_files import Stamp, stamp

log = logging.getLogger(__name__)


class RenewedContext:
    """The TLS context of a server. Certificate, key and authorities are read again when their files change.

    If they cannot be used, this is logged once, and the last good context is kept.
    """

    def __init__(self, tls: TlsServer) -> None:
        """Raises OSError if a file cannot be read, or is not a certificate or key."""
        self._tls = tls
        self._seen = self._stamps()
        self._current = tls.context()

    def present(self) -> ssl.SSLContext:
        """Returns the context for a new connection."""
        return self._for_one() if self._tls.asks_for_client else self._renewed()

    def admits(self, connection: ssl.SSLObject | None) -> bool:
        """Returns whether the client's certificate would be accepted in a handshake now."""
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
        """Returns a context for one connection alone.

        Sessions and ticket keys belong to the context with which a connection began, so a session of this context
        cannot be resumed. The SNI callback, at the start of the handshake, replaces it by the current context.
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
                log.warning("the page keeps its previous certificate: %s", self._tls.trouble(error))
        return self._current

    def _stamps(self) -> tuple[Stamp | None, ...]:
        return tuple(stamp(str(file)) for file in self._tls.files())


def names_of(certificate: dict[str, Any]) -> set[str]:
    """Returns the subject alternative names."""
    return {str(name) for _, name in certificate.get("subjectAltName", ())}
