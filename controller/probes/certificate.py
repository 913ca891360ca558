"""Describes a target's certificates, and explains in a sentence why one was not accepted."""

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning
from OpenSSL import crypto
from service_identity import VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address
from service_identity.exceptions import CertificateError

from controller.probes.failure import Objection
from controller.probes.text import sound
from reconcilers.health import NO_CERTIFICATE, Certificate
from reconcilers.target_guard import is_address

E = TypeVar("E", bound=x509.ExtensionType)

MAX_TEXT = 200
"""The most characters of a name that are kept."""

HOSTNAME_MISMATCH = 62
NOT_AN_AUTHORITY = "is not one of an authority (basic constraints), but has signed another: its issuer has to renew it"
NO_SIGNER = "may not sign certificates (key usage): its issuer has to renew it with keyCertSign"
NOT_FOR_TLS = "is not meant for TLS (key usage): it has to be renewed with digitalSignature"
CONSTRAINED = "the server needs a certificate for another name, or of another authority"
WEAK_KEY = "has a key that is too weak: it needs a new one, at least RSA with 2,048 bits or an elliptic curve"
PROBLEMS = {
    7: "has a signature that is not valid: the certificate or its issuer is another one than it says",
    13: "has a start that cannot be read",
    14: "has an expiry that cannot be read",
    22: "is one of more than 100 in the chain: the server has to send fewer",
    24: NOT_AN_AUTHORITY,
    25: "does not allow as many intermediate certificates below it as the chain has (path length): "
    "the server needs a certificate of another authority",
    26: "is not meant for servers (extended key usage): it has to be renewed with serverAuth",
    28: "is rejected by the authorities file",
    32: NO_SIGNER,
    34: "has a critical extension that OpenSSL does not know",
    47: f"is for a name that the name constraints of its authority do not permit: {CONSTRAINED}",
    48: f"is for a name that the name constraints of its authority exclude: {CONSTRAINED}",
    66: WEAK_KEY,
    67: WEAK_KEY,
    68: "is signed with a digest that is too weak, such as SHA-1: it has to be renewed with at least SHA-256",
    79: NOT_AN_AUTHORITY,
}
"""The meaning of errors of OpenSSL's verification (X509_STORE_CTX_get_error(3)). `explain` words the other errors."""


def describe(chain: Sequence[crypto.X509], accepted_until: float = 0.0) -> Certificate:
    """Returns the facts about a chain for pages and metrics; `NO_CERTIFICATE` for an empty chain.

    `chain` is as the target sent it, its own certificate first. `accepted_until` is in seconds since the epoch; 0 if
    the chain was not verified or not accepted.
    """
    if not chain:
        return NO_CERTIFICATE
    names = _names(chain[0]).replace("DNS:", "").replace("IP Address:", "")
    return Certificate(min(_times(chain, expiry), default=0.0), names, _issuer(chain[0]), accepted_until)


def explain(objections: Sequence[Objection], chain: Sequence[crypto.X509], host: str, *, by_expired: bool) -> str:
    """Returns why the certificate was not accepted for `host`: the first of OpenSSL's `objections`.

    `by_expired`: a trusted authority that has expired has signed the certificate.
    """
    objection = objections[0]
    match objection.code:
        case 18:
            sentence = "the certificate is self-signed: ca_file has to contain it, or the server needs a trusted one"
        case 19:
            sentence = f"the chain ends in the root {_subject(objection.certificate)}, which ca_file does not contain"
        case 20 | 21 if by_expired:
            sentence = "the authority that signed the certificate has expired: ca_file needs a newer one"
        case 20 | 21:
            sentence = _untrusted(objection, chain)
        case 9:
            sentence = _not_yet(objections, chain)
        case 10:
            sentence = _expired(objections, chain)
        case 62:
            sentence = _for_others(chain[0], host)
        case code:
            sentence = f"{_which(objection, chain)} {_problem(code, objection.certificate)}"
    return sentence


def _problem(code: int, certificate: crypto.X509) -> str:
    """OpenSSL has one code for two problems: whether the usage or the extended usage of a key does not fit."""
    if code in (24, 79) and _extension(certificate, x509.BasicConstraints, lambda found: found.ca, missing=False):
        return NO_SIGNER
    if code == 26 and _has_server_auth(certificate):
        return NOT_FOR_TLS
    return PROBLEMS.get(code, f"fails the verification with error {code} of OpenSSL")


def is_for_servers(chain: Sequence[crypto.X509]) -> bool:
    """Returns whether the key usages of a verified chain are those of a TLS server, as OpenSSL defines them.

    rustls checks neither the key usage nor the root. Source: X509_check_purpose(3), X509_PURPOSE_SSL_SERVER.
    """
    return all(map(_has_server_auth, chain)) and _extension(chain[0], x509.KeyUsage, _fits_tls, missing=True)


def _has_server_auth(certificate: crypto.X509) -> bool:
    usage = x509.oid.ExtendedKeyUsageOID.SERVER_AUTH
    return _extension(certificate, x509.ExtendedKeyUsage, lambda found: usage in found, missing=True)


def _fits_tls(usage: x509.KeyUsage) -> bool:
    return usage.digital_signature or usage.key_encipherment or usage.key_agreement


def _extension(certificate: crypto.X509, kind: type[E], says: Callable[[E], bool], *, missing: bool) -> bool:
    """Returns the result of `says` for an extension; `missing` if the certificate does not have the extension."""
    try:
        return says(readable(certificate).extensions.get_extension_for_class(kind).value)
    except (ValueError, x509.ExtensionNotFound):
        return missing


def _which(objection: Objection, chain: Sequence[crypto.X509]) -> str:
    """Names a certificate of the verified chain. Those that the target did not send are authorities from a file."""
    if not objection.depth:
        return "the certificate"
    kind = "intermediate certificate" if _is_sent(objection.certificate, chain) else "certificate of the authority"
    return f"the {kind} {_subject(objection.certificate)}"


def _is_sent(certificate: crypto.X509, chain: Sequence[crypto.X509]) -> bool:
    der = crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
    return any(crypto.dump_certificate(crypto.FILETYPE_ASN1, each) == der for each in chain)


def _untrusted(objection: Objection, chain: Sequence[crypto.X509]) -> str:
    issuer = _issuer(objection.certificate)
    said = f"{_which(objection, chain)} is signed by an authority that is not trusted{f' ({issuer})' if issuer else ''}"
    return f"{said}: perhaps the server does not send this intermediate certificate, or ca_file lacks this authority"


def _of_lowest(code: int, objections: Sequence[Objection]) -> Objection:
    """Returns the objection with this code with the lowest depth: the closest to the target's own certificate."""
    return min((each for each in objections if each.code == code), key=lambda each: each.depth)


def _not_yet(objections: Sequence[Objection], chain: Sequence[crypto.X509]) -> str:
    objection = _of_lowest(9, objections)
    day = _day(_times([objection.certificate], start) or [0.0], max)
    return f"{_which(objection, chain)} is not valid before {day}: it was deployed too early, or a clock is wrong"


def is_for(certificate: crypto.X509, host: str) -> bool:
    """Returns whether `host`, a name or an IP address, is among the certificate's subject alternative names."""
    with suppress(VerificationError, CertificateError, ValueError):
        parsed = readable(certificate)
        if is_address(host):
            verify_certificate_ip_address(parsed, host)
        else:
            verify_certificate_hostname(parsed, host)
        return True
    return False


def readable(certificate: crypto.X509) -> x509.Certificate:
    """Returns the certificate in the form whose fields can be read.

    cryptography warns of serial numbers that RFC 5280 forbids. OpenSSL accepts them, and some targets have them.

    Raises:
        ValueError: it cannot be parsed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        return certificate.to_cryptography()


def expiry(certificate: crypto.X509) -> float:
    """Returns the end of a certificate's validity in seconds since the epoch.

    OpenSSL reads it, because it also accepts certificates whose serial number is invalid.

    Raises:
        ValueError: the date cannot be read.
    """
    return _seconds(certificate.get_notAfter())


def start(certificate: crypto.X509) -> float:
    """Returns the beginning of a certificate's validity; see `expiry`."""
    return _seconds(certificate.get_notBefore())


def _seconds(asn1: bytes | None) -> float:
    text = (asn1 or b"").decode()
    return datetime.fromisoformat(f"{text[:8]}T{text[8:]}").timestamp()


def _times(chain: Sequence[crypto.X509], read: Callable[[crypto.X509], float]) -> list[float]:
    times = []
    for each in chain:
        with suppress(ValueError):
            times.append(read(each))
    return times


def _day(times: Iterable[float], which: Callable[[Iterable[float]], float]) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(which(times)))


def _expired(objections: Sequence[Objection], chain: Sequence[crypto.X509]) -> str:
    objection = _of_lowest(10, objections)
    day = _day(_times([objection.certificate], expiry) or [0.0], min)
    return f"{_which(objection, chain)} expired on {day}: the server has to send a newer one"


def _for_others(certificate: crypto.X509, host: str) -> str:
    if names := _alternatives(certificate):
        return f"the certificate is not for {host} but for {names}"
    subject = _subject(certificate)
    only = f", only the subject {subject}" if subject else ""
    return f"the certificate has no subject alternative names{only}: it has to be renewed with one for {host}"


def _names(certificate: crypto.X509) -> str:
    return _alternatives(certificate) or _subject(certificate)


def _alternatives(certificate: crypto.X509) -> str:
    with suppress(ValueError, x509.ExtensionNotFound):
        found = readable(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [f"DNS:{each}" for each in found.get_values_for_type(x509.DNSName)]
        names += [f"IP Address:{each}" for each in found.get_values_for_type(x509.IPAddress)]
        return sound(", ".join(names)[:MAX_TEXT])
    return ""


def _issuer(certificate: crypto.X509) -> str:
    with suppress(ValueError):
        return _text(readable(certificate).issuer)
    return ""


def _subject(certificate: crypto.X509) -> str:
    with suppress(ValueError):
        return _text(readable(certificate).subject)
    return ""


def _text(name: x509.Name) -> str:
    parts = [f"{each.rfc4514_attribute_name} = {each.value!s}" for each in name]
    return sound(", ".join(parts)[:MAX_TEXT])
