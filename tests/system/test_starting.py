"""How the process reacts to signals from its start on, also as process 1 of a container.

The kernel drops signals for which process 1 has no handler. The tests stop the process at its first long import, with
a module of the same name that waits.
"""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

import pytest

from tests.support.controller import COMMAND, environment
from tests.support.net import until
from tests.support.sandbox import needs_a_namespace

WITHIN = 30.0
PROCESS_1 = (
    *("unshare", "--pid", "--fork", "--kill-child"),
    *(() if os.geteuid() == 0 else ("--map-root-user",)),
)
HELD = """
import os, sys, time
folder = os.path.dirname(__file__)
open(folder + "/reached", "w").close()
while not os.path.exists(folder + "/go"):
    time.sleep(0.01)
sys.path.remove(folder)
del sys.modules["click"]
import click
"""
"""Replaces `click`: reports that it is imported, waits, and then loads the real module.

It sleeps in short steps, because Python may enter a blocking call with a signal that is not handled yet."""


class Starting(AbstractContextManager["Starting"]):
    """A verb that waits in its imports until `let_go`. Process 1 runs in a separate namespace."""

    def __init__(self, folder: Path, arguments: Sequence[object], *, process_1: bool) -> None:
        self._held, self._log = folder / "held", folder / "log"
        self._held.mkdir()
        (self._held / "click.py").write_text(HELD)
        self._process_1 = process_1
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*(PROCESS_1 if process_1 else ()), *COMMAND, *map(str, arguments)],
                env=environment() | {"PYTHONPATH": str(self._held)},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until((self._held / "reached").exists, WITHIN, "the first long import")

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        print(self.log)
        self._process.kill()
        self._process.wait()

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def _pid(self) -> int:
        pid = self._process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text()) if self._process_1 else pid

    def signal(self, number: signal.Signals) -> None:
        os.kill(self._pid, number)

    def let_go(self) -> None:
        (self._held / "go").touch()

    def is_running(self) -> bool:
        return self._process.poll() is None

    def ended(self) -> int:
        return self._process.wait(WITHIN)


def opened(pipe: Path) -> int:
    """Returns the writing end of a pipe, once there is a reader."""
    deadline = time.monotonic() + WITHIN
    while True:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            assert time.monotonic() < deadline, "nobody reads from it"
            time.sleep(0.01)


AS = [
    pytest.param(False, id="as_any_process"),
    pytest.param(True, id="as_process_1", marks=needs_a_namespace),
]


@pytest.fixture
def folders(tmp_path: Path) -> list[object]:
    (tmp_path / "pods").mkdir()
    return ["--intent-dir", "pods", "--health-dir", "health", "--listen", "127.0.0.1:0"]


@pytest.mark.parametrize("process_1", AS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_start_ends_the_process(
    tmp_path: Path, folders: list[object], number: signal.Signals, process_1: bool
) -> None:
    with Starting(tmp_path, ["run", *folders], process_1=process_1) as starting:
        starting.signal(number)
        assert starting.ended() == 0
        assert starting.log == ""


@pytest.mark.parametrize("verb", ["isup", "watch"])
@needs_a_namespace
def test_a_signal_during_the_start_ends_other_long_running_verbs(tmp_path: Path, verb: str) -> None:
    with Starting(tmp_path, [verb], process_1=True) as starting:
        starting.signal(signal.SIGTERM)
        assert starting.ended() == 0


@pytest.mark.parametrize("verb", ["schedule", "healthy"])
def test_the_other_verbs_end_without_a_traceback_at_ctrl_c(tmp_path: Path, verb: str) -> None:
    with Starting(tmp_path, [verb], process_1=False) as starting:
        starting.signal(signal.SIGINT)
        assert starting.ended() == -signal.SIGINT
        assert starting.log == ""


@pytest.mark.parametrize("process_1", AS)
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_other_signals_do_not_end_a_start(
    tmp_path: Path, folders: list[object], number: signal.Signals, process_1: bool
) -> None:
    with Starting(tmp_path, ["run", *folders], process_1=process_1) as starting:
        starting.signal(number)
        starting.let_go()
        while "page and metrics on port" not in starting.log:
            starting.signal(number)
            assert starting.is_running()
            time.sleep(0.01)
        starting.signal(signal.SIGTERM)
        assert starting.ended() == 0


def test_a_reload_requested_during_the_start_is_done_afterwards(tmp_path: Path, folders: list[object]) -> None:
    config = tmp_path / "config.yaml"
    os.mkfifo(config)
    with Starting(tmp_path, ["run", *folders, "--config", config], process_1=False) as starting:
        starting.let_go()
        read = opened(config)
        (tmp_path / "new").write_text("log_level: debug\n")
        (tmp_path / "new").replace(config)
        starting.signal(signal.SIGHUP)
        os.close(read)
        until(lambda: "configuration reloaded; changed: log_level" in starting.log, WITHIN, "it reads it again")
        starting.signal(signal.SIGTERM)
        assert starting.ended() == 0
