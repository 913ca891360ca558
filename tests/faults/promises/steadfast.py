"""E: what Consul fails to say removes no pod, and one bad manifest touches no other."""

from collections import defaultdict
from collections.abc import Iterator

from tests.faults.history import Intent, Removal, Scrape
from tests.faults.spans import put_off
from tests.faults.story import Broken, Story

AFTER_OUTAGE = 24.0
SEEN = 1.5
GONE = 64.0
"""The fuse may hold the removal."""


def check(story: Story) -> Iterator[Broken]:
    yield from _lost(story)
    yield from _flags(story)


def _lost(story: Story) -> Iterator[Broken]:
    """A pod was in the metrics, its manifest stands, and it is in the metrics no more."""
    known: dict[str, Scrape] = {}
    pid = 0
    for scrape in story.scrapes:
        if scrape.pid != pid:
            known, pid = {}, scrape.pid
        for pod in known.keys() - scrape.pods.keys():
            seen = known.pop(pod)
            life = story.life_at(pod, seen.sent)
            if life and life.begin <= seen.sent and life.end_sent > scrape.at:
                faults = story.during(seen.sent, scrape.at)
                yield Broken("E1", scrape.at, pod, f"its check is gone, and its manifest stands{_meanwhile(faults)}")
        known |= dict.fromkeys(scrape.pods, scrape)


def _flags(story: Story) -> Iterator[Broken]:
    """The invalid manifests are known as such, and no others are."""
    changes: dict[str, list[Intent | Removal]] = defaultdict(list)
    for intent in story.intents:
        changes[intent.pod].append(intent)
    for removal in story.removals:
        changes[removal.pod].append(removal)
    for pod, of_pod in changes.items():
        of_pod.sort(key=lambda change: change.at)
        for scrape in story.scrapes:
            wanted, said = _invalid(story, of_pod, scrape), pod in scrape.invalid
            if wanted is not None and wanted is not said:
                words = "invalid, and it is not" if said else "valid, and it is not"
                yield Broken("E2", scrape.at, pod, f"its manifest is said to be {words}")
                break


def _invalid(story: Story, changes: list[Intent | Removal], scrape: Scrape) -> bool | None:
    """Whether the newest manifest cannot be understood; None while that may not be known yet, to a controller that has
    just begun too."""
    before = [change for change in changes if change.sent <= scrape.at]
    if not before:
        return None
    last = before[-1]
    outages = [*story.spans("cut", "blind", "slow", "leader", "foreign"), *story.absent]
    due = put_off(last.at, SEEN if isinstance(last, Intent) else GONE, outages, AFTER_OUTAGE)
    began = max((span.end for span in story.absent if span.end <= scrape.sent), default=0.0)
    if scrape.sent < max(due + story.stalled(last.at, due), began + SEEN + story.stalled(began, began + SEEN)):
        return None
    return isinstance(last, Intent) and not last.valid


def _meanwhile(faults: str) -> str:
    return f", meanwhile: {faults}" if faults else ""
