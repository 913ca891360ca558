"""F: the controller uses a bounded number of descriptors, connections to Consul, memory, writes and log lines."""

import statistics
from collections.abc import Iterator, Sequence

from tests.faults.history import Usage
from tests.faults.story import Broken, Story

SPARE_DESCRIPTORS = 34
"""What the controller holds besides probes and the connections that others open to its page."""
CLIENTS = 8
"""Connections to the page. The observer opens a few at the same time; the controller closes each after its answer."""
CONSUL_CONNECTIONS = 10
"""Two descriptors for each connection (libcurl works on a duplicate), and one connection for each of manifests, health,
session, registration and the node's address in the catalog."""
WITH_SERVICES = 2
"""The descriptors of one more connection to Consul, and the same number while it is replaced by a new one."""
IN_A_FLEET = 4
"""Descriptors of two more connections to Consul: for the members, and for the manifests of the own nodes."""
THREADS = 40
LOG_WINDOW = 60.0
LOG_BASE = 60
LOG_PER_CHANGE = 4
WRITES = 40
WRITES_PER_SECOND = 0.5
LONG = 600.0
"""Memory is judged from this number of seconds on, because caches fill before."""
GROWTH = 1.05
GROWTH_BYTES = 4 * 1024 * 1024


def check(story: Story) -> Iterator[Broken]:
    for pid in dict.fromkeys(usage.pid for usage in story.usages):
        mine = [usage for usage in story.usages if usage.pid == pid]
        more = (WITH_SERVICES if story.setup.services else 0) + (IN_A_FLEET if len(story.members) > 1 else 0)
        yield from _descriptors(story, mine, more)
        yield from _memory(mine)
        yield from _log(story, mine)
    yield from _writes(story)


def _descriptors(story: Story, usages: Sequence[Usage], more: int) -> Iterator[Broken]:
    """A connection that its target refused or reset has no other end any more. It belongs to a probe until the
    controller has read its end. Connections of clients end in the same way. There are at most as many as pods and
    clients."""
    for usage in usages:
        nowhere = min(usage.nowhere, len(story.pods) + CLIENTS)
        if usage.descriptors - usage.probing - usage.clients - nowhere > SPARE_DESCRIPTORS + 2 * more:
            said = f"{usage.descriptors} descriptors, {usage.probing} of them to targets, {usage.nowhere} to nowhere"
            yield Broken("F1", usage.at, "", said)
        if usage.consul > CONSUL_CONNECTIONS + more:
            yield Broken("F1", usage.at, "", f"{usage.consul} connections to Consul")
        if usage.clients > CLIENTS:
            yield Broken("F1", usage.at, "", f"{usage.clients} connections to the page")
        if usage.threads > THREADS:
            yield Broken("F1", usage.at, "", f"{usage.threads} threads")


def _memory(usages: Sequence[Usage]) -> Iterator[Broken]:
    """The memory of the last quarter of a long run may hardly exceed that of the second quarter."""
    begin, end = usages[0].at, usages[-1].at
    if end - begin < LONG:
        return
    quarter = (end - begin) / 4
    early = statistics.median(each.resident for each in usages if quarter <= each.at - begin < 2 * quarter)
    late = statistics.median(each.resident for each in usages if each.at - begin >= 3 * quarter)
    if late > early * GROWTH + GROWTH_BYTES:
        yield Broken("F1", end, "", f"memory grew from {early / 1e6:.1f} to {late / 1e6:.1f} MB")


def _log(story: Story, usages: Sequence[Usage]) -> Iterator[Broken]:
    """A minute has a limited number of lines: a constant, and a few for each event."""
    happened = sorted(
        [
            *(turn.at for turns in story.turns.values() for turn in turns),
            *(intent.at for intent in story.intents),
            *(removal.at for removal in story.removals),
            *(moment for fault in story.faults for moment in fault.span),
            *(sighting.first.at for sightings in story.sightings.values() for sighting in sightings),
        ]
    )
    start = 0
    for number, usage in enumerate(usages):
        while usage.at - usages[start].at > LOG_WINDOW:
            start += 1
        lines = usage.log_lines - usages[start].log_lines
        news = sum(usages[start].at - LOG_WINDOW <= at <= usage.at for at in happened)
        if number > start and lines > LOG_BASE + LOG_PER_CHANGE * news:
            yield Broken("F1", usage.at, "", f"{lines} lines logged in a minute in which {news} things happened")
            return


def _writes(story: Story) -> Iterator[Broken]:
    """The key of each pod changes a limited number of times, however often its target flaps."""
    for pod, sightings in story.sightings.items():
        written = [sighting for sighting in sightings if sighting.record]
        span = written[-1].first.at - written[0].first.at if written else 0.0
        if len(written) > WRITES + span * WRITES_PER_SECOND:
            yield Broken("F1", written[-1].first.at, pod, f"its key was written {len(written)} times in {span:.0f} s")
