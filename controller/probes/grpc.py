"""gRPC probes: one call of grpc.health.v1.Health/Check over HTTP/2.

Sources: the gRPC health checking protocol (grpc/doc/health-checking.md), gRPC over HTTP/2 (PROTOCOL-HTTP2.md), the
status codes of gRPC (statuscodes.md), and the encoding of protocol buffers (protobuf.dev, "Encoding").
"""

import struct
from urllib.parse import unquote_to_bytes

from controller.probes.exchange import Exchange
from controller.probes.http2 import UnaryCall, header_block
from controller.probes.text import sound
from controller.probes.verdict import Verdict, bracketed
from reconcilers.health import Outcome, Reason
from reconcilers.spec import CheckSpec, GrpcHealth

ALPN = "h2"
NEEDS_ALPN = True
METHOD = "/grpc.health.v1.Health/Check"
UNKNOWN = 2
SERVING_STATUS = 1
"""The number of the field `status` in a HealthCheckResponse."""

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


def prepared(probe: GrpcHealth) -> tuple[bytes, bytes]:
    """Returns the header block and the message, which are the same in all probes of a check."""
    host = (probe.tls and probe.tls.server_name) or probe.host
    headers = [
        (":method", "POST"),
        (":scheme", "https" if probe.tls else "http"),
        (":path", METHOD),
        (":authority", f"{bracketed(host)}:{probe.port}"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
    return header_block(headers), message(probe.service)


def exchange(prepared: tuple[bytes, bytes], previous: Exchange | None) -> UnaryCall:
    """Returns the next call on the connection of `previous`, or the first one on a new connection."""
    return UnaryCall(*prepared, previous if isinstance(previous, UnaryCall) else None)


def message(service: str) -> bytes:
    """Returns HealthCheckRequest{service} with gRPC's prefix of flag and length."""
    name = service.encode()
    encoded = b"\x0a" + _varint(len(name)) + name if name else b""
    return struct.pack(">BI", 0, len(encoded)) + encoded


def verdict(answer: Exchange, spec: CheckSpec) -> Verdict:
    """Returns the verdict on a complete answer."""
    probe = spec.probe
    assert isinstance(probe, GrpcHealth)  # noqa: S101 - the kind is chosen by the probe's type
    assert isinstance(answer, UnaryCall)  # noqa: S101 - as above
    status, trailers = answer.status, answer.headers
    if status != 200 or "grpc-status" not in trailers:
        detail = f"answered with HTTP status {status}{'' if status != 200 else ', but not as gRPC'}"
        return Verdict(Outcome.FAILURE, Reason.PROTOCOL, detail, status_code=status)
    code = _code(trailers["grpc-status"])
    text = _decoded(trailers.get("grpc-message", "")) if spec.output.keeps(success=False) else ""
    try:
        serving = serving_status(bytes(answer.body)) if code == 0 else 0
    except ValueError as error:
        return Verdict(
            Outcome.FAILURE, Reason.PROTOCOL, f"the answer cannot be understood: {error}", status_code=status
        )
    reason, detail = _judge(code, serving, probe.service, text)
    return Verdict(Outcome.FAILURE if reason else Outcome.SUCCESS, reason, detail, status_code=status)


def excerpt(_: Exchange) -> str:
    return ""


def serving_status(body: bytes) -> int:
    """Returns the field `status` of the HealthCheckResponse in `body`; 0 (UNKNOWN) if it is missing.

    Unknown fields are skipped, and the last value of a field counts, as protocol buffers specify.

    Raises:
        ValueError: `body` is not one message that can be decoded.
    """
    if len(body) < 5 or body[0] or struct.unpack(">I", body[1:5])[0] != len(body) - 5:
        raise ValueError("expected one message that is not compressed")
    status, at = 0, 5
    while at < len(body):
        tag, at = _read_varint(body, at)
        number, kind = tag >> 3, tag & 7
        match kind:
            case 0:
                value, at = _read_varint(body, at)
                status = value & 0xFFFFFFFF if number == SERVING_STATUS else status
            case 1 | 5:
                at += 8 if kind == 1 else 4
            case 2:
                length, at = _read_varint(body, at)
                at += length
            case _:
                raise ValueError(f"a field of the wire type {kind}")
        if not number or at > len(body):
            raise ValueError("a message that ends too early")
    return status


def _read_varint(body: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(body):
            break
        number |= (body[at] & 0x7F) << shift
        at += 1
        if not body[at - 1] & 0x80:
            return number, at
    raise ValueError("a message that ends too early")


def _code(text: str) -> int:
    """Returns the status code; UNKNOWN for a malformed one, as gRPC specifies."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 3 else UNKNOWN


def _judge(code: int, serving: int, service: str, text: str) -> tuple[Reason, str]:
    """Returns the reason and the sentence. `Reason.NONE` means healthy."""
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
            return Reason.STATUS, f"{name}{': ' + sound(text[:200]) if text else ''}"


def _decoded(text: str) -> str:
    return unquote_to_bytes(text).decode("utf-8", "replace")


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])
