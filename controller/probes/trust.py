"""The authorities that a check trusts, and until when they accept the certificates that a target sent.

A target may send certificates that verification does not need: for example a root that an expired root has signed, for
old clients. So acceptance ends with the verified chain, not at the first expiry of all sent certificates.
"""

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import blake2b

from OpenSSL import crypto

from controller.probes.certificate import describe, expiry, is_for_servers, readable, start
from controller.runtime.pem_files import PEM, ignored, without_certificates
from reconcilers.health import Certificate

MAX_CHAINS = 16_384
MAX_STEPS = 8
"""How many chains of one target are tried. Each chain ends later than the previous one."""


def _parsed(block: bytes) -> crypto.X509 | None:
    with suppress(crypto.Error, ValueError):
        certificate = crypto.load_certificate(crypto.FILETYPE_PEM, block)
        expiry(certificate)
        return certificate
    return None


def parsed(sent: Sequence[bytes]) -> list[crypto.X509]:
    """Returns the certificates in `sent` (DER).

    Raises:
        crypto.Error: one cannot be parsed.
    """
    return [crypto.load_certificate(crypto.FILETYPE_ASN1, each) for each in sent]


def der(certificate: crypto.X509) -> bytes:
    return crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)


class Trust:
    """The authorities of one file. Not safe for several threads.

    Neither rustls nor this OpenSSL checks the validity period of a trusted certificate. So `valid` omits certificates
    that are not valid at the moment.

    Raises:
        ValueError: there is no certificate in `pem` that can be parsed.
    """

    def __init__(self, pem: bytes) -> None:
        every = [_parsed(block) for block in PEM.findall(pem)]
        self._every = [(start(each), expiry(each), each) for each in every if each]
        if not self._every:
            raise ValueError(without_certificates(pem))
        self.problem = ignored([number for number, each in enumerate(every, 1) if each is None])
        """Which certificates are ignored, because they cannot be parsed; "" for none."""
        self.needed: set[bytes] = set()
        """The DER of the authorities in which verified chains ended so far."""
        self._seen: OrderedDict[bytes, Certificate] = OrderedDict()
        self._stored: tuple[crypto.X509, ...] = ()
        self._store = crypto.X509Store()

    def valid(self, moment: float) -> tuple[crypto.X509, ...]:
        """Returns the authorities that are valid at `moment`."""
        return tuple(each for begin, end, each in self._every if begin <= moment < end)

    def widen(self, sent: Sequence[bytes], now: float) -> bool:
        """Returns whether the verified chain of `sent` (DER) ends in an authority that was not among the `needed`."""
        before = len(self.needed)
        self.accepted_until(parsed(sent), now)
        return len(self.needed) > before

    def changes_at(self, moment: float) -> float:
        """Returns when the result of `valid` next changes after `moment`; infinity for never."""
        return min(
            (time for begin, end, _ in self._every for time in (begin, end) if time > moment), default=float("inf")
        )

    def is_expired(self, sent: Sequence[crypto.X509], moment: float) -> bool:
        """Returns whether an authority that expired before `moment` has the name of the issuer of one of `sent`."""
        with suppress(ValueError):
            expired = {readable(each).subject for _, end, each in self._every if end <= moment}
            return any(readable(each).issuer in expired for each in sent)
        return False

    def certificate(self, sent: Sequence[bytes], now: float, *, accepted: bool) -> Certificate:
        """Returns the facts about the certificates `sent` (DER) for pages and metrics, with the end of acceptance.

        The results are cached by a digest of the bytes, because most targets send the same certificates each time.
        """
        key = blake2b(b"".join(sent), digest_size=16, salt=bytes([accepted])).digest()
        found = self._seen.get(key)
        if found is None or (accepted and found.chain_expires <= now):
            chain = parsed(sent)
            found = self._seen[key] = describe(chain, self.accepted_until(chain, now) if accepted and chain else 0.0)
            if len(self._seen) > MAX_CHAINS:
                self._seen.popitem(last=False)
        return found

    def accepted_until(self, sent: Sequence[crypto.X509], now: float) -> float:
        """Returns until when, without a gap from `now` on, some chain of `sent` and the authorities verifies.

        `sent` is as the target sent it, its own certificate first. The result is in seconds since the epoch, and never
        later than the end of the target's own certificate; 0 if no chain verifies now.
        """
        own, until, moment = expiry(sent[0]), 0.0, now
        for _ in range(MAX_STEPS):
            if not (end := self._chain_ends(sent, moment)):
                break
            until, moment = end, end + 1
            if until >= own:
                break
        return until

    def _chain_ends(self, sent: Sequence[crypto.X509], moment: float) -> float:
        """Returns the end of the chain that verifies at `moment`; 0 if none does."""
        others = [each for each in sent[1:] if expiry(each) > moment]
        store = self._store_of(moment)
        store.set_time(datetime.fromtimestamp(moment, UTC))
        try:
            chain = crypto.X509StoreContext(store, sent[0], others).get_verified_chain()
        except crypto.X509StoreContextError:
            return 0.0
        if not is_for_servers(chain):
            return 0.0
        self.needed.add(der(chain[-1]))
        return min(map(expiry, chain))

    def _store_of(self, moment: float) -> crypto.X509Store:
        if (valid := self.valid(moment)) != self._stored:
            self._stored, self._store = valid, crypto.X509Store()
            self._store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
            for each in valid:
                self._store.add_cert(each)
        return self._store
