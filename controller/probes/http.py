"""HTTP and HTTPS probes: the request in HTTP/1.1, and which answers of any version are healthy."""

from collections.abc import Sequence
from importlib.metadata import version

from controller.probes.exchange import Exchange
from controller.probes.http2 import UnaryCall
from controller.probes.http_answer import MAX_EXCERPT, MAX_READ, HttpExchange, Prepared
from controller.probes.verdict import Verdict, bracketed
from reconcilers.fields import compiled
from reconcilers.health import FAILURE, SUCCESS, WARNING, Reason
from reconcilers.json_expression import fault as json_fault
from reconcilers.spec import WITH_BODY, CheckSpec, HttpGet

ALPN = "http/1.1"
NEEDS_ALPN = False
"""HTTP/1.1 needs no agreement, because servers without ALPN also support it."""
USER_AGENT = f"podpulse/{version('podpulse')}"
REDIRECTS = frozenset({301, 302, 303, 307, 308})
"""The statuses that lead elsewhere by themselves. 300 leaves the choice to the client, and 304 is about its cache."""
NOT_FOLLOWED = ", a redirect: write the path that it leads to as status.path, or status.follow_redirects"
NO_REASON = Reason.NONE
CUT_HEAD = "the connection was closed in the middle of the answer's headers"
DEFAULT_PORTS = {False: 80, True: 443}


def prepared(probe: HttpGet) -> Prepared:
    """Returns the parts that all probes of a check share. Headers of the check replace the default headers."""
    headers = [("Host", authority(probe)), *fields(probe)]
    if any(name.lower() == "upgrade" for name, _ in probe.headers):
        headers.append(("Connection", "Upgrade"))
    lines = [f"{probe.method} {probe.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
    return Prepared("\r\n".join(lines).encode() + probe.body.encode(), kept(probe), probe.method == "HEAD")


def authority(probe: HttpGet) -> str:
    """Returns the host that the request names, with its port: that of the check, unless its headers name another."""
    for name, value in probe.headers:
        if name.lower() == "host":
            return value
    host = bracketed(probe.host)
    by_name = bool(probe.tls and probe.tls.server_name)
    return host if probe.port == DEFAULT_PORTS[probe.tls is not None] and not by_name else f"{host}:{probe.port}"


def fields(probe: HttpGet) -> Sequence[tuple[str, str]]:
    """Returns the header fields of the request, without the host."""
    given = {name.lower() for name, _ in probe.headers}
    defaults = [("User-Agent", USER_AGENT), ("Accept", "*/*")]
    own = [each for each in defaults if each[0].lower() not in given]
    length = [("Content-Length", f"{len(probe.body.encode())}")] if probe.method in WITH_BODY else []
    return own + [each for each in probe.headers if each[0].lower() != "host"] + length


def kept(probe: HttpGet) -> int:
    """Returns how many bytes of a body are kept."""
    return MAX_READ if probe.expect_body or probe.expect_body_not or probe.expect_json else MAX_EXCERPT


def exchange(prepared: Prepared, _: Exchange | None) -> HttpExchange:
    """Returns a new exchange for one probe."""
    return HttpExchange(prepared)


def verdict(answer: Exchange, spec: CheckSpec) -> Verdict:
    """Returns the verdict on an answer, of which at most `MAX_READ` bytes were read."""
    probe = spec.probe
    assert isinstance(probe, HttpGet)  # noqa: S101 - the kind is chosen by the probe's type
    assert isinstance(answer, HttpExchange | UnaryCall)  # noqa: S101 - as above
    if probe.warn_status and (warned := _warned(answer, spec, probe)):
        return warned
    status, fault = answer.status, _fault(answer, spec, probe)
    output = excerpt(answer) if spec.output.keeps(success=fault is None) else ""
    return Verdict(FAILURE, *fault, output, status) if fault else Verdict(SUCCESS, NO_REASON, "", output, status)


def _warned(answer: HttpExchange | UnaryCall, spec: CheckSpec, probe: HttpGet) -> Verdict | None:
    """Returns a warning if the answer has a status of `warn_status`, a failure if it has no complete head."""
    status = answer.status
    if not warns(probe, status):
        return None
    output = excerpt(answer) if spec.output.keeps(success=False) else ""
    if not answer.has_head:
        return Verdict(FAILURE, Reason.PROTOCOL, CUT_HEAD, output, status)
    return Verdict(WARNING, Reason.STATUS, f"answered with status {status} (warn_status)", output, status)


def _fault(answer: HttpExchange | UnaryCall, spec: CheckSpec, probe: HttpGet) -> tuple[Reason, str] | None:
    """Returns why an answer is not healthy, as a label and as a sentence."""
    status = answer.status
    for low, high in probe.expect_status:  # a call of `expects` in each probe would cost more
        if low <= status <= high:
            break
    else:
        detail = f"answered with status {status}"
        return (Reason.REDIRECT, f"{detail}{NOT_FOLLOWED}") if status in REDIRECTS else (Reason.STATUS, detail)
    if not answer.has_head:
        return Reason.PROTOCOL, CUT_HEAD
    if probe.expect_body and not compiled(probe.expect_body).search(_as_utf8(answer.body)):
        return Reason.BODY, f"the body does not match {probe.expect_body[:200]!r}"
    if probe.expect_body_not and compiled(probe.expect_body_not).search(_as_utf8(answer.body)):
        return Reason.BODY, f"the body matches {probe.expect_body_not[:200]!r} (expect_body_not)"
    if probe.expect_json and (problem := json_fault(probe.expect_json, bytes(answer.body))):
        if probe.credential_file or not spec.output.keeps(success=False):  # the problem may quote the body
            problem = f"{probe.expect_json[:200]!r} is not true (expect_json)"
        cut = ", of which only the first 64 KiB were read" if len(answer.body) >= MAX_READ else ""
        return Reason.BODY, f"{problem}{cut}"
    return None


def expects(probe: HttpGet, status: int) -> bool:
    """Returns whether the status is a healthy one."""
    return any(low <= status <= high for low, high in probe.expect_status)


def warns(probe: HttpGet, status: int) -> bool:
    """Returns whether the status makes the pod warning."""
    return any(low <= status <= high for low, high in probe.warn_status)


def excerpt(answer: Exchange) -> str:
    """Returns the excerpt to show of the answer of a failed probe."""
    assert isinstance(answer, HttpExchange | UnaryCall)  # noqa: S101 - as above
    return answer.body[:MAX_EXCERPT].decode("utf-8", "replace") if answer.body else ""


def _as_utf8(body: bytearray) -> bytes:
    """Replaces bytes that are not UTF-8 by U+FFFD, as Go's regular expressions do."""
    return body.decode("utf-8", "replace").encode()
