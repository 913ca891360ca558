"""What the system tests share: controllers beside a Consul, and targets that stand for many pods."""

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
    """Starts a controller beside a Consul; see `Controller` for the options."""

    def __call__(self, consul: Agent, *, ready: bool = True, token: str = "", **options: Any) -> Controller: ...


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is entered here ends with the test, the last one first."""
    with ExitStack() as ends:
        yield ends


@pytest.fixture
def launch(stack: ExitStack) -> Launch:
    def start(consul: Agent, *, ready: bool = True, token: str = "", through: str = "", **options: Any) -> Controller:
        """With `through` it asks Consul at this address."""
        section = {"address": through or consul.address} | ({"token": token} if token else {})
        return stack.enter_context(Controller(ready=ready, consul=section, **options))

    return start


@pytest.fixture
def target() -> Iterator[Target]:
    """Answers 200 on every path, and keeps a log."""
    with Target() as one:
        yield one


@pytest.fixture
def fleet(consul: Agent, target: Target) -> Fleet:
    """Pods that `target` stands for, scheduled in `consul`."""
    return Fleet(consul, target)


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    require("browser")
    with Browser() as browser:
        yield browser


@pytest.fixture
def browser(window: Browser) -> Iterator[Browser]:
    """The same window for all tests, each of which may not leave a complaint in the console."""
    window.complaints()
    yield window
    window.open("about:blank")
    assert window.complaints() == []
