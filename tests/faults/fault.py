"""A fault: how it is injected and healed, what it excuses, and how long it lasts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Literal

from tests.faults.history import Effect, FaultBegan, FaultEnded, FaultStood, Recorder
from tests.faults.stage import Stage

Group = Literal["process", "line", "answers", "cluster", "keys", "acl"]

Play = Callable[[Stage, Random], Iterator[None]]
"""A generator. The code before its `yield` injects the fault, and the code after it heals the fault."""


LIMITED = 33.0
"""The duration in seconds of a fault that limits requests. Everything must be published shortly before its end."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    It takes `takes` seconds to inject, and lasts for `seconds` in a short run and for `long` in a long run. A fault
    that is `only_long` occurs in long runs only. `cluster` means that it needs several servers, and `acl` that it
    needs a Consul with default deny.
    """

    name: str
    group: Group
    play: Play
    effects: tuple[Effect, ...] = ()
    seconds: float = 2.0
    long: float = 0.0
    takes: float = 0.0
    cluster: bool = False
    acl: bool = False
    only_long: bool = False
    text: str = ""

    @contextmanager
    def on(self, stage: Stage, random: Random) -> Iterator[None]:
        """Injects the fault, and heals it even after an exception. Records both."""
        recorder: Recorder = stage.recorder
        play = self.play(stage, random)
        recorder.note(FaultBegan(recorder.now(), self.name, self.effects))
        try:
            next(play)
            stands = recorder.now()
            yield
            recorder.note(FaultStood(stands, recorder.now(), self.name))
        finally:
            next(play, None)
            recorder.note(FaultEnded(recorder.now(), self.name))
