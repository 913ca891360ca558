"""E: an answer that Consul does not give removes no pod, and an invalid manifest affects no other pod."""

import math
from collections import defaultdict, deque
from collections.abc import Iterator

from tests.faults.history import Intent, Removal, Request, Scrape
from tests.faults.spans import Span, put_off
from tests.faults.story import AFTER_OUTAGE, ASKED_AGAIN, Broken, Story

SEEN = 1.5
GONE = 64.0
"""The fuse may hold the removal for this long."""


def check(story: Story) -> Iterator[Broken]:
    yield from _lost(story)
    yield from _flags(story)


def _lost(story: Story) -> Iterator[Broken]:
    """A pod was in the metrics, or this process probed it. Its manifest exists, and it is not in the metrics any more.
    While nodes move, a pod may be in the metrics of no member."""
    known: dict[str, float] = {}
    pid, asked = 0, deque(_asked(story))
    for scrape in story.whole:
        if scrape.pid != pid:
            known, pid = {}, scrape.pid
        since = _listens(story, scrape)
        while asked and asked[0].at < scrape.sent:
            request = asked.popleft()
            known |= {request.pod: request.at} if request.at >= since else {}
        for pod in known.keys() - scrape.pods.keys():
            seen = known.pop(pod)
            life = story.life_at(pod, seen)
            if story.late(seen - SEEN, scrape.at):
                continue
            if life and life.begin <= seen and life.end_sent > scrape.at:
                faults = story.during(seen, scrape.at)
                yield Broken("E1", scrape.at, pod, f"its check is gone, and its manifest stands{_meanwhile(faults)}")
        known |= dict.fromkeys(scrape.pods, scrape.sent)


def _asked(story: Story) -> Iterator[Request]:
    """Yields the requests, in the order of time, that only a controller sends that has read a manifest of the present
    life of the check."""
    two = story.spans("two")
    for request in sorted((each for of_pod in story.requests.values() for each in of_pod), key=lambda each: each.at):
        life = story.life_at(request.pod, request.at)
        known = life and any(version.version == request.version for version in life.versions)
        if known and not any(span.overlaps(request.at, math.inf) for span in two):
            yield request


def _listens(story: Story, scrape: Scrape) -> float:
    """Returns since when only the process that was scraped sends requests."""
    mine = (event.at for event in story.processes if event.pid == scrape.pid and event.what == "listens")
    return next(mine, math.inf)


def _flags(story: Story) -> Iterator[Broken]:
    """The invalid manifests are shown as invalid, and no others are."""
    changes: dict[str, list[Intent | Removal]] = defaultdict(list)
    for intent in story.intents:
        changes[intent.pod].append(intent)
    for removal in story.removals:
        changes[removal.pod].append(removal)
    for pod, of_pod in changes.items():
        of_pod.sort(key=lambda change: change.at)
        for scrape in story.whole:
            wanted, said = _invalid(story, of_pod, scrape), pod in scrape.invalid
            if wanted is not None and wanted is not said:
                words = "invalid, and it is not" if said else "valid, and it is not"
                yield Broken("E2", scrape.at, pod, f"its manifest is said to be {words}")
                break


def _invalid(story: Story, changes: list[Intent | Removal], scrape: Scrape) -> bool | None:
    """Whether the newest manifest is invalid. None while a controller may not know it yet, for example because it has
    just started."""
    before = [change for change in changes if change.sent <= scrape.at]
    if not before:
        return None
    last = before[-1]
    outages = [*story.spans("cut", "blind", "slow", "leader", "foreign"), *story.absent]
    due = put_off(last.at, SEEN if isinstance(last, Intent) else GONE, outages, AFTER_OUTAGE)
    not_asked = [Span(outage.end, outage.end + ASKED_AGAIN) for outage in outages]
    due = put_off(last.at, due - last.at, not_asked, SEEN)
    if story.late(last.at, due) or story.late(scrape.sent - SEEN, scrape.at):
        return None
    began = max((span.end for span in story.absent if span.end <= scrape.sent), default=0.0)
    if scrape.sent < max(due + story.stalled(last.at, due), began + SEEN + story.stalled(began, began + SEEN)):
        return None
    return isinstance(last, Intent) and not last.valid


def _meanwhile(faults: str) -> str:
    return f", meanwhile: {faults}" if faults else ""
