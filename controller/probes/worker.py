"""One check that runs, and the kinds that it can be of."""

from collections.abc import Mapping
from typing import Any, Protocol

import pycurl

from controller.probes import grpc, http, tcp
from controller.probes.files import TlsFiles
from controller.probes.transfer import Transfer, Verdict, Where
from reconcilers.health import NO_CERTIFICATE, Certificate
from reconcilers.spec import CheckSpec, GrpcHealth, HttpGet, TcpConnect

CERTIFICATE_EVERY = 60.0
"""Seconds for which a certificate that was accepted is not read again: reading one costs as much as a plain probe."""


class Kind(Protocol):
    """One protocol: how a transfer is set up, and what its end means. See `http` for the words."""

    def profile(self, probe: Any, /) -> object: ...
    def transfer(self, probe: Any, files: TlsFiles, /) -> Transfer: ...
    def url(self, probe: Any, /) -> str: ...
    def answered(self, transfer: Transfer, spec: CheckSpec, /) -> Verdict: ...
    def failed(self, transfer: Transfer, code: int, message: str, spec: CheckSpec, /) -> Verdict: ...


KINDS: Mapping[type, Kind] = {HttpGet: http, TcpConnect: tcp, GrpcHealth: grpc}
"""What is not among them sends nothing."""


class Worker:
    """Belongs to the probe thread once it was handed over. Times are of the monotonic clock unless they say wall.

    `kind` is None where nothing is ever sent.
    `due` is when its next probe is, or should have been, and `in_phase` any moment of its phase; `last` is when the one
    before it began, `missed` how many were left out since `due`, and `wanted` says that it came due while one was under
    way. `started`,
    `dns` (seconds spent on the name), `lost` (seconds that an answer of the resolver may have waited for the probe
    thread) and `version` (the manifest's when the probe started) are of the probe under way.
    """

    __slots__ = (
        "certificate",
        "certificate_due",
        "dns",
        "due",
        "generation",
        "in_phase",
        "kind",
        "last",
        "lost",
        "missed",
        "profile",
        "resolved",
        "running",
        "share",
        "spec",
        "started",
        "started_wall",
        "transfer",
        "url",
        "version",
        "waiting",
        "wanted",
        "where",
    )

    def __init__(self, spec: CheckSpec, generation: int) -> None:
        self.spec = spec
        self.generation = generation
        self.kind = KINDS.get(type(spec.probe))
        self.profile = (type(spec.probe), self.kind.profile(spec.probe) if self.kind else None)
        self.url = self.kind.url(spec.probe) if self.kind else ""
        self.running = True
        self.waiting = False
        self.due = 0.0
        self.in_phase = self.last = 0.0
        self.missed = 0
        self.wanted = False
        self.version = spec.version
        self.started = 0.0
        self.started_wall = 0.0
        self.dns = self.lost = 0.0
        self.transfer: Transfer | None = None
        self.where: Where | None = None
        self.resolved: object = None
        self.certificate_due = 0.0
        self.certificate = NO_CERTIFICATE
        self.share = _session_share() if spec.probe.tls and spec.probe.tls.resume else None

    @property
    def interval(self) -> float:
        return self.spec.interval

    @property
    def is_busy(self) -> bool:
        """Whether a probe is under way."""
        return self.transfer is not None or self.waiting

    def wants_certificate(self, now: float) -> bool:
        return self.spec.probe.tls is not None and now >= self.certificate_due

    def saw_certificate(self, certificate: Certificate, *, accepted: bool) -> None:
        """It is looked at again after a while, and at the next probe where it was not accepted or none was seen."""
        if certificate.expires:
            self.certificate = certificate
        left = certificate.ends - self.started_wall
        wait = left if 0 < left < CERTIFICATE_EVERY else CERTIFICATE_EVERY
        self.certificate_due = self.started + wait if accepted and certificate.expires else 0.0


def _session_share() -> pycurl.CurlShare:
    """Where one check's TLS session is kept: libcurl's own memory of sessions is for a few dozen targets."""
    share = pycurl.CurlShare()
    share.setopt(pycurl.SH_SHARE, pycurl.LOCK_DATA_SSL_SESSION)
    return share
