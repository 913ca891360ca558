"""D: what is published was seen: no false passing, no false critical, and no record without a session or too old."""

from collections.abc import Iterator, Sequence

from tests.faults.history import Record, Request
from tests.faults.promises.late_writes import is_late_creation, late_writes
from tests.faults.spans import Span, merged
from tests.faults.story import Broken, Life, Sighting, Story

MARGIN = 1.0
SETTLED = 30.0
"""Seconds after a fault of Consul or of the controller, after which the published health must be right again."""
VERSION_MARGIN = 1.5
OURS = frozenset({"local", "dns", "denied", "flapping"})
"""Reasons that a record may give for `unknown`."""
CLOCK_STEP = 0.001


def check(story: Story) -> Iterator[Broken]:
    sessions = _sessions(story)
    for pod, sightings in story.sightings.items():
        yield from _dead_sessions(story, pod, sightings, sessions)
        yield from _older_over_newer(story, pod, sightings)
        before: Sighting | None = None
        for sighting in sightings:
            if record := sighting.record:
                yield from _judge(story, pod, before, sighting, record)
            before = sighting


def verdict_due(story: Story, life: Life) -> float:
    """Returns when a new check must have a key."""
    setup = story.setup
    bound = MARGIN + setup.interval + _verdict(story)
    deaf = [Span(span.begin, span.begin + setup.timeout) for span in story.deaf(life.pod)]
    due = story.put_off(life.begin, bound, [*troubled(story), *deaf, *story.doubts.get(life.pod, ())], SETTLED)
    return due + story.stalled(life.begin, due)


def troubled(story: Story) -> tuple[Span, ...]:
    """Returns when the records in Consul may be late, or may not be written by the controller."""
    faults = story.spans("cut", "blind", "slow", "leader", "foreign", "two", "busy", "local", "stuck", "files")
    return merged([*faults, *story.absent])


def _verdict(story: Story) -> float:
    """Returns within how many seconds a change of a target must be seen in Consul."""
    setup = story.setup
    return max(setup.failure_threshold, setup.success_threshold) * setup.interval + setup.timeout + MARGIN


def _judge(story: Story, pod: str, before: Sighting | None, sighting: Sighting, record: Record) -> Iterator[Broken]:
    match record.status:
        case "passing" | "warning" as status:
            yield from _unfounded(story, pod, before, sighting)
            yield from _from_before(story, pod, before, sighting)
            yield from too_long(story, pod, sighting, story.bad(pod), "D1", "bad")
            others = story.warned(pod, warns=status == "passing")
            yield from too_long(story, pod, sighting, others, "D1", "well, with or without warnings")
        case "critical":
            yield from _blamed(story, pod, before, sighting, record)
            yield from too_long(story, pod, sighting, good(story, pod), "D2", "good")
        case "unknown" if record.reason not in OURS:
            yield Broken("D2", sighting.first.at, pod, f"unknown, and the reason is {record.reason!r}")


def _unfounded(story: Story, pod: str, before: Sighting | None, sighting: Sighting) -> Iterator[Broken]:
    """A record is passing or warning, and no success came before it."""
    if before and before.record and before.record.status in {"passing", "warning"}:
        return
    if _may_be_foreign(story, before, sighting):
        return
    since = _evidence_since(story, before, sighting)
    version = _version_in_force(story, pod, sighting.first.at - VERSION_MARGIN)
    if any(span.overlaps(since, sighting.first.at) for span in (*troubled(story), *story.doubts.get(pod, ()))):
        version = 0
    if not any(_supports(request, since, sighting.first.at, version) for request in story.requests.get(pod, ())):
        yield Broken(
            "D1", sighting.first.at, pod, f"passing, and no success in the {sighting.first.at - since:.1f} s before"
        )


def _from_before(story: Story, pod: str, before: Sighting | None, sighting: Sighting) -> Iterator[Broken]:
    """The key was removed while the process stood still. Afterwards the record is passing, and no probe was made in
    between."""
    for frozen in story.frozen:
        went = before and not before.record and before.first.sent > frozen.begin and before.first.at < frozen.end
        if went and frozen.end < sighting.first.at and not _may_be_foreign(story, before, sighting):
            asked = (request.good and frozen.end <= request.at <= sighting.first.at for request in story.requests[pod])
            if not any(asked):
                yield Broken("D2", sighting.first.at, pod, "passing again after a stand-still, and not probed since")


def _may_be_foreign(story: Story, before: Sighting | None, sighting: Sighting) -> bool:
    """Whether other programs may have written this record. How long it may remain is not judged here."""
    since = before.last.sent if before else sighting.first.sent
    return any(span.overlaps(since, sighting.first.at) for span in story.spans("foreign", "two"))


def _supports(request: Request, since: float, until: float, version: int) -> bool:
    return request.good and since <= request.at <= until and request.version >= version


def _version_in_force(story: Story, pod: str, at: float) -> int:
    life = story.life_at(pod, at)
    return max((intent.version for intent in life.versions if intent.at <= at), default=0) if life else 0


def _evidence_since(story: Story, before: Sighting | None, sighting: Sighting) -> float:
    """Returns the earliest time of a probe whose result a new record may have."""
    setup = story.setup
    last = before.last.sent if before else sighting.first.sent
    since = last - setup.interval - setup.timeout - MARGIN - story.stalled(last - 2 * setup.interval, sighting.first.at)
    reach = [span for span in troubled(story) if span.begin < last and span.end + SETTLED > since]
    return min([since, *(span.begin - setup.interval - setup.timeout for span in reach)])


def _blamed(story: Story, pod: str, before: Sighting | None, sighting: Sighting, record: Record) -> Iterator[Broken]:
    """A record is critical, and the target was healthy. Only a timeout can be explained by a busy machine, and no other
    reason."""
    if before and before.record and before.record.status == "critical":
        return
    since, until = _evidence_since(story, before, sighting), sighting.first.at
    if any(span.overlaps(since, until) for span in story.bad(pod)):
        return
    if record.reason == "timeout" and story.stalled(since, until) > story.setup.timeout / 2:
        return
    faults = story.during(since, until)
    yield Broken("D2", until, pod, f"critical, and its target was well{f', meanwhile: {faults}' if faults else ''}")


def good(story: Story, pod: str) -> Sequence[Span]:
    """Returns when the target was healthy, as far as it is known."""
    turns = story.turns.get(pod, ())
    begins = [turns[0].at] if turns and turns[0].good else []
    bad = story.bad(pod)
    ends = [*(span.begin for span in bad if span.begin > (begins[0] if begins else -1.0)), story.end]
    return merged(
        Span(begin, end)
        for begin, end in zip([*begins, *(span.end for span in bad)], ends, strict=False)
        if end > begin
    )


def too_long(
    story: Story, pod: str, sighting: Sighting, spans: Sequence[Span], promise: str, word: str
) -> Iterator[Broken]:
    """The target has been in another state for long, and the record does not show it."""
    for span in spans:
        begin = max(span.begin, sighting.first.sent)
        due = story.put_off(begin, _verdict(story), [*troubled(story), *story.doubts.get(pod, ())], SETTLED)
        due += story.stalled(begin, due)
        life = story.life_at(pod, min(due, span.end))
        end = min(span.end, life.end_sent if life else 0.0)
        if life and due < end and sighting.last.sent > due and life.begin + _verdict(story) < due:
            yield Broken(
                promise,
                due,
                pod,
                f"{sighting.record.status if sighting.record else ''} still stood "
                f"{min(sighting.last.sent, end) - span.begin:.1f} s after its target had turned {word}",
            )
            return


def _sessions(story: Story) -> dict[float, frozenset[str]]:
    """Returns the live sessions at each look, by the `sent` of the look."""
    known, found = frozenset[str](), {}
    for look in story.looks:
        known = frozenset(look.sessions) if look.sessions is not None else known
        found[look.sent] = known
    return found


def _dead_sessions(
    story: Story, pod: str, sightings: Sequence[Sighting], sessions: dict[float, frozenset[str]]
) -> Iterator[Broken]:
    """A key had no holder, or its session was dead at this look and at the next one."""
    foreign = story.spans("foreign")
    order = [look.sent for look in story.looks]
    for sighting in sightings:
        if not sighting.record or any(span.overlaps(sighting.first.sent - 1, sighting.last.at) for span in foreign):
            continue
        after = order[min(len(order) - 1, order.index(sighting.first.sent) + 1)]
        held = sighting.record.session
        if not held or not (held in sessions[sighting.first.sent] or held in sessions[after]):
            yield Broken("D3", sighting.first.at, pod, f"written under {held or 'no session'}, which did not live")


def _older_over_newer(story: Story, pod: str, sightings: Sequence[Sighting]) -> Iterator[Broken]:
    """A record proves nothing about those before and after it if others wrote our keys, the clock of any member was
    wrong, or Consul executed a write that had timed out."""
    clocks = [fault.span for fault in story.faults if "clock" in fault.effects]
    excused = [*story.spans("foreign", "two"), *clocks, *late_writes(story)]
    newest, since = None, 0.0
    for sighting in sightings:
        record = sighting.record
        if not record:
            continue
        if (
            newest
            and record.modified > newest.modified
            and record.last_probe < newest.last_probe - CLOCK_STEP
            and not any(span.overlaps(since, sighting.first.at) for span in excused)
            and not is_late_creation(story, pod, sighting)
        ):
            yield Broken("D3", sighting.first.at, pod, "a record of an older probe was written over a newer one")
        newest, since = record, sighting.first.sent
