"""Fixtures for tests of probes (an engine and targets) and for tests of the page (its server)."""

from collections.abc import Iterator

import pytest

from tests.support.authority import Authority
from tests.support.probing import Bench
from tests.support.targets import Target
from tests.support.webserver import Servers


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def bench(authority: Authority, capfd: pytest.CaptureFixture[str]) -> Iterator[Bench]:
    bench = Bench(authority.file)
    yield bench
    bench.engine.close(10)
    assert "Traceback" not in capfd.readouterr().err, "an exception was swallowed in a callback of OpenSSL"


@pytest.fixture
def target() -> Iterator[Target]:
    with Target() as target:
        yield target


@pytest.fixture
def secure(authority: Authority) -> Iterator[Target]:
    with Target(authority.server()) as target:
        yield target


@pytest.fixture
def serve() -> Iterator[Servers]:
    """Starts the page's server with a small application."""
    with Servers() as servers:
        yield servers
