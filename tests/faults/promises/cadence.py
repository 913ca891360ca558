"""A: manifests are probed soon and steadily, whatever Consul and other pods do."""

import math
from collections.abc import Iterator
from itertools import pairwise

from tests.faults.spans import Span, merged, put_off
from tests.faults.story import AFTER_OUTAGE, ASKED_AGAIN, Broken, Life, Story

FIRST = 1.0
CHECKS_TTL = 20.0
CHECKS_PERIOD = 5.0
"""The TTL of a service's check at the agent, and the time from one renewal to the next."""
AT_ONCE = 32
"""More manifests than this within a second are a mass start."""
SLACK = 0.25
TIGHT = 0.05
SHARE = 0.001
ENOUGH = 1_000
FEW = 5
START = 1.0
"""What a controller that has just started, or was stopped, needs to read the manifests again."""


def check(story: Story) -> Iterator[Broken]:
    loose, gaps, worst = 0, 0, Broken("A2", 0.0, "", "")
    for pod in story.pods:
        for life in story.lives.get(pod, ()):
            yield from _first_request(story, life)
            yield from _too_soon(story, life)
            for begin, end in gaps_between(story, life):
                over = _over(story, life, begin, end)
                gaps += 1
                if over > SLACK:
                    yield _late(story, life, begin, end, over)
                if over > TIGHT:
                    loose += 1
                    worst = Broken("A2", begin, pod, f"{end - begin:.3f} s between two probes")
    if gaps >= ENOUGH and loose > max(FEW, gaps * SHARE):
        yield Broken("A2", worst.at, worst.pod, f"{loose} of {gaps} gaps over {TIGHT} s too long; {worst.evidence}")


def _first_request(story: Story, life: Life) -> Iterator[Broken]:
    excuses = unprobed(story, life.pod)
    if any(span.overlaps(life.begin, life.begin + FIRST) for span in story.deaf(life.pod)):
        return
    bound = FIRST + (story.setup.interval if _is_mass(story, life) else 0.0)
    due = story.put_off(life.begin, bound, excuses, START + FIRST + story.setup.interval)
    outages = [Span(begin, end + ASKED_AGAIN) for begin, end in story.spans("cut", "blind", "slow", "leader")]
    after = put_off(life.begin, due - life.begin, outages, AFTER_OUTAGE - ASKED_AGAIN)
    promise, due = ("A3", after) if after > due else ("A1", due)
    due = story.again(life.begin, due, due, excuses, START + FIRST + story.setup.interval)
    due += story.stalled(life.begin, due)
    first = next(
        (request.at for request in story.requests.get(life.pod, ()) if request.at >= life.begin_sent), math.inf
    )
    if first > due and min(life.end_sent, story.end) > due:
        said = f"first request {first - life.begin:.2f} s" if first < math.inf else "no request"
        yield Broken(promise, due, life.pod, f"{said} after its manifest; due after {due - life.begin:.2f} s")


def _too_soon(story: Story, life: Life) -> Iterator[Broken]:
    """Finds two probes for one manifest, by one controller, that are so close together that thresholds have no meaning.

    When the session has ended, or when checks of services have expired, every pod is probed at once, and its earlier
    counts do not count any more. A member of a fleet may also have lost its session while it was away.
    """
    others = merged([*story.absent, *story.spans("two"), *_without_session(story), *_checks_expire(story)])
    requests = [request for request in story.requests.get(life.pod, ()) if life.begin_sent <= request.at < life.end]
    for one, other in pairwise(requests):
        apart, least = other.at - one.at, story.setup.interval / 2 - SLACK
        if one.version != other.version or one.member != other.member:
            continue
        if any(span.overlaps(one.at, other.at) for span in (*others, *story.unaware(one.member))):
            continue
        if apart < least - story.stalled(one.at - SLACK, other.at):
            yield Broken("A2", other.at, life.pod, f"{apart:.3f} s between two probes, at least {least:.2f} s are due")


def _without_session(story: Story) -> Iterator[Span]:
    """Yields the times from the end of the last session to the next session, and until a probe that starts then has
    ended."""
    known, begin, sent = frozenset[str](), math.inf, 0.0
    for look in story.looks:
        live = known if look.sessions is None else frozenset(look.sessions)
        if known and not known & live:
            begin = min(begin, sent - FIRST)
        if live and begin < math.inf:
            yield Span(begin, look.at + FIRST)
            begin = math.inf
        known, sent = live, look.sent


def _checks_expire(story: Story) -> Iterator[Span]:
    """Yields when checks of services expire: while the agent cannot be reached, one after the other does. The oldest
    renewal was a period before the fault, or two periods if the controller has just started. The renewals after the
    fault take a period."""
    oldest = 2 * CHECKS_PERIOD
    if story.setup.services:
        for begin, end in story.spans("cut", "slow"):
            if end - begin > CHECKS_TTL - oldest:
                yield Span(begin + CHECKS_TTL - oldest, end + CHECKS_PERIOD + FIRST)


def _is_mass(story: Story, life: Life) -> bool:
    near = [intent for intent in story.intents if abs(intent.at - life.begin) <= 1.0]
    return len(near) > AT_ONCE


def gaps_between(story: Story, life: Life) -> Iterator[tuple[float, float]]:
    """Yields the times between probes, and after the last one. Times in which the target heard no requests are left
    out."""
    times = [request.at for request in story.requests.get(life.pod, ()) if life.begin_sent <= request.at < life.end]
    deaf = story.deaf(life.pod)
    ends = [*times[1:], min(life.end_sent, story.end)]
    for begin, end in zip(times, ends, strict=False):
        if end > begin and not any(span.overlaps(begin, end) for span in deaf):
            yield begin, end


def _over(story: Story, life: Life, begin: float, end: float) -> float:
    """Returns by how many seconds a gap was longer than an interval. Excused time does not count, and this includes
    excuses that began before the probe was late."""
    interval = story.setup.interval
    due = story.put_off(begin, interval + SLACK, unprobed(story, life.pod), interval + START + SLACK) - SLACK
    return end - due - story.stalled(begin, end)


def unprobed(story: Story, pod: str) -> tuple[Span, ...]:
    """Returns when no controller could have probed this pod, or had to."""
    return merged([*story.absent, *story.spans("local", "stuck"), *story.doubts.get(pod, ())])


def _late(story: Story, life: Life, begin: float, end: float, over: float) -> Broken:
    outage = any(span.overlaps(begin, end) for span in story.spans("cut", "blind", "slow", "leader"))
    faults = story.during(begin, end)
    meanwhile = f", meanwhile: {faults}" if faults else ""
    return Broken(
        "A3" if outage else "A2",
        begin + story.setup.interval,
        life.pod,
        f"{end - begin:.2f} s without a probe, {over:.2f} s too long{meanwhile}",
    )
