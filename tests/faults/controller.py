"""One controller of a run: its line to Consul, and its processes, one after the other."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.faults.controller_observer import Watched
from tests.faults.history import Recorder
from tests.faults.process import Process
from tests.support.clock import Clock
from tests.support.gateway import Gateway
from tests.support.proxy import TcpProxy

Options = Callable[["Controller"], Mapping[str, Any]]
"""Returns the configuration file of a controller."""


class Controller(AbstractContextManager["Controller"]):
    """`member` is its id in the fleet, and `address` is where it finds all pods: "" for the addresses of Consul's
    catalog. As a context manager its line to Consul exists; its process is started by `start`."""

    def __init__(self, member: str, address: str, folder: Path, recorder: Recorder, options: Options) -> None:
        self.member = member
        self.address = address
        self.folder = folder
        self._recorder = recorder
        self._options = options
        self._ends = ExitStack()
        self._process: Process | None = None

    def connect(self, consul: int) -> Self:
        """Opens the line to the agent of Consul with this port."""
        self.gateway = self._ends.enter_context(Gateway(consul))
        self.proxy = self._ends.enter_context(TcpProxy(self.gateway.port))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process:
            self._process.kill()
        self._ends.close()

    @property
    def process(self) -> Process:
        if self._process is None:
            raise RuntimeError("the controller does not run")
        return self._process

    def spawn(self, clock: Clock | None = None) -> Process:
        """Starts a new process in place of the one that has ended. With `clock` it uses that wall clock."""
        folder = self.folder / "controller"
        self._process = Process(folder, self._options(self), self._recorder, clock, self.member)
        return self._process

    def start(self, clock: Clock | None = None) -> None:
        """Starts a new process, and waits until it listens."""
        self.spawn(clock).wait_listening()

    def second(self) -> Process:
        """Starts one more process with the same name, which knows nothing of the first."""
        options = {**self._options(self), "state_dir": str(self.folder / "state-of-the-second")}
        return Process(self.folder / "second", options, self._recorder, member=self.member)

    def log(self) -> str:
        path = self.folder / "controller" / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    # --- what an observer asks ---

    def watched(self) -> Watched | None:
        return self._process.watched() if self._process else None

    def consul_port(self) -> int:
        return self.proxy.port
