"""Describes a target's certificates, and explains in a sentence why one was not accepted."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from ipaddress import ip_address

from cryptography import x509
from OpenSSL import crypto
from service_identity import VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address
from service_identity.exceptions import CertificateError

from controller.probes.failure import Objection
from controller.probes.text import sound
from reconcilers.health import NO_CERTIFICATE, Certificate

MAX_TEXT = 200
"""Characters that are kept of each name."""

HOSTNAME_MISMATCH = 62
PROBLEMS = {
    7: "has a signature that is not valid",
    13: "has a start that cannot be read",
    14: "has an expiry that cannot be read",
    22: "has a chain that is too long",
    24: "is not one of an authority, but has signed another certificate",
    25: "does not allow as many intermediate certificates as the chain has (path length)",
    26: "is not meant for servers (extended key usage)",
    28: "is rejected by the authorities file",
    32: "may not sign certificates (key usage)",
    34: "has a critical extension that OpenSSL does not know",
    47: "is for a name that the name constraints of its authority do not permit",
    48: "is for a name that the name constraints of its authority exclude",
    66: "has a key that is too weak: at least RSA with 2,048 bits, or an elliptic curve, is needed",
    67: "has a key that is too weak: at least RSA with 2,048 bits, or an elliptic curve, is needed",
    68: "is signed with a digest that is too weak, such as SHA-1: at least SHA-256 is needed",
}
"""What errors of OpenSSL's verification (X509_STORE_CTX_get_error(3)) say of a certificate. `explain` knows more."""


def describe(chain: Sequence[crypto.X509], accepted_until: float = 0.0) -> Certificate:
    """Returns what people and metrics need of a chain; `NO_CERTIFICATE` for an empty one.

    `chain` is as the target sent it, its own certificate first. `accepted_until` is in seconds since the epoch; 0 if
    the chain was not verified or not accepted.
    """
    if not chain:
        return NO_CERTIFICATE
    names = _names(chain[0]).replace("DNS:", "").replace("IP Address:", "")
    return Certificate(min(_times(chain, expiry), default=0.0), names, _issuer(chain[0]), accepted_until)


def explain(objections: Sequence[Objection], chain: Sequence[crypto.X509], host: str, *, by_expired: bool) -> str:
    """Returns why the certificate was not accepted for `host`: the first of OpenSSL's `objections`.

    `by_expired`: an authority that we trust has signed the certificate, and has expired.
    """
    match objections[0].code:
        case 18:
            sentence = "the certificate is self-signed"
        case 19:
            sentence = "the certificate's chain ends in an authority of its own that is not trusted"
        case 20 | 21 if by_expired:
            sentence = "the authority that signed the certificate has expired"
        case 20 | 21:
            issuer = _issuer(chain[0])
            sentence = (
                f"the certificate is signed by an authority that is not trusted{f' ({issuer})' if issuer else ''}"
            )
        case 9:
            sentence = f"certificate not valid before {_day(_times(chain, start) or [0.0], max)}"
        case 10:
            sentence = _expired(chain)
        case 62:
            names = _names(chain[0])
            sentence = f"the certificate is not for {host}{f' but for {names}' if names else '; it names no host'}"
        case code:
            problem = PROBLEMS.get(code, f"fails the verification with error {code} of OpenSSL")
            sentence = f"{_which(objections[0])} {problem}"
    return sentence


def _which(objection: Objection) -> str:
    if not objection.depth:
        return "the certificate"
    return f"the certificate of the authority {_subject(objection.certificate)}"


def is_for(certificate: crypto.X509, host: str) -> bool:
    """Returns whether `host`, a name or an IP address, is among the certificate's subject alternative names."""
    with suppress(VerificationError, CertificateError, ValueError):
        parsed = certificate.to_cryptography()
        if _is_address(host):
            verify_certificate_ip_address(parsed, host)
        else:
            verify_certificate_hostname(parsed, host)
        return True
    return False


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


def _expired(chain: Sequence[crypto.X509]) -> str:
    """Names the target's own certificate first. If no sent certificate has expired, one of our authorities has."""
    for certificates in (chain[:1], chain):
        if past := [seconds for seconds in _times(certificates, expiry) if seconds < time.time()]:
            return f"certificate expired on {_day(past, min)}"
    return "the authority that signed the certificate has expired"


def _names(certificate: crypto.X509) -> str:
    with suppress(ValueError, x509.ExtensionNotFound):
        found = certificate.to_cryptography().extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [f"DNS:{each}" for each in found.get_values_for_type(x509.DNSName)]
        names += [f"IP Address:{each}" for each in found.get_values_for_type(x509.IPAddress)]
        if names:
            return sound(", ".join(names)[:MAX_TEXT])
    return _subject(certificate)


def _issuer(certificate: crypto.X509) -> str:
    with suppress(ValueError):
        return _text(certificate.to_cryptography().issuer)
    return ""


def _subject(certificate: crypto.X509) -> str:
    with suppress(ValueError):
        return _text(certificate.to_cryptography().subject)
    return ""


def _text(name: x509.Name) -> str:
    parts = [f"{each.rfc4514_attribute_name} = {each.value!s}" for each in name]
    return sound(", ".join(parts)[:MAX_TEXT])


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
