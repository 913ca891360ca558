"""The TLS contexts of the checks, built from files that are read once and never by OpenSSL itself.

OpenSSL and rustls would open a file in the probe thread, without a deadline. The owner of a file that a check names
could replace it by a FIFO at any moment and so block every probe. So `controller.runtime.plain_files` reads each file.
"""

import itertools
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from OpenSSL import SSL, crypto

from controller.probes.client_pair import ClientPair, client_pair
from controller.probes.tls import OpenSslSession, RustlsSession, Session, Unsure, openssl_context, rustls_context
from controller.probes.trust import Trust, der
from controller.runtime.plain_files import Content, Reading, read
from reconcilers.spec import Tls

if TYPE_CHECKING:
    import rtls

log = logging.getLogger(__name__)

MAX_KEY = 256 * 1024
"""Bytes of a certificate with its chain, and of a key."""
MAX_SETTINGS = 256
"""How many contexts are kept. The one that was not used for the longest time is built again when it is needed."""
MAX_READINGS = 10_000
"""How many readings of files are remembered, including files that no check names any more."""
AGAIN = 3600.0
"""Seconds after which a target that only OpenSSL accepts is tried with rustls again."""

_serial = itertools.count(1)


class TlsSettings:
    """The TLS contexts that checks with equal TLS options share. They are built when they are first needed, and again
    when an authority becomes valid or expires.

    rustls copies all authorities for each connection. So its context has only the authorities in which verified chains
    have ended so far. If it then refuses a target that OpenSSL accepts, see `widen`.
    """

    def __init__(
        self,
        trust: Trust,
        pair: ClientPair | None,
        alpn: str,
        *,
        verify: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.trust = trust
        self.verifies = verify
        self.has_certificate = pair is not None
        self._pair = pair
        self._alpn = alpn
        self._clock = clock
        self._until = -math.inf
        self._needed = 0
        self._rustls: rtls.SSLContext | Unsure | None = None
        self._openssl: SSL.Context | None = None

    def rustls(self, name: str) -> Session:
        """Returns a session that verifies that the target is `name`.

        Raises:
            Unsure: rustls cannot use these files or this name.
        """
        self._refresh()
        if self._rustls is None:
            try:
                self._rustls = rustls_context(self._pem(), self._pair, self._alpn, verify=self.verifies)
            except Unsure as error:
                self._rustls = error
        if isinstance(self._rustls, Unsure):
            raise self._rustls
        return RustlsSession(self._rustls, name)

    def openssl(self, name: str) -> OpenSslSession:
        """Returns a session that reports why it fails."""
        self._refresh()
        if self._openssl is None:
            authorities = self.trust.valid(self._clock())
            self._openssl = openssl_context(authorities, self._pair, self._alpn, verify=self.verifies)
        return OpenSslSession(self._openssl, name, verify=self.verifies)

    def _refresh(self) -> None:
        if (now := self._clock()) >= self._until:
            self._until = self.trust.changes_at(now)
            self._rustls = self._openssl = None
        if len(self.trust.needed) != self._needed:
            self._needed, self._rustls = len(self.trust.needed), None

    def widen(self, session: Session) -> bool:
        """Returns whether rustls refused the target of this accepted session only because its authority was missing
        from the context of rustls. Then the next session has it."""
        return self.verifies and self.trust.widen(session.chain(), self._clock())

    def confirms(self, session: Session) -> bool:
        """Returns whether OpenSSL also accepts the certificates of this session of rustls. It checks more than rustls,
        for example the key usage. The answer is cached by the certificates."""
        if not self.verifies:
            return True
        with suppress(crypto.Error, ValueError):
            return self.trust.certificate(session.chain(), self._clock(), accepted=True).chain_expires > 0
        return False

    def _pem(self) -> bytes:
        valid = self.trust.valid(self._clock())
        needed = [each for each in valid if der(each) in self.trust.needed]
        return b"".join(crypto.dump_certificate(crypto.FILETYPE_PEM, each) for each in needed or valid)


class TlsFiles:
    """Reads each file once, until it is `replaced`."""

    def __init__(self, ca_file: str) -> None:
        self.ca_file = ca_file
        self._trusts: dict[str, Trust] = {}
        self._by_content: WeakValueDictionary[bytes, Trust] = WeakValueDictionary()
        """A bundle may be copied into the folder of every pod; all copies share one `Trust`."""
        self._pairs: dict[tuple[str, ...], ClientPair] = {}
        self._settings: OrderedDict[tuple[str, str, str, bool, str], TlsSettings] = OrderedDict()
        self._read: dict[tuple[str, ...], Reading] = {}

    def renew(self, ca_file: str, replaced: Collection[str]) -> None:
        """Use the authorities of `ca_file` from now on, and read the files `replaced` again."""
        self.ca_file = ca_file
        self._settings.clear()
        if self.is_full:
            replaced = {path for paths in self._read for path in paths}
        for path in replaced:
            self._trusts.pop(path, None)
        for paths in [paths for paths in self._read if not set(paths).isdisjoint(replaced)]:
            del self._read[paths]
            self._pairs.pop(paths, None)

    @property
    def is_full(self) -> bool:
        return len(self._read) >= MAX_READINGS

    def readings(self) -> Collection[Reading]:
        """Returns the first reading of each file that is in use. Safe for any thread."""
        return list(self._read.values())

    def settings(self, tls: Tls, alpn: str = "") -> TlsSettings:
        """Returns the contexts for these options.

        Raises:
            ValueError: a file cannot be read or used; the message names the file and the cause.
            OSError: this process has no descriptor or memory left.
        """
        key = (tls.ca_file or self.ca_file, tls.cert_file, tls.key_file, tls.insecure_skip_verify, alpn)
        if key not in self._settings:
            self._settings[key] = self._new(key[0], tls, alpn)
            if len(self._settings) > MAX_SETTINGS:
                self._settings.popitem(last=False)
        self._settings.move_to_end(key)
        return self._settings[key]

    def _new(self, ca_file: str, tls: Tls, alpn: str) -> TlsSettings:
        return TlsSettings(self._trust(ca_file), self._pair(tls), alpn, verify=not tls.insecure_skip_verify)

    def _trust(self, path: str) -> Trust:
        if path not in self._trusts:
            content = read(path)
            self._note((path,), content)
            digest = blake2b(content.data).digest()
            try:
                trust = self._trusts[path] = self._by_content.get(digest) or Trust(content.data)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
            self._by_content[digest] = trust
            if trust.problem:
                log.warning("%s: %s", path, trust.problem)
        return self._trusts[path]

    def _pair(self, tls: Tls) -> ClientPair | None:
        if not tls.cert_file:
            return None
        paths = (tls.cert_file, tls.key_file)
        if paths not in self._pairs:
            cert, key = (read(path, MAX_KEY) for path in paths)
            self._note(paths, cert, key)
            self._pairs[paths] = client_pair(tls, cert.data, key.data)
        return self._pairs[paths]

    def _note(self, paths: tuple[str, ...], *contents: Content) -> None:
        """Keeps the first reading: a context may still use it until the file is replaced."""
        if paths not in self._read:
            self._read[paths] = Reading(paths, tuple(each.stamp for each in contents), next(_serial))
