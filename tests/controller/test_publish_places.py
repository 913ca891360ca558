"""Several places of publication: their common state, and their independent loops."""

import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from controller.app import PUBLICATION_BATCH, PUBLICATION_LINGER
from controller.consul.client import ConsulClient
from controller.members.current_share import CurrentShare
from controller.publish.desired import DesiredHealth
from controller.publish.kv import KvSink
from controller.publish.places import Places
from controller.runtime.control_loop import ControlLoop, stop_together
from controller.runtime.heartbeat import Heartbeat
from controller.runtime.work_queue import WorkQueue
from reconcilers.health import CheckHealth, HealthState
from reconcilers.ports import HealthSink
from reconcilers.publication import HealthReconciler
from reconcilers.record import HealthRecord, Unsettled
from reconcilers.share import Share
from reconcilers.spec import PodKey
from tests.reconcilers.fakes import FakeHealths
from tests.support.agent_sink import CRITICAL, ISUP, ISUP_ID, PASSING, sink_at
from tests.support.consul import Agent
from tests.support.net import until
from tests.support.recorders import RecordedLoop, RecordedQueue

OTHER = PodKey("web1", "other")
GOOD = CheckHealth(HealthState.PASSING, since=5.0)


@dataclass
class MemorySink:
    """A sink in memory. It hangs while its `gate` is closed."""

    records: dict[PodKey, HealthRecord] = field(default_factory=dict)
    gate: threading.Event | None = None
    hangs: bool = False

    def published(self, key: PodKey) -> HealthRecord | None:
        return self.records.get(key)

    def published_without_break(self, key: PodKey) -> HealthRecord | None:
        return self.records.get(key)

    def disown(self, keys: Collection[PodKey]) -> None: ...

    def write(self, put: Collection[HealthRecord], delete: Collection[PodKey]) -> Mapping[PodKey, str]:
        if self.gate:
            self.hangs = True
            self.gate.wait(30.0)
        self.records |= {record.key: record for record in put}
        for key in delete:
            self.records.pop(key, None)
        return {}


def places(*sinks: MemorySink) -> Places:
    return Places(dict(zip(("kv", "agent"), sinks, strict=False)))


def test_a_record_that_is_equal_in_all_places_is_published() -> None:
    both = places(MemorySink({ISUP: PASSING}), MemorySink({ISUP: PASSING}))
    assert both.published(ISUP) == PASSING
    assert both.published(OTHER) is None


def test_a_pod_is_passing_without_break_only_if_it_is_in_all_places() -> None:
    assert places(MemorySink({ISUP: PASSING}), MemorySink({ISUP: PASSING})).published_without_break(ISUP) == PASSING
    assert places(MemorySink({ISUP: PASSING}), MemorySink()).published_without_break(ISUP) is None
    assert places(MemorySink({ISUP: CRITICAL}), MemorySink()).published_without_break(ISUP) == CRITICAL
    assert places(MemorySink(), MemorySink({ISUP: PASSING})).published_without_break(ISUP) is None


@pytest.mark.parametrize("other", [{}, {ISUP: CRITICAL}], ids=["missing", "different"])
def test_a_record_that_differs_between_places_is_unsettled(other: dict[PodKey, HealthRecord]) -> None:
    for sinks in ((MemorySink({ISUP: PASSING}), MemorySink(other)), (MemorySink(other), MemorySink({ISUP: PASSING}))):
        assert isinstance(places(*sinks).published(ISUP), Unsettled)


class Publishing:
    """One loop per sink, with the same healths."""

    def __init__(self, *sinks: HealthSink) -> None:
        self.healths = FakeHealths()
        desired, share = DesiredHealth(self.healths, time.monotonic), CurrentShare(Share.of_node(ISUP.node))
        self.queues: list[WorkQueue[PodKey]] = [WorkQueue("publication", RecordedQueue()) for _ in sinks]
        self.loops = [
            ControlLoop(
                queue, HealthReconciler(desired, sink, share), RecordedLoop(), Heartbeat("publish", 30, time.monotonic),
                batch=PUBLICATION_BATCH, linger=PUBLICATION_LINGER,
            )
            for queue, sink in zip(self.queues, sinks, strict=True)
        ]  # fmt: skip
        for loop in self.loops:
            loop.start()

    def observe(self, key: PodKey, health: CheckHealth) -> None:
        self.healths.known[key] = (health, 7.0)
        for queue in self.queues:
            queue.add([key])


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as ends:
        yield ends


@pytest.mark.parametrize("hanging", [0, 1], ids=["kv", "agent"])
def test_a_hanging_place_delays_no_other_and_gets_the_newest_record_afterwards(stack: ExitStack, hanging: int) -> None:
    sinks = MemorySink(), MemorySink()
    gate = sinks[hanging].gate = threading.Event()
    other = sinks[1 - hanging]
    publishing = Publishing(*sinks)
    stack.callback(stop_together, publishing.loops, 10.0)
    stack.callback(gate.set)
    publishing.observe(ISUP, GOOD)
    until(lambda: sinks[hanging].hangs, what="one to hang")
    for at, state in enumerate((HealthState.CRITICAL, HealthState.PASSING, HealthState.CRITICAL), 6):
        publishing.observe(ISUP, CheckHealth(state, since=float(at)))
        until(lambda: other.records[ISUP].status is state if ISUP in other.records else False, what=f"{state}")  # noqa: B023
    assert sinks[hanging].records == {}
    gate.set()
    until(lambda: sinks[hanging].records.get(ISUP) == other.records[ISUP], what="the newest to be there too")


def test_the_loops_are_stopped_in_parallel(stack: ExitStack) -> None:
    gate = threading.Event()
    stack.callback(gate.set)
    sinks = [MemorySink(gate=gate) for _ in range(40)]
    publishing = Publishing(*sinks)
    publishing.observe(ISUP, GOOD)
    until(lambda: all(sink.hangs for sink in sinks), what="all to hang")
    started = time.monotonic()
    stop_together(publishing.loops, 0.5)
    assert 0.5 <= time.monotonic() - started < 40 * 0.5 / 2


class Held:
    """A session that may not exist yet."""

    session: str | None = None

    def current(self) -> str | None:
        return self.session


def test_with_a_real_consul_the_keys_are_written_as_soon_as_there_is_a_session(consul: Agent, stack: ExitStack) -> None:
    lease = Held()
    with sink_at(consul) as bench, ConsulClient(consul.settings()) as client:
        keys = KvSink(client, lease)
        publishing = Publishing(keys, bench.sink)
        stack.callback(stop_together, publishing.loops, 10.0)
        publishing.observe(ISUP, GOOD)
        until(lambda: bench.sink.published(ISUP) == PASSING, what="the update of the check")
        assert bench.status(ISUP_ID) == "passing"
        assert consul.keys("health/") == []
        bench.asked.clear()
        lease.session = consul.new_session()
        until(lambda: consul.keys("health/") == ["health/isup/web1"], what="the key to be written")
        assert bench.asked == [], "the agent had it already"
        until(lambda: Places({"kv": keys, "agent": bench.sink}).published(ISUP) == PASSING, what="both to agree")
