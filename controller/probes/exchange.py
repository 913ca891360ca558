"""One request and its answer, as bytes. Every kind of probe implements an exchange without I/O."""

from typing import Protocol

from controller.probes.failure import Failure


class Exchange(Protocol):
    """The exchange of one probe on one connection.

    `request` has the bytes to send. `is_done` means that the answer is complete, has been read up to the limit, or has
    failed. `has_begun` means that a byte of an answer was received. `is_keepable` means that the connection can serve
    another request.
    """

    request: bytes
    is_done: bool
    has_begun: bool
    is_keepable: bool
    failure: Failure | None

    def receive(self, data: bytes) -> bytes:
        """Handle bytes from the target. Returns bytes that have to be sent."""
        ...

    def end(self, *, clean: bool) -> None:
        """The target closed the connection. `clean` is False for TLS without close_notify."""
        ...

    def abandon(self) -> None:
        """Release the parser: the answer is not read any more."""
        ...

    @property
    def is_stale(self) -> bool:
        """Whether the server may have sent the answer because it closes an idle connection, or its end cut it short."""
        ...

    @property
    def status(self) -> int:
        """The HTTP status code; 0 before a status line was read."""
        ...
