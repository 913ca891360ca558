"""One connection to a target, to the first address that answers, with or without TLS."""

import errno
import select
import socket
from _socket import socket as Socket  # noqa: N812 - the class without the file interface costs half as much
from collections.abc import Sequence
from typing import Protocol

from controller.probes.failure import Cause, Failure
from controller.probes.loop import READING, READING_AND_WRITING, Loop
from controller.probes.tls import Session, TlsError, Unsure
from controller.probes.verdict import LOCAL_ERRNOS

STREAM = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
CHUNK = 16_384
HUNG_UP = select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP
READABLE = select.EPOLLIN | HUNG_UP
MAX_HANDSHAKE = 1024 * 1024
"""The most bytes of a TLS handshake that are read."""
NEXT_ADDRESS = 0.2
"""Seconds after which the next address is tried as well (RFC 8305, 5)."""


LOCAL = 4


def _weight(code: int, address: str) -> int:
    """Returns the weight of an error: of all addresses' errors, the one with the highest weight is reported.

    A machine without IPv6 reports EADDRNOTAVAIL for each IPv6 address. Otherwise this error is a lack of local ports.
    """
    if code == errno.EADDRNOTAVAIL and ":" in address:
        return 1
    if code in LOCAL_ERRNOS:
        return LOCAL
    return 2 if code == errno.ECONNREFUSED else 3


class ConnectionOwner(Protocol):
    """Handles the events of a connection."""

    def on_open(self) -> None:
        """The connection is open; a TLS handshake may follow."""
        ...

    def on_ready(self) -> None:
        """The connection can carry a request: the TLS handshake is complete. Without TLS, the request given to `open`
        is already sent."""
        ...

    def on_data(self, data: bytes) -> None: ...

    def on_end(self, *, clean: bool) -> None:
        """The target closed the connection. `clean` is False for TLS without close_notify."""
        ...

    def on_failure(self, failure: Failure) -> None: ...

    def on_unsure(self) -> None:
        """TLS failed, and only OpenSSL can tell why."""
        ...

    def on_handled(self, since: float) -> None:
        """Events were handled. They were not ready before `since`."""
        ...


class Connection:
    """For the thread of `loop` only. `address` is the connected address; "" before that."""

    __slots__ = (
        "_addresses",
        "_attempts",
        "_errno",
        "_loop",
        "_owner",
        "_port",
        "_read",
        "_sock",
        "_unsent",
        "_weight",
        "address",
        "fd",
        "session",
    )

    def __init__(self, loop: Loop, owner: ConnectionOwner, session: Session | None) -> None:
        self._loop = loop
        self._owner = owner
        self.session = session
        self._sock: Socket | None = None
        self._attempts: dict[int, tuple[Socket, str]] = {}
        self._addresses: list[str] = []
        self._port = 0
        self._errno = self._weight = 0
        self._unsent = b""
        self._read = 0
        self.address = ""
        self.fd = -1

    @property
    def has_next(self) -> bool:
        """Whether an address is left to try and no address has answered."""
        return bool(self._addresses) and self._sock is None

    def open(self, addresses: Sequence[str], port: int, request: bytes = b"") -> None:
        """Begin to connect to the first address. The owner calls `try_next` after `NEXT_ADDRESS` seconds.

        Without TLS, `request` is sent as soon as the connection is open.
        """
        self._addresses, self._port = list(addresses), port
        self._unsent = request if self.session is None else self.session.outgoing()
        self.try_next()

    def try_next(self) -> None:
        """Begin to connect to the next address."""
        while self._addresses:
            address = self._addresses.pop(0)
            try:
                sock = Socket(socket.AF_INET6 if ":" in address else socket.AF_INET, STREAM)
            except OSError as error:
                self._note(error.errno or 0, address)
                continue
            code = sock.connect_ex((address, self._port))
            if code in (0, errno.EINPROGRESS):
                code = self._greet(sock, address)
            if code == errno.EAGAIN:
                self._attempts[sock.fileno()] = sock, address
                self._loop.watch(sock.fileno(), self)
                return
            if not code:
                self._loop.watch(self.fd, self, READING_AND_WRITING if self._unsent else READING)
                self._opened()
                return
            self._note(code, address)
            sock.close()
        if not self._attempts:
            self._owner.on_failure(Failure(Cause.CONNECT, errno=self._errno))

    def _greet(self, sock: Socket, address: str) -> int:
        """Send the first bytes, if any, which shows whether `sock` is connected. A local target connects at once.

        Returns 0 if `sock` is connected, EAGAIN while it is connecting, else the error of the attempt.
        """
        try:
            sent = sock.send(self._unsent, socket.MSG_NOSIGNAL)
        except OSError as error:
            return error.errno or errno.EIO
        self._unsent = self._unsent[sent:]
        self._sock, self.fd, self.address = sock, sock.fileno(), address
        return 0

    def _opened(self) -> None:
        """Close the other attempts: the first connected socket is used."""
        if self._attempts:
            self._close_attempts()
        self._addresses.clear()
        self._owner.on_open()
        if self.session is None and self._sock is not None:
            self._owner.on_ready()

    def _note(self, code: int, address: str) -> None:
        """Keep the error with the highest weight; of equal weights, the last one."""
        if (weight := _weight(code, address)) >= self._weight:
            self._errno, self._weight = code, weight

    @property
    def local_errno(self) -> int:
        """The error of this machine that prevented an attempt to connect; 0 if there is none."""
        return self._errno if self._weight == LOCAL else 0

    def give(self, owner: ConnectionOwner) -> None:
        """Call `owner` from now on."""
        self._owner = owner

    def poll(self) -> None:
        """Read and handle pending bytes, if the connection is open."""
        if self._sock is not None:
            self.ready(self.fd, select.EPOLLIN, 0.0)

    def is_idle(self) -> bool:
        """Returns whether the connection is open and has no unread bytes."""
        if self._sock is None:
            return False
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def send(self, data: bytes) -> None:
        """Send `data`, encrypted if there is TLS, after the end of a handshake. Bytes that the socket does not take are
        sent when it is writable."""
        if self.session is not None:
            if data:
                self.session.write(data)
            data = self.session.outgoing()
        self._transmit(data)

    def start_tls(self, session: Session) -> None:
        """Begin the TLS handshake on the open connection."""
        self.session = session
        self._transmit(session.outgoing())

    def finish(self) -> None:
        """Announce the end of our data to the target, which is possible with TLS only."""
        if self.session is not None:
            self.session.finish()
            self._transmit(self.session.outgoing())

    def close(self) -> None:
        if self._attempts:
            self._close_attempts()
        if self._sock is not None:
            self._loop.forget(self.fd)
            self._sock.close()
            self._sock = None
        self._addresses.clear()
        self.fd = -1

    def _close_attempts(self) -> None:
        for fd, (sock, _) in self._attempts.items():
            self._loop.forget(fd)
            sock.close()
        self._attempts.clear()

    # Called by the loop

    def ready(self, fd: int, events: int, since: float) -> None:
        try:
            if self._sock is None and not self._is_connected(fd):
                return
            if self._unsent:
                self._transmit_rest(events)
            if events & READABLE and self.fd == fd:
                self._receive(events)
        except BlockingIOError:
            pass
        except Unsure:
            self._owner.on_unsure()
        except TlsError as error:
            self._owner.on_failure(error.failure)
        except OSError as error:
            self._owner.on_failure(Failure(Cause.RESET, errno=error.errno or 0))
        finally:
            self._owner.on_handled(since)

    def _is_connected(self, fd: int) -> bool:
        """Returns whether the attempt `fd` is connected. If it failed, the next address is tried."""
        sock, address = self._attempts.pop(fd)
        code = self._greet(sock, address)
        if code == errno.EAGAIN:
            self._attempts[fd] = sock, address
            return False
        if code:
            self._note(code, address)
            self._loop.forget(fd)
            sock.close()
            self.try_next()
            return False
        self._opened()
        return self._sock is not None

    def _transmit(self, data: bytes) -> None:
        if (data := self._unsent + data if self._unsent else data) and self._sock is not None:
            try:
                sent = self._sock.send(data, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                sent = 0
            self._unsent = data[sent:]
            if self._unsent:
                self._loop.watch_writing(self.fd)

    def _transmit_rest(self, events: int) -> None:
        """Send the rest of a request. A target that answered and closed before it has read all of it may be read."""
        try:
            self._transmit(b"")
        except OSError:
            self._unsent = b""
            if not events & READABLE:
                raise

    def _receive(self, events: int) -> None:
        """Read until nothing is left: epoll reports an edge once. A short read is the last, unless the peer closed."""
        while self._sock is not None:
            data = self._sock.recv(CHUNK)
            if not data:
                self._owner.on_end(clean=self.session is None or self.session.is_closed)
                return
            was_short = len(data) < CHUNK and not events & HUNG_UP
            if self.session is not None:
                data = self._decrypted(self.session, data)
            if data:
                self._owner.on_data(data)
            if self.session is not None and self.session.is_closed and self._sock is not None:
                self._owner.on_end(clean=True)
                return
            if was_short:
                return

    def _decrypted(self, session: Session, data: bytes) -> bytes:
        was_ready = session.is_ready
        if not was_ready:
            self._read += len(data)
            if self._read > MAX_HANDSHAKE:
                raise TlsError(Failure(Cause.TLS_OTHER, words="a handshake of more than 1 MiB"))
        plain = session.receive(data)
        if session.is_ready and not was_ready:
            self._owner.on_ready()
        elif out := session.outgoing():
            self._transmit(out)
        return plain
