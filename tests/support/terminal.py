"""Runs the real program on a pseudo terminal, or with its output in files, until the test ends it."""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import tempfile
import termios
import threading
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.controller import COMMAND, environment


class Running(AbstractContextManager["Running"]):
    """One verb that runs until `interrupt` (as Ctrl-C does) or `terminate`. `out` and `err` are its output so far."""

    def __init__(self, *arguments: object, **environ: str) -> None:
        self._temp = tempfile.TemporaryDirectory(prefix="podpulse-verb-", ignore_cleanup_errors=True)
        self._files = [Path(self._temp.name) / name for name in ("out", "err")]
        with self._files[0].open("wb") as out, self._files[1].open("wb") as err:
            self._process = subprocess.Popen(
                [*COMMAND, *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment() | environ,
            )

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        self._temp.cleanup()

    @property
    def out(self) -> str:
        return self._files[0].read_text()

    @property
    def err(self) -> str:
        return self._files[1].read_text()

    def interrupt(self) -> int:
        """Sends SIGINT and returns the exit code."""
        return self._end(signal.SIGINT)

    def terminate(self) -> int:
        return self._end(signal.SIGTERM)

    def wait(self) -> int:
        """Waits until the verb ends without a signal."""
        return self._process.wait(20.0)

    def _end(self, how: signal.Signals) -> int:
        self._process.send_signal(how)
        return self._process.wait(10.0)


class OnTerminal(AbstractContextManager["OnTerminal"]):
    """The same on its own terminal of 120 columns. `shown` is everything that was written to it, with its escapes."""

    def __init__(self, *arguments: object, columns: int = 120, lines: int = 30, **environ: str) -> None:
        self._said = bytearray()
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=_without_widths() | {"TERM": "xterm"} | environ,
            start_new_session=True,
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        self._reader.join(10.0)
        os.close(self._ours)

    @property
    def shown(self) -> str:
        return bytes(self._said).decode("utf-8", "replace")

    def interrupt(self) -> int:
        """Presses Ctrl-C and returns the exit code."""
        self._process.send_signal(signal.SIGINT)
        return self.wait()

    def wait(self) -> int:
        code = self._process.wait(20.0)
        self._reader.join(10.0)
        return code

    def _read(self) -> None:
        """Reads until no process has the other end open any more, which the kernel reports as an error."""
        with suppress(OSError):
            while data := os.read(self._ours, 65_536):
                self._said += data


def _without_widths() -> dict[str, str]:
    return {name: text for name, text in environment().items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
