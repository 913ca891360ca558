"""The runs of CI. Together they inject every fault, except those that take a minute and most of those of a fleet.

A fleet needs long for each of its faults, because a member has joined only after 10 s. So CI kills one member, and
`tests/run --long` injects the other faults.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.faults.catalogue import FAULTS
from tests.faults.fault import Fault, Group

SECONDS = 75.0
"""The approximate duration of the faults of one run, in seconds."""
SETTLES_SOON = 2.0
SETTLES: Mapping[Group, float] = {"keys": 12.0, "cluster": 4.0}
"""The usual time in seconds from the end of a fault until the state is right again. It is long for keys, because the
controller reads its own keys again every 15 s."""
SEED = 20
IN_A_FLEET = "member-killed"
"""The fault of a fleet that CI injects."""
FLEET_SECONDS = 50.0
"""The approximate duration of that run: three members start and join, and one of them dies and joins again."""


@dataclass(frozen=True, slots=True)
class Run:
    """The options for `tests/faults/run`, and the approximate duration of the run in seconds."""

    options: Sequence[str]
    seconds: float


def every_run() -> Mapping[str, Run]:
    """The runs by name, the longest first. They share the faults evenly. Each fault that is not `only_long` is in
    exactly one of them, except those of a fleet, of which there is one."""
    runs = {
        "random": Run(("--seed", str(SEED), "--minutes", "1.25", "--pods", "20", "--pause", "1", "6"), SECONDS),
        "fleet": Run(("--seed", str(SEED), "--fleet", "--alone", "--each", "--faults", IN_A_FLEET), FLEET_SECONDS),
        **dict(_each("ACL", ("--acl",), (fault for fault in _every() if fault.acl))),
        **dict(_each("cluster", (), (fault for fault in _every() if _in_cluster(fault)))),
        **dict(_each("agent", ("--alone",), (fault for fault in _every() if _at_an_agent(fault)))),
    }
    return dict(sorted(runs.items(), key=lambda run: -run[1].seconds))


def injected(run: Run) -> frozenset[str]:
    """Returns the names of the faults that a run is given."""
    options = list(run.options)
    return frozenset(options[options.index("--faults") + 1].split(",")) if "--faults" in options else frozenset()


def _every() -> Iterator[Fault]:
    return (fault for fault in FAULTS.values() if not fault.only_long)


def _in_cluster(fault: Fault) -> bool:
    return fault.group == "cluster"


def _at_an_agent(fault: Fault) -> bool:
    return not (fault.acl or _in_cluster(fault) or fault.group == "fleet")


def _each(name: str, options: Sequence[str], faults: Iterable[Fault]) -> Iterator[tuple[str, Run]]:
    for number, share in enumerate(_shares(faults), 1):
        names = ",".join(fault.name for fault in share)
        every = ("--seed", str(SEED), "--each", *options, "--faults", names)
        yield f"{name} {number}", Run(every, sum(map(_takes, share)))


def _shares(faults: Iterable[Fault]) -> Sequence[Sequence[Fault]]:
    """Takes the longest faults first, and gives each to the run that has the least to do."""
    longest_first = sorted(faults, key=_takes, reverse=True)
    shares: list[list[Fault]] = [[] for _ in range(math.ceil(sum(map(_takes, longest_first)) / SECONDS))]
    for fault in longest_first:
        min(shares, key=lambda share: sum(map(_takes, share))).append(fault)
    return shares


def _takes(fault: Fault) -> float:
    return fault.takes + fault.seconds + SETTLES.get(fault.group, SETTLES_SOON)
