"""R: a restart within the time of a lease changes nothing that is published, and a reload misses no probe."""

import itertools
from collections.abc import Iterator

from tests.faults.spans import Span
from tests.faults.story import Broken, Sighting, Story

WITHIN = 20.0
SETTLED = 5.0


def check(story: Story) -> Iterator[Broken]:
    for span in story.down:
        if story.setup.at < span.begin and span.end - span.begin < WITHIN:
            yield from _kept(story, span)


def _kept(story: Story, span: Span) -> Iterator[Broken]:
    """The records from before the restart remain, unless the pod or its target has changed."""
    end = span.end + SETTLED + 2 * story.setup.interval
    for pod, sightings in story.sightings.items():
        for before, after in itertools.pairwise(sightings):
            meant = before.record and span.begin <= after.first.at <= end
            if meant and not _news(story, pod, span.begin, end) and not was_late(story, before, after):
                yield from _changed(pod, before, after)
    yield from _late(story, span)


def _changed(pod: str, before: Sighting, after: Sighting) -> Iterator[Broken]:
    if not after.record:
        yield Broken("R1", after.first.at, pod, "its key was gone over a restart")
    elif before.record and after.record.status != before.record.status:
        said = f"{before.record.status} became {after.record.status}"
        yield Broken("R1", after.first.at, pod, f"{said} over a restart")


def was_late(story: Story, before: Sighting, after: Sighting) -> bool:
    """Whether a busy machine explains that a target did not answer in time, or that it is healthy again after that."""
    late = next((each for each in (after, before) if each.record and each.record.reason == "timeout"), None)
    if not late or not after.record:
        return False
    since = late.first.at - 2 * story.setup.interval - story.setup.timeout
    return story.stalled(since, late.first.at) > story.setup.timeout / 2


def _news(story: Story, pod: str, begin: float, end: float) -> bool:
    """Whether there is another reason for a change of what is published."""
    since = _noticed_until(story, begin)
    life = story.life_at(pod, begin)
    others = [*story.spans("cut", "blind", "slow", "leader", "foreign", "two", "local", "busy", "stuck"), *story.frozen]
    return (
        not life
        or life.end_sent < end
        or any(since <= intent.at <= end for intent in life.versions[1:])
        or any(since <= turn.at <= end for turn in story.turns.get(pod, ()))
        or any(other.overlaps(since, end) for other in (*others, *story.doubts.get(pod, ())))
    )


def _noticed_until(story: Story, begin: float) -> float:
    """Returns the time before which the controller that ended at `begin` has noticed every change of a target. A
    controller that had just started has not noticed the changes during the absence before it."""
    latency = 2 * story.setup.interval + story.setup.timeout
    since = begin - latency
    for down in sorted(story.down, reverse=True):
        if down.begin < begin and down.overlaps(since, begin):
            since = min(since, down.begin - latency)
    return since


def _late(story: Story, span: Span) -> Iterator[Broken]:
    """No probe is more than one interval late. This is the first probe after the restart."""
    due = span.end + story.setup.interval + 1.0
    due += story.late(span.end, due)
    due += story.stalled(span.begin, due)
    for pod, lives in story.lives.items():
        life = next((life for life in lives if life.begin < span.begin and due < life.end_sent), None)
        if not life or due > story.end or any(each.overlaps(span.begin, due) for each in story.deaf(pod)):
            continue
        if any(each.overlaps(span.end, due) for each in (*story.absent, *story.doubts.get(pod, ()))):
            continue
        if not any(span.end - 1.0 <= request.at <= due for request in story.requests.get(pod, ())):
            yield Broken("R1", due, pod, f"not probed within {due - span.end:.1f} s after a restart")
