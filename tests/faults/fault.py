"""What a fault is: how it begins and is healed, what it excuses, and for how long it lasts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Literal

from tests.faults.history import Effect, FaultBegan, FaultEnded, FaultStood, Recorder
from tests.faults.stage import Stage

Group = Literal["process", "line", "answers", "cluster", "keys", "acl"]

Play = Callable[[Stage, Random], Iterator[None]]
"""A generator: what stands before its `yield` begins the fault, what stands after heals it."""


LIMITED = 33.0
"""Seconds that a fault lasts which sets a limit: a little more than it may take until all is published under it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `seconds` it lasts in a short run, `long` in a long one, and some there are `only_long`; before that,
    its beginning `takes` so many. `cluster`: it needs several servers; `acl`: it needs a Consul that denies by
    default."""

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
        """Inject it, and heal it whatever happens in between; both are written down."""
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
