"""HTTP response bodies up to a size limit. libcurl itself has no limit for a body without a length."""


class BoundedBody:
    """Collects a body; `write` is libcurl's write function. `overflow` says that there was more than `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.overflow = False
        self._limit = limit
        self._size = 0
        self._chunks: list[bytes] = []

    @property
    def data(self) -> bytes:
        """The body. Unlike the copy of a bytearray, joining the chunks of a large body lets other threads run."""
        return b"".join(self._chunks)

    def write(self, chunk: bytes) -> int:
        """Add a chunk. A chunk beyond the limit ends the transfer."""
        if self._size + len(chunk) > self._limit:
            self.overflow = True
            return -1
        self._size += len(chunk)
        self._chunks.append(chunk)
        return len(chunk)
