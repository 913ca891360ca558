"""More misbehaviour of targets: floods that count what they could send, servers that keep connections, and invalid TLS.
Nothing of `controller` is used here."""

import gzip
import itertools
import socket
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from tests.support.targets import Behaviour, Connection, close, head, raw

SEND_BUFFER = 64 * 1024


class Flood:
    """A behaviour that sends one block after the other, as fast as they are accepted. `sent` is the most bytes that one
    connection accepted, in the small buffer of the sender and in the buffer of the reader."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = list(itertools.islice(blocks, 20_000))
        self._lock = threading.Lock()
        self.sent = 0

    def __call__(self, connection: Connection) -> None:
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        sent = 0
        for block in self._blocks:
            rest = memoryview(block)
            while rest and not connection.closing.is_set():
                try:
                    count = connection.sock.send(rest)
                except OSError:
                    return
                sent, rest = sent + count, rest[count:]
                with self._lock:
                    self.sent = max(self.sent, sent)


def flood(start: bytes, block: bytes, megabytes: float = 10.0) -> Flood:
    """Sends `start`, and then `block` repeatedly."""
    return Flood(itertools.chain([start], itertools.repeat(block, int(megabytes * 1_000_000 / len(block)))))


def gzip_bomb(megabytes: int = 50) -> Behaviour:
    """A small body that is a thousand times as long when it is decompressed."""
    body = gzip.compress(bytes(megabytes * 1_000_000))
    return raw(head(200, {"Content-Encoding": "gzip", "Content-Length": str(len(body))}) + body)


class KeptConnections:
    """A behaviour that answers many requests on one connection, and closes it after `limit` answers without notice.
    `served` has the number of answers on each connection, oldest first."""

    def __init__(
        self, limit: int = 1_000_000, body: bytes = b"ok\n", *, hasty: bool = False, farewell: Behaviour = close
    ) -> None:
        self._answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        self._limit = limit
        self._hasty = hasty
        self._farewell = farewell
        self._lock = threading.Lock()
        self.served: list[int] = []

    def __call__(self, connection: Connection) -> None:
        """With `hasty`, it closes after it has read the request beyond the limit, as if the request and our close
        crossed."""
        with self._lock:
            number = len(self.served)
            self.served.append(0)
        while True:
            connection.send(self._answer)
            self.served[number] += 1
            is_last = self.served[number] >= self._limit
            if (is_last and not self._hasty) or not next_request(connection) or is_last:
                self._farewell(connection)
                return


class Crowd:
    """A greeting that answers one request after `seconds`. `most` is the highest number of simultaneous connections,
    each from when it was accepted until just before the answer. A client has at least as many then. `paths` are those
    that were answered.

    /proc/net/tcp does not show this number: one connection may end and the next one begin while it is read.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._now = self.most = 0
        self.paths: list[str] = []

    def __call__(self, connection: Connection) -> None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        connection.sock.settimeout(30)
        path = connection.sock.recv(8192).split()[1].decode()
        connection.closing.wait(self._seconds)
        with self._lock:
            self._now -= 1
            self.paths.append(path)
        connection.send(head(200, {"Content-Length": "0"}))


def idle_limit(seconds: float, farewell: bytes, answer: bytes) -> Behaviour:
    """A behaviour that sends `answer` to each request. If none comes for `seconds`, it sends `farewell` and closes."""

    def behave(connection: Connection) -> None:
        connection.sock.settimeout(seconds)
        with suppress(TimeoutError):
            connection.send(answer)
            while next_request(connection):
                connection.send(answer)
            return
        connection.send(farewell)

    return behave


def next_request(connection: Connection) -> bool:
    """Read the head of one request. Returns False if the client closed the connection."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := connection.sock.recv(8192)):
            return False
        data += more
    return True


class Listened:
    """A greeting that only reads, until the peer closes. `heard` has the bytes of each connection that ended."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def __call__(self, connection: Connection) -> None:
        connection.sock.settimeout(10)
        data = b""
        while more := connection.sock.recv(8192):
            data += more
        self.heard.append(data)


def tls_record(kind: int, payload: bytes, version: bytes = b"\x03\x01") -> bytes:
    """One record of TLS 1.0 in plain: type, version, length, payload."""
    return bytes([kind]) + version + len(payload).to_bytes(2) + payload


def alert(number: int) -> bytes:
    """A fatal alert."""
    return tls_record(21, bytes([2, number]))


def after_hello(said: bytes, *, hold: bool = False) -> Behaviour:
    """A greeting that reads the client's first record, sends `said`, and then hangs or closes."""

    def behave(connection: Connection) -> None:
        connection.sock.settimeout(10)
        connection.sock.recv(8192)
        connection.send(said)
        if hold:
            connection.hold()

    return behave


def old_hello() -> bytes:
    """A ServerHello of TLS 1.0: version, random, no session, TLS_RSA_WITH_AES_128_CBC_SHA, no compression."""
    hello = b"\x03\x01" + bytes(32) + b"\x00" + b"\x00\x2f" + b"\x00"
    return tls_record(22, b"\x02" + len(hello).to_bytes(3) + hello)


@contextmanager
def small_window(answer: bytes) -> Iterator[int]:
    """Yields the port of a server that reads the first byte of a request, sends `answer`, and closes the connection
    with RST while most of the request is unread. Its receive buffer is as small as possible."""
    with socket.socket() as listener, ThreadPoolExecutor(1) as pool:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(1)
                sock.sendall(answer)

        pool.submit(serve)
        yield listener.getsockname()[1]
