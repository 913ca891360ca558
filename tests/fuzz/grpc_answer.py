"""However libFuzzer's answer in HTTP/2 is split, reading it ends in the same result; what it says is read as protocol
buffers are.

    python -m tests.fuzz.grpc_answer -max_total_time=60 NEW_FOLDER

See `tests/fuzz/manifest.py` for the options and for what becomes of an input that breaks the promise.
"""

import struct
import sys

import atheris
import hpack
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from grpc_health.v1 import health_pb2

with atheris.instrument_imports(include=["controller.probes.http2", "controller.probes.grpc"]):
    from controller.probes import grpc
    from controller.probes.http2 import MAX_READ, UnaryCall, frame

from tests.fuzz.splits import answer_from, parts


def _block(*fields: tuple[str, str]) -> bytes:
    return bytes(hpack.Encoder().encode(list(fields)))


LEADING = _block((":status", "200"), ("content-type", "application/grpc"))
TRAILERS = _block(("grpc-status", "0"), ("grpc-message", "fine"))
SERVING = b"\0\0\0\0\x02\x08\x01"
PIECES = [
    *(
        frame(4, 0, 0, struct.pack(">HI", 3, 100)),
        frame(4, 1, 0),
        frame(6, 0, 0, b"12345678"),
        frame(8, 0, 0, b"\0\0\0\5"),
    ),
    *(
        frame(1, 4, 1, LEADING),
        frame(1, 0, 1, LEADING[:3]),
        frame(9, 4, 1, LEADING[3:]),
        frame(1, 4, 1, _block((":status", "103"))),
    ),
    *(
        frame(0, 0, 1, SERVING),
        frame(0, 8, 1, b"\1" + SERVING + b"\0"),
        frame(0, 1, 1, SERVING),
        frame(0, 0, 1, b"x" * 16_384),
    ),
    *(
        frame(1, 5, 1, TRAILERS),
        frame(3, 0, 1, b"\0\0\0\0"),
        frame(7, 0, 0, struct.pack(">II", 1, 0)),
        frame(7, 0, 0, b"\0" * 8),
    ),
    *(frame(5, 4, 1, b"\0\0\0\2"), frame(99, 0, 0, b"x"), frame(0, 0, 3, SERVING), b"HTTP/1.1 400 Bad Request\r\n\r\n"),
]
Told = tuple[bool, object, int, bytes, dict[str, str], bool, bytes]


def told(call: UnaryCall, replies: bytes) -> Told:
    """Returns the input of a verdict, and what is sent to the server."""
    cause = call.failure and call.failure.cause
    return call.is_done, cause, call.status, bytes(call.body), call.headers, call.is_keepable, replies


def one_input(data: bytes) -> None:
    """See the module."""
    provider = atheris.FuzzedDataProvider(data)
    if provider.ConsumeBool():
        a_message(provider.ConsumeBytes(200))
    else:
        a_call(provider)


def a_message(encoded: bytes) -> None:
    """`serving_status` accepts what protocol buffers accept, groups aside, and reads the same from it."""
    try:
        expected = health_pb2.HealthCheckResponse.FromString(encoded).status & 0xFFFFFFFF
    except DecodeError:
        expected = None
    try:
        found = grpc.serving_status(struct.pack(">BI", 0, len(encoded)) + encoded)
    except ValueError:
        return
    if expected is not None and found != expected:
        raise ValueError(f"{encoded!r} is read as {found}, by protocol buffers as {expected}")


def a_call(provider: atheris.FuzzedDataProvider) -> None:
    answer = answer_from(provider, PIECES)
    whole, split = UnaryCall(b"", b""), UnaryCall(b"", b"")
    replies = whole.receive(answer) if answer else b""
    said = b""
    for part in parts(provider, answer):
        if split.failure:
            break
        said += split.receive(part)
    if told(whole, replies) != told(split, said):
        raise ValueError(f"{answer!r}: {told(whole, replies)} whole, {told(split, said)} in parts")
    for each in (whole, split):
        each.end(clean=True)
    if told(whole, replies) != told(split, said) or not whole.is_done:
        raise ValueError(f"{answer!r}: {told(whole, replies)} whole, {told(split, said)} in parts, at the end")
    if len(split.body) > MAX_READ:
        raise MemoryError(f"{len(split.body)} bytes of a body")


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
