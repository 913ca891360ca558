"""C: a removed pod is not probed any more, and nothing is published or shown of it."""

from collections.abc import Iterator
from itertools import pairwise

from tests.faults.promises.late_writes import is_late_creation, late_writes
from tests.faults.promises.lifetime import removal_due
from tests.faults.story import Broken, Life, Story

SLACK = 0.05


def check(story: Story) -> Iterator[Broken]:
    for pod in story.pods:
        lives = story.lives.get(pod, ())
        for number, life in enumerate(lives):
            again = lives[number + 1].begin_sent if number + 1 < len(lives) else story.end
            accepted = min(_accepted(story, life, again), removal_due(story, life))
            if accepted < again:
                yield from _asked(story, life, accepted, again)
                yield from _said(story, life, accepted, again)
        if not lives:
            yield from _never_asked_for(story, pod)


def _accepted(story: Story, life: Life, again: float) -> float:
    """Returns when the controllers showed that they had accepted the removal: no metrics had the pod."""
    for scrape in story.whole:
        if life.end <= scrape.sent and scrape.at < again and life.pod not in scrape.pods:
            return scrape.at
    return float("inf")


def _asked(story: Story, life: Life, accepted: float, again: float) -> Iterator[Broken]:
    for request in story.requests.get(life.pod, ()):
        slack = SLACK + story.stalled(accepted - 1, request.at)
        is_unaware = any(span.begin <= request.at < span.end for span in story.unaware(request.member))
        if accepted + slack < request.at < again and not is_unaware:
            yield Broken("C1", request.at, life.pod, f"asked {request.at - life.end:.1f} s after its end was accepted")
            return


def _said(story: Story, life: Life, accepted: float, again: float) -> Iterator[Broken]:
    """Finds a key that was written after that: the look before was already later. A key that has not been removed yet
    is reported by B1."""
    foreign = [*story.spans("foreign", "two"), *late_writes(story)]
    for before, sighting in pairwise(story.sightings.get(life.pod, ())):
        came = sighting.record and accepted < before.last.sent and sighting.first.at < again
        is_late = is_late_creation(story, life.pod, sighting)
        is_late |= any(span.overlaps(accepted, sighting.first.at) for span in foreign)
        if came and not is_late:
            yield Broken("C1", sighting.first.at, life.pod, "its health was written again after its end was accepted")
            return


def _never_asked_for(story: Story, pod: str) -> Iterator[Broken]:
    if requests := story.requests.get(pod, ()):
        yield Broken("C1", requests[0].at, pod, "asked, though no manifest ever wanted that")
