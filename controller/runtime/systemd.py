"""Tells systemd how we are: started, alive for as long as every thread turns, and stopping.

Started means that the page answers and every thread runs, not that Consul answered: a host whose Consul comes up later
must not have this service fail meanwhile, and `systemctl status` says in words what is still missing. The protocol is
that of sd_notify(3), a datagram of a few lines; without systemd nothing is sent and no thread runs.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from reconcilers.visible import visible

STATUS_PERIOD = 5.0
STOP_WITHIN = 10.0
"""Seconds that the stop may take before systemd kills; our own bound is half of that."""


class ServiceManager:
    """Runs in the thread "systemd", if systemd asked to be told.

    `complaints` names the threads that stand still. While any is `hopeless`, which a slow Consul makes none, the
    watchdog is not fed, and systemd ends us after its `WatchdogSec`. `status` is one line for people.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        complaints: Callable[[], Sequence[str]],
        hopeless: Callable[[], bool],
        status: Callable[[], str],
    ) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._watchdog = _watchdog(environ)
        self._period = min(self._watchdog / 2 or STATUS_PERIOD, STATUS_PERIOD)
        self._complaints = complaints
        self._hopeless = hopeless
        self._status = status
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="systemd", daemon=True)

    def start(self) -> None:
        """Say that we have started, and go on saying how we are."""
        self.ready()
        if self._address:
            self._thread.start()

    def reloading(self) -> None:
        """Say that a reload begins; `ready` ends it."""
        if self._address:
            self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def ready(self) -> None:
        if self._address:
            self._tell("READY=1", f"STATUS={self._status()}")

    def stopping(self) -> None:
        """Say that the end begins. The watchdog rests from now on: systemd has a deadline of its own for the end."""
        self._stopped.set()
        if self._address:
            self._tell("STOPPING=1", "STATUS=stopping", f"EXTEND_TIMEOUT_USEC={STOP_WITHIN * 1e6:.0f}")

    def _run(self) -> None:
        while not self._stopped.wait(self._period):
            complaints = self._complaints()
            alive = ["WATCHDOG=1"] if self._watchdog and not self._hopeless() else []
            self._tell(*alive, f"STATUS={'; '.join(complaints) or self._status()}")

    def _tell(self, *lines: str) -> None:
        """Send one datagram. Nobody there to read it is no trouble of ours, nor is one who does not keep up."""
        text = "\n".join(visible(line) for line in lines)
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as way:
            way.setblocking(False)
            way.sendto(text.encode(), self._address)


def _address(path: str) -> bytes:
    """A path, or a name in the abstract namespace, which begins with @; other kinds are no datagrams."""
    return os.fsencode("\0" + path[1:] if path.startswith("@") else path if path.startswith("/") else "")


def _watchdog(environ: Mapping[str, str]) -> float:
    """Seconds within which systemd wants a sign of life; 0 when it wants none, or not from this process."""
    wanted, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    mine = not pid or pid == str(os.getpid())
    return int(wanted) / 1e6 if mine and wanted.isascii() and wanted.isdigit() else 0.0
