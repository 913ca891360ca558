"""Reads the answer to an HTTP request, without I/O."""

import re
from collections import deque
from typing import Any, NamedTuple

import httptools

from controller.probes.failure import Cause, Failure
from controller.probes.odd_headers import OddHeaders

MAX_READ = 64 * 1024
"""Bytes of the body that are read, and of the headers before it, with any informational answers."""
MAX_EXCERPT = 4 * 1024
STATUS_LINE = re.compile(rb"HTTP/(?:1\.[01]|2\.0) [1-9][0-9][0-9][ \r\n]")
START = len(b"HTTP/1.1 200 ")
BODILESS = (101, 204, 304)
TRANSFER_CODINGS = re.compile(rb"(?:(?:identity|chunked)[ \t]*,[ \t]*)*chunked|identity|")
"""The values of Transfer-Encoding, in lower case, that need no decompression."""
REQUEST_TIMEOUT = 408
"""With this status a server ends an idle connection (RFC 9110, 15.5.9)."""


class Prepared(NamedTuple):
    """The request, how many bytes of a body are kept, and whether the method is HEAD."""

    request: bytes
    kept: int
    is_head: bool


class UsualAnswer:
    """Reads an answer that arrived in one piece in the usual form: with a Content-Length, not chunked, without bytes
    before or after it. `HttpExchange` would get the same result at several times the cost."""

    __slots__ = ("_parser", "body", "is_complete", "is_keepable", "status")

    def __init__(self, data: bytes) -> None:
        self._parser: Any = None
        self.body = b""
        self.is_complete = self.is_keepable = False
        self.status = 0
        end = data.find(b"\r\n\r\n") + len(b"\r\n\r\n")
        if len(data) <= MAX_READ and STATUS_LINE.match(data) and b"\0" not in data[:end]:
            self._read(data)
        self.is_complete = self.is_complete and self.status >= 200 and end + len(self.body) == len(data)

    def _read(self, data: bytes) -> None:
        self._parser = httptools.HttpResponseParser(self)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.is_complete = False
        self._parser = None

    # Called by httptools

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.is_complete = True
        self.status = self._parser.get_status_code()
        self.is_keepable = bool(self._parser.should_keep_alive())


class HttpExchange:
    """Reads one answer in HTTP/1.1, and any informational answers (1xx) before it."""

    __slots__ = (
        "_framing",
        "_head",
        "_is_head",
        "_is_in_status_line",
        "_is_sized",
        "_kept",
        "_line",
        "_odd",
        "_parser",
        "_seen",
        "_size",
        "_transfer",
        "body",
        "failure",
        "has_begun",
        "has_head",
        "is_done",
        "is_keepable",
        "request",
        "status",
    )

    def __init__(self, prepared: "Prepared") -> None:
        self.request, self._kept, self._is_head = prepared
        self._size = self._framing = 0
        self._head = b""
        self._is_sized, self._is_in_status_line, self._transfer = False, True, b""
        self._seen = self._line = b""
        self._odd: OddHeaders | None = None
        """Set after httptools has refused a header. Then the head is read again, with each line rewritten."""
        self.body = bytearray()
        self.status = 0
        self.has_head = self.has_begun = self.is_done = self.is_keepable = False
        self.failure: Failure | None = None
        self._parser: Any = None
        """None at the end of reading. The parser refers to the exchange: a cycle would wait for the collector."""

    def _new_parser(self) -> httptools.HttpResponseParser:
        """Returns a parser that accepts deviations that are harmless to a client that reads one answer."""
        parser = httptools.HttpResponseParser(self)
        parser.set_dangerous_leniencies(
            lenient_headers=True,
            lenient_chunked_length=True,
            lenient_keep_alive=True,
            lenient_optional_lf_after_cr=True,
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )
        return parser

    def receive(self, data: bytes) -> bytes:
        if self.is_done:
            self._pass_over(data)
        elif self.has_begun or not self._read_usual(data):
            self._read(data)
        return b""

    def _read_usual(self, data: bytes) -> bool:
        """Returns whether `data` is an answer in the usual form, see `UsualAnswer`. If it is, it is read completely."""
        usual = UsualAnswer(data)
        if self._is_head or not usual.is_complete:
            return False
        self.has_begun = self.has_head = self.is_done = True
        self.status, self.is_keepable = usual.status, usual.is_keepable
        self.body += usual.body[: self._kept]
        return True

    def _read(self, data: bytes) -> None:
        self._parser = self._parser or self._new_parser()
        self.has_begun = True
        if len(self._head) < START:
            self._check_start(data)
        while data and not self.is_done:
            if not (room := MAX_READ - self._framing):
                self._fail(Cause.HEAD_TOO_LONG)
                break
            part, data = data[:room], data[room:]
            self._framing += len(part)
            self._feed(part)
        if self.is_done:
            self._parser = None

    def _check_start(self, data: bytes) -> None:
        """Distinguish another protocol from a malformed status line, by the start of the answer."""
        self._head += data[: START - len(self._head)]
        if not b"HTTP/".startswith(self._head[:5]):
            self._fail(Cause.NOT_HTTP)
        elif len(self._head) == START and not STATUS_LINE.match(self._head):
            self._fail(Cause.STATUS_LINE)

    def _feed(self, data: bytes) -> None:
        if self._odd:
            self._feed_lines(self._odd, data)
            return
        if not self.has_head:
            self._seen += data
        self._parse(data)

    def _feed_lines(self, odd: OddHeaders, data: bytes) -> None:
        lines = deque((self._line + data).split(b"\n"))
        self._line = lines.pop()
        while lines and not self.has_head and not self.is_done:
            if line := odd.rewritten(lines.popleft() + b"\n"):
                self._parse(line)
                if self._is_in_status_line and line.strip():
                    self._note_status()
        if not self.has_head or not (rest := b"\n".join([*lines, self._line])):
            return
        self._line = b""
        if self.is_done:
            self._pass_over(rest)
        else:
            self._parse(rest)

    def _pass_over(self, data: bytes) -> None:
        """Bytes after the answer end the connection, except line ends, which httptools passes over too."""
        self.is_keepable = self.is_keepable and not data.strip(b"\r\n")

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.status = self._parser.get_status_code()
            self.is_done = self.has_head = True
        except httptools.HttpParserError as error:
            self.is_keepable = False
            if self.has_head or self._odd:
                self._fail(Cause.STATUS_LINE if self._is_in_status_line else Cause.MALFORMED, str(error))
            elif not self.is_done:
                self._read_again()

    def _read_again(self) -> None:
        self._parser, self._odd = self._new_parser(), OddHeaders(is_head=self._is_head)
        self.status, self._is_sized, self._transfer = 0, False, b""
        seen, self._seen = self._seen, b""
        self._feed_lines(self._odd, seen)

    def end(self, *, clean: bool) -> None:
        if self.is_done:
            return
        self.is_done = True
        self._parser = None
        if not self.has_begun:
            self.failure = Failure(Cause.EMPTY)
        elif self.has_head and not (clean and self._ends_with_the_connection()):
            self.failure = Failure(Cause.CUT_SHORT)
        elif not self.status:
            self.failure = Failure(Cause.STATUS_LINE)

    def abandon(self) -> None:
        self._parser = None

    @property
    def is_stale(self) -> bool:
        return self.status == REQUEST_TIMEOUT or not self.has_head

    def _fail(self, cause: Cause, words: str = "") -> None:
        if not self.is_done:
            self.is_done = True
            self.failure = Failure(cause, words=words)

    # Called by httptools, also after the end of the answer if more bytes came with it

    def on_message_begin(self) -> None:
        if self.is_done:
            self.is_keepable = False
        self._is_in_status_line = True

    def on_status(self, reason: bytes) -> None:
        self._note_status()
        if b"\0" in reason:
            self._fail(Cause.MALFORMED, "a NUL byte in the status line")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.is_done:
            return
        if self._is_in_status_line:
            self._note_status()
        if b"\0" in value:
            self._fail(Cause.MALFORMED, "a NUL byte in a header")
        if len(name) == 14 and name.lower() == b"content-length":
            self._is_sized = True
        elif len(name) == 17 and name.lower() == b"transfer-encoding":
            coding = value.strip().lower()
            self._transfer = self._transfer + b"," + coding if self._transfer else coding
            self._is_sized = True

    def on_headers_complete(self) -> None:
        self._note_status()
        if not self.is_done and (self.status >= 200 or self.status == 101):
            self.has_head = True
            self._framing = 0
            self._seen = b""
            if not TRANSFER_CODINGS.fullmatch(self._transfer) and not self._has_no_body():
                self._fail(Cause.MALFORMED, f"Transfer-Encoding: {self._transfer[:99].decode('latin-1')}")
            elif self._is_head:
                self.is_done = True
                self.is_keepable = self.status >= 200 and bool(self._parser.should_keep_alive())

    def on_body(self, data: bytes) -> None:
        """The verdict on a body that is too long depends on the part that was read."""
        if self.is_done:
            self.is_keepable = False
            return
        self._framing = 0
        self._size += len(data)
        if (room := self._kept - len(self.body)) > 0:
            self.body += data[:room]
        self.is_done = self._size > MAX_READ

    def on_message_complete(self) -> None:
        if self.has_head and not self.is_done:
            self.is_keepable = self.status >= 200 and bool(self._parser.should_keep_alive())
            self.is_done = True
        else:
            self._is_sized, self._transfer = False, b""

    def _ends_with_the_connection(self) -> bool:
        return not self._is_sized or self._transfer == b"identity"

    def _has_no_body(self) -> bool:
        return self._is_head or self.status in BODILESS

    def _note_status(self) -> None:
        if self.is_done:
            return
        self._is_in_status_line = False
        self.status = int(self._parser.get_status_code())
        if self.status < 100:
            self.status = 0
            self._fail(Cause.STATUS_LINE)
