"""HTTP/2 that no library would send: behaviours for `Target.greeting` that answer one gRPC call, frame by frame."""

import struct
from collections.abc import Iterable

from tests.support.targets import Behaviour, Connection

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SERVING = b"\0\0\0\0\x02\x08\x01"
"""gRPC's prefix, and a HealthCheckResponse that says SERVING."""
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
ACK, END_STREAM, END_HEADERS = 1, 1, 4
STATUS_200 = b"\x88"

Fields = Iterable[tuple[bytes, bytes]]


def grpc_answer(trailers: Fields, headers: Fields = ((b"content-type", b"application/grpc"),)) -> Behaviour:
    """Answers SERVING with any trailers. Names and values are sent as they are, each shorter than 127 bytes."""

    def behave(connection: Connection) -> None:
        connection.sock.settimeout(10)
        _await_request(connection)
        connection.send(_frame(SETTINGS, 0, 0, b"") + _frame(SETTINGS, ACK, 0, b""))
        connection.send(_frame(HEADERS, END_HEADERS, 1, STATUS_200 + _fields(headers)))
        connection.send(_frame(DATA, 0, 1, SERVING))
        connection.send(_frame(HEADERS, END_HEADERS | END_STREAM, 1, _fields(trailers)))
        while connection.sock.recv(4096):
            pass

    return behave


def refuses(how: str) -> Behaviour:
    """Reports that it has not processed the call, and closes."""

    def behave(connection: Connection) -> None:
        connection.sock.settimeout(10)
        _await_request(connection)
        refusal = {
            "GOAWAY": _frame(GOAWAY, 0, 0, bytes(8)),
            "GOAWAY, then the end": _frame(GOAWAY, 0, 0, struct.pack(">II", 2**31 - 1, 0)),
            "REFUSED_STREAM": _frame(RST_STREAM, 0, 1, struct.pack(">I", 7)),
        }
        connection.send(_frame(SETTINGS, 0, 0, b"") + refusal[how])

    return behave


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """Uses the first behaviour for the first connection, and so on, and the last one for all others."""
    left = list(behaviours)

    def behave(connection: Connection) -> None:
        now = left.pop(0) if len(left) > 1 else left[0]
        now(connection)

    return behave


def _await_request(connection: Connection) -> None:
    """Waits until the frame that begins stream 1 has arrived."""
    heard = b""
    while not (more := heard.removeprefix(PREFACE)) or len(heard) < len(PREFACE) or not _has_headers(more):
        if not (new := connection.sock.recv(4096)):
            raise ConnectionError
        heard += new


def _has_headers(frames: bytes) -> bool:
    while len(frames) >= 9:
        length = int.from_bytes(frames[:3])
        if frames[3] == HEADERS:
            return True
        frames = frames[9 + length :]
    return False


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _fields(fields: Fields) -> bytes:
    """Literal fields without indexing (RFC 7541, 6.2.2)."""
    return b"".join(b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in fields)
