"""systemd is told that we have started, what our state is, that all threads run, and that we stop."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.runtime.heartbeat import Heartbeats
from controller.runtime.systemd import ServiceManager
from tests.support.net import until
from tests.support.recorders import FakeClock
from tests.support.systemd import NotifySocket

OFTEN = 0.1


@pytest.fixture
def manager_socket(tmp_path: Path) -> Iterator[NotifySocket]:
    with NotifySocket(tmp_path / "notify") as one:
        yield one


def threads() -> int:
    return sum(thread.name == "systemd" for thread in threading.enumerate())


def test_start_and_stop_are_reported_with_a_line_for_people(manager_socket: NotifySocket) -> None:
    us = ServiceManager(manager_socket.environ(), Heartbeats(), lambda: "two\nlines")
    us.start()
    us.stopping()
    started, stopped = manager_socket.told()
    assert started == {"READY": "1", "STATUS": "two\\nlines"}
    assert stopped["STOPPING"] == "1"
    assert int(stopped["EXTEND_TIMEOUT_USEC"]) == 10_000_000


def test_the_watchdog_is_fed_while_threads_turn_and_not_while_one_stands_still(manager_socket: NotifySocket) -> None:
    clock = FakeClock()
    heartbeats = Heartbeats(clock)
    probe = heartbeats.new("probe", 5)
    us = ServiceManager(manager_socket.environ(watchdog=2 * OFTEN), heartbeats, lambda: "ready")
    us.start()
    manager_socket.wait("WATCHDOG", times=3)
    clock.advance(6)
    complaint = "thread probe has stood still for 6 s"
    until(lambda: manager_socket.latest("STATUS") == complaint, what="the complaint")
    fed = manager_socket.count("WATCHDOG")
    manager_socket.wait("STATUS", times=5)
    assert manager_socket.count("WATCHDOG") == fed
    probe.beat()
    manager_socket.wait("WATCHDOG")
    assert manager_socket.latest("STATUS") == "ready"
    us.stopping()


def test_it_is_fed_only_by_the_process_that_it_watches(manager_socket: NotifySocket) -> None:
    us = ServiceManager(manager_socket.environ(OFTEN, pid=os.getpid()), Heartbeats(), str)
    us.start()
    manager_socket.wait("WATCHDOG")
    us.stopping()
    until(lambda: not threads(), what="the thread's end")
    other = ServiceManager(manager_socket.environ(OFTEN, pid=os.getppid()), Heartbeats(), str)
    fed = manager_socket.count("WATCHDOG")
    other.start()
    other.stopping()
    until(lambda: not threads(), what="the thread's end")
    assert manager_socket.count("WATCHDOG") == fed


def test_a_name_in_the_abstract_namespace_is_a_socket_too() -> None:
    with NotifySocket(f"@podpulse-test-{os.getpid()}") as socket:
        us = ServiceManager(socket.environ(), Heartbeats(), str)
        us.start()
        us.stopping()
        assert [*socket.told()[0]] == ["READY", "STATUS"]


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}, {"WATCHDOG_USEC": "1"}])
def test_without_systemd_there_is_no_thread(environ: dict[str, str]) -> None:
    until(lambda: not threads(), what="the end of an earlier test's thread")
    us = ServiceManager(environ, Heartbeats(), str)
    us.start()
    assert not threads()
    us.stopping()


def test_a_systemd_that_is_gone_is_no_error(tmp_path: Path) -> None:
    us = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "soon"}, Heartbeats(), str)
    us.start()
    us.stopping()
