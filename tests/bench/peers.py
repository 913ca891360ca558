"""The peers, which do the same work: a Consul agent with its own HTTP checks, and blackbox_exporter.

Each peer is configured as its users would do it: with checks in the agent's configuration, or with a module that names
the CA. Interval, timeout and targets are those of Podpulse, and no other option is set. No peer is made slower.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Protocol

import yaml

from tests.bench import programs
from tests.bench.driver import Driver
from tests.bench.targets import GRPC, NODE, PATH, TLS, Targets
from tests.support.consul import Agent
from tests.support.net import free_ports

NAMES = {"consul": "consul", "blackbox": "blackbox_exporter"}
"""The names for `--peers`, and the names in the results."""


class Prober(Protocol):
    """A process that is measured, and what it reports of the probes between `begin` and `end`."""

    @property
    def pid(self) -> int: ...

    def settled(self) -> bool:
        """Whether its start is over. It is called when all targets were asked."""
        ...

    def begin(self) -> None: ...

    def end(self) -> None: ...

    def failed(self) -> int: ...

    def notes(self) -> str:
        """Returns one line for the table; "" for none."""
        ...


class ConsulChecks:
    """A Consul agent that probes the targets by itself."""

    def __init__(self, agent: Agent, count: int) -> None:
        self._agent = agent
        self._count = count
        self._failed = 0

    @property
    def pid(self) -> int:
        return self._agent.pid

    def settled(self) -> bool:
        """Whether every check is in the catalog as passing, in addition to the check of the node."""
        answer = self._agent.request("GET", "health/state/passing", timeout=30.0)
        return answer.status == 200 and len(answer.json()) > self._count

    def begin(self) -> None:
        """Does nothing: the agent keeps no counters."""

    def end(self) -> None:
        checks = self._agent.request("GET", "agent/checks", timeout=30.0).json().values()
        self._failed = sum(check["Status"] != "passing" for check in checks)

    def failed(self) -> int:
        """Returns how many checks are not passing at the end, because the agent does not count probes."""
        return self._failed

    def notes(self) -> str:
        return ""


@contextmanager
def consul(targets: Targets, interval: float) -> Iterator[Prober]:
    """Runs an agent that reads the checks from its configuration. Its TLS settings apply to its checks too.

    The agent waits for `interval` from the end of a probe to the next one, so it makes slightly fewer probes.
    """
    with Agent(programs.consul(), node=NODE, config=_agent_configuration(targets, interval)) as agent:
        yield ConsulChecks(agent, len(targets.ports))


def _agent_configuration(targets: Targets, interval: float) -> Mapping[str, Any]:
    checks = [
        {"id": f"check-{number}", "name": "status", "interval": f"{interval}s", "timeout": f"{interval}s"}
        | _agent_check(targets, port)
        for number, port in enumerate(targets.ports)
    ]
    tls = {"ca_file": str(targets.ca_file), "enable_agent_tls_for_checks": True}
    return {"checks": checks} | (tls if targets.scheme in TLS else {})


def _agent_check(targets: Targets, port: int) -> dict[str, Any]:
    if targets.scheme in GRPC:
        return {"grpc": f"{targets.address}:{port}", "grpc_use_tls": targets.scheme in TLS}
    return {"http": f"{targets.scheme}://{targets.address}:{port}{PATH}"}


class BlackboxExporter:
    """blackbox_exporter, and a driver that requests each target as Prometheus would, over kept connections."""

    def __init__(self, process: subprocess.Popen[bytes], driver: Driver) -> None:
        self._process = process
        self._driver = driver
        self._failed_before = self._failed_after = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    def settled(self) -> bool:
        return True

    def begin(self) -> None:
        self._failed_before = self._driver.failed

    def end(self) -> None:
        self._failed_after = self._driver.failed

    def failed(self) -> int:
        return self._failed_after - self._failed_before

    def notes(self) -> str:
        return ""


@contextmanager
def blackbox(targets: Targets, interval: float) -> Iterator[Prober]:
    """Runs the exporter with one module, and the driver. The CPU time of the driver is not counted."""
    if targets.scheme in GRPC:
        raise programs.Missing("not measured with gRPC")
    with (
        tempfile.TemporaryDirectory(prefix="podpulse-bench-") as folder,
        _exporter(targets, interval, Path(folder)) as (
            process,
            port,
        ),
    ):
        urls = [f"http://127.0.0.1:{port}/probe?module=status&target={url}" for url in targets.urls()]
        with Driver(urls, interval) as driver:
            yield BlackboxExporter(process, driver)


@contextmanager
def _exporter(targets: Targets, interval: float, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    (port,) = free_ports(1)
    config = folder / "blackbox.yml"
    config.write_text(yaml.safe_dump({"modules": {"status": _module(targets, interval)}}))
    command: list[str | Path] = [
        programs.blackbox_exporter(),
        f"--config.file={config}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        _until_ready(process, port, folder / "log")
        yield process, port
    finally:
        process.kill()
        process.wait()


def _module(targets: Targets, interval: float) -> Mapping[str, Any]:
    http: dict[str, Any] = {"preferred_ip_protocol": "ip4", "valid_status_codes": [200], "follow_redirects": False}
    if targets.scheme == "https":
        http |= {"fail_if_not_ssl": True, "tls_config": {"ca_file": str(targets.ca_file)}}
    return {"prober": "http", "timeout": f"{interval}s", "http": http}


def _until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and process.poll() is None:
        connection = HTTPConnection("127.0.0.1", port, timeout=2.0)
        with suppress(OSError):
            connection.request("GET", "/-/healthy")
            if connection.getresponse().status == 200:
                connection.close()
                return
        connection.close()
        time.sleep(0.02)
    print(log.read_text()[-1000:], file=sys.stderr)
    raise RuntimeError("blackbox_exporter did not start; what it said stands above")
