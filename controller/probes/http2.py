"""One request over HTTP/2, without I/O: as much of RFC 9113 as a client needs that has one stream at a time.

A general library costs several times as much per call, because it keeps the state of many streams.
"""

import re
import struct
from collections.abc import Sequence
from typing import NamedTuple

import hpack

from controller.probes.failure import Cause, Failure

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_READ = 64 * 1024
MAX_FRAME = 16_384
"""The largest payload of a frame that a peer may send: the initial value of SETTINGS_MAX_FRAME_SIZE."""
DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 5, 6, 7, 8, 9
REFUSED_STREAM = 0x7
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
NO_PUSH = struct.pack(">HI", 0x2, 0)
"""SETTINGS_ENABLE_PUSH = 0."""
WINDOW = struct.pack(">HI", 0x4, 2 * MAX_READ)
"""SETTINGS_INITIAL_WINDOW_SIZE: room for one byte more than is read, so that a body that is too long is noticed."""
FIRST_WINDOW = 65_535
"""The initial flow-control window of a connection, which only WINDOW_UPDATE changes."""
REQUEST_TIMEOUT = 408
BODILESS = (204, 304)
NAME = re.compile(rb":?[!#$%&'*+.^_`|~0-9a-z-]+")
"""The name of a header field: a token without upper case (RFC 9113, 8.2.1)."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Returns one frame."""
    return struct.pack(">I", len(payload) << 8 | kind) + struct.pack(">BI", flags, stream) + payload


class Form(NamedTuple):
    """How a request that is no call of gRPC differs from one.

    Its answer may be longer than `MAX_READ`: then the part that was read counts. `kept` is how many bytes of a body are
    kept. `is_head` says that the method is HEAD.
    """

    kept: int
    is_head: bool


class UnaryCall:
    """Sends one request and reads headers, body and trailers of the answer.

    `previous` is the call before it on the same connection. `form` is None for gRPC. `headers` has the last value of
    each header and trailer, with names in lower case.
    """

    __slots__ = (
        "_block",
        "_body_size",
        "_buffer",
        "_decoder",
        "_ends",
        "_form",
        "_is_first",
        "_owed",
        "_read",
        "_size",
        "_stream",
        "body",
        "failure",
        "has_begun",
        "headers",
        "is_done",
        "is_going",
        "is_keepable",
        "request",
        "status",
    )

    def __init__(
        self, block: bytes, message: bytes, previous: "UnaryCall | None" = None, form: Form | None = None
    ) -> None:
        self._form = form
        self._body_size = 0
        self._stream: int = previous._stream + 2 if previous else 1  # noqa: SLF001 - the same class
        self._decoder: hpack.Decoder = previous._decoder if previous else hpack.Decoder(MAX_READ)  # noqa: SLF001
        self._is_first = previous is None
        self._buffer: bytes = previous._buffer if previous else b""  # noqa: SLF001
        self._block: bytes | None = None
        self._ends = False
        self._size = 0
        self._owed = b""
        """Acknowledgements that came with the end of the answer. They are sent before the next request."""
        self._read = 0
        """Bytes of DATA frames, which the next call returns to the server's flow-control window of the connection."""
        self.body = bytearray()
        self.headers: dict[str, str] = {}
        self.status = 0
        self.failure: Failure | None = None
        self.is_done = self.has_begun = self.is_keepable = False
        self.is_going = False
        """Whether the server has announced with GOAWAY that it ends the connection."""
        opening = previous._debt() if previous else _opening(form)  # noqa: SLF001
        self.request = opening + _request(self._stream, block, message, form)

    def _debt(self) -> bytes:
        """Returns the acknowledgements and the window update that the server waits for after this call."""
        window = frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", self._read)) if self._read else b""
        return self._owed + window

    @property
    def is_stale(self) -> bool:
        if self._form:
            return self.status == REQUEST_TIMEOUT or (self.is_going and not 200 <= self.status < 300)
        return self.is_going and self.headers.get("grpc-status") != "0"

    @property
    def has_head(self) -> bool:
        """Whether the headers of the final answer were read."""
        return self.status >= 200

    def receive(self, data: bytes) -> bytes:
        """Handle bytes from the server, also after the answer. Returns the acknowledgements that have to be sent."""
        was_done = self.is_done
        limit = 3 * MAX_READ if self._form else MAX_READ
        room = max(0, limit - self._size)
        self._buffer += data[:room]
        self._size += len(data)
        replies = self._read_frames()
        if self._size > limit:
            self._fail(Cause.HEAD_TOO_LONG)
        if self.is_done and not was_done:
            self._buffer += data[room:] if self._size > limit else b""
            self._owed = replies
        return replies

    def _read_frames(self) -> bytes:
        """Handle the complete frames. Returns the bytes that have to be sent."""
        replies = b""
        while not self.failure and len(self._buffer) >= 9:
            length = int.from_bytes(self._buffer[:3])
            kind, flags, stream = self._buffer[3], self._buffer[4], int.from_bytes(self._buffer[5:9]) & 0x7FFFFFFF
            if self._is_first and (kind != SETTINGS or stream or length % 6 or length > MAX_FRAME):
                self._fail(Cause.NOT_HTTP2)
                break
            if length > MAX_FRAME:
                self._fail(Cause.MALFORMED, "a frame that is too long")
                break
            if len(self._buffer) < 9 + length:
                break
            self._is_first = False
            payload, self._buffer = self._buffer[9 : 9 + length], self._buffer[9 + length :]
            replies += self._handle(kind, flags, stream, payload)
        if self._is_first and not self.is_done and not _may_be_settings(self._buffer):
            self._fail(Cause.NOT_HTTP2)
        return replies

    def end(self, *, clean: bool) -> None:  # noqa: ARG002 - HTTP/2 has its own end of an answer
        if self.is_done:
            return
        self.is_done = True
        if self.is_going:
            self.failure = Failure(Cause.GONE)
        else:
            self.failure = Failure(Cause.CUT_SHORT if self.has_begun else Cause.EMPTY)

    def abandon(self) -> None: ...

    def _handle(self, kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        if (self._block is not None) != (kind == CONTINUATION) or (self._block is not None and stream != self._stream):
            self._fail(Cause.MALFORMED, "a header block that is interrupted")
            return b""
        match kind:
            case 4 if not flags & ACK:
                return frame(SETTINGS, ACK, 0)
            case 6 if not flags & ACK:
                return frame(PING, ACK, 0, payload)
            case 7:
                self._on_goaway(payload)
            case 5:
                self._fail(Cause.MALFORMED, "a PUSH_PROMISE that was not allowed")
            case 0 | 1 | 3 | 9 if stream == self._stream:
                self._on_stream(kind, flags, payload)
        return b""

    def _on_goaway(self, payload: bytes) -> None:
        """A server that shuts down may still answer this stream if it has not refused it."""
        self.is_going, self.is_keepable = True, False
        last = int.from_bytes(payload[:4]) & 0x7FFFFFFF
        if last < self._stream:
            self._fail(Cause.GOAWAY)

    def _on_stream(self, kind: int, flags: int, payload: bytes) -> None:
        if self.is_done:
            self.is_keepable = self.is_keepable and kind == RST_STREAM
            return
        self.has_begun = True
        if kind == DATA:
            self._read += len(payload)
        try:
            if kind in (DATA, HEADERS):
                payload = _without_padding(kind, flags, payload)
            if kind == RST_STREAM:
                self._on_reset(int.from_bytes(payload[:4]))
            elif kind == DATA and self.status < 200:
                self._fail(Cause.STATUS_LINE)
            elif kind == DATA:
                self._on_body(payload)
                self._finish_if(flags & END_STREAM)
            else:
                self._on_block(kind, flags, payload)
        except (ValueError, hpack.HPACKError) as error:
            self._fail(Cause.MALFORMED, str(error))

    def _on_body(self, payload: bytes) -> None:
        self._body_size += len(payload)
        self.body += payload[: max(0, self._form.kept - len(self.body))] if self._form else payload
        if self._form and self._body_size > MAX_READ:
            self.is_done = True

    def _on_block(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == HEADERS:
            self._block, self._ends = payload, bool(flags & END_STREAM)
        else:
            self._block = (self._block or b"") + payload
        if not flags & END_HEADERS:
            return
        for name, value in self._decoder.decode(self._block, raw=True):
            if not NAME.fullmatch(bytes(name)):
                raise ValueError("a header field whose name is not valid")
            self.headers[bytes(name).decode("latin-1").lower()] = bytes(value).decode("latin-1")
        self._block = None
        text = self.headers.get(":status", "")
        self.status = int(text) if text.isascii() and text.isdigit() and len(text) == 3 else 0
        if not self.status:
            self._fail(Cause.STATUS_LINE)
        elif self.status < 200:
            self.headers.clear()
        else:
            self._finish_if(self._ends)

    def _on_reset(self, code: int) -> None:
        """RST_STREAM after a complete answer only stops the rest of our request."""
        if code == REFUSED_STREAM:
            self._fail(Cause.REFUSED_STREAM)
        else:
            self._fail(Cause.MALFORMED, f"the server reset the stream with error {code}")

    def _finish_if(self, ended: int | bool) -> None:
        if ended and not self.is_done:
            if self._form and self._is_of_another_length(self._form):
                raise ValueError("a body that is not as long as its Content-Length says")
            self.is_done = True
            self.is_keepable = not self.is_going

    def _is_of_another_length(self, form: Form) -> bool:
        said = self.headers.get("content-length", "")
        if form.is_head or self.status in BODILESS or not said:
            return False
        return not (said.isascii() and said.isdigit() and said.lstrip("0") == str(self._body_size).lstrip("0"))

    def _fail(self, cause: Cause, words: str = "") -> None:
        self.is_keepable = False
        if not self.is_done:
            self.is_done = True
            self.failure = Failure(cause, words=words)


def _opening(form: Form | None) -> bytes:
    """Returns what a client sends first on a connection."""
    if form is None:
        return PREFACE + frame(SETTINGS, 0, 0, NO_PUSH)
    window = frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2 * MAX_READ - FIRST_WINDOW))
    return PREFACE + frame(SETTINGS, 0, 0, NO_PUSH + WINDOW) + window


def _request(stream: int, block: bytes, message: bytes, form: Form | None) -> bytes:
    """Returns the frames of one request. gRPC always has a message, which may be empty; HTTP only one that is not.

    The message fits into one frame.
    """
    ends = END_STREAM if form and not message else 0
    data = b"" if ends else frame(DATA, END_STREAM, stream, message)
    if len(block) <= MAX_FRAME:
        return frame(HEADERS, END_HEADERS | ends, stream, block) + data
    first, *parts, last = (block[at : at + MAX_FRAME] for at in range(0, len(block), MAX_FRAME))
    middle = b"".join(frame(CONTINUATION, 0, stream, part) for part in parts)
    return frame(HEADERS, ends, stream, first) + middle + frame(CONTINUATION, END_HEADERS, stream, last) + data


def header_block(headers: Sequence[tuple[str, str]]) -> bytes:
    """Returns the header fields of a request, encoded without the dynamic table: the same bytes in each call."""
    return b"".join(_literal(name.encode(), value.encode()) for name, value in headers)


def _literal(name: bytes, value: bytes) -> bytes:
    """Returns a header field that is never put into the dynamic table (RFC 7541, 6.2.2), so that requests do not depend
    on each other."""
    return b"\x00" + _length(len(name)) + name + _length(len(value)) + value


def _length(number: int) -> bytes:
    """Returns an integer with a prefix of 7 bits (RFC 7541, 5.1)."""
    if number < 127:
        return bytes([number])
    encoded, number = bytearray([127]), number - 127
    while number > 127:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def _without_padding(kind: int, flags: int, payload: bytes) -> bytes:
    start, end = 0, len(payload)
    if flags & PADDED:
        if not payload or payload[0] >= len(payload):
            raise ValueError("a frame with more padding than it has room for")
        start, end = 1, end - payload[0]
    if kind == HEADERS and flags & PRIORITY:
        start += 5
    return payload[start:end]


def _may_be_settings(start: bytes) -> bool:
    """Returns whether `start`, fewer than 9 bytes, can begin a SETTINGS frame."""
    return not start[:1].strip(b"\0") and (len(start) < 4 or start[3] == SETTINGS)
