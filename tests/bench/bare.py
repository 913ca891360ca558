"""The least that probing costs in Python: sockets, epoll and httptools, with rtls for HTTPS, and nothing else.

`bare.py ADDRESS FIRST_PORT COUNT INTERVAL [CA_FILE HOST]`, until SIGTERM. Every port is asked once in an interval over
a fresh connection, in 50 groups. There is no deadline, no schedule, no result and no metric. SIGUSR1 makes it print how
many probes have failed so far.
"""

import errno
import select
import signal
import sys
import time
from _socket import AF_INET, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM
from _socket import socket as Socket  # noqa: N812 - the class without the file interface, as in podpulse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httptools
import rtls

GROUPS = 50
CHUNK = 16_384
REQUEST = b"GET /_status HTTP/1.1\r\nHost: bench1\r\nUser-Agent: bare\r\nAccept: */*\r\n\r\n"
EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
READABLE = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP


class Answer:
    """Is complete when httptools says so."""

    __slots__ = ("is_complete", "parser")

    def __init__(self) -> None:
        self.is_complete = False
        self.parser: Any = httptools.HttpResponseParser(self)

    def on_message_complete(self) -> None:
        self.is_complete = True


class Probe:
    """One connection: TLS if there is a context, one request, one answer."""

    __slots__ = ("_answer", "_incoming", "_is_ready", "_is_sent", "_outgoing", "_sock", "_tls", "fd", "has_failed")

    def __init__(self, address: str, port: int, context: rtls.SSLContext | None, host: str) -> None:
        self._sock = sock = Socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
        self.fd = sock.fileno()
        self.has_failed = self._is_ready = self._is_sent = False
        self._answer = Answer()
        self._tls: Any = None
        if context:
            self._incoming, self._outgoing = rtls.MemoryBIO(), rtls.MemoryBIO()
            self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        code = sock.connect_ex((address, port))
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, "connect")

    def on_event(self, events: int) -> bool:
        """Returns whether the probe is over."""
        try:
            if not self._is_sent:
                self._is_sent = True
                self._sock.send(self._outgoing.read() if self._tls else REQUEST)
            if events & READABLE:
                return self._read()
        except BlockingIOError:
            return False
        except OSError:
            self.has_failed = True
            return True
        return False

    def _read(self) -> bool:
        while True:
            data = self._sock.recv(CHUNK)
            if not data:
                self.has_failed = True
                return True
            is_last = len(data) < CHUNK
            if self._tls:
                data = self._decrypted(data)
            if data:
                self._answer.parser.feed_data(data)
                if self._answer.is_complete:
                    self.has_failed = self._answer.parser.get_status_code() != 200
                    return True
            if is_last:
                return False

    def _decrypted(self, data: bytes) -> bytes:
        self._incoming.write(data)
        try:
            if not self._is_ready:
                self._tls.do_handshake()
                self._is_ready = True
                self._tls.write(REQUEST)
            return bytes(self._tls.read(CHUNK))
        except rtls.SSLWantReadError:
            return b""
        finally:
            if out := self._outgoing.read():
                self._sock.send(out)

    def close(self) -> None:
        self._sock.close()
        self._answer.parser = None


class Bare:
    """Asks the ports, group after group."""

    def __init__(self, address: str, ports: range, interval: float, tls: Sequence[str]) -> None:
        self.failed = 0
        self._address = address
        self._groups = [ports[number::GROUPS] for number in range(GROUPS)]
        self._gap = interval / GROUPS
        self._tls: rtls.SSLContext | None = _context(Path(tls[0])) if tls else None
        self._host = tls[1] if tls else ""
        self._epoll = select.epoll()
        self._probes: dict[int, Probe] = {}

    def run(self) -> None:
        due = time.monotonic()
        for group in self._forever():
            while (wait := due - time.monotonic()) > 0:
                self._turn(wait)
            for port in group:
                self._start(port)
            due += self._gap

    def _forever(self) -> Iterator[Sequence[int]]:
        while True:
            yield from self._groups

    def _start(self, port: int) -> None:
        try:
            probe = Probe(self._address, port, self._tls, self._host)
        except OSError:
            self.failed += 1
            return
        self._probes[probe.fd] = probe
        self._epoll.register(probe.fd, EVENTS)

    def _turn(self, wait: float) -> None:
        for fd, events in self._epoll.poll(wait):
            probe = self._probes[fd]
            if probe.on_event(events):
                self.failed += probe.has_failed
                del self._probes[fd]
                probe.close()


def _context(ca_file: Path) -> rtls.SSLContext:
    context = rtls.SSLContext(rtls.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=ca_file.read_bytes())
    return context


if __name__ == "__main__":
    address, first, count, interval, *tls = sys.argv[1:]
    bare = Bare(address, range(int(first), int(first) + int(count)), float(interval), tls)
    signal.signal(signal.SIGUSR1, lambda *_: print(bare.failed, flush=True))
    bare.run()
