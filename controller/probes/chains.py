"""Until when a target's certificate is accepted: by the chain that verifies, and not by all that the target sent.

libcurl tells what was sent. That may hold certificates which verification has no need of, such as a root that another
one, long expired, has signed for old clients. Which chain verifies is found by OpenSSL, as it is for libcurl.
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
"""How many chains of one target are tried, each of which lives longer than the one before."""
PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

Authorities = str | bytes
"""The path of a file of authorities, or its content, as libcurl was given it; a path always has the same content."""


class Chains:
    """Remembers what it found by the bytes that were sent: a chain that is seen again costs a digest.

    For one thread.
    """

    def __init__(self) -> None:
        self._bundles: OrderedDict[Authorities, _Bundle] = OrderedDict()
        self._found: OrderedDict[tuple[_Bundle, bytes], float] = OrderedDict()

    def accepted_until(self, sent: Sequence[str], authorities: Authorities, now: float) -> float:
        """The end of the longest time from `now` on in which a chain of the certificates `sent` (PEM, the target's own
        first) and `authorities` verifies, in seconds since the epoch; 0 where none does."""
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
    """A certificate, and when it expires.

    Raises:
        crypto.Error, ValueError: it is none, or its dates cannot be read.
    """

    def __init__(self, pem: bytes) -> None:
        self.certificate = crypto.load_certificate(crypto.FILETYPE_PEM, pem)
        self.expires = expiry(self.certificate)


class _Bundle:
    """The authorities that are trusted; those that cannot be read are left out."""

    def __init__(self, authorities: Authorities) -> None:
        self._authorities: list[_Dated] = []
        for pem in PEM.findall(Path(authorities).read_bytes() if isinstance(authorities, str) else authorities):
            with suppress(crypto.Error, ValueError):
                self._authorities.append(_Dated(pem))
        self._trusted: tuple[_Dated, ...] = ()
        self._store = crypto.X509Store()

    def accepts_until(self, sent: Sequence[_Dated], now: float) -> float:
        """The chain that verifies now has an end, after which another one may verify: what was sent is accepted until
        none does."""
        own, until, moment = sent[0].expires, 0.0, now
        for _ in range(MAX_STEPS):
            if not (end := self._chain_ends(sent, moment)):
                break
            until, moment = end, end + 1
            if until >= own:
                break
        return until

    def _chain_ends(self, sent: Sequence[_Dated], moment: float) -> float:
        """When the chain ends that verifies at this moment; 0 where there is none."""
        own, *others = (each.certificate for each in sent if each is sent[0] or each.expires > moment)
        store = self._trusting(moment)
        store.set_time(datetime.fromtimestamp(moment, UTC))
        try:
            return min(map(expiry, crypto.X509StoreContext(store, own, others).get_verified_chain()))
        except crypto.X509StoreContextError:
            return 0.0

    def _trusting(self, moment: float) -> crypto.X509Store:
        """Without those that have expired: this OpenSSL, unlike libcurl's, accepts them. And with the flag that libcurl
        sets: whoever is trusted need not be a root."""
        valid = tuple(each for each in self._authorities if each.expires > moment)
        if valid != self._trusted:
            self._trusted, self._store = valid, crypto.X509Store()
            self._store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
            for each in valid:
                self._store.add_cert(each.certificate)
        return self._store


def expiry(certificate: crypto.X509) -> float:
    """Seconds since the epoch; as OpenSSL reads it, which minds no serial number that is none.

    Raises:
        ValueError: it cannot be read.
    """
    text = (certificate.get_notAfter() or b"").decode()
    return datetime.fromisoformat(f"{text[:8]}T{text[8:]}").timestamp()
