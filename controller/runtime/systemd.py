"""Tells systemd how we are: started, alive for as long as every thread turns, and stopping.

Started means that the page answers and every thread runs, not that Consul answered: a host whose Consul comes up later
must not have this service fail meanwhile, and `systemctl status` says in words what is still missing. The protocol is
that of sd_notify(3), a datagram of a few lines; without systemd nothing is sent and no thread runs.
"""

import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from controller.runtime.background_thread import BackgroundThread
from controller.runtime.heartbeat import Heartbeats
from reconcilers.escaping import safe_line

STATUS_PERIOD = 5.0
HEARTBEAT_LIMIT = 30.0
STOP_WITHIN = 10.0
"""Seconds that the stop may take before systemd kills; our own bound is half of that."""


class ServiceManager:
    """Notifies systemd in the thread "systemd", if systemd has set `NOTIFY_SOCKET`.

    While `heartbeats` say that a thread is hopeless, no watchdog notification is sent, and systemd ends this process
    after its `WatchdogSec`. A slow Consul does not make a thread hopeless. `status` is one line for people.
    """

    def __init__(self, environ: Mapping[str, str], heartbeats: Heartbeats, status: Callable[[], str]) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._watchdog = _watchdog(environ)
        self._period = min(self._watchdog / 2 or STATUS_PERIOD, STATUS_PERIOD)
        self._heartbeats = heartbeats
        self._status = status
        self._thread: BackgroundThread | None = None

    def start(self) -> None:
        """Notify systemd of the start, and from then on of the status."""
        self.ready()
        if self._address:
            heartbeat = self._heartbeats.new("systemd", HEARTBEAT_LIMIT)
            self._thread = BackgroundThread(self._turn, heartbeat, delay=self._period)
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
        if self._thread:
            self._thread.stop(0.0)
        if self._address:
            self._tell("STOPPING=1", "STATUS=stopping", f"EXTEND_TIMEOUT_USEC={STOP_WITHIN * 1e6:.0f}")

    def _turn(self) -> float:
        complaints = self._heartbeats.complaints()
        alive = ["WATCHDOG=1"] if self._watchdog and not self._heartbeats.hopeless() else []
        self._tell(*alive, f"STATUS={'; '.join(complaints) or self._status()}")
        return self._period

    def _tell(self, *lines: str) -> None:
        """Send one datagram. Nobody there to read it is no trouble of ours, nor is one who does not keep up."""
        text = "\n".join(safe_line(line) for line in lines)
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
