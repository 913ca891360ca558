"""Collects what only `metrics: full` exports. Without it, nothing of this module is called.

Source of the meanings: prober/http.go, prober/tcp.go, prober/utils.go and prober/tls.go of blackbox_exporter.
"""

from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256

from cryptography import x509
from cryptography.x509.oid import NameOID

from controller.probes import http, redirects
from controller.probes.certificate import readable
from controller.probes.exchange import Exchange
from controller.probes.http2 import UnaryCall
from controller.probes.http_answer import BODILESS, HttpExchange, Prepared
from controller.probes.redirects import FollowingExchange
from controller.probes.target import Target
from controller.probes.text import sound
from controller.probes.tls import UNUSABLE
from controller.probes.trust import parsed
from controller.probes.worker import Worker
from reconcilers.probe_details import HttpDetails, Leaf, ProbeDetails
from reconcilers.spec import HttpGet

MAX_LEAVES = 16_384
MAX_LABEL = 512
"""The most characters of a label's value that a target chooses."""
UNKNOWN_LENGTH = -1
MAX_DIGITS = 15
"""Of a Content-Length: a float holds all integers of so many digits."""
TLS_VERSIONS = {"TLSv1.2": "TLS 1.2", "TLSv1.3": "TLS 1.3"}
IN_NAMES = {
    NameOID.SERIAL_NUMBER: "SERIALNUMBER",
    NameOID.COMMON_NAME: "CN",
    NameOID.POSTAL_CODE: "POSTALCODE",
    NameOID.STREET_ADDRESS: "STREET",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.LOCALITY_NAME: "L",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.COUNTRY_NAME: "C",
}
"""The attributes of names, in the order in which Go writes them (crypto/x509/pkix). Others follow."""


class DetailedExchange(HttpExchange):
    """An exchange that also keeps the version and the length that the answer states. It has no slots, because a class
    cannot have two bases with slots."""

    def __init__(self, prepared: Prepared) -> None:
        super().__init__(prepared)
        self._length: bytes | None = None
        self.version = ""
        """Of HTTP; "" without an answer."""
        self.content_length = 0

    def _read_usual(self, data: bytes) -> bool:
        if not super()._read_usual(data):
            return False
        self.version = data[len("HTTP/") : len("HTTP/1.1")].decode()
        self.content_length = len(data) - data.find(b"\r\n\r\n") - len(b"\r\n\r\n")
        return True

    # Called by httptools

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._length = None

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(name) == 14 and name.lower() == b"content-length":
            self._length = value

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self.has_head and not self.version:
            self.version = self._parser.get_http_version()
            self.content_length = self._stated_length()

    def _stated_length(self) -> int:
        if self.status in BODILESS:
            return 0
        if self._transfer not in {b"", b"identity"}:
            return UNKNOWN_LENGTH
        return _length((self._length or b"").decode("latin-1").strip())


class DetailedFollowingExchange(DetailedExchange, FollowingExchange):
    """The same for a check that follows redirects."""


def collect(worker: Worker, *, wanted: bool) -> None:
    """Lets the next probes of `worker` collect details, or not."""
    if worker.kind is http and wanted:
        worker.exchange = lambda prepared, _: DetailedExchange(prepared)
    elif worker.kind is redirects and wanted:
        worker.exchange = lambda prepared, _: DetailedFollowingExchange(prepared)
    elif worker.kind is not None:
        worker.exchange = worker.kind.exchange
    worker.leaf = None


class Leaves:
    """Reads certificates. The results are cached, because most targets send the same ones each time."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, Leaf] = OrderedDict()

    def read(self, der: bytes) -> Leaf:
        fingerprint = sha256(der).hexdigest()
        if (found := self._seen.get(fingerprint)) is None:
            found = self._seen[fingerprint] = _leaf(der, fingerprint)
            if len(self._seen) > MAX_LEAVES:
                self._seen.popitem(last=False)
        return found


def details_of(worker: Worker) -> ProbeDetails:
    """Returns the details of the probe of `worker` that is about to end."""
    probe, spec = worker.probe, worker.spec.probe
    is_http = isinstance(spec, HttpGet)
    if probe is None:
        return ProbeDetails(leaf=worker.leaf, http=HttpDetails() if is_http else None)
    connection = probe.connection
    session = connection.session if connection else None
    tls_version = TLS_VERSIONS.get(session.version(), "unknown") if session and session.is_ready else ""
    http = _http(probe.exchange, is_over_tls=session is not None) if is_http else None
    ip_version = _ip_version(connection.address if connection else "", worker.where)
    return ProbeDetails(ip_version, tls_version, worker.leaf, http)


def _ip_version(connected: str, target: Target | None) -> int:
    """Returns the version of the connected address, or of the first one that was tried."""
    address = connected or (target.addresses[0] if target else "")
    if not address:
        return 0
    return 6 if ":" in address else 4


def _http(answer: Exchange, *, is_over_tls: bool) -> HttpDetails:
    if not answer.status:
        return HttpDetails()
    if isinstance(answer, DetailedExchange):
        return HttpDetails(float(answer.version or 0), answer.content_length, is_over_tls)
    if isinstance(answer, UnaryCall):
        text = answer.headers.get("content-length", "")
        length = 0 if not text and answer.is_done and not answer.body else _length(text)
        return HttpDetails(2.0, length, is_over_tls)
    return HttpDetails(content_length=UNKNOWN_LENGTH, is_over_tls=is_over_tls)


def _length(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS else UNKNOWN_LENGTH


def _leaf(der: bytes, fingerprint: str) -> Leaf:
    with suppress(*UNUSABLE):
        found = readable(parsed([der])[0])
        number = abs(found.serial_number)
        serial = number.to_bytes((number.bit_length() + 7) // 8, "big").hex()
        return Leaf(fingerprint, _name(found.subject), _name(found.issuer), _dns_names(found), serial)
    return Leaf(fingerprint, "", "", "", "")


def _name(name: x509.Name) -> str:
    """Returns a name as Go writes it: the attributes in Go's order, equal ones joined by `+`."""
    by_type: dict[x509.ObjectIdentifier, list[str]] = {oid: [] for oid in IN_NAMES}
    for each in name:
        by_type.setdefault(each.oid, []).append(each.rfc4514_string(IN_NAMES))
    return _label("+".join(texts) for texts in by_type.values() if texts)


def _dns_names(certificate: x509.Certificate) -> str:
    with suppress(ValueError, x509.ExtensionNotFound):
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return _label(found.get_values_for_type(x509.DNSName))
    return ""


def _label(parts: Iterable[str]) -> str:
    return sound(",".join(parts)[:MAX_LABEL])
