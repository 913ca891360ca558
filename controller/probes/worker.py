"""The worker of one check, and the protocols that a check can use."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from controller.probes import grpc, http, http_over_2, redirects, tcp
from controller.probes.connection import Connection
from controller.probes.credentials import Authorization
from controller.probes.exchange import Exchange
from controller.probes.idle_connection import IdleConnection
from controller.probes.target import Target
from controller.probes.verdict import Verdict
from reconcilers.health import NO_CERTIFICATE, Certificate
from reconcilers.probe_details import Leaf
from reconcilers.spec import CheckSpec, GrpcHealth, HttpGet, Probe, TcpConnect
from reconcilers.warning import can_warn

if TYPE_CHECKING:
    from controller.probes.running_probe import RunningProbe

CERTIFICATE_EVERY = 60.0
"""Seconds for which an accepted certificate is not read again. Reading one costs as much as a plain probe."""
CERTIFICATE_GRACE = 5.0
"""Seconds by which a certificate may be read late, because it can only be read during a probe."""


class Kind(Protocol):
    """One protocol. For the functions see `http`. `NEEDS_ALPN` refuses a target that does not agree on `ALPN`."""

    ALPN: str
    NEEDS_ALPN: bool

    def prepared(self, probe: Any, /) -> Any: ...
    def exchange(self, prepared: Any, previous: Exchange | None, /) -> Exchange: ...
    def verdict(self, answer: Exchange, spec: CheckSpec, /) -> Verdict: ...
    def excerpt(self, answer: Exchange, /) -> str: ...


KINDS: Mapping[type, Kind] = {HttpGet: http, TcpConnect: tcp, GrpcHealth: grpc}
"""A check of any other type sends nothing."""


def kind_of(probe: Probe) -> Kind | None:
    """Returns the protocol of a check; None if it sends nothing."""
    if isinstance(probe, HttpGet) and probe.http_version == "2":
        return http_over_2
    if isinstance(probe, HttpGet) and probe.follow_redirects:
        return redirects
    return KINDS.get(type(probe))


def _is_repeatable(spec: CheckSpec) -> bool:
    return not isinstance(spec.probe, HttpGet) or spec.probe.is_idempotent


class Worker:
    """Only the probe thread uses a worker after the command `Start`. Times are of the monotonic clock, except for
    `started_wall`. `kind` is None if the check sends nothing. `can_warn` says that a success may be a warning.

    `due` is when the next probe is or was due. `in_phase` is any moment of its phase. `last` is when the last probe
    started, `ended` when the last one ended. `missed` is the number of probes skipped since `due`. `wanted` is True if
    a probe came due while another was in flight. `handed_over`: another controller probed this check until now.
    `request` is the probe with its credentials. `follows` says whether redirects may be followed.
    `is_repeatable` says whether a probe may send its request twice. Until `openssl_until` probes use OpenSSL instead of
    rustls; always if the request must not be sent twice, because a failure with rustls is repeated. `started`, `dns`
    (seconds spent on the name), `lost` (seconds that an answer of the resolver may have waited for the probe thread)
    and `version` (of the manifest when the probe started) describe the probe in flight."""

    __slots__ = (
        "authorization",
        "can_warn",
        "certificate",
        "certificate_due",
        "dns",
        "due",
        "ended",
        "exchange",
        "follows",
        "generation",
        "handed_over",
        "has_credentials",
        "in_phase",
        "interval",
        "is_repeatable",
        "kept",
        "kind",
        "last",
        "leaf",
        "lost",
        "missed",
        "openssl_until",
        "prepared",
        "probe",
        "request",
        "resolved",
        "running",
        "server_name",
        "spec",
        "started",
        "started_wall",
        "version",
        "waiting",
        "wanted",
        "where",
    )

    def __init__(self, spec: CheckSpec, generation: int) -> None:
        self.spec = spec
        self.interval = spec.interval
        self.generation = generation
        self.request: Probe = spec.probe
        self.kind = kind_of(spec.probe)
        self.prepared = self.kind.prepared(spec.probe) if self.kind else None
        self.can_warn = can_warn(spec)
        self.server_name = (spec.probe.tls and spec.probe.tls.server_name) or spec.probe.host
        self.kept: IdleConnection | None = None
        self.follows = isinstance(spec.probe, HttpGet) and spec.probe.follow_redirects > 0
        self.has_credentials = isinstance(spec.probe, HttpGet) and bool(spec.probe.credential_file)
        self.authorization: Authorization | None = None
        self.is_repeatable = _is_repeatable(spec)
        self.openssl_until = 0.0 if self.is_repeatable else math.inf
        self.running = True
        self.waiting = False
        self.due = self.ended = 0.0
        self.in_phase = self.last = 0.0
        self.missed = 0
        self.wanted = False
        self.handed_over = False
        self.version = spec.version
        self.started = 0.0
        self.started_wall = 0.0
        self.dns = self.lost = 0.0
        self.probe: RunningProbe | None = None
        self.where: Target | None = None
        self.resolved: object = None
        self.certificate_due = 0.0
        self.certificate = NO_CERTIFICATE
        self.exchange = self.kind.exchange if self.kind else None
        """Makes the exchange of a probe."""
        self.leaf: Leaf | None = None
        """The accepted certificate of the target, if details are collected."""

    @property
    def is_busy(self) -> bool:
        """Whether a probe is in flight or waits for its name."""
        return self.probe is not None or self.waiting

    def new_exchange(self, previous: Exchange | None) -> Exchange:
        """Returns the exchange of the next probe; `previous` is the last one on the same connection."""
        assert self.exchange is not None  # noqa: S101 - a worker without a kind sends nothing
        return self.exchange(self.prepared, previous)

    def authorize(self, probe: HttpGet, authorization: Authorization) -> None:
        """Send the probes from now on with this authorization."""
        if authorization is not self.authorization and self.kind is not None:
            self.authorization = authorization
            self.request = replace(probe, headers=(*probe.headers, ("Authorization", authorization.header)))
            self.prepared = self.kind.prepared(self.request)

    def aim(self, request: HttpGet) -> None:
        """Send this request from now on."""
        assert self.kind is not None  # noqa: S101 - as in `new_exchange`
        self.prepared = self.kind.prepared(request)

    def keep(self, connection: Connection, exchange: Exchange) -> None:
        """Keep a connection for the next probe."""
        self.kept = IdleConnection(connection, exchange)

    def drop_kept(self) -> None:
        """Close the kept connection."""
        if self.kept:
            self.kept.close()
            self.kept = None

    def wants_certificate(self, now: float) -> bool:
        """Returns whether the probe at `now` reads the certificate: it is due, or is overdue at the next probe."""
        late = max(0.0, self.interval - CERTIFICATE_GRACE)
        return self.spec.probe.tls is not None and now + late >= self.certificate_due

    def saw_certificate(self, certificate: Certificate, *, accepted: bool) -> None:
        """Keep a certificate. It is read again after `CERTIFICATE_EVERY` seconds, or at its end if that is earlier; at
        the next probe if it was not accepted or the target sent none."""
        if certificate.expires:
            self.certificate = certificate
        left = certificate.ends - self.started_wall
        wait = left if 0 < left < CERTIFICATE_EVERY else CERTIFICATE_EVERY
        self.certificate_due = self.started + wait if accepted and certificate.expires else 0.0
