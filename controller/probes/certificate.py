"""Describes a target's certificates, and explains in a sentence why one was not accepted.

The source is libcurl's CERTINFO, which libcurl fills also when verification failed.
"""

import contextlib
import ssl
import time
from collections.abc import Callable, Iterable, Sequence

from controller.probes.chains import Authorities, Chains
from reconcilers.health import NO_CERTIFICATE, Certificate

MAX_TEXT = 200
"""Characters that are kept of each name."""

Chain = Sequence[Sequence[tuple[str, str]]]
"""The certificates as the target sent them, its own first. Each is a sequence of (field name, text) pairs."""

# Results of OpenSSL's verification (X509_STORE_CTX_get_error(3)) that have a sentence here
NAME_MISMATCH = frozenset({0, 1, 62})
NOT_YET_VALID = 9
EXPIRED = 10
SELF_SIGNED = 18
SELF_SIGNED_IN_CHAIN = 19
UNKNOWN_ISSUER = frozenset({20, 21})


def describe(chain: Chain, accepted_until: float = 0.0) -> Certificate:
    """Returns what people and metrics need of a chain; `NO_CERTIFICATE` for an empty one.

    `accepted_until` is in seconds since the epoch; 0 if the chain was not verified or not accepted.
    """
    if not chain:
        return NO_CERTIFICATE
    expires = min(_times(chain, "Expire date"), default=0.0)
    names = _names(chain).replace("DNS:", "").replace("IP Address:", "")
    return Certificate(expires, names, _issuer(chain), accepted_until)


def accepted_until(chain: Chain, chains: Chains, authorities: Authorities) -> float:
    """Returns until when a chain that is accepted now stays accepted, in seconds since the epoch.

    This is never later than the end of the target's own certificate.
    """
    own = _time(chain[0], "Expire date")
    return chains.accepted_until([_field(each, "Cert") for each in chain], authorities, time.time()) or own


def explain(verdict: int, chain: Chain, host: str) -> str:
    """Returns why the certificate was not accepted for `host`; "" if there is none, or if the result is not known here.

    `verdict` is OpenSSL's result. libcurl checks the name itself; OpenSSL's result is then 0 or 1.
    """
    if not chain:
        return ""
    if verdict in NAME_MISMATCH:
        names = _names(chain)
        return f"the certificate is not for {host}{f' but for {names}' if names else '; it names no host at all'}"
    if verdict in UNKNOWN_ISSUER:
        issuer = _issuer(chain)
        return f"the certificate is signed by an authority that is not trusted{f' ({issuer})' if issuer else ''}"
    sentences = {
        NOT_YET_VALID: f"certificate not valid before {_day(_times(chain, 'Start date') or [0.0], max)}",
        EXPIRED: _expired(chain),
        SELF_SIGNED: "the certificate is self-signed",
        SELF_SIGNED_IN_CHAIN: "the certificate's chain ends in an authority of its own that is not trusted",
    }
    return sentences.get(verdict, "")


def _time(certificate: Sequence[tuple[str, str]], field: str) -> float:
    with contextlib.suppress(ValueError):
        return float(ssl.cert_time_to_seconds(_field(certificate, field)))
    return 0.0


def _field(certificate: Sequence[tuple[str, str]], name: str) -> str:
    return next((text for field, text in certificate if field == name), "")


def _times(chain: Chain, field: str) -> list[float]:
    return [seconds for each in chain if (seconds := _time(each, field))]


def _day(times: Iterable[float], which: Callable[[Iterable[float]], float]) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(which(times)))


def _expired(chain: Chain) -> str:
    """Names the target's own certificate first. If no sent certificate has expired, one of our authorities has."""
    for certificates in (chain[:1], chain):
        if past := [seconds for seconds in _times(certificates, "Expire date") if seconds < time.time()]:
            return f"certificate expired on {_day(past, min)}"
    return "the authority that signed the certificate has expired"


def _names(chain: Chain) -> str:
    names = _field(chain[0], "X509v3 Subject Alternative Name") or _field(chain[0], "Subject")
    return names[:MAX_TEXT]


def _issuer(chain: Chain) -> str:
    return _field(chain[0], "Issuer")[:MAX_TEXT]
