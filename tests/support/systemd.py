"""A substitute for systemd: its notification socket, and the messages that arrived there."""

import os
import socket
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.net import until


class NotifySocket(AbstractContextManager["NotifySocket"]):
    """A bound datagram socket; `path` beginning with @ is a name in the abstract namespace."""

    def __init__(self, path: Path | str) -> None:
        self.address = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(self.address.replace("@", "\0", 1) if self.address.startswith("@") else self.address)
        self._told: list[dict[str, str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def environ(self, watchdog: float | None = None, pid: int | None = None) -> dict[str, str]:
        """Returns the variables that systemd would set; `watchdog` is its WatchdogSec."""
        given = {"NOTIFY_SOCKET": self.address}
        given |= {"WATCHDOG_USEC": f"{watchdog * 1e6:.0f}"} if watchdog else {}
        return given | ({"WATCHDOG_PID": str(pid)} if pid else {})

    def told(self) -> list[dict[str, str]]:
        """Returns every datagram so far as a mapping, the oldest first."""
        with suppress(BlockingIOError):
            while True:
                lines = os.fsdecode(self._socket.recv(65_536)).splitlines()
                self._told.append(dict(line.split("=", 1) for line in lines))
        return self._told

    def wait(self, variable: str, times: int = 1, within: float = 10.0) -> None:
        """Waits until `variable` has arrived so many more times."""
        enough = self.count(variable) + times
        until(lambda: self.count(variable) >= enough, within, f"{variable} to be told {times} times")

    def count(self, variable: str) -> int:
        return sum(variable in each for each in self.told())

    def latest(self, variable: str) -> str:
        """Returns the last value of the variable; "" if there is none."""
        return next((each[variable] for each in reversed(self.told()) if variable in each), "")
