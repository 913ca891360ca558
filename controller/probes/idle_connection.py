"""A connection that is kept between two probes of a check."""

from controller.probes.connection import Connection
from controller.probes.exchange import Exchange
from controller.probes.failure import Failure


class IdleConnection:
    """Closes the connection if the target ends it, or sends bytes that a server must not send between two requests.

    `exchange` is the last exchange on the connection. It handles bytes from the idle server, such as an HTTP/2 PING.
    """

    __slots__ = ("connection", "exchange")

    def __init__(self, connection: Connection, exchange: Exchange) -> None:
        self.connection = connection
        self.exchange = exchange
        connection.give(self)

    def is_usable(self) -> bool:
        """Returns whether the connection can carry a request: it is open, and all received bytes were handled."""
        if self.connection.is_idle():
            return True
        self.connection.poll()
        return self.connection.is_idle()

    def close(self) -> None:
        self.connection.close()

    # Called by the connection

    def on_open(self) -> None: ...

    def on_ready(self) -> None: ...

    def on_data(self, data: bytes) -> None:
        reply = self.exchange.receive(data)
        if not self.exchange.is_keepable:
            self.close()
        elif reply:
            self.connection.send(reply)

    def on_end(self, *, clean: bool) -> None:
        del clean
        self.close()

    def on_failure(self, failure: Failure) -> None:
        del failure
        self.close()

    def on_unsure(self) -> None:
        self.close()

    def on_handled(self, since: float) -> None: ...
