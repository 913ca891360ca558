"""HTTP and HTTPS probes: the request, and which answers are healthy."""

import pycurl

from controller.probes.files import TlsFiles
from controller.probes.transfer import MAX_EXCERPT, MAX_READ, Transfer, Verdict
from reconcilers.fields import compiled
from reconcilers.health import Outcome, Reason
from reconcilers.spec import CheckSpec, HttpGet


def profile(probe: HttpGet) -> object:
    """Returns the key of the transfers that this probe can use. Probes with the same profile share transfers."""
    return (probe.method, probe.headers, probe.tls, probe.reuse, bool(probe.expect_body), _host_header(probe))


def transfer(probe: HttpGet, files: TlsFiles) -> Transfer:
    """Returns a new transfer for probes of this profile."""
    made = Transfer(probe.tls, files, reuse=probe.reuse, kept=MAX_READ if probe.expect_body else MAX_EXCERPT)
    made.curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
    if probe.method == "HEAD":
        made.curl.setopt(pycurl.NOBODY, 1)
    if headers := [*_host_header(probe), *(f"{name}: {value}" for name, value in probe.headers)]:
        made.curl.setopt(pycurl.HTTPHEADER, headers)
    return made


def url(probe: HttpGet) -> str:
    """Returns the URL for libcurl. Its host is the name for SNI and for the verification of the certificate."""
    if probe.tls and probe.tls.server_name:
        return f"https://{probe.tls.server_name}:{probe.port}{probe.path}"
    return probe.url


def answered(transfer: Transfer, spec: CheckSpec) -> Verdict:
    """Returns the verdict on an answer, of which at most `MAX_READ` bytes were read."""
    probe, status = spec.probe, transfer.status()
    assert isinstance(probe, HttpGet)  # noqa: S101 - the engine asks the kind that the probe is of
    output = transfer.excerpt() if spec.output.keeps(success=False) else ""
    if not any(low <= status <= high for low, high in probe.expect_status):
        reason = Reason.REDIRECT if 300 <= status < 400 else Reason.STATUS
        return Verdict(Outcome.FAILURE, reason, f"answered with status {status}", output, status)
    if not transfer.has_head:
        detail = "the connection was closed in the middle of the answer's headers"
        return Verdict(Outcome.FAILURE, Reason.PROTOCOL, detail, output, status)
    if probe.expect_body and not compiled(probe.expect_body).search(_as_utf8(transfer.body)):
        detail = f"the body does not match {probe.expect_body[:200]!r}"
        return Verdict(Outcome.FAILURE, Reason.BODY, detail, output, status)
    return Verdict(Outcome.SUCCESS, output=output if spec.output.keeps(success=True) else "", status_code=status)


def failed(transfer: Transfer, code: int, message: str, spec: CheckSpec) -> Verdict:
    """Returns the verdict on a transfer that ended with an error. A too long body is judged by what was read of it."""
    if code == pycurl.E_WRITE_ERROR and transfer.is_cut:
        return answered(transfer, spec)
    return transfer.failed(code, message, spec)


def _host_header(probe: HttpGet) -> tuple[str, ...]:
    """The Host header names the check's host, even when TLS uses another server name."""
    return (f"Host: {probe.host}:{probe.port}",) if probe.tls and probe.tls.server_name else ()


def _as_utf8(body: bytearray) -> bytes:
    """Replaces bytes that are not UTF-8 by U+FFFD, as Go's regular expressions do."""
    return body.decode("utf-8", "replace").encode()
