"""A probe ends once, and closes what it opened, whatever its target does and in whatever order it is called.

The sockets are real ones of the loopback interface; libFuzzer decides what both ends do next.

    python -m tests.fuzz.probe_events -max_total_time=60 NEW_FOLDER

See `tests/fuzz/manifest.py` for the options and for what becomes of an input that breaks the promise.
"""

import contextlib
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["controller.probes"]):
    from controller.probes.failure import Cause, Failure
    from controller.probes.files import TlsFiles
    from controller.probes.loop import Loop
    from controller.probes.running_probe import RunningProbe
    from controller.probes.target import Target
    from controller.probes.worker import Worker
    from reconcilers.spec import CheckSpec, GrpcHealth, HttpGet, PodKey, Probe, TcpConnect, Tls
    from tests.support.authority import Authority

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SAYINGS = [
    *(OK, OK[:30], OK[30:], b"HTTP/1.1 408 T\r\nContent-Length: 0\r\n\r\n", b"x", b"HTTP/1.1 100 C\r\n\r\n"),
    *(b"\0\0\0\4\0\0\0\0\0", b"\0\0\x08\7\0\0\0\0\0" + b"\0" * 8, b"\x15\3\3\0\2\2\x28", b"\x16\3\3\0\4\x02\0\0\0"),
    *(b"220 a\r\n", b"250-a\r\n250 STARTTLS\r\n", b"0\x0c\2\1\1x\7\n\1\0\4\0\4\0", b"y"),
]
ENOUGH = 3.0
"""Seconds within which a probe ends after its target has closed everything."""


class Peer:
    """Listens, and treats its connections as the fuzzer says."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._accepted: list[socket.socket] = []

    def accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                sock, _ = self._listener.accept()
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.setblocking(False)
                self._accepted.append(sock)

    def say(self, data: bytes) -> None:
        for sock in self._accepted[-1:]:
            with contextlib.suppress(OSError):
                sock.send(data)

    def finish(self) -> None:
        for sock in self._accepted:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.accept()
        while self._accepted:
            self._accepted.pop().close()


class Scene:
    """One worker, its probes one after the other, and their target."""

    def __init__(self, worker: Worker, files: TlsFiles) -> None:
        self._worker = worker
        tls = worker.spec.probe.tls
        self._settings = files.settings(tls, worker.kind.ALPN) if tls and worker.kind else None
        self.loop = Loop()
        self.ended: list[RunningProbe] = []
        self.probes: list[RunningProbe] = []

    def begin(self) -> None:
        """Release the last probe, and begin the next one, on the kept connection where there is one."""
        self.release()
        target = Target(("127.0.0.1", "127.0.0.1"), PEER.port)
        probe = RunningProbe(
            self._worker, self.loop, target, self._settings, time.monotonic, self.ended.append, lambda _: None
        )
        self.probes.append(probe)
        self._worker.started = time.monotonic()
        probe.begin(self._worker.started, 0.0)

    def release(self) -> None:
        if self.probes:
            self.probes[-1].keep_or_close(keep=True)

    def disturb(self, number: int) -> None:
        """Call the probe as a connection would, also at a wrong time."""
        probe = self.probes[-1]
        calls: list[Callable[[], None]] = [
            lambda: probe.on_data(b"x"),
            lambda: probe.on_end(clean=True),
            lambda: probe.on_end(clean=False),
            lambda: probe.on_failure(Failure(Cause.RESET)),
            lambda: probe.on_handled(0.0),
            lambda: probe.connection.try_next() if probe.connection and probe.connection.has_next else None,
        ]
        if number < 4 and not probe.is_sent:
            return
        calls[number]()

    def finish(self) -> None:
        """The target goes away; the probe under way ends."""
        until = time.monotonic() + ENOUGH
        while self.probes and self.probes[-1] not in self.ended:
            PEER.reset()
            self.loop.turn(0.01)
            if time.monotonic() > until:
                raise TimeoutError("a probe did not end")

    def close(self) -> None:
        self.release()
        self._worker.drop_kept()
        left = dict(self.loop._owners)
        self.loop.close()
        PEER.reset()
        if left:
            raise ResourceWarning(f"{len(left)} sockets are left open")

    def check(self) -> None:
        """A probe ends once, with either an answer or a failure."""
        if len(set(self.ended)) != len(self.ended):
            raise ValueError("a probe ended twice")
        for probe in self.ended:
            if not probe.failure and not (probe.exchange.is_done and not probe.exchange.failure):
                raise ValueError("a probe ended without an answer and without a failure")


def specs() -> Sequence[CheckSpec]:
    host, port, tls = "localhost", PEER.port, Tls(insecure_skip_verify=True)
    probes: list[Probe] = [
        HttpGet(host, port, "/", reuse=True),
        HttpGet(host, port, "/", tls, reuse=True),
        GrpcHealth(host, port, reuse=True),
        GrpcHealth(host, port, tls=tls),
        TcpConnect(host, port),
        TcpConnect(host, port, tls),
        TcpConnect(host, port, tls, "smtp", send=b"x", expect="y"),
        TcpConnect(host, port, tls, "ldap"),
        TcpConnect(host, port, send=b"x", expect="(?s)HTTP.*x"),
    ]
    return [CheckSpec(PodKey("web1", "isup"), probe, 1.0, 1.0) for probe in probes]


def one_input(data: bytes) -> None:
    """See the module."""
    provider = atheris.FuzzedDataProvider(data)
    scene = Scene(Worker(SPECS[provider.ConsumeIntInRange(0, len(SPECS) - 1)], 1), FILES)
    try:
        scene.begin()
        for _ in range(provider.ConsumeIntInRange(0, 20)):
            act(provider, scene)
            scene.check()
        scene.finish()
        scene.check()
    finally:
        scene.close()


def act(provider: atheris.FuzzedDataProvider, scene: Scene) -> None:
    """Let one side do one thing."""
    match provider.ConsumeIntInRange(0, 7):
        case 0:
            PEER.accept()
        case 1:
            PEER.say(SAYINGS[provider.ConsumeIntInRange(0, len(SAYINGS) - 1)])
        case 2:
            PEER.say(provider.ConsumeBytes(30))
        case 3:
            PEER.finish()
        case 4:
            PEER.reset()
        case 5:
            scene.disturb(provider.ConsumeIntInRange(0, 5))
        case 6 if scene.probes[-1] in scene.ended:
            scene.begin()
        case _:
            scene.loop.turn(0)


if __name__ == "__main__":
    PEER = Peer()
    with tempfile.TemporaryDirectory() as folder:
        FILES = TlsFiles(str(Authority(Path(folder)).file))
        SPECS = specs()
        atheris.Setup(sys.argv, one_input)
        atheris.Fuzz()
