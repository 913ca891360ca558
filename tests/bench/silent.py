"""Targets that accept and never answer: `silent.py ADDRESS FIRST_PORT COUNT`, until SIGTERM.

It is a separate process, so that its CPU time and its descriptors do not count for another one. It accepts every
connection, because the kernel would refuse more than its queue holds. It keeps a connection until the prober gives up.
"""

import select
import socket
import sys
from contextlib import suppress


class Silence:
    """The listeners and connections of one process, on one epoll."""

    def __init__(self, address: str, ports: range) -> None:
        self._epoll = select.epoll()
        self._listeners = {listener.fileno(): listener for listener in (_listener(address, port) for port in ports)}
        self._connections: dict[int, socket.socket] = {}
        for fd in self._listeners:
            self._epoll.register(fd, select.EPOLLIN)

    def serve(self) -> None:
        while True:
            for fd, _ in self._epoll.poll():
                if listener := self._listeners.get(fd):
                    self._accept(listener)
                else:
                    self._read(fd)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            connection, _ = listener.accept()
            connection.setblocking(False)
            self._connections[connection.fileno()] = connection
            self._epoll.register(connection.fileno(), select.EPOLLIN)

    def _read(self, fd: int) -> None:
        """Discards what was sent. Closes the connection when the other side has closed it."""
        with suppress(OSError):
            if self._connections[fd].recv(4096):
                return
        self._epoll.unregister(fd)
        self._connections.pop(fd).close()


def _listener(address: str, port: int) -> socket.socket:
    listener = socket.create_server((address, port), backlog=128)
    listener.setblocking(False)
    return listener


if __name__ == "__main__":
    Silence(sys.argv[1], range(int(sys.argv[2]), int(sys.argv[2]) + int(sys.argv[3]))).serve()
