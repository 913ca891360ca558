"""Fixtures for many tests: a real Consul, a real Prometheus, and its checker."""

import gc
import os
import shutil
import signal
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.support.consul import Agent
from tests.support.setup import NOT_SET_UP, require

ROOT = Path(__file__).resolve().parent.parent

LONGEST = (
    "test_image.py",
    "test_fleet_handover.py",
    "test_restart.py",
    "test_catalog.py",
    "test_fleet.py",
    "test_readme.py",
)
"""The files that take longest. They begin first, so that no process of pytest-xdist is left with one at the end."""

LONG = "long"
"""The marker of the tests that only `pytest -m long` runs, as `tests/run --long` does."""

GC_THRESHOLDS = gc.get_threshold()
gc.set_threshold(100_000)  # during collection, which creates mostly lasting objects

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have ignored it for background jobs

settings.register_profile("shared", deadline=None)
settings.load_profile("shared")  # on a shared machine the time of one example means nothing


@pytest.fixture(scope="session")
def consul_binary() -> Path:
    """The path of a Consul program: the one on PATH, or that of the Debian archive."""
    require("consul")
    found = subprocess.run([ROOT / "deploy" / "get-consul"], stdout=subprocess.PIPE, check=True, text=True)
    return Path(found.stdout.strip())


@pytest.fixture
def consul(consul_binary: Path) -> Iterator[Agent]:
    """A new, empty agent in dev mode, ready, for one test."""
    with Agent(consul_binary) as agent:
        yield agent


@pytest.fixture
def acl_consul(consul_binary: Path) -> Iterator[Agent]:
    """An agent whose ACLs deny by default."""
    with Agent(consul_binary, acl=True) as agent:
        yield agent


@pytest.fixture
def persistent_consul(consul_binary: Path) -> Iterator[Agent]:
    """An agent that keeps its data after its end."""
    with Agent(consul_binary, persistent=True) as agent:
        yield agent


@pytest.fixture(scope="session")
def promtool() -> Path:
    """The path of promtool, Prometheus' own checker."""
    return _of_prometheus("promtool")


@pytest.fixture(scope="session")
def prometheus_binary() -> Path:
    """The path of a Prometheus program that can be started."""
    return _of_prometheus("prometheus")


@pytest.fixture(scope="session")
def consul_prometheus() -> Path:
    """A Prometheus that finds its targets through Consul. Debian builds it without this since the suite bookworm."""
    require("prometheus-with-consul")
    return ROOT / ".cache" / "prometheus-bullseye" / "usr" / "bin" / "prometheus"


def _of_prometheus(program: str) -> Path:
    """Returns a program of Prometheus' package: the one on PATH, or that of the Debian archive."""
    require("promtool")
    return Path(shutil.which(program) or ROOT / ".cache" / "prometheus" / "usr" / "bin" / program)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST)
    if config.option.markexpr != LONG:
        left_out = [item for item in items if item.get_closest_marker(LONG)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def pytest_collection_finish() -> None:
    """Later searches for cycles skip the modules and the tests."""
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Names the tests that were skipped because a tool is missing, and writes them to a file for `tests/run`."""
    skipped: dict[str, Counter[str]] = defaultdict(Counter)
    for report in terminalreporter.stats.get("skipped", ()):
        _, found, reason = str(report.longrepr[2]).partition(NOT_SET_UP)
        if found:
            skipped[reason][report.nodeid.partition("::")[0]] += 1
    lines = [
        f"skipped, {reason}: {', '.join(f'{file} ({count})' for file, count in sorted(files.items()))}\n"
        for reason, files in skipped.items()
    ]
    terminalreporter.write("".join(lines))
    if kept := os.environ.get("TESTS_SKIPPED"):
        with Path(kept).open("a") as file:
            file.writelines(lines)
