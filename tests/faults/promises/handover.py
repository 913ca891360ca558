"""H: a fleet loses no pod, no key and no status when its nodes move from one member to another."""

import itertools
from collections.abc import Iterator, Sequence

from tests.faults.history import Effect, Request
from tests.faults.moves import TAKEN_OVER
from tests.faults.promises.cadence import START, gaps_between, unprobed
from tests.faults.promises.restart import was_late
from tests.faults.spans import Span, put_off
from tests.faults.story import Broken, Life, Sighting, Story

SLACK = 0.25
GIVEN_UP = 1 << 63
"""The Flags of a key that its holder has given up."""
ESTABLISHED = 5.0
"""Seconds after its first manifest from which a check has a key."""
ENDS_LATER = 21.0
"""Seconds after trouble with Consul, or after the loss of all members, in which keys may go with their session."""
ON_THE_KEYS: tuple[Effect, ...] = ("cut", "blind", "slow", "leader", "foreign", "two", "local", "busy", "stuck")


def check(story: Story) -> Iterator[Broken]:
    if len(story.members) == 1:
        return
    for pod in story.pods:
        for before, after in itertools.pairwise(story.sightings.get(pod, ())):
            yield from _vanished(story, pod, before, after)
            yield from _changed(story, pod, before, after)
            yield from _overwritten(story, pod, before, after)
        for life in story.lives.get(pod, ()):
            yield from _forgotten(story, life)
            yield from _asked_by_two(story, life)


def _excused(story: Story, begin: float, end: float) -> bool:
    troubles = (*story.spans(*ON_THE_KEYS), *story.absent)
    return any(Span(each.begin, each.end + ENDS_LATER).overlaps(begin, end) for each in troubles)


def _vanished(story: Story, pod: str, before: Sighting, after: Sighting) -> Iterator[Broken]:
    """H2: a key is gone although its manifest exists."""
    life = story.life_at(pod, after.first.at)
    if after.record or not life or life.begin + ESTABLISHED > before.last.sent:
        return
    if _excused(story, before.last.sent, after.first.at) or _is_open(story, pod, before.last.sent, after.first.at):
        return
    yield Broken("H2", after.first.at, pod, f"its key is gone{_meanwhile(story, after.first.at)}")


def _changed(story: Story, pod: str, before: Sighting, after: Sighting) -> Iterator[Broken]:
    """H2: a status changes although neither the pod's target nor its manifest has changed."""
    old, new = before.record, after.record
    if not old or not new or old.status == new.status or "flapping" in {old.reason, new.reason}:
        return
    since = before.last.sent - 2 * story.setup.interval - story.setup.timeout - ESTABLISHED
    since -= story.late(since, after.first.at)
    changes = [
        *(turn.at for turn in story.turns.get(pod, ())),
        *(intent.at for life in story.lives.get(pod, ()) for intent in life.versions),
    ]
    if any(since <= at <= after.first.at for at in changes) or was_late(story, before, after):
        return
    if _excused(story, before.last.sent, after.first.at) or _is_open(story, pod, since, after.first.at):
        return
    said = f"{old.status} became {new.status}{_meanwhile(story, after.first.at)}"
    yield Broken("H2", after.first.at, pod, said)


def _overwritten(story: Story, pod: str, before: Sighting, after: Sighting) -> Iterator[Broken]:
    """H5: a record of an older view of the fleet replaces a record of a newer one that its holder has not given up."""
    old, new = before.record, after.record
    foreign = story.spans("foreign", "leader")
    if (
        old
        and new
        and new.flags < old.flags < GIVEN_UP
        and not any(each.overlaps(before.last.sent, after.first.at) for each in foreign)
    ):
        said = f"a record of view {new.flags} was written over one of view {old.flags}"
        yield Broken("H5", after.first.at, pod, said)


def _forgotten(story: Story, life: Life) -> Iterator[Broken]:
    """H3: a pod has a probe in every 12 s, whatever happens to one member."""
    for begin, end in gaps_between(story, life):
        due = put_off(begin, TAKEN_OVER + SLACK, unprobed(story, life.pod), START + TAKEN_OVER)
        due += story.stalled(begin, due)
        if end > due:
            said = f"{end - begin:.2f} s without a probe{_meanwhile(story, begin)}"
            yield Broken("H3", due, life.pod, said)


def _asked_by_two(story: Story, life: Life) -> Iterator[Broken]:
    """H4: the times in which two members asked for a pod overlap for longer than an interval. A member that did not ask
    in this time had lost the pod, and has got it again."""
    requests = [request for request in story.requests.get(life.pod, ()) if life.begin_sent <= request.at < life.end]
    spells = sorted(spell for spell in _spells(story, requests))
    for (one, member), (other, another) in itertools.combinations(spells, 2):
        begin, end = max(one.begin, other.begin), min(one.end, other.end)
        most = story.setup.interval + SLACK + story.stalled(begin, end)
        both = {request.member for request in requests if begin <= request.at <= end}
        if {member, another} <= both and member != another and end - begin > most:
            said = f"{member} and {another} both asked for {end - begin:.2f} s{_meanwhile(story, begin)}"
            yield Broken("H4", end, life.pod, said)


def _spells(story: Story, requests: Sequence[Request]) -> Iterator[tuple[Span, str]]:
    """Yields the times in which a member asked without a break."""
    most = 2 * story.setup.interval + SLACK
    for member in {request.member for request in requests}:
        mine = [request.at for request in requests if request.member == member]
        begin = mine[0]
        for at, later in itertools.pairwise([*mine, float("inf")]):
            if later - at > most:
                yield Span(begin, at), member
                begin = later


def _is_open(story: Story, pod: str, begin: float, end: float) -> bool:
    return any(span.overlaps(begin, end) for span in story.doubts.get(pod, ()))


def _meanwhile(story: Story, at: float) -> str:
    faults = story.during(at - TAKEN_OVER, at + SLACK)
    return f", meanwhile: {faults}" if faults else ""
