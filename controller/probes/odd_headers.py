"""Rewrites header lines that httptools refuses but that are harmless, so that the answer can be read. Pure.

A malformed header such as `X-Started At: today` does not mean that a pod is unhealthy.
"""

import re

NOT_TOKEN = re.compile(rb"[^!#$%&'*+.^_`|~0-9A-Za-z-]")
FOLD = (b" ", b"\t")
BODILESS = re.compile(rb"HTTP/\S+ +(?:1[0-9][0-9]|204|304)\b")


class OddHeaders:
    """Rewrites the head of one answer and of the informational answers before it."""

    __slots__ = ("_has_no_body", "_is_head", "_length")

    def __init__(self, *, is_head: bool) -> None:
        self._is_head = is_head
        self._has_no_body = False
        self._length = b""

    def rewritten(self, line: bytes) -> bytes:
        """Returns a line of the head as httptools reads it; b"" if the line is to be omitted.

        In names, bytes that a name must not have become `-`. A Content-Length that is repeated with the same value
        counts once (RFC 9110, 8.6). If the answer has no body, its length is dropped, valid or not: it does not matter
        (RFC 9112, 6.3). A Transfer-Encoding without a value is dropped.
        """
        if line.startswith(b"HTTP/"):
            self._length = b""
            self._has_no_body = self._is_head or bool(BODILESS.match(line))
        name, colon, value = line.partition(b":")
        if not colon or line.startswith((b"HTTP/", *FOLD)):
            return line
        name = NOT_TOKEN.sub(b"-", name) or b"-"
        match name.lower():
            case b"content-length" if self._has_no_body:
                return b""
            case b"content-length":
                return self._once(name, value)
            case b"transfer-encoding" if not value.strip():
                return b""
        return name + colon + value

    def _once(self, name: bytes, value: bytes) -> bytes:
        lengths = {each.strip() for each in value.split(b",")}
        length = lengths.pop() if len(lengths) == 1 else value.strip()
        if length == self._length:
            return b""
        self._length = length
        return name + b": " + length + b"\r\n"
