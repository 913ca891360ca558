"""HTTP and HTTPS probes: what is asked, and which answers are healthy."""

import pycurl

from controller.probes.files import TlsFiles
from controller.probes.transfer import MAX_EXCERPT, MAX_READ, Transfer, Verdict
from reconcilers.fields import compiled
from reconcilers.health import Outcome, Reason
from reconcilers.spec import CheckSpec, HttpGet


def profile(probe: HttpGet) -> object:
    """What a transfer is set up for once; probes of the same profile take turns with it."""
    return (probe.method, probe.headers, probe.tls, probe.reuse, bool(probe.expect_body), _host_header(probe))


def transfer(probe: HttpGet, files: TlsFiles) -> Transfer:
    """A new transfer for probes of this profile."""
    made = Transfer(probe.tls, files, reuse=probe.reuse, kept=MAX_READ if probe.expect_body else MAX_EXCERPT)
    made.curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
    if probe.method == "HEAD":
        made.curl.setopt(pycurl.NOBODY, 1)
    if headers := [*_host_header(probe), *(f"{name}: {value}" for name, value in probe.headers)]:
        made.curl.setopt(pycurl.HTTPHEADER, headers)
    return made


def url(probe: HttpGet) -> str:
    """What libcurl is asked for: with the name that TLS is to ask for and to verify."""
    if probe.tls and probe.tls.server_name:
        return f"https://{probe.tls.server_name}:{probe.port}{probe.path}"
    return probe.url


def answered(transfer: Transfer, spec: CheckSpec) -> Verdict:
    """The verdict over an answer that was read, as far as it is read."""
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
    """The verdict over a transfer that ended with an error; a body that is only too long is judged as far as read."""
    if code == pycurl.E_WRITE_ERROR and transfer.is_cut:
        return answered(transfer, spec)
    return transfer.failed(code, message, spec)


def _host_header(probe: HttpGet) -> tuple[str, ...]:
    """The host is asked for by its own name even when TLS asks for another."""
    return (f"Host: {probe.host}:{probe.port}",) if probe.tls and probe.tls.server_name else ()


def _as_utf8(body: bytearray) -> bytes:
    """Bytes that are no UTF-8 as U+FFFD, as Go's regular expressions see them."""
    return body.decode("utf-8", "replace").encode()
