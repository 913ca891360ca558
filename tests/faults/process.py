"""Starts, stops and signals the controller under test, and records everything.

Its standard error is a pipe whose reader can stop or close it. Every start creates a new process with the same
configuration. A second controller of the same node can run at the same time.
"""

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import yaml

from tests.faults.controller_observer import Watched, fetch
from tests.faults.history import Process as Event
from tests.faults.history import Recorder
from tests.faults.procfs import states
from tests.faults.scraping import samples
from tests.support.clock import Clock, under
from tests.support.controller import COMMAND, STARTED, STARTS_WITHIN, environment
from tests.support.net import stands_still, until

LISTED = "podpulse_watch_last_success_timestamp_seconds"
HELD = "podpulse_removals_held"
SLOW = 5.0
"""Seconds from SIGTERM to the exit that are unusual."""
FILLING = b"." * 4095 + b"\n"


class LogReader:
    """Copies a pipe to a file until the end of the pipe, or until `rest` or `leave` is called."""

    def __init__(self, pipe: IO[bytes], path: Path) -> None:
        self._pipe = pipe
        self._path = path
        self._resting = False
        self._leaving = False
        self.lines = 0
        self.port = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def rest(self, pid: int) -> None:
        """Stops reading until `go` is called, and fills the pipe so that no further byte fits."""
        self._resting = True
        pipe = os.open(f"/proc/{pid}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
        with suppress(BlockingIOError, BrokenPipeError):
            while os.write(pipe, FILLING):
                pass
        os.close(pipe)

    def go(self) -> None:
        self._resting = False

    def leave(self) -> None:
        """Closes the reading end, so that a write fails with EPIPE."""
        self._leaving = True
        self._thread.join()

    def note(self, text: str) -> None:
        """Appends a text of the harness to the file."""
        with self._path.open("a") as file:
            file.write(text)

    def _run(self) -> None:
        with self._path.open("ab", buffering=0) as file, self._pipe:
            text = b""
            while not self._leaving:
                if self._resting or not select.select([self._pipe], [], [], 0.1)[0]:
                    time.sleep(0.01)
                    continue
                if not (data := os.read(self._pipe.fileno(), 65536)):
                    return
                file.write(data)
                self.lines += data.count(b"\n")
                text += data if not self.port else b""
                if not self.port and (found := STARTED.search(text.decode(errors="replace"))):
                    self.port, text = int(found[1]), b""


class Process:
    """One process of `podpulse run`."""

    def __init__(
        self,
        folder: Path,
        options: Mapping[str, Any],
        recorder: Recorder,
        clock: Clock | None = None,
        member: str = "",
    ) -> None:
        """With `clock` the process uses that wall clock. `member` is its id in the fleet."""
        self._recorder = recorder
        self._member = member
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "config.yaml"
        self.config.write_text(yaml.safe_dump(dict(options)))
        self._popen = subprocess.Popen(
            [*(under(clock, COMMAND[-1]) if clock else COMMAND), "run", "--config", self.config],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=environment(),
            cwd=folder,
        )
        assert self._popen.stderr is not None
        self.log = LogReader(self._popen.stderr, folder / "log")
        self._listening = False
        self._ended = False
        self._note("spawned")

    @property
    def pid(self) -> int:
        return self._popen.pid

    def watched(self) -> Watched | None:
        """Returns what the observer needs; None while the controller does not listen."""
        if not self._listening or self._ended:
            return None
        return Watched(self.pid, self.log.port, self.log.lines)

    def wait_listening(self) -> None:
        """Waits until the controller logs that it listens.

        Raises:
            AssertionError: the process ended, or took too long.
        """

        def listens() -> bool:
            if self._popen.poll() is not None:
                raise AssertionError(f"the controller ended at its start with {self._popen.returncode}")
            return bool(self.log.port)

        until(listens, STARTS_WITHIN, "the controller listens")
        self._note("listens")
        self._listening = True

    def wait_ready(self) -> None:
        def ready() -> bool:
            with suppress(OSError):
                return fetch(self.log.port, "/-/ready")[0] == 200
            return False

        until(ready, STARTS_WITHIN, "the controller is ready")

    def has_seen_all(self, since: float) -> bool:
        """Whether it has listed the manifests since this moment of the wall clock, and missed none that it knew."""
        with suppress(OSError, ValueError):
            said = samples(fetch(self.log.port, "/metrics")[1].decode())
            values = {name: value for name, _, value in said}
            return values[LISTED] > since and values[HELD] == 0
        return False

    def stop(self) -> None:
        """Sends SIGSTOP, and waits until all threads have stopped."""
        self._note("STOP")
        os.kill(self.pid, signal.SIGSTOP)
        until(lambda: stands_still(self.pid), what="every thread of the controller to stop")

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)
        self._note("CONT")

    def reload(self) -> None:
        """Sends SIGHUP."""
        self._note("HUP")
        os.kill(self.pid, signal.SIGHUP)

    def terminate(self, times: int = 1, within: float = 15.0) -> None:
        """Sends SIGTERM and waits for the exit. Kills the process if it does not exit; the history then has no exit.
        The log gets the states of the threads of a process that takes long."""
        for _ in range(times):
            self._note("TERM")
            with suppress(ProcessLookupError):
                self._popen.send_signal(signal.SIGTERM)
            time.sleep(0.05 if times > 1 else 0.0)
        for seconds in (SLOW, within - SLOW):
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(seconds)
                break
            self.log.note(states(self.pid))
        self.kill()

    def kill(self) -> None:
        """Sends SIGKILL unless the process has ended, and waits for the exit."""
        if self._ended:
            return
        if self._popen.poll() is None:
            self._note("KILL")
            self._popen.kill()
        code = self._popen.wait()
        self._ended = True
        self._note("ended", code)

    def _note(self, what: Any, code: int | None = None) -> None:
        self._recorder.note(Event(time.monotonic(), self.pid, what, code, self._member))
