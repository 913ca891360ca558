"""TCP probes: open a connection and close it again. Nothing is sent."""

from controller.probes.exchange import Exchange
from controller.probes.failure import Failure
from controller.probes.verdict import Verdict
from reconcilers.health import Outcome
from reconcilers.spec import CheckSpec, TcpConnect

ALPN = ""
NEEDS_ALPN = False


class TcpExchange:
    """An exchange that is done as soon as the connection is open."""

    __slots__ = ("failure", "is_keepable")

    request = b""
    is_done = True
    has_begun = is_stale = False
    status = 0

    def __init__(self) -> None:
        self.failure: Failure | None = None
        self.is_keepable = False

    def receive(self, _: bytes) -> bytes:
        return b""

    def end(self, *, clean: bool) -> None: ...

    def abandon(self) -> None: ...


def prepared(_: TcpConnect) -> None:
    """Returns None: probes of a check share nothing."""


def exchange(_: None, __: Exchange | None) -> TcpExchange:
    """Returns a new exchange for one probe."""
    return TcpExchange()


def verdict(_: Exchange, __: CheckSpec) -> Verdict:
    """Returns success: the connection was opened."""
    return Verdict(Outcome.SUCCESS)


def excerpt(_: Exchange) -> str:
    return ""
