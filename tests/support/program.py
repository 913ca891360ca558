"""Programs that start others, run to their end: however that comes, nothing that they started is left.

`subprocess.run` kills what it waited for too long, and only that: what a run of faults or a benchmark has started then
goes on, and what it does at its end, such as keeping its history, it does not do. Here each program leads a session of
its own. It gets SIGTERM, and some time; then all of its session is killed.
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
"""Characters of each stream that are told of a program that took too long: the last ones."""


class Programs(AbstractContextManager["Programs"]):
    """Runs programs, for any thread. What still runs at the end of the context is ended, and waited for."""

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
        """Run it to its end, which the end of the context brings about too; the answer has all that it said.

        Raises:
            subprocess.TimeoutExpired: it took more than `within` seconds; what it had said is told with it.
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
        """Until it has ended, or is to be ended; False when it is too late."""
        deadline = time.monotonic() + within
        while process.poll() is None and not self._over:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL)
        return True


def run(
    command: Sequence[str | Path], *, within: float, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a single one; see `Programs`."""
    with Programs() as programs:
        return programs.run(command, within=within, cwd=cwd, env=env)


def _end(process: subprocess.Popen[bytes]) -> None:
    """It first, which may have much to do at its end, then whatever is left of its session."""
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
