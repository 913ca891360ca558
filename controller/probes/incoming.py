"""The bytes that a target has sent in a dialogue, and the search for what is expected in them.

A target may send byte after byte. Then a search at each byte would take quadratic time in the probe thread. So the work
of all searches of a probe is bounded: a search that is not made when bytes come is made when twice as many bytes have
come, and at the end.
"""

from reconcilers.fields import MAX_PROGRAM, Expression

MAX_READ = 64 * 1024
"""Bytes of all answers of a dialogue that are read."""
MAX_EXCERPT = 4 * 1024
MAX_WORK = MAX_READ * MAX_PROGRAM // 4
"""The work of the searches that are made at once, in bytes times steps of the expression. It is enough for thousands of
searches with usual expressions, and for two or three packets with the most complex one."""
BEHIND = b"\0"
"""A byte behind the received bytes that no search reaches: `$` does not match where more bytes may follow."""


class Incoming:
    """`is_full` means that `MAX_READ` bytes have come: no more are kept. `start` is the first byte that no step has
    used. `excerpt` has the first bytes of all that has come, including bytes of earlier steps."""

    __slots__ = ("_searched", "_size", "_work", "data", "excerpt", "is_full", "start")

    def __init__(self) -> None:
        self.data = bytearray()
        self.start = 0
        self.excerpt = b""
        self.is_full = False
        self._size = self._searched = 0
        self._work = MAX_WORK

    def add(self, data: bytes) -> None:
        if len(self.excerpt) < MAX_EXCERPT:
            self.excerpt += data[: MAX_EXCERPT - len(self.excerpt)]
        room = max(0, MAX_READ - self._size)
        self._size += len(data)
        self.data += data[:room]
        self.is_full = self._size >= MAX_READ

    @property
    def is_empty(self) -> bool:
        """Whether no byte is left."""
        return self.start >= len(self.data)

    def line(self) -> bytes | None:
        """Returns the next line without its end, and uses it; None if it is not complete."""
        if (end := self.data.find(b"\n", self.start)) < 0:
            return None
        line = bytes(self.data[self.start : end])
        self.start = end + 1
        return line.removesuffix(b"\r")

    def take(self, size: int) -> bytes | None:
        """Returns the next `size` bytes, and uses them; None if they are not complete."""
        if len(self.data) - self.start < size:
            return None
        self.start += size
        return bytes(self.data[self.start - size : self.start])

    def clear(self) -> None:
        """Discard what is left."""
        self.data.clear()
        self.start = self._searched = 0

    def find(self, expression: Expression, *, is_last: bool, has_ended: bool = False) -> bool:
        """Returns whether `expression` matches, and uses the bytes up to the end of the match.

        A search may be put off unless it `is_last`. With `has_ended`, no byte can follow.
        """
        if self.is_empty:
            return False
        size = len(self.data) - self.start
        work = size * expression.programsize
        if self._work < work and not is_last and size < 2 * self._searched:
            return False
        self._work -= work
        self._searched = size
        text = bytes(self.data) if has_ended else bytes(self.data) + BEHIND
        if (match := expression.search(text, self.start, len(self.data))) is None:
            return False
        seen = max(0, match.end() - 1)  # `^` and `\b` depend on the byte before
        del self.data[:seen]
        self.start, self._searched = match.end() - seen, 0
        return True
