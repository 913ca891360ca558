"""A fault: how it is injected and healed, what it excuses, and how long it lasts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Literal

from tests.faults.history import Effect, FaultBegan, FaultEnded, FaultStood, Recorder
from tests.faults.stage import Scale, Stage

Group = Literal["process", "line", "answers", "cluster", "keys", "acl", "fleet"]

SHARED: frozenset[Group] = frozenset(("cluster", "keys"))
"""What these faults affect belongs to all members of a fleet."""

Play = Callable[[Stage, Random], Iterator[None]]
"""A generator. The code before its `yield` injects the fault, and the code after it heals the fault."""


LIMITED = 33.0
"""The duration in seconds of a fault that limits requests. Everything must be published shortly before its end."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    It takes `takes` seconds to inject, and lasts for `seconds` in a short run and for `long` in a long run. A fault
    that is `only_long` occurs in long runs only. `cluster` means that it needs several servers, and `acl` that it
    needs a Consul with default deny. Faults of the group `fleet` occur in fleets, and nowhere else. Other faults occur
    in fleets too if `in_fleets`. `of_all` means that the effects are those of all members, as those of the groups in
    `SHARED` always are.
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
    in_fleets: bool = False
    of_all: bool = False
    text: str = ""

    def suits(self, scale: Scale) -> bool:
        """Whether it can occur in such a run."""
        if scale.members and not (self.group == "fleet" or self.in_fleets):
            return False
        if self.group == "fleet" and not scale.members:
            return False
        return (scale.cluster or not self.cluster) and (scale.acl or not self.acl)

    @contextmanager
    def on(self, stage: Stage, random: Random) -> Iterator[None]:
        """Injects the fault, and heals it even after an exception. Records both. In a fleet it affects one member, or
        all."""
        recorder: Recorder = stage.recorder
        if len(stage.controllers) > 1:
            stage.controller = random.choice(stage.controllers)
        play = self.play(stage, random)
        member = "" if self.of_all or self.group in SHARED else stage.controller.member
        recorder.note(FaultBegan(recorder.now(), self.name, self.effects, member))
        try:
            next(play)
            stands = recorder.now()
            yield
            recorder.note(FaultStood(stands, recorder.now(), self.name))
        finally:
            next(play, None)
            recorder.note(FaultEnded(recorder.now(), self.name))
