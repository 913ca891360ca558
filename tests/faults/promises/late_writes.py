"""The writes of the controllers that Consul executes long after they were sent."""

from collections.abc import Sequence

from tests.faults.spans import Span
from tests.faults.story import READ_WITHIN, Sighting, Story

WRITE_WAITS = 10.0
"""The seconds after which the controller no longer waits for the answer to a write."""


def late_writes(story: Story) -> Sequence[Span]:
    """The faults after which Consul executes writes that had timed out. It refuses those of a fleet."""
    is_fleet = len(story.members) > 1
    return [] if is_fleet else [span for span in story.spans("late") if span.end - span.begin > WRITE_WAITS]


def is_late_creation(story: Story, pod: str, sighting: Sighting) -> bool:
    """Whether a member may have sent this record when it was cut off, to create a key that did not exist then. Such a
    write arrives when the line is restored."""
    at = sighting.first.at
    for fault in story.faults:
        restored = fault.stood.end
        if fault.member and "cut" in fault.effects:
            is_late = restored < at < restored + READ_WITHIN + story.stalled(restored, at)
            if is_late and _was_absent(story, pod, fault.span.begin - READ_WITHIN, fault.stood.begin):
                return True
    return False


def _was_absent(story: Story, pod: str, begin: float, end: float) -> bool:
    """Whether the pod had no key at some moment of this time."""
    sightings = (each for each in story.sightings.get(pod, ()) if not each.record)
    return any(Span(each.first.sent, each.last.at).overlaps(begin, end) for each in sightings)
