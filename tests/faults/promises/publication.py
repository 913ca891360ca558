"""I: every verdict is published, whatever limit there is for our requests."""

from collections.abc import Iterator

from tests.faults.story import Broken, FaultSpan, Story

WITHIN = 30.0


def check(story: Story) -> Iterator[Broken]:
    for fault in story.faults:
        if "limited" in fault.effects:
            for pod in story.pods:
                yield from _unpublished(story, pod, fault)


def _unpublished(story: Story, pod: str, fault: FaultSpan) -> Iterator[Broken]:
    """A pod that has no key `WITHIN` seconds after the limit was set is reported once."""
    due = fault.stood.begin + WITHIN
    due += story.stalled(fault.stood.begin, due)
    for sighting in story.sightings.get(pod, ()):
        begin, end = max(due, sighting.first.sent), min(fault.stood.end, sighting.last.at)
        life = story.life_at(pod, end)
        open_ = any(span.begin <= end <= span.end for span in story.doubts.get(pod, ()))
        if not sighting.record and life and not open_ and max(begin, life.begin + WITHIN) < end:
            yield Broken("I1", end, pod, f"there was no key {end - fault.stood.begin:.1f} s after {fault.name} began")
            return
