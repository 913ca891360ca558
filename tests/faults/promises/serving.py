"""G: the controller stops in order, and reports its own state."""

import math
from collections.abc import Collection, Iterator

from tests.faults.history import Effect, Process, Setup, Signs
from tests.faults.spans import Span, merged
from tests.faults.story import AFTER_OUTAGE, Broken, Story

STOPS = 5.0
STALE = 30.0
"""A listing of this age is too old. The lease ends after a TTL."""
WAIT_SLACK = 4.0
SILENT = 3.0
"""The longest time that an answer of the web server may take."""
STUCK = 7.0
"""The time after which it must be known that the thread that probes stands still: 5 s, and some time to report it."""
SIGTERM = -15


def check(story: Story) -> Iterator[Broken]:
    yield from _stops(story)
    for signs in story.signs:
        yield from _says(story, signs)


def _stops(story: Story) -> Iterator[Broken]:
    """After SIGTERM the process exits with 0 within 5 s. Before the process listens, the signal may kill it: then it
    has not begun anything."""
    for pid in dict.fromkeys(event.pid for event in story.processes):
        mine = [event for event in story.processes if event.pid == pid]
        asked = next((event for event in mine if event.what == "TERM"), None)
        if not asked or any(event.what == "KILL" and event.at - asked.at < STOPS for event in mine):
            continue
        yield from _ended(story, mine, asked)


def _ended(story: Story, mine: list[Process], asked: Process) -> Iterator[Broken]:
    ended = next((event for event in mine if event.what == "ended"), None)
    due = asked.at + STOPS + story.stalled(asked.at, asked.at + STOPS)
    began = any(event.what == "listens" and event.at <= asked.at for event in mine)
    if (ended is None or ended.at > due) and story.end > due:
        yield Broken("G1", due, "", f"process {asked.pid} has not ended {STOPS:g} s after SIGTERM")
    elif ended and ended.code != 0 and (began or ended.code != SIGTERM):
        yield Broken("G1", ended.at, "", f"process {asked.pid} ended with {ended.code} after SIGTERM")


def _says(story: Story, signs: Signs) -> Iterator[Broken]:
    troubles = merged([*story.absent_of(signs.pid), *story.spans("stuck", "local", pid=signs.pid)])
    if any(span.overlaps(signs.sent - SILENT, signs.at) for span in troubles):
        yield from _stuck(story, signs)
        return
    if signs.ready is None or signs.healthy is None:
        if story.stalled(signs.sent, signs.at) < SILENT / 2:
            yield Broken("G2", signs.at, "", f"no answer within {signs.at - signs.sent:.1f} s: {signs.words}")
        return
    if not signs.healthy and not _recently(story, signs, 5.0):
        yield Broken("G2", signs.at, "", f"/-/healthy says no: {signs.words}")
    yield from _ready(story, signs)


def _lost_after(setup: Setup, effects: Collection[Effect]) -> float:
    """Returns how many seconds after a fault began the controller must know that it has lost Consul. The lease ends
    after a TTL, and a listing is too old after a while. If another leader is elected, nothing is lost."""
    if "cut" in effects and ("headless" in effects or "leader" not in effects):
        return setup.ttl + WAIT_SLACK
    return setup.wait + STALE + WAIT_SLACK if "blind" in effects else math.inf


def _recently(story: Story, signs: Signs, reach: float) -> bool:
    at = signs.sent
    troubles = merged([*story.absent_of(signs.pid), *story.spans("stuck", "local", "busy", pid=signs.pid)])
    return any(span.overlaps(at - reach, at) for span in troubles) or story.stalled(at - reach, at) > 1.0


def _ready(story: Story, signs: Signs) -> Iterator[Broken]:
    affecting = [fault for fault in story.faults if fault.member in {"", story.member_of(signs.pid)}]
    for fault in affecting:
        late = _lost_after(story.setup, fault.effects)
        lost = fault.stood.begin + late < signs.sent and signs.at < fault.stood.end
        if lost and signs.ready and not _recently(story, signs, late):
            said = f"/-/ready says yes {signs.sent - fault.stood.begin:.0f} s after {fault.name} began"
            yield Broken("G2", signs.at, "", said)
    if not signs.ready and not _may_be_unready(story, signs):
        yield Broken("G2", signs.at, "", f"/-/ready says no: {signs.words}")


def _may_be_unready(story: Story, signs: Signs) -> bool:
    effects: tuple[Effect, ...] = ("cut", "blind", "slow", "leader", "foreign", "two", "busy", "behind")
    troubles = [
        *story.spans(*effects, pid=signs.pid),
        *story.absent_of(signs.pid),
        *story.unaware(story.member_of(signs.pid)),
    ]
    return any(Span(span.begin, span.end + AFTER_OUTAGE).overlaps(signs.sent - 1.0, signs.sent) for span in troubles)


def _stuck(story: Story, signs: Signs) -> Iterator[Broken]:
    """`/-/healthy` reports a thread that has stood still for long."""
    for span in story.spans("stuck", pid=signs.pid):
        if span.begin + STUCK < signs.sent and signs.at < span.end and signs.healthy:
            yield Broken(
                "G2", signs.at, "", f"/-/healthy says yes {signs.sent - span.begin:.0f} s after a thread stood"
            )
