"""TLS without I/O. rustls makes the handshakes. OpenSSL repeats those that fail, and finds the cause.

A rustls session costs half as much as an OpenSSL session, but cannot tell why a handshake failed. So a failed rustls
session raises `Unsure`, and the caller repeats the probe with OpenSSL: its verification reports each certificate and
error number. This module only transforms bytes. Sockets and time belong to the caller.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol
from weakref import ref

from OpenSSL import SSL, crypto

from controller.probes.certificate import HOSTNAME_MISMATCH, is_for
from controller.probes.client_pair import ClientPair
from controller.probes.failure import Cause, Failure, Objection
from reconcilers.target_guard import is_address

try:
    import rtls
except ImportError:  # there are no wheels for this platform: OpenSSL does everything
    rtls = None  # type: ignore[assignment]

RECORD_TYPES = frozenset({20, 21, 22, 23})
"""The first byte of every TLS record (RFC 8446, 5.1)."""
FATAL = 2
CLOSE_NOTIFY, USER_CANCELED = 0, 90
PROTOCOL_VERSION = 70
CHUNK = 65_536
UNUSABLE = (ValueError, OSError, SSL.Error, crypto.Error)
"""The exceptions of creating a session, because of a file, a name or the memory of this process."""


class Session(Protocol):
    """One TLS connection. `is_ready` means that the handshake is complete and accepted; `is_closed`, that the target
    has announced the end of its data."""

    is_ready: bool
    is_closed: bool

    def outgoing(self) -> bytes:
        """Returns the bytes that have to be sent to the target."""
        ...

    def write(self, data: bytes) -> None:
        """Encrypt `data`; `outgoing` returns it. It raises the errors of `receive`."""
        ...

    def finish(self) -> None:
        """Announce the end of our data (close_notify); `outgoing` returns it. It raises the errors of `receive`."""
        ...

    def receive(self, data: bytes) -> bytes:
        """Returns the plaintext in what the target sent.

        Raises:
            Unsure: the session failed, and cannot tell why.
            TlsError: the session failed.
        """
        ...

    def alpn(self) -> str:
        """Returns the protocol that both agreed on by ALPN; "" for none."""
        ...

    def version(self) -> str:
        """Returns the version of TLS of a complete handshake: `TLSv1.3`."""
        ...

    def chain(self) -> Sequence[bytes]:
        """Returns the certificates that the target sent, as DER, its own first."""
        ...


class Unsure(Exception):
    """A session of rustls failed. Only OpenSSL can tell why."""


class TlsError(Exception):
    """A session of OpenSSL failed."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


class RustlsSession:
    """A session of rustls, which raises `Unsure` at every error."""

    __slots__ = ("_incoming", "_object", "_outgoing", "is_closed", "is_ready")

    def __init__(self, context: "rtls.SSLContext", name: str) -> None:
        """Raises `Unsure` when rustls refuses the name: it takes only addresses and host names."""
        self._incoming, self._outgoing = rtls.MemoryBIO(), rtls.MemoryBIO()
        try:
            self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        except (rtls.SSLError, ValueError) as error:
            raise Unsure(str(error)) from None
        self.is_ready = self.is_closed = False

    def outgoing(self) -> bytes:
        return self._outgoing.read()

    def write(self, data: bytes) -> None:
        try:
            while data:  # rustls takes at most 64 KiB at once
                data = data[self._object.write(data) :]
        except rtls.SSLError as error:
            raise Unsure(str(error)) from None

    def finish(self) -> None:
        try:
            self._object.unwrap()
        except rtls.SSLError as error:
            raise Unsure(str(error)) from None

    def receive(self, data: bytes) -> bytes:
        try:
            self._incoming.write(data)
            if not self.is_ready:
                self._object.do_handshake()
                self.is_ready = True
            return self._read()
        except rtls.SSLWantReadError:
            return b""
        except rtls.SSLError as error:
            raise Unsure(str(error)) from None

    def _read(self) -> bytes:
        """Returns all received plaintext, and records close_notify, which may come together with the last bytes."""
        data = b""
        try:
            while self._incoming.pending or not self._wants_more():  # to read too early raises, which takes long
                data += bytes(self._object.read(CHUNK))
        except rtls.SSLWantReadError:
            self.is_closed = not self._wants_more()
        return data

    def _wants_more(self) -> bool:
        """Returns False while decrypted bytes wait, and after close_notify. No other method reports close_notify."""
        return bool(self._object._conn.wants_read())  # noqa: SLF001 - rtls has no other way

    def alpn(self) -> str:
        return self._object.selected_alpn_protocol() or ""

    def version(self) -> str:
        return self._object.version() or ""

    def chain(self) -> Sequence[bytes]:
        return [each.public_bytes() for each in self._object.get_unverified_chain() or ()]


class OpenSslSession:
    """A session of OpenSSL. Without `verify`, any certificate is accepted."""

    __slots__ = (
        "__weakref__",
        "_connection",
        "_is_first",
        "_name",
        "_received",
        "_sent",
        "_verify",
        "demands_certificate",
        "is_closed",
        "is_ready",
        "objections",
    )

    def __init__(self, context: SSL.Context, name: str, *, verify: bool) -> None:
        self.is_ready = self.is_closed = False
        self.demands_certificate = False
        """Whether the target has asked for a client certificate."""
        self.objections: list[Objection] = []
        self._name = name
        self._verify = verify
        self._received = self._sent = 0
        self._is_first = True
        self._connection = SSL.Connection(context, None)
        self._connection.set_app_data(ref(self))  # a cycle would wait for the collector
        if not is_address(name):
            self._connection.set_tlsext_host_name(name.encode())
        self._connection.set_connect_state()
        with suppress(SSL.WantReadError):
            self._connection.do_handshake()

    def outgoing(self) -> bytes:
        parts = []
        with suppress(SSL.WantReadError):
            while True:
                parts.append(self._connection.bio_read(CHUNK))
        return b"".join(parts)

    def write(self, data: bytes) -> None:
        try:
            self._connection.sendall(data)
        except SSL.Error as error:
            raise TlsError(self._failure(error)) from None

    def finish(self) -> None:
        try:
            self._connection.shutdown()
        except SSL.Error as error:
            raise TlsError(self._failure(error)) from None

    def receive(self, data: bytes) -> bytes:
        if self._is_first and data[0] not in RECORD_TYPES:
            raise TlsError(Failure(Cause.NOT_TLS))
        self._is_first = False
        self._connection.bio_write(data)
        try:
            if not self.is_ready:
                self._connection.do_handshake()
                self._accept()
            return self._read()
        except SSL.WantReadError:
            return b""
        except SSL.Error as error:
            raise TlsError(self._failure(error)) from None

    def _accept(self) -> None:
        if self._verify:
            leaf = self._connection.get_peer_certificate()
            assert leaf is not None  # noqa: S101 - a server without a certificate fails the handshake
            if not self.objections and not is_for(leaf, self._name):
                self.objections.append(Objection(HOSTNAME_MISMATCH, 0, leaf))
            if self.objections:
                raise TlsError(Failure(Cause.CERTIFICATE, objections=tuple(self.objections)))
        self.is_ready = True

    def _read(self) -> bytes:
        parts = []
        with suppress(SSL.WantReadError):
            try:
                while True:
                    parts.append(self._connection.recv(CHUNK))
            except SSL.ZeroReturnError:
                self.is_closed = True
        return b"".join(parts)

    def _failure(self, error: SSL.Error) -> Failure:
        details = error.args[0] if error.args and isinstance(error.args[0], list) else []
        words = "; ".join(str(text) for *_, text in details)
        if PROTOCOL_VERSION in (self._received, self._sent):
            return Failure(Cause.TLS_VERSION, words=words)
        if self._received:
            return Failure(Cause.TLS_ALERT, alert=self._received, words=words)
        return Failure(Cause.TLS_OTHER, words=words)

    def alpn(self) -> str:
        return self._connection.get_alpn_proto_negotiated().decode("latin-1")

    def version(self) -> str:
        return self._connection.get_protocol_version_name()

    def chain(self) -> Sequence[bytes]:
        chain = self._connection.get_peer_cert_chain() or ()
        return [crypto.dump_certificate(crypto.FILETYPE_ASN1, each) for each in chain]

    def on_alert(self, number: int, *, received: bool) -> None:
        if received:
            self._received = number
        else:
            self._sent = number


def _on_state(connection: SSL.Connection, where: int, value: int) -> None:
    """OpenSSL calls this at each step of a handshake and at each alert."""
    session: OpenSslSession = connection.get_app_data()()
    if where & SSL.SSL_CB_ALERT:
        level, number = value >> 8, value & 0xFF
        if level == FATAL or number not in (CLOSE_NOTIFY, USER_CANCELED):
            session.on_alert(number, received=bool(where & SSL.SSL_CB_READ))
    elif where & SSL.SSL_CB_LOOP and b"certificate request" in connection.get_state_string():
        session.demands_certificate = True


def _on_certificate(connection: SSL.Connection, certificate: crypto.X509, code: int, depth: int, _: int) -> bool:
    """OpenSSL calls this for each certificate of the chain. The result True makes it continue after an error, so the
    session gets the whole chain and all errors. The session then refuses the certificate itself."""
    if code:
        session: OpenSslSession = connection.get_app_data()()
        session.objections.append(Objection(code, depth, certificate))
    return True


def rustls_context(authorities: bytes, pair: ClientPair | None, alpn: str, *, verify: bool) -> "rtls.SSLContext":
    """Returns a context for `RustlsSession`. `authorities` are PEM.

    Raises:
        Unsure: rustls cannot use one of them, or is not installed.
    """
    if rtls is None:
        raise Unsure("rtls is not installed")
    context = rtls.SSLContext(rtls.PROTOCOL_TLS_CLIENT)
    try:
        if verify:
            context.load_verify_locations(cadata=authorities)
        else:
            context.check_hostname = False
            context.verify_mode = rtls.CERT_NONE
        if pair:
            context.load_cert_chain(pair.certificate_pem, pair.key_pem)
    except (rtls.SSLError, ValueError) as error:
        raise Unsure(str(error)) from None
    if alpn:
        context.set_alpn_protocols([alpn])
    return context


def openssl_context(
    authorities: Sequence[crypto.X509],
    pair: ClientPair | None,
    alpn: str,
    *,
    verify: bool,
) -> SSL.Context:
    """Returns a context for `OpenSslSession`.

    A trusted certificate need not be a root (PARTIAL_CHAIN), as in libcurl and Go.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_cipher_list(b"DEFAULT:@SECLEVEL=2")
    context.set_info_callback(_on_state)
    context.set_verify(SSL.VERIFY_PEER if verify else SSL.VERIFY_NONE, _on_certificate)
    store = context.get_cert_store()
    assert store is not None  # noqa: S101 - a new context has one
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    for each in authorities:
        store.add_cert(each)
    if pair:
        context.use_certificate(pair.chain[0])
        for intermediate in pair.chain[1:]:
            context.add_extra_chain_cert(intermediate)
        context.use_privatekey(pair.key)  # type: ignore[arg-type]
    if alpn:
        context.set_alpn_protos([alpn.encode()])
    return context
