"""One probe on real sockets whose target is quicker than the loop."""

import socket
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from controller.probes.loop import Loop
from controller.probes.running_probe import RunningProbe
from controller.probes.target import Target
from controller.probes.worker import Worker
from tests.support.checks import tcp


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def speak(sock: socket.socket) -> None:
    sock.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")


def speak_and_close(sock: socket.socket) -> None:
    speak(sock)
    sock.close()


def reset_later(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("behaviour", [speak, speak_and_close, socket.socket.close, reset_later])
def test_a_tcp_target_that_speaks_or_closes_before_the_loop_looks_is_healthy(
    loop: Loop, behaviour: Callable[[socket.socket], None]
) -> None:
    ended: list[RunningProbe] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        target = Target(("127.0.0.1",), port)
        probe = RunningProbe(
            Worker(tcp(port, "ssh"), 1), loop, target, None, time.monotonic, ended.append, lambda _: None
        )
        probe.begin(time.monotonic(), 0.0)
        accepted, _ = server.accept()
        with accepted:
            behaviour(accepted)
            loop.turn(5)
            probe.keep_or_close(keep=True)
    assert ended == [probe]
    assert probe.failure is None
    assert probe.worker.kept is None
