"""One request and the answer to it, as bytes: what every kind of probe implements without I/O."""

from typing import Protocol

from controller.probes.failure import Failure


class Exchange(Protocol):
    """Belongs to one probe on one connection.

    `request` is what has to be sent. `is_done` means that the answer is complete, or as complete as it is read, or that
    it failed. `has_begun` means that a byte of an answer came. `is_keepable` means that the connection can serve
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
        """The answer is not read any more: drop what only reading needs."""
        ...

    @property
    def is_stale(self) -> bool:
        """Whether the answer may be one to the idle connection and not to this request, or was cut short by its end."""
        ...

    @property
    def status(self) -> int:
        """The HTTP status code; 0 before a status line was read."""
        ...
