"""The server behind targets that fail all at once: `switch.py SOCKET`. nginx requests every answer from it.

It reads commands from standard input. After `hold N`, the next N ports that ask have to wait. When the last of them has
asked, all of them get the answer 503, and they also get it later; then it prints `failed`. After `pass`, every port
gets the answer 200, as at the start; it prints `passes`. So exactly N checks fail at one moment, whatever their
schedule is, and none of them by a timeout. It is a separate process, so that no other work delays an answer.
"""

import os
import re
import select
import socket
import sys
from contextlib import suppress
from pathlib import Path

PORT = re.compile(rb"\r\nX-Port: (\d+)\r\n")
PASS, FAIL = (
    f"HTTP/1.0 {status}\r\nContent-Length: 3\r\nContent-Type: text/plain\r\n\r\nok\n".encode()
    for status in ("200 OK", "503 Service Unavailable")
)


class Switch:
    """One listener, the requests that are being read or held, and the ports that fail."""

    def __init__(self, path: str) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        Path(path).chmod(0o666)  # if root starts nginx, it runs as another user
        self._listener.listen(4096)
        self._poll = select.epoll()
        self._poll.register(self._listener, select.EPOLLIN)
        self._poll.register(sys.stdin, select.EPOLLIN)
        self._connections: dict[int, tuple[socket.socket, bytes]] = {}
        self._held: dict[int, socket.socket] = {}
        self._hold = 0
        self._failing: frozenset[int] = frozenset()

    def serve(self) -> None:
        """Serves until standard input ends."""
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor == sys.stdin.fileno():
                    if not (line := os.read(descriptor, 64)):
                        return
                    self._obey(line.decode().split())
                elif descriptor == self._listener.fileno():
                    self._accept()
                else:
                    self._read(descriptor)

    def _obey(self, words: list[str]) -> None:
        match words:
            case ["hold", count]:
                self._hold = int(count)
            case ["pass"]:
                self._failing = frozenset()
                print("passes", flush=True)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        self._connections[connection.fileno()] = (connection, b"")
        self._poll.register(connection, select.EPOLLIN)

    def _read(self, descriptor: int) -> None:
        connection, data = self._connections.pop(descriptor)
        data += (more := connection.recv(8192))
        if more and b"\r\n\r\n" not in data:
            self._connections[descriptor] = (connection, data)
            return
        self._poll.unregister(descriptor)
        if found := PORT.search(data):
            self._answer(int(found[1]), connection)

    def _answer(self, port: int, connection: socket.socket) -> None:
        if self._hold and port not in self._failing:
            self._held[port] = connection
            if len(self._held) == self._hold:
                self._fail()
        else:
            _end(connection, FAIL if port in self._failing else PASS)

    def _fail(self) -> None:
        self._failing |= self._held.keys()
        for connection in self._held.values():
            _end(connection, FAIL)
        self._held, self._hold = {}, 0
        print("failed", flush=True)


def _end(connection: socket.socket, answer: bytes) -> None:
    with suppress(OSError):
        connection.sendall(answer)
    connection.close()


if __name__ == "__main__":
    Switch(sys.argv[1]).serve()
