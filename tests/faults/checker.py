"""Finds the promises that a history breaks. It is a pure function of the recorded events."""

from collections.abc import Iterable, Mapping, Sequence

from tests.faults.history import Event
from tests.faults.promises import (
    bounds,
    cadence,
    catalog,
    counts,
    handover,
    lifetime,
    publication,
    removal,
    restart,
    serving,
    steadfast,
    truth,
)
from tests.faults.story import Broken, story

PROMISES: Mapping[str, str] = {
    "A1": "a manifest written to Consul is probed",
    "A2": "steady cadence, whatever other pods do",
    "A3": "Consul's trouble stops no probe",
    "B1": "health does not outlive its pod",
    "B2": "a dead or frozen controller claims nothing",
    "B3": "no orphans",
    "C1": "no probe for a removed pod",
    "D1": "no false passing",
    "D2": "our fault is not the pod's",
    "D3": "no resurrection",
    "D4": "the catalog says what was seen",
    "E1": "no false removal",
    "E2": "isolation",
    "F1": "bounded",
    "G1": "stops in order",
    "G2": "says how it is",
    "H1": "metrics tell the truth",
    "H2": "a member of a fleet dies unnoticed",
    "H3": "no pod is forgotten",
    "H4": "one prober",
    "H5": "one writer",
    "I1": "what is decided gets published",
    "R1": "restart and reload change nothing published",
}

CHECKS = (
    cadence,
    lifetime,
    removal,
    truth,
    catalog,
    steadfast,
    bounds,
    serving,
    counts,
    handover,
    publication,
    restart,
)


def judge(events: Iterable[Event], without: frozenset[str] = frozenset()) -> Sequence[Broken]:
    """Returns the broken promises in the order of time, without those in `without`."""
    told = story(events)
    broken = [each for check in CHECKS for each in check.check(told) if each.promise not in without]
    return sorted(broken, key=lambda each: each.at)
