"""A TCP proxy on a real socket. A test can delay, stall or cut its connections, or make them half-open."""

import select
import socket
import struct
import threading
import time
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from types import TracebackType

from tests.support.net import reserve

CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """How bytes travel. Each piece is delayed by `delay` seconds. `stalled`: nothing travels until the line is no
    longer stalled, and nothing is lost. `deaf`: what arrives is thrown away, and no connection is ended (half-open)."""

    delay: float = 0.0
    stalled: bool = False
    deaf: bool = False


CLEAR = Line()


class TcpProxy(AbstractContextManager["TcpProxy"]):
    """Listens on 127.0.0.1 and passes on to `upstream`, which may change. Its port stays the same for good. `passed`
    counts the bytes that it has passed on, in both directions."""

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.passed = 0
        self._line = CLEAR
        self._changed = threading.Condition()
        self._open: set[socket.socket] = set()
        self._closed = False
        self._reserved = reserve("127.0.0.1")
        """Keeps the port while nothing listens on it."""
        self.port: int = self._reserved.getsockname()[1]
        self.listen()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        self.behave(CLEAR)
        self.refuse()
        self._reserved.close()

    def behave(self, line: Line) -> None:
        """Changes the line for new and open connections. A connection that was deaf has lost data, so it is cut."""
        with self._changed:
            was, self._line = self._line, line
            self._changed.notify_all()
        if was.deaf and not line.deaf:
            self.cut()

    def cut(self, *, reset: bool = False) -> None:
        """Ends every open connection."""
        with self._changed:
            left, self._open = self._open, set()
        for one in left:
            with suppress(OSError):
                if reset:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.shutdown(socket.SHUT_RDWR)

    def refuse(self) -> None:
        """Refuses connections, and cuts the open ones."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def listen(self) -> None:
        """Listens again after `refuse`."""
        self._listener = reserve("127.0.0.1", self.port)
        self._listener.listen(512)
        threading.Thread(target=self._accept, args=(self._listener,), name="proxy", daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while not self._closed:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), name="proxied", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError, ValueError), client, self._connected() as server:
            with self._changed:
                self._open |= {client, server}
            other = {client: server, server: client}
            try:
                while self._pass_on(other):
                    pass
            finally:
                with self._changed:
                    self._open -= {client, server}

    def _connected(self) -> socket.socket:
        self._wait_clear()
        return socket.create_connection(("127.0.0.1", self.upstream), timeout=10)

    def _pass_on(self, other: dict[socket.socket, socket.socket]) -> bool:
        """Forwards one piece from one side to the other. Returns False when one side has ended."""
        readable, _, _ = select.select(list(other), [], [], 0.5)
        for one in readable:
            if not (data := one.recv(CHUNK)):
                return self._line.deaf and self._linger()
            if self._line.delay:
                time.sleep(self._line.delay)
            self._wait_clear()
            if not self._line.deaf:
                other[one].sendall(data)
                with self._changed:
                    self.passed += len(data)
        return True

    def _linger(self) -> bool:
        """The end of a connection is not forwarded either."""
        time.sleep(0.05)
        return True

    def _wait_clear(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._line.stalled)
