"""Runs programs that start other processes, and leaves none of these processes behind.

On a timeout `subprocess.run` kills only the program itself. The processes that a fault run or a benchmark has started
would continue, and its own cleanup, such as keeping the history, would not run. Here each program leads a session of
its own. It gets SIGTERM and some time to exit; then the whole session is killed.
"""

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO

GRACE = 15.0
"""Seconds between SIGTERM and SIGKILL."""
POLL = 0.05
SHOWN = 4000
"""How many of the last characters of each stream are reported for a program that took too long."""


class Programs(AbstractContextManager["Programs"]):
    """Runs programs from any thread. The end of the context ends the programs that still run, and waits for them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._over = False

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._over = True
            self._changed.wait_for(lambda: not self._running)

    def run(
        self,
        command: Sequence[str | Path],
        *,
        within: float,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program until it exits, or until the context ends, and returns its complete output.

        Raises:
            subprocess.TimeoutExpired: the program took more than `within` seconds. The exception has its output.
            RuntimeError: the context has ended.
        """
        self._enter()
        try:
            with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
                process = subprocess.Popen(
                    command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
                )
                try:
                    in_time = self._wait(process, within)
                finally:
                    _end(process)
                done = subprocess.CompletedProcess(command, process.returncode, _said(out), _said(err))
        finally:
            self._leave()
        if not in_time:
            raise _too_late(done, within)
        return done

    def _enter(self) -> None:
        with self._changed:
            if self._over:
                raise RuntimeError("no program is started any more")
            self._running += 1

    def _leave(self) -> None:
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def _wait(self, process: subprocess.Popen[bytes], within: float) -> bool:
        """Waits for the exit or the end of the context. Returns False after `within` seconds."""
        deadline = time.monotonic() + within
        while process.poll() is None and not self._over:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL)
        return True


def run(
    command: Sequence[str | Path], *, within: float, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a single program; see `Programs.run`."""
    with Programs() as programs:
        return programs.run(command, within=within, cwd=cwd, env=env)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the program, which may need time for its cleanup, then the rest of its session."""
    try:
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _said(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _too_late(done: subprocess.CompletedProcess[str], within: float) -> subprocess.TimeoutExpired:
    late = subprocess.TimeoutExpired(done.args, within, done.stdout, done.stderr)
    late.add_note(f"it had said:\n{done.stdout[-SHOWN:]}\n{done.stderr[-SHOWN:]}")
    return late
