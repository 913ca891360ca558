"""What many tests need: a real Consul, and Prometheus' own checker."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.consul import Agent

ROOT = Path(__file__).resolve().parent.parent


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


@pytest.fixture(scope="session")
def promtool() -> Path:
    """Prometheus' own checker: the one on PATH, or the Debian archive's."""
    if found := shutil.which("promtool"):
        return Path(found)
    folder = ROOT / ".cache" / "prometheus"
    binary = folder / "usr" / "bin" / "promtool"
    if not binary.exists():
        subprocess.run([ROOT / "deploy" / "fetch-deb", "-", "prometheus", folder], check=True)
    return binary
