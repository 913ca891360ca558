"""What many tests need: a real Consul, a real Prometheus, and its checker."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

from tests.support.consul import Agent

ROOT = Path(__file__).resolve().parent.parent

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts us beside others has it ignored for all

settings.register_profile("shared", deadline=None)
settings.load_profile("shared")  # a machine that others use too says nothing by the time that one example takes


class ByFile(LoadFileScheduling):  # type: ignore[misc]
    """The tests of a file go to one process, and so do all that share the image: each process would build its own."""

    def _split_scope(self, nodeid: str) -> str:
        return "the image" if nodeid.startswith("tests/deploy/") else str(super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile | None:
    return ByFile(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def consul_binary() -> Path:
    """A consul that can be started: the one on PATH, or the Debian archive's."""
    found = subprocess.run([ROOT / "deploy" / "get-consul"], stdout=subprocess.PIPE, check=True, text=True)
    return Path(found.stdout.strip())


@pytest.fixture
def consul(consul_binary: Path) -> Iterator[Agent]:
    """A new, empty agent in dev mode, ready, for this test alone."""
    with Agent(consul_binary) as agent:
        yield agent


@pytest.fixture
def acl_consul(consul_binary: Path) -> Iterator[Agent]:
    """An agent that denies what no token allows."""
    with Agent(consul_binary, acl=True) as agent:
        yield agent


@pytest.fixture
def persistent_consul(consul_binary: Path) -> Iterator[Agent]:
    """An agent that keeps its data over its end."""
    with Agent(consul_binary, persistent=True) as agent:
        yield agent


def of_prometheus(program: str) -> Path:
    """A program of Prometheus' package: the one on PATH, or the Debian archive's."""
    if found := shutil.which(program):
        return Path(found)
    return unpacked("-", "prometheus") / program


def unpacked(suite: str, folder: str) -> Path:
    """The programs of Prometheus' package in a suite of the Debian archive."""
    place = ROOT / ".cache" / folder
    programs = place / "usr" / "bin"
    if not programs.exists():
        subprocess.run([ROOT / "deploy" / "fetch-deb", suite, "prometheus", place], check=True)
    return programs


@pytest.fixture(scope="session")
def promtool() -> Path:
    """Prometheus' own checker."""
    return of_prometheus("promtool")


@pytest.fixture(scope="session")
def prometheus_binary() -> Path:
    """A Prometheus server that can be started."""
    return of_prometheus("prometheus")


@pytest.fixture(scope="session")
def consul_prometheus() -> Path:
    """One that finds its targets through Consul, beside its promtool: Debian builds it without since suite bookworm."""
    return unpacked("bullseye", "prometheus-bullseye") / "prometheus"
