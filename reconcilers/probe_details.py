"""What is known of a probe only with `metrics: full`: blackbox_exporter's further metrics are made from it."""

from typing import NamedTuple


class Leaf(NamedTuple):
    """A target's own certificate. All are texts, in the forms of blackbox_exporter; the names are those of DNS."""

    fingerprint_sha256: str
    subject: str
    issuer: str
    subjectalternative: str
    serialnumber: str


class HttpDetails(NamedTuple):
    """The answer to an HTTP probe. `version` is 0 if there was none. `content_length` is -1 if it is not known."""

    version: float = 0.0
    content_length: int = 0
    is_over_tls: bool = False


class ProbeDetails(NamedTuple):
    """One probe. `ip_version` is 4 or 6, and 0 if no address was tried. `tls_version` is "" without a complete
    handshake. `leaf` is the accepted certificate that was read last; None if there is none. `http` is None for other
    kinds of checks."""

    ip_version: int = 0
    tls_version: str = ""
    leaf: Leaf | None = None
    http: HttpDetails | None = None
