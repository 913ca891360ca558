"""Notifies systemd that the controller has started, is alive, reloads its configuration, or stops.

Started means that the web server answers and every thread runs. It does not mean that Consul has answered: the service
must not fail on a host whose Consul starts later. `systemctl status` shows what is still missing. The protocol is that
of sd_notify(3), a datagram of a few lines. Without systemd nothing is sent, and there is no thread.
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
"""Seconds that the stop may take before systemd kills this process. Our own limit is half of that."""


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
        """Notify systemd that a reload begins. `ready` ends it."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def ready(self) -> None:
        if self._address:  # else the status is not needed
            self._tell("READY=1", f"STATUS={self._status()}")

    def stopping(self) -> None:
        """Notify systemd that the stop begins. From now on there are no watchdog notifications: systemd has a deadline
        of its own for the stop."""
        if self._thread:
            self._thread.stop(0.0)
        self._tell("STOPPING=1", "STATUS=stopping", f"EXTEND_TIMEOUT_USEC={STOP_WITHIN * 1e6:.0f}")

    def _turn(self) -> float:
        complaints = self._heartbeats.complaints()
        alive = ["WATCHDOG=1"] if self._watchdog and not self._heartbeats.hopeless() else []
        self._tell(*alive, f"STATUS={'; '.join(complaints) or self._status()}")
        return self._period

    def _tell(self, *lines: str) -> None:
        """Send one datagram to systemd, if any. Errors are ignored: the reader may be missing or too slow."""
        if not self._address:
            return
        text = "\n".join(safe_line(line) for line in lines)
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as way:
            way.setblocking(False)
            way.sendto(text.encode(), self._address)


def _address(path: str) -> bytes:
    """The socket's address: a path, or a name in the abstract namespace (@). Empty for kinds without datagrams."""
    return os.fsencode("\0" + path[1:] if path.startswith("@") else path if path.startswith("/") else "")


def _watchdog(environ: Mapping[str, str]) -> float:
    """Seconds within which systemd expects a notification; 0 if it expects none from this process."""
    wanted, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    mine = not pid or pid == str(os.getpid())
    return int(wanted) / 1e6 if mine and wanted.isascii() and wanted.isdigit() else 0.0
