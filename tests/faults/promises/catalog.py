"""D4: Consul's catalog, from which DNS answers, shows for the pods' services what was seen of the pods."""

from collections.abc import Iterator

from tests.faults.promises.lifetime import outlived
from tests.faults.promises.truth import good, too_long
from tests.faults.story import Broken, Sighting, Story


def check(story: Story) -> Iterator[Broken]:
    for pod, sightings in story.services.items():
        for sighting in sightings:
            yield from _judge(story, pod, sighting)
        for life in story.lives.get(pod, ()):
            yield from outlived(story, life, sightings, "D4")


def _judge(story: Story, pod: str, sighting: Sighting) -> Iterator[Broken]:
    """Consul has no status for unknown. Such a pod is critical, or warning, whatever its target does."""
    match sighting.record.status if sighting.record else "":
        case "passing":
            yield from too_long(story, pod, sighting, story.bad(pod), "D4", "bad")
        case "critical" if not _was_unknown(story, pod, sighting):
            yield from too_long(story, pod, sighting, good(story, pod), "D4", "good")


def _was_unknown(story: Story, pod: str, service: Sighting) -> bool:
    return any(
        key.record
        and key.record.status == "unknown"
        and key.first.sent < service.last.at
        and service.first.sent < key.last.at
        for key in story.sightings.get(pod, ())
    )
