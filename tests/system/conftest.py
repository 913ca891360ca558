"""Fixtures of the system tests: controllers with a Consul, and targets that represent many pods."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Protocol

import pytest

from tests.support.browser import Browser
from tests.support.consul import Agent
from tests.support.controller import Controller
from tests.support.fleet import Fleet
from tests.support.setup import require
from tests.support.targets import Target


class Launch(Protocol):
    """Starts a controller with a Consul; see `Controller` for the options."""

    def __call__(self, consul: Agent, *, ready: bool = True, token: str = "", **options: Any) -> Controller: ...


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """A stack of contexts that the end of the test closes in reverse order."""
    with ExitStack() as ends:
        yield ends


@pytest.fixture
def launch(stack: ExitStack) -> Launch:
    def start(consul: Agent, *, ready: bool = True, token: str = "", through: str = "", **options: Any) -> Controller:
        """With `through`, the controller reaches Consul at this address."""
        section = {"address": through or consul.address} | ({"token": token} if token else {})
        return stack.enter_context(Controller(ready=ready, consul=section, **options))

    return start


@pytest.fixture
def target() -> Iterator[Target]:
    """A target that answers 200 on every path and logs the requests."""
    with Target() as one:
        yield one


@pytest.fixture
def fleet(consul: Agent, target: Target) -> Fleet:
    """Pods that are scheduled in `consul` and answered by `target`."""
    return Fleet(consul, target)


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    require("browser")
    with Browser() as browser:
        yield browser


@pytest.fixture
def browser(window: Browser) -> Iterator[Browser]:
    """One browser window for all tests. No test may leave an error in the console."""
    window.complaints()
    yield window
    window.open("about:blank")
    assert window.complaints() == []
