"""B: health ends with its pod and with its publisher. Afterwards every pod has its own health again."""

import itertools
import math
from collections.abc import Iterator, Sequence

from tests.faults.promises.truth import verdict_due
from tests.faults.spans import Span, merged, put_off
from tests.faults.story import AFTER_OUTAGE, Broken, Life, Sighting, Story

GONE = 4.0
FUSE = 60.0
FUSE_PODS = 10
FUSE_SHARE = 0.2
AFTER_DEATH = 21.0
WITH_A_LEADERS_DEATH = 43.0
SETTLED = 30.0


def check(story: Story) -> Iterator[Broken]:
    for pod in story.pods:
        for life in story.lives.get(pod, ()):
            yield from outlived(story, life, story.sightings.get(pod, ()), "B1")
    yield from _dead_hand(story)
    yield from _orphans(story)


def removal_due(story: Story, life: Life) -> float:
    """Returns when nothing may be left of a check that no manifest asks for any more. The check is removed only when
    its worker is known to have stopped, so a thread that stands still keeps it."""
    faults = story.spans("cut", "blind", "slow", "leader", "foreign", "two", "busy")
    troubles = merged([*faults, *story.absent])
    fuse = FUSE if _is_mass(story, life) else 0.0
    due = story.put_off(life.end, GONE + fuse, troubles, AFTER_OUTAGE + fuse)
    due = put_off(life.end, due - life.end, story.spans("stuck"), GONE + fuse)
    return due + story.stalled(life.end, due)


def _is_mass(story: Story, life: Life) -> bool:
    """Whether the fuse of the node may hold the removal as a mistake: too many pods were removed before this removal
    was due, or none was left."""
    reach = GONE
    for span in merged([*story.absences, *story.spans("cut", "blind", "slow", "leader")]):
        if span.overlaps(life.end_sent - GONE, life.end + GONE):
            reach = max(reach, span.end - span.begin + AFTER_OUTAGE)
    node = story.setup.nodes.get(life.pod)
    beside = [other for pod, lives in story.lives.items() if story.setup.nodes.get(pod) == node for other in lives]
    ended = [other for other in beside if abs(other.end - life.end) <= reach]
    known = [other for other in beside if other.begin < life.end <= other.end]
    gone = len(ended)
    return (gone > FUSE_PODS and gone > FUSE_SHARE * len(known)) or (gone >= len(known) and gone > 1)


def outlived(story: Story, life: Life, sightings: Sequence[Sighting], promise: str) -> Iterator[Broken]:
    """The pod's health was still there when it had to be gone."""
    due = removal_due(story, life)
    again = next((other.begin_sent for other in story.lives[life.pod] if other.begin_sent >= life.end), story.end)
    for sighting in sightings:
        if sighting.record and sighting.last.sent > due and sighting.first.at < again and due < again:
            stood = sighting.last.sent - life.end
            yield Broken(promise, due, life.pod, f"its health still stood {stood:.1f} s after its end")
            return


def _dead_hand(story: Story) -> Iterator[Broken]:
    """The published health is removed while no controller runs."""
    for span in story.absent:
        leader = any(each.overlaps(span.begin, span.end) for each in story.spans("leader"))
        bound = WITH_A_LEADERS_DEATH if leader else AFTER_DEATH
        due = put_off(span.begin, bound, story.spans("headless"), WITH_A_LEADERS_DEATH)
        due += story.stalled(span.begin, due)
        for pod, sighting in _standing(story, due, min(span.end, story.end)):
            yield Broken(
                "B2", due, pod, f"its health still stood {sighting.last.sent - span.begin:.1f} s after the end"
            )


def _standing(story: Story, begin: float, end: float) -> Iterator[tuple[str, Sighting]]:
    for pod, sightings in story.sightings.items():
        for sighting in sightings:
            if sighting.record and sighting.first.at < end and sighting.last.sent > begin and begin < end:
                yield pod, sighting
                break


def _orphans(story: Story) -> Iterator[Broken]:
    """When there was no fault for 30 s, and at the end, there are health keys for exactly the pods, each held by a live
    session. The end comes after 30 s too, or when all looked right."""
    calms = [*_calms(story), *([Span(story.looks[-1].sent, story.looks[-1].at)] if story.looks else [])]
    for pod in story.pods:
        for sighting in story.sightings.get(pod, _never_seen(story)):
            found = (_orphan(story, pod, sighting, calm) for calm in calms if _shows(sighting, calm))
            if broken := next((each for each in found if each), None):
                yield broken
                break


def _calms(story: Story) -> Iterator[Span]:
    """Times without faults that began long enough after the last one."""
    troubles = merged([*story.absences, *(fault.span for fault in story.faults), Span(story.end, math.inf)])
    for trouble, after in itertools.pairwise(troubles):
        if after.begin - trouble.end > SETTLED:
            yield Span(trouble.end + SETTLED, after.begin)


def _never_seen(story: Story) -> Sequence[Sighting]:
    return [Sighting(None, story.looks[0], story.looks[-1])] if story.looks else []


def _shows(sighting: Sighting, calm: Span) -> bool:
    return sighting.first.sent <= calm.end and sighting.last.at >= calm.begin


def _orphan(story: Story, pod: str, sighting: Sighting, calm: Span) -> Broken | None:
    begin, end = max(calm.begin, sighting.first.sent), min(calm.end, sighting.last.at)
    record, life = sighting.record, story.life_at(pod, end)
    sessions = next(
        (look.sessions for look in reversed(story.looks) if look.sessions is not None and look.at <= end), ()
    )
    if record and record.session not in sessions:
        return Broken("B3", end, pod, f"its key is held by {record.session or 'nobody'}, which is no live session")
    if record and not life and _is_over(story, pod, end):
        return Broken("B3", end, pod, "there is a key for a pod that nobody asks for")
    if life and not record and max(begin, verdict_due(story, life)) < end and not _open(story, pod, end):
        return Broken("B3", end, pod, f"there was no key for {end - begin:.1f} s for a pod that is asked for")
    return None


def _open(story: Story, pod: str, at: float) -> bool:
    return any(span.begin <= at <= span.end for span in story.doubts.get(pod, ()))


def _is_over(story: Story, pod: str, at: float) -> bool:
    lives = [life for life in story.lives.get(pod, ()) if life.end <= at]
    return not lives or removal_due(story, lives[-1]) < at
