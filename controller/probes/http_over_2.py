"""HTTP and HTTPS probes in HTTP/2: after ALPN over TLS, and with prior knowledge over plain TCP (RFC 9113, 3.3)."""

from typing import NamedTuple

from controller.probes import http
from controller.probes.exchange import Exchange
from controller.probes.http2 import Form, UnaryCall, header_block
from reconcilers.spec import HttpGet

ALPN = "h2"
NEEDS_ALPN = True

verdict = http.verdict
excerpt = http.excerpt


class Prepared(NamedTuple):
    """The header block, the body, and what the answer needs."""

    block: bytes
    body: bytes
    form: Form


def prepared(probe: HttpGet) -> Prepared:
    """Returns the parts that all probes of a check share."""
    headers = [
        (":method", probe.method),
        (":scheme", "https" if probe.tls else "http"),
        (":authority", http.authority(probe)),
        (":path", probe.path),
        *((name.lower(), value) for name, value in http.fields(probe)),
    ]
    return Prepared(header_block(headers), probe.body.encode(), Form(http.kept(probe), probe.method == "HEAD"))


def exchange(prepared: Prepared, previous: Exchange | None) -> UnaryCall:
    """Returns the next request on the connection of `previous`, or the first one on a new connection."""
    return UnaryCall(
        prepared.block, prepared.body, previous if isinstance(previous, UnaryCall) else None, prepared.form
    )
