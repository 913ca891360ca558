"""E: what Consul fails to say removes no pod, and one bad manifest touches no other."""

from collections.abc import Iterator

from tests.faults.history import Intent, Removal, Scrape
from tests.faults.spans import put_off
from tests.faults.story import Broken, Story

AFTER_OUTAGE = 24.0
SEEN = 1.5


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
    changes: list[Intent | Removal] = [*story.intents, *story.removals]
    changes.sort(key=lambda change: change.at)
    for scrape in story.scrapes:
        for pod, series in scrape.pods.items():
            wanted = _invalid(story, [change for change in changes if change.pod == pod], scrape)
            if wanted is not None and wanted is not series.invalid:
                said = "invalid, and it is not" if series.invalid else "valid, and it is not"
                yield Broken("E2", scrape.at, pod, f"its manifest is said to be {said}")
                return


def _invalid(story: Story, changes: list[Intent | Removal], scrape: Scrape) -> bool | None:
    """Whether the newest manifest cannot be understood; None while that may not be known yet."""
    before = [change for change in changes if change.sent <= scrape.at]
    if not before or not isinstance(last := before[-1], Intent):
        return None
    outages = [*story.spans("cut", "slow", "leader", "foreign"), *story.absent]
    due = put_off(last.at, SEEN, outages, AFTER_OUTAGE)
    return None if scrape.sent < due + story.stalled(last.at, due) else not last.valid


def _meanwhile(faults: str) -> str:
    return f", meanwhile: {faults}" if faults else ""
