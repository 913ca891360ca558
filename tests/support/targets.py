"""Targets to probe: real HTTP and HTTPS servers on real sockets, which misbehave as a test asks and keep an access log.

One `Target` can represent many pods, one for each path. Its behaviour can be changed while it runs. Its log shows which
probes were sent. Nothing of `controller` is used here.
"""

import itertools
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType

from tests.support.net import reserve

MAX_HEAD = 64 * 1024


@dataclass(frozen=True, slots=True)
class Hit:
    """One request whose head was read. Times are of `time.monotonic()`, which all processes of a machine share.
    `resumed`: its TLS session was resumed. The names in `headers` are in lower case."""

    connected: float
    requested: float
    resumed: bool
    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)


class Connection:
    """One accepted connection, which a behaviour gets."""

    def __init__(self, sock: socket.socket, closing: threading.Event) -> None:
        self.sock = sock
        self.closing = closing
        self.accepted = time.monotonic()
        self.held = False

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def hold(self) -> None:
        """Leave it open. It needs no thread any more."""
        self.sock.setblocking(False)
        self.held = True

    def reset(self) -> None:
        """End it with RST instead of FIN."""
        raw = socket.socket(fileno=self.sock.detach())
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.close()

    def is_open(self) -> bool:
        """Whether the peer has not closed it yet. A connection that is being served counts as open."""
        try:
            while self.held:
                if not socket.socket.recv(self.sock, 8192):
                    return False
        except BlockingIOError:
            return True
        except (OSError, ValueError):
            return False
        return True


Behaviour = Callable[[Connection], None]


def answer(status: int = 200, body: bytes = b"ok\n", headers: Mapping[str, str] | None = None) -> Behaviour:
    """An ordinary answer."""
    return raw(head(status, {"Content-Length": str(len(body)), **(headers or {})}) + body)


def redirect(location: str, status: int = 302) -> Behaviour:
    return answer(status, b"", {"Location": location})


def hang(connection: Connection) -> None:
    """Never answer. As a greeting: never read or shake hands."""
    connection.hold()


def close(connection: Connection) -> None:
    """Close without an answer."""


def reset(connection: Connection) -> None:
    """End with RST."""
    connection.reset()


def cut_after_handshake(context: ssl.SSLContext, *, after: float = 0.0, rst: bool = False) -> Behaviour:
    """A greeting that shakes hands, waits `after` seconds, and ends the connection by FIN or by RST, without TLS's
    close_notify."""

    def behave(connection: Connection) -> None:
        connection.sock.settimeout(30)
        shaken = context.wrap_socket(connection.sock, server_side=True)
        connection.closing.wait(after)
        connection.sock = socket.socket(fileno=shaken.detach())
        if rst:
            connection.reset()

    return behave


def raw(data: bytes) -> Behaviour:
    """Send exactly `data`, then close: garbage, a truncated body, two Content-Lengths..."""
    return lambda connection: connection.send(data)


def raw_then_hang(data: bytes) -> Behaviour:
    """Send `data`, and then nothing more."""

    def behave(connection: Connection) -> None:
        connection.send(data)
        connection.hold()

    return behave


def drip(data: bytes, gap: float = 0.05) -> Behaviour:
    """Send one byte of `data` every `gap` seconds."""
    return repeat((data[at : at + 1] for at in range(len(data))), gap)


def endless(status: int = 200, block: bytes = b"x" * 16_384) -> Behaviour:
    """Send a body that never ends, as fast as it is read."""

    def behave(connection: Connection) -> None:
        connection.send(head(status, {}))
        while not connection.closing.is_set():
            connection.send(block)

    return behave


def repeat(blocks: Iterable[bytes], gap: float) -> Behaviour:
    """Send one block after the other, `gap` seconds apart."""
    every = list(blocks)

    def behave(connection: Connection) -> None:
        for block in every:
            connection.send(block)
            if connection.closing.wait(gap):
                return

    return behave


def slow(seconds: float, then: Behaviour | None = None) -> Behaviour:
    """Wait, then behave as `then` (answer 200)."""

    def behave(connection: Connection) -> None:
        if not connection.closing.wait(seconds):
            (then or answer())(connection)

    return behave


def by_turns(*behaviours: Behaviour) -> Behaviour:
    """Behave as the first one, then as the next one, and so on. After the last one begin again."""
    turns = itertools.cycle(behaviours)

    def behave(connection: Connection) -> None:
        next(turns)(connection)

    return behave


def head(status: int, headers: Mapping[str, str]) -> bytes:
    """Status line and headers of an answer after which the connection closes."""
    lines = [f"HTTP/1.1 {status:03d} Said", *(f"{name}: {text}" for name, text in headers.items()), "Connection: close"]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


class Target(AbstractContextManager["Target"]):
    """An HTTP server, over TLS with `tls`. It listens as soon as it exists, and answers 200 if not told otherwise."""

    def __init__(self, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host = host
        self.tls = tls
        self.greeting: Behaviour | None = None
        """What is done with a new connection instead of reading from it; None: serve it."""
        self._default = answer()
        self._behaviours: dict[str, Behaviour] = {}
        self._lock = threading.Lock()
        self._hits: list[Hit] = []
        self._accepted: list[float] = []
        self._open: set[Connection] = set()
        self._closing = threading.Event()
        self._reserved = reserve(host, port)
        """Keeps the port while nothing listens on it."""
        self.port: int = self._reserved.getsockname()[1]
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self.listen()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def scheme(self) -> str:
        return "https" if self.tls else "http"

    # --- what it does ---

    def behave(self, behaviour: Behaviour, path: str | None = None) -> None:
        """Use this behaviour for requests for `path` from now on, or for every path without a behaviour."""
        if path is None:
            self._default = behaviour
        else:
            self._behaviours[path] = behaviour

    def forget(self, path: str) -> None:
        """Remove the behaviour of `path`."""
        self._behaviours.pop(path, None)

    def listen(self) -> None:
        """Listen on its port. Does nothing if it listens already."""
        if self._listener:
            return
        listener = reserve(self.host, self.port)
        listener.listen(4096)
        self._closing = threading.Event()
        self._listener = listener
        self._acceptor = threading.Thread(target=self._accept, args=(listener, self._closing), daemon=True)
        self._acceptor.start()

    def refuse(self) -> None:
        """Refuse connections. Open connections are cut. The port stays the same."""
        self._closing.set()
        if self._listener and self._acceptor:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._acceptor.join(5)
            self._listener.close()
            self._listener = None
        with self._lock:
            left, self._open = self._open, set()
        for connection in left:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)
            if connection.held:
                connection.sock.close()

    def close(self) -> None:
        """End everything except the log."""
        self.refuse()
        self._reserved.close()

    # --- its log ---

    def hits(self, path: str | None = None) -> list[Hit]:
        """Returns every request so far, or those for one path, the oldest first."""
        with self._lock:
            return [hit for hit in self._hits if path in {None, hit.path}]

    def accepted(self) -> list[float]:
        """Returns when each connection was accepted, with or without a request."""
        with self._lock:
            return self._accepted.copy()

    def open_connections(self) -> int:
        """Returns the number of connections that the peer has not closed."""
        with self._lock:
            return sum(connection.is_open() for connection in self._open)

    def clear(self) -> None:
        """Clear the log."""
        with self._lock:
            self._hits.clear()
            self._accepted.clear()

    # --- serving ---

    def _accept(self, listener: socket.socket, closing: threading.Event) -> None:
        while not closing.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                if closing.wait(0.01):
                    return
                continue
            connection = Connection(sock, closing)
            with self._lock:
                self._accepted.append(connection.accepted)
                self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        with suppress(OSError, ValueError):
            self._converse(connection)
        if not connection.held or connection.closing.is_set():
            self._end(connection)

    def _converse(self, connection: Connection) -> None:
        if greeting := self.greeting:
            greeting(connection)
            return
        connection.sock.settimeout(30)
        if self.tls:
            connection.sock = self.tls.wrap_socket(connection.sock, server_side=True, do_handshake_on_connect=False)
            connection.sock.do_handshake()
        if hit := self._read(connection):
            with self._lock:
                self._hits.append(hit)
            self._behaviours.get(hit.path, self._default)(connection)

    @staticmethod
    def _read(connection: Connection) -> Hit | None:
        data = b""
        while b"\r\n\r\n" not in data and len(data) < MAX_HEAD:
            if not (more := connection.sock.recv(8192)):
                return None
            data += more
        first, *lines = data.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = {name.strip().lower(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
        resumed = isinstance(connection.sock, ssl.SSLSocket) and bool(connection.sock.session_reused)
        return Hit(connection.accepted, time.monotonic(), resumed, method, path, headers)

    def _end(self, connection: Connection) -> None:
        """Close so that the answer arrives: send FIN first, then read the rest. Otherwise the kernel would send RST."""
        with self._lock:
            self._open.discard(connection)
        sock = connection.sock
        with suppress(OSError, ValueError):
            sock.settimeout(1)
            if isinstance(sock, ssl.SSLSocket):
                sock = _unwrapped(sock)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(8192):
                pass
        sock.close()


@contextmanager
def twins(tls: ssl.SSLContext | None, host: str, other: str) -> Iterator[tuple[Target, Target]]:
    """Two targets with the same port on two addresses. A port that is free on the first address may be in use on the
    second."""
    with ExitStack() as kept:
        while True:
            with ExitStack() as tried:
                one = tried.enter_context(Target(tls, host))
                with suppress(OSError):
                    pair = one, tried.enter_context(Target(tls, other, one.port))
                    kept.push(tried.pop_all())
                    break
        yield pair


def _unwrapped(sock: ssl.SSLSocket) -> socket.socket:
    """Returns the socket below TLS. TLS is ended in order if its handshake was complete."""
    try:
        return sock.unwrap()
    except (OSError, ValueError):
        below = socket.socket(fileno=sock.detach())
        below.settimeout(1)
        return below


class BlackHole(AbstractContextManager["BlackHole"]):
    """A port that answers no connection attempt at all: its queue of unaccepted connections is full."""

    def __init__(self) -> None:
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._fillers = [socket.socket() for _ in range(4)]
        for filler in self._fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", self.port))

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sock in (*self._fillers, self._listener):
            sock.close()
