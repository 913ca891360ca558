"""H: the metrics agree with the log of the targets."""

from collections.abc import Iterator, Sequence

from tests.faults.history import PodSeries, Request, Scrape
from tests.faults.moves import EXPIRES
from tests.faults.promises.lifetime import removal_due
from tests.faults.story import Broken, Life, Story

SERIES_PER_POD = 60
OWN_SERIES = 1_500


def check(story: Story) -> Iterator[Broken]:
    for scrape in story.scrapes:
        if scrape.strange:
            yield Broken("H1", scrape.at, "", f"labels that are not of the bounded sets: {', '.join(scrape.strange)}")
        if scrape.series > SERIES_PER_POD * len(scrape.pods) + OWN_SERIES:
            yield Broken("H1", scrape.at, "", f"{scrape.series} series for {len(scrape.pods)} pods")
    for pod in story.pods:
        yield from _counted(story, pod)
        yield from _left_behind(story, pod)


def _counted(story: Story, pod: str) -> Iterator[Broken]:
    """Every counted probe was received by the target, and every received probe is counted after its end."""
    for scrape, series, began, at_the_latest in _counting(story, pod):
        life = story.life_at(pod, scrape.sent)
        if not life or _disturbed(story, pod, began, scrape.at):
            continue
        member = story.member_of(scrape.pid)
        every = story.requests.get(pod, ())
        requests = [request for request in every if request.at >= began and request.member == member]
        asked = [request for request in requests if request.at <= scrape.at]
        surely = [each for each in requests if at_the_latest <= each.at <= scrape.sent - _late(story, scrape)]
        least = len(surely) - 1 - _changes(life, scrape)
        starved = story.stalled(began, scrape.at) > story.setup.timeout / 2
        if problem := _problem(series, least, asked, starved=starved):
            yield Broken("H1", scrape.at, pod, problem)
            return


def _counting(story: Story, pod: str) -> Iterator[tuple[Scrape, PodSeries, float, float]]:
    """Yields what each scrape counts of the pod, and since when at the earliest and at the latest. A member of a fleet
    starts again when it gains the pod's node. It may lose and gain the node between two scrapes, which takes as long as
    a check needs to expire. If they are further apart, the counts do not show it."""
    is_fleet = len(story.members) > 1
    gained: dict[int, tuple[float, float]] = {}
    before: dict[int, tuple[float, int]] = {}
    for scrape in story.scrapes:
        series, pid = scrape.pods.get(pod), scrape.pid
        total = series.success + series.failure + series.local if series else 0
        sent, earlier = before.get(pid, (scrape.sent, 0))
        before[pid] = scrape.sent, total
        if not series:
            gained[pid] = scrape.sent, scrape.sent
            continue
        began = _counting_since(story, pod, scrape)
        if story.late(sent, scrape.at):
            if total < earlier:
                gained[pid] = sent, scrape.sent
            elif scrape.sent - sent > EXPIRES:
                gained[pid] = gained.get(pid, (began or 0.0,))[0], scrape.sent
        if began is not None:
            earliest, latest = gained.get(pid, (began, began)) if is_fleet else (began, began)
            yield scrape, series, max(began, earliest), max(began, latest)


def _late(story: Story, scrape: Scrape) -> float:
    """Returns for how many seconds a controller without processor time may not have counted what is in the log."""
    return story.stalled(scrape.sent - 1.0, scrape.at)


def _problem(series: PodSeries, least: int, asked: Sequence[Request], *, starved: bool) -> str:
    """A target that is `starved` may receive a probe after the probe has timed out."""
    counted, good = series.success + series.failure, sum(request.good for request in asked)
    if series.success > good:
        return f"{series.success} successes are counted, and the target gave {good}"
    if counted > len(asked) and not starved:
        return f"{counted} probes are counted, and the target was asked {len(asked)} times"
    if counted + series.local < least:
        return f"{counted + series.local} probes are counted, and the target was asked at least {least} times"
    return ""


def _counting_since(story: Story, pod: str, scrape: Scrape) -> float | None:
    """Returns since when the counters count: they begin with the process, and again with each life of the check."""
    spawned = next((event.at for event in story.processes if event.pid == scrape.pid and event.what == "spawned"), None)
    life = story.life_at(pod, scrape.sent)
    if spawned is None or life is None:
        return None
    if life is not story.lives[pod][0] and life.begin_sent > spawned:
        return None if _may_be_the_same(story, pod, life, scrape.pid) else life.begin_sent
    return spawned


def _may_be_the_same(story: Story, pod: str, life: Life, pid: int) -> bool:
    """Whether the controller may not have noticed that the check was gone for a while. The series of another member of
    a fleet do not show this."""
    before = story.lives[pod][list(story.lives[pod]).index(life) - 1]
    return not any(
        scrape.pid == pid and before.end <= scrape.sent and scrape.at <= life.begin_sent and pod not in scrape.pods
        for scrape in story.scrapes
    )


def _changes(life: Life, scrape: Scrape) -> int:
    """Each new version of a check may drop a result in flight."""
    return sum(intent.sent <= scrape.at for intent in life.versions) - 1


def _disturbed(story: Story, pod: str, begin: float, end: float) -> bool:
    """Whether there were probes that are not in the log, or probes without an answer because the test was stopped."""
    spans = [*story.deaf(pod), *story.spans("local", "two", "stuck"), *story.frozen, *story.doubts.get(pod, ())]
    return any(span.overlaps(begin, end) for span in spans)


def _left_behind(story: Story, pod: str) -> Iterator[Broken]:
    lives = story.lives.get(pod, ())
    for number, life in enumerate(lives):
        again = lives[number + 1].begin_sent if number + 1 < len(lives) else story.end
        due = removal_due(story, life)
        for scrape in story.whole:
            if due < scrape.sent and scrape.at < again and pod in scrape.pods:
                yield Broken(
                    "H1", scrape.at, pod, f"its series were there {scrape.sent - life.end:.1f} s after its end"
                )
                return
