"""Runs a plan on a stage. One thread makes the changes, and another injects one fault after the other and heals it."""

import threading
import time
from collections.abc import Callable
from random import Random

from tests.faults.fault import Fault
from tests.faults.plan import Plan, Step
from tests.faults.stage import Stage

Say = Callable[[str], None]


def run(stage: Stage, plan: Plan, say: Say) -> None:
    """Runs the whole plan, and waits for the settled state at the end."""
    stage.raise_curtain(*plan.first)
    begin = time.monotonic()
    faults = _Faults(stage, plan, say)
    faults.start()
    for step in plan.steps:
        if faults.ended.wait(max(0.0, begin + step.at - time.monotonic())):
            break
        take(stage, step)
    faults.join()
    say("all faults are healed; waiting until everything is right")
    stage.finish()


def take(stage: Stage, step: Step) -> None:
    """Makes one change."""
    pods = stage.pods
    match step.change:
        case "schedule":
            pods.schedule(step.pod)
        case "silence":
            pods.silence(step.pod)
        case "spoil":
            pods.spoil(step.pod, int(step.argument))
        case "remove":
            pods.remove(step.pod)
        case "turn":
            pods.all[step.pod].turn(step.argument)


def endure(stage: Stage, fault: Fault, seconds: float, random: Random) -> None:
    """Injects a fault for `seconds`, and heals it."""
    with fault.on(stage, random):
        time.sleep(seconds)


class _Faults:
    """Injects one fault after the other in a thread."""

    def __init__(self, stage: Stage, plan: Plan, say: Say) -> None:
        self._stage = stage
        self._plan = plan
        self._say = say
        self._problem: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="faults", daemon=True)
        self.ended = threading.Event()

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        """Waits until the last fault is healed. Raises the exception that ended the thread, if any."""
        self._thread.join()
        if self._problem:
            raise self._problem

    def _run(self) -> None:
        begin = time.monotonic()
        try:
            self._endure_all()
            self.ended.wait(max(0.0, begin + self._plan.seconds - time.monotonic()))
        except BaseException as error:  # noqa: BLE001 -- told by `join`
            self._problem = error
        self.ended.set()

    def _endure_all(self) -> None:
        random = Random(self._stage.scale.seed)
        for appointment in self._plan.faults:
            self._say(f"{appointment.fault.name} for {appointment.seconds:g} s")
            endure(self._stage, appointment.fault, appointment.seconds, random)
            if appointment.pause is None:
                self._stage.settle()
            else:
                time.sleep(appointment.pause)
