"""What a run does, and when. The plan is a pure function of the seed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from tests.faults.behaviours import BAD, GOOD
from tests.faults.fault import Fault

Change = Literal["schedule", "silence", "spoil", "remove", "turn"]
WEIGHTS: dict[Change, int] = {"schedule": 5, "silence": 1, "spoil": 1, "remove": 2, "turn": 6}
FIRST_SHARE = 0.7
"""The share of all pods that exist from the start. At least half of them always remain."""
SETTLING = 30.0
QUIET = 0.5
"""The probability that a change of a target makes it healthy."""


@dataclass(frozen=True, slots=True)
class Step:
    """A change of a pod `at` seconds after the start. `argument` is a behaviour, or a broken manifest's number."""

    at: float
    change: Change
    pod: str
    argument: str = ""


@dataclass(frozen=True, slots=True)
class Appointment:
    """A fault that lasts for `seconds`. The next fault begins `pause` seconds after this one was healed. Without a
    `pause` it begins when the state is right again."""

    fault: Fault
    seconds: float
    pause: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """`first` are the pods that exist from the start. Changes end with the last fault, but not before `seconds`."""

    seconds: float
    first: Sequence[str]
    steps: Sequence[Step]
    faults: Sequence[Appointment]


@dataclass(frozen=True, slots=True)
class Pace:
    """The mean time between two changes, and the least and the most time between two faults, in seconds."""

    change: float = 1.0
    least: float = 1.0
    most: float = 6.0
    long: bool = False


def make(seed: int, seconds: float, pods: Sequence[str], faults: Sequence[Fault], pace: Pace) -> Plan:
    """Returns the plan of a run. The same arguments give the same plan."""
    random = Random(seed)
    first = pods[: max(1, round(len(pods) * FIRST_SHARE))]
    return Plan(seconds, first, _steps(random, seconds, pods, first, pace), _faults(random, seconds, faults, pace))


def each(seed: int, pods: Sequence[str], faults: Sequence[Fault], pace: Pace) -> Plan:
    """Returns a plan with every fault once, in the given order, and a settled state after each fault."""
    made = make(seed, sum(fault.takes + fault.seconds for fault in faults) + SETTLING * len(faults), pods, (), pace)
    return replace(made, seconds=0.0, faults=[Appointment(fault, fault.seconds) for fault in faults])


def _steps(random: Random, seconds: float, pods: Sequence[str], first: Sequence[str], pace: Pace) -> Sequence[Step]:
    steps, wanted, at = [], set(first), 0.0
    while (at := at + random.expovariate(1 / pace.change)) < seconds:
        change = random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        pod = random.choice(pods)
        match change:
            case "turn":
                steps.append(Step(at, change, pod, random.choice(GOOD if random.random() < QUIET else BAD)))
            case "remove" | "silence" if pod in wanted and len(wanted) > len(first) / 2:
                wanted.discard(pod)
                steps.append(Step(at, change, pod))
            case "spoil" if pod in wanted:
                steps.append(Step(at, change, pod, str(random.randrange(1000))))
            case "schedule":
                wanted.add(pod)
                steps.append(Step(at, change, pod))
    return steps


def _faults(random: Random, seconds: float, faults: Sequence[Fault], pace: Pace) -> Sequence[Appointment]:
    """Returns the faults in random order. When all have occurred, they occur again in another random order."""
    found, at, deck = [], 0.0, list[Fault]()
    able = [fault for fault in faults if pace.long or not fault.only_long]
    while able:
        deck = deck or random.sample(able, len(able))
        fault = deck.pop()
        lasts = (random.choice((fault.seconds, fault.long)) if pace.long else 0.0) or fault.seconds
        pause = random.uniform(pace.least, pace.most)
        at += fault.takes + lasts + pause
        if at > seconds:
            break
        found.append(Appointment(fault, lasts, pause))
    return found
