"""gRPC probes: one call of grpc.health.v1.Health/Check over HTTP/2.

The request and the response have one field each, so this module encodes and decodes them itself.

Sources: the gRPC health checking protocol (grpc/doc/health-checking.md), gRPC over HTTP/2 (PROTOCOL-HTTP2.md), and the
status codes of gRPC (statuscodes.md).
"""

import struct
from urllib.parse import unquote_to_bytes

import pycurl

from controller.probes.files import TlsFiles
from controller.probes.text import sound
from controller.probes.transfer import Transfer, Verdict
from reconcilers.health import Outcome, Reason
from reconcilers.spec import CheckSpec, GrpcHealth

METHOD = "/grpc.health.v1.Health/Check"
MAX_ANSWER = 1024
CUT_SHORT = ("Send failure", "Recv failure", "unexpected eof", "errno 104")
"""The words of libcurl and OpenSSL for a connection that ended without a TLS close_notify."""
RIGHT_AFTER = 1.0
"""Seconds after the handshake within which an end of the connection counts as its refusal."""

CODES = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
]


def profile(probe: GrpcHealth) -> object:
    """Returns the key of the transfers for this probe. A transfer holds the request with the service's name."""
    return ("grpc", probe.service, probe.tls, probe.reuse)


def transfer(probe: GrpcHealth, files: TlsFiles) -> Transfer:
    """Returns a new transfer for probes of this profile."""
    made = Transfer(probe.tls, files, reuse=probe.reuse, kept=MAX_ANSWER, with_headers=True)
    plain, secure = pycurl.CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE, pycurl.CURL_HTTP_VERSION_2TLS
    made.curl.setopt(pycurl.HTTP_VERSION, secure if probe.tls else plain)
    made.curl.setopt(pycurl.POST, 1)
    made.curl.setopt(pycurl.POSTFIELDS, request(probe.service))
    made.curl.setopt(pycurl.HTTPHEADER, ["Content-Type: application/grpc", "TE: trailers", "Expect:", "Accept:"])
    return made


def url(probe: GrpcHealth) -> str:
    """Returns the URL of the method. Its host is the name for SNI and for the verification of the certificate."""
    host = (probe.tls and probe.tls.server_name) or probe.host
    return f"{'https' if probe.tls else 'http'}://{host}:{probe.port}{METHOD}"


def request(service: str) -> bytes:
    """Returns HealthCheckRequest{service} with gRPC's prefix of flag and length."""
    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    return struct.pack(">BI", 0, len(message)) + message


def answered(transfer: Transfer, spec: CheckSpec) -> Verdict:
    """Returns the verdict on a complete answer."""
    probe, status = spec.probe, transfer.status()
    assert isinstance(probe, GrpcHealth)  # noqa: S101 - the engine asks the kind that the probe is of
    trailers = _trailers(transfer.headers)
    if status != 200 or "grpc-status" not in trailers:
        detail = f"answered with HTTP status {status}{'' if status != 200 else ', but not as gRPC'}"
        return Verdict(Outcome.FAILURE, Reason.PROTOCOL, detail, status_code=status)
    code = _code(trailers["grpc-status"])
    message = trailers.get("grpc-message", "") if spec.output.keeps(success=False) else ""
    reason, detail = _judge(code, _serving(bytes(transfer.body)), probe.service, message)
    return Verdict(Outcome.FAILURE if reason else Outcome.SUCCESS, reason, detail, status_code=status)


def failed(transfer: Transfer, code: int, message: str, spec: CheckSpec) -> Verdict:
    """Returns the verdict on a transfer that ended with an error."""
    if spec.probe.tls and not spec.probe.tls.cert_file and _is_turned_away(transfer, message):
        detail = "closed right after the TLS handshake: perhaps a client certificate is demanded"
        return Verdict(Outcome.FAILURE, Reason.TLS, detail)
    return transfer.failed(code, message, spec)


def _is_turned_away(transfer: Transfer, message: str) -> bool:
    """Returns whether the server closed the connection right after our handshake, without a readable alert.

    In TLS 1.3 a server refuses a missing client certificate only then, and not every server sends an alert. Whether we
    see a FIN or an RST, and whether we are reading or writing, depends on timing: all cases have the same meaning.
    """
    get = transfer.curl.getinfo
    if transfer.headers or not get(pycurl.NUM_CONNECTS) or not (shaken := get(pycurl.APPCONNECT_TIME)):
        return False
    return any(sign in message for sign in CUT_SHORT) and get(pycurl.TOTAL_TIME) - shaken < RIGHT_AFTER


def _code(text: str) -> int:
    """Returns the status code; UNKNOWN for a malformed one, as gRPC specifies."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 3 else 2


def _judge(code: int, serving: int, service: str, message: str) -> tuple[Reason, str]:
    """Returns reason and sentence. `Reason.NONE` means healthy."""
    what = f"service {service[:200]!r}" if service else "the server"
    match code, serving:
        case 0, 1:
            return Reason.NONE, ""
        case 0, 2:
            return Reason.NOT_SERVING, f"{what} is NOT_SERVING"
        case (0, 3) | (5, _):
            return Reason.NOT_SERVING, f"{what} is not known to the health service"
        case 0, _:
            return Reason.STATUS, f"{what} is UNKNOWN: its health was not set"
        case 12, _:
            return Reason.PROTOCOL, "UNIMPLEMENTED: the server has no grpc.health.v1.Health"
        case _:
            name = CODES[code] if code < len(CODES) else str(code)
            return Reason.STATUS, f"{name}{': ' + sound(message[:200]) if message else ''}"


def _trailers(lines: list[bytes]) -> dict[str, str]:
    """Returns the last value of each header and trailer, with names in lower case and percent-encoding decoded."""
    pairs = (line.decode("latin-1").partition(":") for line in lines if b":" in line)
    return {
        name.strip().lower(): unquote_to_bytes(value.strip()).decode("utf-8", "replace") for name, _, value in pairs
    }


def _serving(body: bytes) -> int:
    """Returns the field `status` of a HealthCheckResponse; 0 (UNKNOWN) if it is missing or the message is malformed."""
    message = body[5:]
    return message[1] if len(message) >= 2 and message[0] == 0x08 else 0


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])
