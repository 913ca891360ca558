"""Faults of the line between the controller and Consul's agent."""

import time
from collections.abc import Iterator
from functools import partial
from random import Random

from tests.faults.fault import Fault
from tests.faults.stage import Stage
from tests.support.proxy import CLEAR, Line


def behaves(line: Line, stage: Stage, random: Random) -> Iterator[None]:
    stage.proxy.behave(line)
    yield
    stage.proxy.behave(CLEAR)


def cut_off(stage: Stage, random: Random) -> Iterator[None]:
    """Connections end, and new ones are refused."""
    stage.proxy.refuse()
    yield
    stage.proxy.listen()


def reset(stage: Stage, random: Random) -> Iterator[None]:
    """Connections are ended by RST several times. New connections are accepted."""
    for _ in range(5):
        stage.proxy.cut(reset=True)
        time.sleep(random.uniform(0.05, 0.6))
    yield


def in_and_out(stage: Stage, random: Random) -> Iterator[None]:
    """The line is stalled and continues, several times."""
    for _ in range(4):
        stage.proxy.behave(Line(stalled=True))
        time.sleep(random.uniform(0.1, 1.5))
        stage.proxy.behave(CLEAR)
        time.sleep(random.uniform(0.05, 0.5))
    yield


FAULTS = (
    Fault("line-slow", "line", partial(behaves, Line(delay=0.2)), ("slow",), seconds=3, long=15, in_fleets=True),
    Fault("line-stalled", "line", partial(behaves, Line(stalled=True)), ("cut",), seconds=3, long=25),
    Fault("line-half-open", "line", partial(behaves, Line(deaf=True)), ("cut",), seconds=3, long=40, in_fleets=True),
    Fault("line-refused", "line", cut_off, ("cut",), seconds=3, long=40),
    Fault("line-reset", "line", reset, ("cut",), seconds=0, in_fleets=True),
    Fault("line-in-and-out", "line", in_and_out, ("cut",), seconds=0, in_fleets=True),
)
