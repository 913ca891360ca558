"""HTTP response bodies up to a size limit. libcurl itself has no limit for a body without a length."""


class BoundedBody:
    """Collects a body; `take` is libcurl's write function. `overflow` says that there was more than `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.data = bytearray()
        self.overflow = False
        self._limit = limit

    def write(self, chunk: bytes) -> int:
        """Add a chunk. A chunk beyond the limit ends the transfer."""
        if len(self.data) + len(chunk) > self._limit:
            self.overflow = True
            return -1
        self.data += chunk
        return len(chunk)
