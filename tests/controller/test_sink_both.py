"""Publishing into several sinks at once."""

import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import pytest

from controller.consul import ConsulClient, ConsulUnavailable
from controller.sink.both import CombinedSink
from controller.sink.kv import KvSink, Unsettled
from reconcilers.health import CheckHealth, HealthState
from reconcilers.publication import HealthReconciler
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey
from tests.support.agent_sink import CRITICAL, ISUP, ISUP_ID, PASSING, sink_at
from tests.support.consul import Agent
from tests.support.net import until

OTHER = PodKey("web1", "other")


@dataclass
class Shelf:
    """A sink in memory, which fails where it is told to."""

    records: dict[PodKey, HealthRecord] = field(default_factory=dict)
    refuses: dict[PodKey, str] = field(default_factory=dict)
    writes: list[tuple[list[HealthRecord], list[PodKey]]] = field(default_factory=list)
    gate: threading.Event | None = None
    breaks: bool = False
    cancelled: bool = False

    def published(self, key: PodKey) -> HealthRecord | None:
        return self.records.get(key)

    def standing(self, key: PodKey) -> HealthRecord | None:
        return self.records.get(key)

    def write(self, put: Collection[HealthRecord], delete: Collection[PodKey]) -> Mapping[PodKey, str]:
        if self.gate:
            self.gate.wait(10.0)
        if self.breaks:
            raise RuntimeError("broken")
        self.writes.append((list(put), list(delete)))
        self.records |= {record.key: record for record in put if record.key not in self.refuses}
        for key in delete:
            self.records.pop(key, None)
        return {key: why for key, why in self.refuses.items() if key in [record.key for record in put]}

    def leftovers(self, node: str) -> Collection[PodKey]:
        if self.breaks:
            raise ConsulUnavailable("broken")
        return [key for key in self.records if key.node == node]

    def cancel(self) -> None:
        self.cancelled = True


def combined(*shelves: Shelf) -> CombinedSink:
    return CombinedSink(dict(zip(("kv", "agent"), shelves, strict=False)))


def test_what_all_agree_on_is_published() -> None:
    sink = combined(Shelf({ISUP: PASSING}), Shelf({ISUP: PASSING}))
    assert sink.published(ISUP) == PASSING
    assert sink.published(OTHER) is None


def test_only_what_all_have_let_stand_as_passing_is_passing() -> None:
    assert combined(Shelf({ISUP: PASSING}), Shelf({ISUP: PASSING})).standing(ISUP) == PASSING
    assert combined(Shelf({ISUP: PASSING}), Shelf()).standing(ISUP) is None
    assert combined(Shelf({ISUP: CRITICAL}), Shelf()).standing(ISUP) == CRITICAL
    assert combined(Shelf(), Shelf({ISUP: PASSING})).standing(ISUP) is None


@pytest.mark.parametrize("other", [{}, {ISUP: CRITICAL}], ids=["missing", "different"])
def test_where_they_differ_nobody_rests(other: dict[PodKey, HealthRecord]) -> None:
    for shelves in ((Shelf({ISUP: PASSING}), Shelf(other)), (Shelf(other), Shelf({ISUP: PASSING}))):
        assert isinstance(combined(*shelves).published(ISUP), Unsettled)


def test_each_writes_only_what_it_lacks() -> None:
    kv, agent = Shelf({ISUP: PASSING}), Shelf({ISUP: CRITICAL, OTHER: PASSING})
    assert combined(kv, agent).write([PASSING], [OTHER]) == {}
    assert kv.writes == []
    assert agent.writes == [([PASSING], [OTHER])]


def test_errors_say_whose_they_are() -> None:
    kv, agent = Shelf(refuses={ISUP: "no session"}), Shelf(refuses={ISUP: "not ours", OTHER: "lost"})
    records = [PASSING, HealthRecord(OTHER, HealthState.PASSING)]
    assert combined(kv, agent).write(records, []) == {ISUP: "kv: no session; agent: not ours", OTHER: "agent: lost"}


def test_one_that_hangs_does_not_hold_back_the_other() -> None:
    gate = threading.Event()
    kv, agent = Shelf(gate=gate), Shelf()
    writing = threading.Thread(target=lambda: combined(kv, agent).write([PASSING], []))
    writing.start()
    until(lambda: agent.published(ISUP), what="the other to write")
    assert kv.published(ISUP) is None
    gate.set()
    writing.join(10.0)
    assert kv.published(ISUP) == PASSING


def test_one_that_breaks_is_heard_of_after_the_other_has_written() -> None:
    kv, agent = Shelf(breaks=True), Shelf()
    with pytest.raises(RuntimeError):
        combined(kv, agent).write([PASSING], [])
    assert agent.published(ISUP) == PASSING


def test_leftovers_are_those_of_all_and_all_must_answer() -> None:
    kv, agent = Shelf({ISUP: PASSING}), Shelf({OTHER: CRITICAL})
    assert set(combined(kv, agent).leftovers("web1")) == {ISUP, OTHER}
    agent.breaks = True
    with pytest.raises(ConsulUnavailable):
        combined(kv, agent).leftovers("web1")


def test_cancelling_reaches_all() -> None:
    shelves = Shelf(), Shelf()
    combined(*shelves).cancel()
    assert all(shelf.cancelled for shelf in shelves)


class Healthy:
    """One pod with a worker, passing."""

    def health(self, key: PodKey) -> tuple[CheckHealth, float] | None:
        return (CheckHealth(HealthState.PASSING, since=5.0), 7.0) if key == ISUP else None

    def forget(self, keys: object) -> None:
        raise NotImplementedError


class Held:
    """A session that is there, or not yet."""

    session: str | None = None

    def current(self) -> str | None:
        return self.session


def test_with_a_real_consul_one_that_waits_for_its_session_is_made_up_for_later(consul: Agent) -> None:
    lease = Held()
    with sink_at(consul) as bench, ConsulClient(consul.settings()) as client:
        sink = CombinedSink({"kv": KvSink(client, lease), "agent": bench.sink})
        reconciler = HealthReconciler(Healthy(), sink, time.monotonic)
        assert reconciler.reconcile([ISUP])[ISUP].error == "kv: there is no live session to publish under"
        assert bench.status(ISUP_ID) == "passing"
        lease.session = consul.new_session()
        bench.asked.clear()
        assert reconciler.reconcile([ISUP]) == {}
        assert consul.keys() == ["health/isup/web1"]
        assert bench.asked == [], "the agent had it already"
        assert sink.published(ISUP) == PASSING
