"""Finds until when a target's certificate is accepted, from the chain that verifies and not from all that was sent.

libcurl reports the certificates that the target sent. Verification may not need all of them: for example, servers send
a root that an expired root has signed, for old clients. OpenSSL finds the chain that verifies, as it does for libcurl.
"""

import re
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path

from OpenSSL import crypto

MAX_BUNDLES = 16
MAX_CHAINS = 16_384
MAX_STEPS = 8
"""How many chains of one target are tried. Each one ends later than the one before."""
PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

Authorities = str | bytes
"""The path of a file of authorities, or its content, as libcurl gets it. The content of a path never changes."""


class Chains:
    """Caches its answers by a digest of the bytes that the target sent. Not safe for several threads."""

    def __init__(self) -> None:
        self._bundles: OrderedDict[Authorities, _Bundle] = OrderedDict()
        self._found: OrderedDict[tuple[_Bundle, bytes], float] = OrderedDict()

    def accepted_until(self, sent: Sequence[str], authorities: Authorities, now: float) -> float:
        """Returns until when, without a gap from `now` on, some chain of `sent` and `authorities` verifies.

        `sent` are certificates as PEM, the target's own first. The result is in seconds since the epoch; 0 if no chain
        verifies now.
        """
        with suppress(crypto.Error, OSError, ValueError):
            bundle = self._bundle(authorities)
            key = (bundle, blake2b("".join(sent).encode(), digest_size=16).digest())
            if key not in self._found:
                self._found[key] = bundle.accepts_until([_Dated(each.encode()) for each in sent], now)
                if len(self._found) > MAX_CHAINS:
                    self._found.popitem(last=False)
            return self._found[key]
        return 0.0

    def _bundle(self, authorities: Authorities) -> "_Bundle":
        if authorities not in self._bundles:
            self._bundles[authorities] = _Bundle(authorities)
            if len(self._bundles) > MAX_BUNDLES:
                _, gone = self._bundles.popitem(last=False)
                self._found = OrderedDict((key, until) for key, until in self._found.items() if key[0] is not gone)
        return self._bundles[authorities]


class _Dated:
    """A certificate and its expiry.

    Raises:
        crypto.Error, ValueError: `pem` is not a certificate, or its dates cannot be read.
    """

    def __init__(self, pem: bytes) -> None:
        self.certificate = crypto.load_certificate(crypto.FILETYPE_PEM, pem)
        self.expires = expiry(self.certificate)


class _Bundle:
    """The trusted authorities, without those that cannot be parsed."""

    def __init__(self, authorities: Authorities) -> None:
        self._authorities: list[_Dated] = []
        for pem in PEM.findall(Path(authorities).read_bytes() if isinstance(authorities, str) else authorities):
            with suppress(crypto.Error, ValueError):
                self._authorities.append(_Dated(pem))
        self._trusted: tuple[_Dated, ...] = ()
        self._store = crypto.X509Store()

    def accepts_until(self, sent: Sequence[_Dated], now: float) -> float:
        """See `Chains.accepted_until`. After the end of the chain that verifies now, another chain may verify."""
        own, until, moment = sent[0].expires, 0.0, now
        for _ in range(MAX_STEPS):
            if not (end := self._chain_ends(sent, moment)):
                break
            until, moment = end, end + 1
            if until >= own:
                break
        return until

    def _chain_ends(self, sent: Sequence[_Dated], moment: float) -> float:
        """Returns the end of the chain that verifies at `moment`; 0 if none does."""
        own, *others = (each.certificate for each in sent if each is sent[0] or each.expires > moment)
        store = self._trusting(moment)
        store.set_time(datetime.fromtimestamp(moment, UTC))
        try:
            return min(map(expiry, crypto.X509StoreContext(store, own, others).get_verified_chain()))
        except crypto.X509StoreContextError:
            return 0.0

    def _trusting(self, moment: float) -> crypto.X509Store:
        """Returns a store of the authorities that have not expired at `moment`.

        pyOpenSSL's OpenSSL, unlike libcurl's, accepts expired authorities. The flag is the one that libcurl sets: a
        trusted certificate need not be a root.
        """
        valid = tuple(each for each in self._authorities if each.expires > moment)
        if valid != self._trusted:
            self._trusted, self._store = valid, crypto.X509Store()
            self._store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
            for each in valid:
                self._store.add_cert(each.certificate)
        return self._store


def expiry(certificate: crypto.X509) -> float:
    """Returns the end of a certificate's validity in seconds since the epoch.

    OpenSSL reads it, because it also accepts certificates whose serial number is invalid.

    Raises:
        ValueError: the date cannot be read.
    """
    text = (certificate.get_notAfter() or b"").decode()
    return datetime.fromisoformat(f"{text[:8]}T{text[8:]}").timestamp()
