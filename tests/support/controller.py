"""The real controller for a test: `podpulse run` as a process of its own, with a configuration file of its own.

It listens on a free port, which is read from its log. Every warning of Python is an error in it. What it logged is
printed at the end, so that pytest shows it with a test that failed.
"""

import atexit
import functools
import http.client
import itertools
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support.clock import Clock, under
from tests.support.net import stands_still, until

NODE = "web1"
STARTED = re.compile(r"page and metrics on port (\d+)")
STARTS_WITHIN = 30.0
LOG_FILE = -1
CONFIGURES = frozenset({"CONFIG_PATH", "STATE_DIRECTORY"})
COMMAND = (sys.executable, "-m", "controller")
CLOSED = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")
"""Before a command: it starts without standard streams."""


def environment() -> dict[str, str]:
    """This process' environment without what would configure Podpulse, with state in a place of its own, and with every
    warning an error."""
    others = {
        name: text for name, text in os.environ.items() if not name.startswith("CONSUL_") and name not in CONFIGURES
    }
    return others | {"PYTHONWARNINGS": "error", "XDG_STATE_HOME": _state()}


@functools.cache
def _state() -> str:
    """Returns one folder for all controllers that this process starts. It is removed at the exit of this process."""
    folder = tempfile.mkdtemp(prefix="podpulse-test-state-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def podpulse(*arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run one verb of the command line to its end."""
    command = [*COMMAND, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60, check=False)
    if check and done.returncode:
        raise AssertionError(f"{arguments[0]}: exit code {done.returncode}\n{done.stderr}")
    return done


def manifest(pod: str, port: int, path: str = "/_status", *, https: bool = False, **options: object) -> bytes:
    """A manifest that asks for a check, with these options below `status`."""
    document = {"id": pod, "status_port": port, "status_http": not https, "status": {"path": path, **options}}
    return yaml.safe_dump(document, sort_keys=False).encode()


@dataclass(frozen=True, slots=True)
class Page:
    """An answer of the controller."""

    status: int
    headers: Mapping[str, str]
    text: str


class Metrics:
    """One scrape. Only the samples that a test uses are parsed, because tests scrape while they wait."""

    def __init__(self, text: str) -> None:
        self.text = text

    def samples(self, name: str) -> list[tuple[Mapping[str, str], float]]:
        """Returns the labels and the value of each sample with this name."""
        lines = [line for line in self.text.split("\n") if line.startswith((f"{name}{{", f"{name} "))]
        families = text_string_to_metric_families("\n".join([*lines, ""]))
        return [(sample.labels, sample.value) for family in families for sample in family.samples]

    def sum(self, name: str, /, **labels: str) -> float:
        """Returns the sum of all samples with this name and these labels; 0 if there is none."""
        return sum(value for have, value in self.samples(name) if labels.items() <= have.items())

    def totals(self, name: str, label: str) -> dict[str, float]:
        """Returns the sum for each value of a label."""
        totals: dict[str, float] = defaultdict(float)
        for have, value in self.samples(name):
            totals[have[label]] += value
        return dict(totals)

    def by_pod(self, name: str, **labels: str) -> dict[str, float]:
        """Returns the sum for each pod that has samples with this name and these labels."""
        pods: dict[str, float] = defaultdict(float)
        for have, value in self.samples(name):
            if "pod" in have and labels.items() <= have.items():
                pods[have["pod"]] += value
        return dict(pods)

    def flagged(self, name: str) -> set[str]:
        """Returns the pods whose sum is not 0."""
        return {pod for pod, value in self.by_pod(name).items() if value}


class Controller(AbstractContextManager["Controller"]):
    """One `podpulse run` on `web1`, which probes 127.0.0.1. `options` are fields of the configuration file. Those of
    `consul` and `defaults` are mappings. Without `defaults`, interval and timeout are half a second.

    As a context manager it is started inside, and with `ready` it is also ready. `output` is a descriptor for its
    standard streams, in place of the log file; with None they are closed. In both cases it must `listen` on a known
    port. `environ` is added to the environment. With `clock`, it uses that wall clock. `before` is a command that
    becomes the controller, as `env` does.
    """

    def __init__(
        self,
        *,
        ready: bool = True,
        output: int | None = LOG_FILE,
        environ: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        before: Sequence[str | Path] = (),
        **options: Any,
    ) -> None:
        self._wait_ready = ready
        self._command = (*before, *(under(clock, COMMAND[-1]) if clock else COMMAND))
        self._output = output
        self._environ = dict(environ or {})
        self._temp = tempfile.TemporaryDirectory(prefix="podpulse-test-", ignore_cleanup_errors=True)
        self.folder = Path(self._temp.name)
        self.config_file = self.folder / "config.yaml"
        self.log_file = self.folder / "log"
        self.options: dict[str, Any] = {
            "node_name": NODE,
            "address": "127.0.0.1",
            "listen": "127.0.0.1:0",
            "state_dir": str(self.folder / "state"),
            "defaults": {"interval": "500ms", "timeout": "500ms"},
            **options,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the controller, and print its log."""
        self.kill()
        print(f"--- log of the controller on {self.options.get('node_name', NODE)} ---\n{self.log}")
        self._temp.cleanup()

    # --- life ---

    def start(self) -> None:
        """Start it, with `ready` until it is ready. It can be started again after its end."""
        self.config_file.write_text(yaml.safe_dump(self.options))
        before = len(self.log)
        with self.log_file.open("ab") as log:
            output = log.fileno() if self._output == LOG_FILE else self._output
            self._process = subprocess.Popen(
                [*(CLOSED if output is None else ()), *self._command, "run", "--config", self.config_file],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment() | self._environ,
                cwd=self.folder,
            )
        until(lambda: self._listens(before), STARTS_WITHIN, "the controller listens")
        if self._wait_ready:
            self.wait_ready()

    def wait_ready(self) -> None:
        until(lambda: self.get("/-/ready").status == 200, STARTS_WITHIN, "the controller is ready")

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def port(self) -> int:
        """The port of page and metrics on 127.0.0.1."""
        return self._port

    @property
    def log(self) -> str:
        """The log so far, of every start."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def terminate(self, within: float = 30.0) -> int:
        """Send SIGTERM and return the exit code. It is an error if the process still runs after so many seconds."""
        process = self._running()
        process.terminate()
        until(lambda: process.poll() is not None, within, "gone after SIGTERM")
        code = process.wait()
        self._process = None
        return code

    def kill(self) -> None:
        """Send SIGKILL and wait for the end of the process. Does nothing if it does not run."""
        process, self._process = self._process, None
        if process:
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()

    def pause(self) -> None:
        """Send SIGSTOP and wait until the process has stopped."""
        os.kill(self.pid, signal.SIGSTOP)
        until(lambda: stands_still(self.pid), what="every thread of the controller to stop")

    def resume(self) -> None:
        """Send SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def reload(self, **options: Any) -> None:
        """Write these options into the configuration file, and send SIGHUP."""
        self.options |= options
        self.config_file.write_text(yaml.safe_dump(self.options))
        self.hang_up()

    def hang_up(self) -> None:
        """Send SIGHUP."""
        os.kill(self.pid, signal.SIGHUP)

    # --- what it shows ---

    def get(self, path: str, timeout: float = 10.0, method: str = "GET") -> Page:
        """Send a request to its web server."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=timeout)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            headers = {name.lower(): text for name, text in answer.getheaders()}
            return Page(answer.status, headers, answer.read().decode())
        finally:
            connection.close()

    def metrics(self) -> Metrics:
        """Scrape its metrics."""
        return Metrics(self.get("/metrics").text)

    def inspect(self, *arguments: str) -> dict[str, Any]:
        """What `podpulse inspect` says about the Consul, or the folders, that this controller works with."""
        if intents := self.options.get("intent_dir"):
            where = [
                "--intent-dir",
                intents,
                "--health-dir",
                self.options["health_dir"],
                "--node",
                self.options["node_name"],
            ]
        else:
            where = ["--consul", self.options["consul"]["address"]]
        said: dict[str, Any] = json.loads(podpulse("inspect", *where, *arguments).stdout)
        return said

    # --- starting ---

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the controller does not run")
        return self._process

    def _listens(self, since: int) -> bool:
        """Returns whether the log names the port. It is an error if the process has ended."""
        if self._running().poll() is not None:
            raise AssertionError(f"the controller ended at its start:\n{self.log[since:]}")
        if self._output == LOG_FILE:
            found = STARTED.search(self.log, since)
            self._port = int(found[1]) if found else 0
            return found is not None
        self._port = int(str(self.options["listen"]).rpartition(":")[2])
        with suppress(OSError):
            return self.get("/-/healthy").status > 0
        return False


def gaps(times: list[float]) -> list[float]:
    """Returns the seconds between consecutive moments."""
    return [later - earlier for earlier, later in itertools.pairwise(times)]


def in_step(times: Sequence[float], interval: float) -> bool:
    """Whether there was one probe in each interval: no probe is missing and none was added. One may have been late."""
    return round((times[-1] - times[0]) / interval) == len(times) - 1


def none_is_added(times: Sequence[float], interval: float) -> bool:
    """Whether no interval has two probes. A stalled machine delays or skips probes, but only a restart adds one."""
    return any(len({math.floor((time - start) / interval + 0.02) for time in times}) == len(times) for start in times)


def watch_for(seconds: float) -> None:
    """Let time pass in which something must go on or must not happen. The test then looks at a log."""
    time.sleep(seconds)
