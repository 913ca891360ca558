"""The manifests of many nodes in a real Consul, of which a controller checks some."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

import pytest

from controller.consul import transport
from controller.consul.client import ConsulClient, ConsulRefused
from controller.intent.fleet_source import FleetSource
from controller.intent.manifest_store import ManifestStore
from controller.intent.watch import BURST, GAP_PER_POD, MIN_GAP, IntentWatch
from controller.runtime.heartbeat import Heartbeat
from reconcilers.gate import RemovalGate
from reconcilers.options import Rules
from reconcilers.spec import PodKey
from tests.support.consul import Agent
from tests.support.net import until
from tests.support.proxy import TcpProxy

WITHIN = 30.0
MANY = 150
"""More nodes than a transaction reads."""


class Reader:
    """A watch of the nodes in `owned`, what it announced, and the requests that it sent."""

    def __init__(self, agent: Agent, owned: Collection[str], proxy: TcpProxy | None = None) -> None:
        self.owned = set(owned)
        self.requests: Counter[str] = Counter()
        self.asked: list[set[str]] = []
        self.published: set[PodKey] = set()
        self.steps: list[tuple[str, object]] = []
        self.fault: Exception | None = None
        self.leftovers_fault: Exception | None = None
        self.on_announce: Callable[[], None] = lambda: None
        settings = agent.settings()
        if proxy:
            settings = replace(settings, address=f"http://127.0.0.1:{proxy.port}")
        self.client = ConsulClient(settings, observe=lambda op, _outcome, _seconds: self.requests.update([op]))
        self.store = ManifestStore(Rules())
        source = FleetSource(self.client, "intent", self.owned.__contains__, self._leftovers, self._expect)
        heartbeat = Heartbeat("watch", 30, time.monotonic, asks=True)
        self.watch = IntentWatch(
            source, self.store, lambda: RemovalGate(2.0), self._announce, heartbeat, owns=self.owned.__contains__
        )

    def _leftovers(self, nodes: Collection[str]) -> Collection[PodKey]:
        self.asked.append(set(nodes))
        if self.leftovers_fault:
            raise self.leftovers_fault
        self.steps.append(("leftovers", frozenset(nodes)))
        return {key for key in self.published if key.node in nodes}

    def _expect(self, keys: Collection[PodKey]) -> None:
        self.watch.expect(keys)

    def _announce(self, keys: Collection[PodKey]) -> None:
        fault, self.fault = self.fault, None
        if fault:
            raise fault
        self.on_announce()
        self.steps.append(("announced", frozenset(keys)))

    def announced(self) -> set[PodKey]:
        """The pods that were announced since the last call."""
        found = {key for step, keys in self.steps if step == "announced" for key in keys}  # type: ignore[attr-defined]
        self.steps.clear()
        return found

    def own(self, *nodes: str) -> None:
        self.owned.clear()
        self.owned.update(nodes)
        self.watch.wake()

    def pods(self) -> set[str]:
        return {str(key) for key in self.store.intents()}


Make = Callable[..., Reader]


@pytest.fixture
def make(consul: Agent) -> Iterator[Make]:
    readers: list[Reader] = []

    def make(*owned: str, **more: object) -> Reader:
        reader = Reader(consul, owned, **more)  # type: ignore[arg-type]
        readers.append(reader)
        reader.watch.start()
        return reader

    yield make
    for reader in readers:
        reader.watch.stop(10)
        reader.client.close()


def put(agent: Agent, node: str, *pods: str, port: int = 80) -> None:
    for pod in pods:
        agent.put(f"intent/{node}/{pod}", f"id: {pod}\nstatus_port: {port}\n")


def keys(node: str, *pods: str) -> set[PodKey]:
    return {PodKey(node, pod) for pod in pods}


def await_pods(reader: Reader, *pods: str) -> None:
    until(lambda: reader.pods() == set(pods), WITHIN, f"the manifests of {pods}")


def test_only_the_nodes_that_are_checked_here_are_read(consul: Agent, make: Make) -> None:
    for node in ("n1", "n2", "n3"):
        put(consul, node, "a", "b")
    reader = make("n1", "n3", "n9")
    await_pods(reader, "n1/a", "n1/b", "n3/a", "n3/b")
    assert set(reader.watch.nodes()) == {"n1", "n3"}
    put(consul, "n2", "c")
    put(consul, "n9", "d")
    await_pods(reader, "n1/a", "n1/b", "n3/a", "n3/b", "n9/d")


def test_a_changed_manifest_is_announced_and_no_other(consul: Agent, make: Make) -> None:
    put(consul, "n1", "a", "b")
    put(consul, "n2", "a")
    reader = make("n1")
    await_pods(reader, "n1/a", "n1/b")
    assert reader.announced() == keys("n1", "a", "b")
    assert reader.watch.last_change() == 0
    put(consul, "n2", "a", port=81)
    put(consul, "n1", "b", port=81)
    until(lambda: reader.steps, WITHIN)
    assert reader.announced() == keys("n1", "b")
    assert reader.watch.last_change() > 0


def test_many_nodes_are_read_in_several_transactions(consul: Agent, make: Make) -> None:
    nodes = [f"n{number}" for number in range(MANY)]
    for node in nodes:
        put(consul, node, "a")
    reader = make(*nodes)
    await_pods(reader, *(f"{node}/a" for node in nodes))
    put(consul, nodes[-1], "b")
    until(lambda: f"{nodes[-1]}/b" in reader.pods(), WITHIN)


def test_a_gained_node_is_read_at_once_after_what_is_published_of_it(consul: Agent, make: Make) -> None:
    put(consul, "n1", "a")
    put(consul, "n2", "b")
    reader = make("n1")
    await_pods(reader, "n1/a")
    reader.steps.clear()
    began = time.monotonic()
    reader.own("n1", "n2")
    await_pods(reader, "n1/a", "n2/b")
    assert time.monotonic() - began < 5.0, "without waiting for the end of the blocking query"
    assert reader.steps == [("leftovers", frozenset({"n2"})), ("announced", frozenset(keys("n2", "b")))]
    assert reader.watch.last_change() == 0, "a gained node is not a change of a manifest"
    reader.own("n1", "n2", "n3")
    put(consul, "n3", "c")
    until(lambda: reader.watch.last_change() > 0, WITHIN, "the first manifest of a node is a change")


def test_pods_that_are_published_without_a_manifest_are_announced_as_removed(consul: Agent, make: Make) -> None:
    put(consul, "n1", "a")
    reader = make()
    reader.published = keys("n1", "a", "gone")
    reader.own("n1")
    seen: set[PodKey] = set()

    def all_seen() -> bool:
        seen.update(reader.announced())
        return seen == keys("n1", "a", "gone")

    until(all_seen, WITHIN)
    assert reader.pods() == {"n1/a"}


def test_a_token_that_may_not_read_what_is_published_delays_no_manifest(consul: Agent, make: Make) -> None:
    put(consul, "n1", "a")
    reader = make()
    reader.leftovers_fault = ConsulRefused("403")
    reader.own("n1")
    await_pods(reader, "n1/a")
    reader.leftovers_fault = None
    put(consul, "n1", "b")
    until(lambda: ("leftovers", frozenset({"n1"})) in reader.steps, WITHIN)


def test_a_lost_node_is_forgotten_and_nothing_is_held(
    consul: Agent, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    put(consul, "n1", "a")
    put(consul, "n2", *map(str, range(30)))
    reader = make("n1", "n2")
    until(lambda: len(reader.pods()) == 31, WITHIN)
    reader.announced()
    reader.own("n1")
    await_pods(reader, "n1/a")
    assert reader.announced() == {PodKey("n2", str(number)) for number in range(30)}
    assert reader.watch.held() == 0
    assert len(consul.keys("intent/n2/")) == 30
    assert set(reader.watch.nodes()) == {"n1"}
    assert "held" not in caplog.text
    reader.own("n1", "n2")
    until(lambda: len(reader.pods()) == 31, WITHIN)


def test_a_removed_pod_is_removed_without_a_word_and_an_emptied_node_is_forgotten(
    consul: Agent, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    put(consul, "n1", "a", "b")
    put(consul, "n2", "c")
    reader = make("n1", "n2")
    await_pods(reader, "n1/a", "n1/b", "n2/c")
    consul.delete("intent/n1/a")
    await_pods(reader, "n1/b", "n2/c")
    consul.delete("intent/n2/c")
    await_pods(reader, "n1/b")
    until(lambda: set(reader.watch.nodes()) == {"n1"}, WITHIN)
    assert "held" not in caplog.text
    put(consul, "n2", "c")
    await_pods(reader, "n1/b", "n2/c")


def test_each_node_has_its_own_fuse(consul: Agent, make: Make, caplog: pytest.LogCaptureFixture) -> None:
    put(consul, "n1", "a", "b", "c")
    put(consul, "n2", "a", "b", "c")
    reader = make("n1", "n2")
    until(lambda: len(reader.pods()) == 6, WITHIN)
    consul.delete("intent/n1/", recurse=True)
    consul.delete("intent/n2/a")
    until(lambda: reader.watch.held() == 3, WITHIN, "the removal of all of a node's pods to be held")
    until(lambda: "n2/a" not in reader.pods(), WITHIN)
    assert "n1/a" in reader.pods()
    assert "3 of 3 pods gone at once" in reader.watch.held_because()
    assert "removal of 3 pods of node n1 is held" in caplog.text
    await_pods(reader, "n2/b", "n2/c")
    assert reader.watch.held() == 0


def test_held_removals_of_any_node_can_be_released(consul: Agent, make: Make) -> None:
    put(consul, "n1", "a", "b", "c")
    reader = make("n1")
    reader.watch._new_gate = lambda: RemovalGate(60.0)
    until(lambda: len(reader.pods()) == 3, WITHIN)
    consul.delete("intent/n1/", recurse=True)
    until(lambda: reader.watch.held() == 3, WITHIN)
    reader.watch.release()
    await_pods(reader)


def test_an_unforeseen_fault_with_one_listing_loses_no_change(consul: Agent, make: Make) -> None:
    put(consul, "n1", "a")
    reader = make("n1")
    await_pods(reader, "n1/a")
    reader.announced()
    reader.fault = RuntimeError("boom")
    put(consul, "n1", "b")
    until(lambda: reader.announced() == keys("n1", "b"), WITHIN)


def test_after_consul_lost_its_data_the_pods_of_every_node_are_held(consul: Agent, make: Make) -> None:
    for number in range(30):
        put(consul, "n1", f"a{number}")
    put(consul, "n2", "b")
    reader = make("n1", "n2")
    until(lambda: len(reader.pods()) == 31, WITHIN)
    consul.restart()
    put(consul, "n2", "c")
    until(lambda: "n2/c" in reader.pods(), WITHIN)
    assert len(reader.pods()) == 32
    until(lambda: reader.watch.held() == 31, WITHIN)


def test_the_rate_of_reads_is_bounded_while_others_write_all_the_time(consul: Agent, make: Make) -> None:
    put(consul, "n1", *map(str, range(300)))
    reader = make("n1")
    until(lambda: len(reader.pods()) == 300, WITHIN)
    reader.requests.clear()
    began, number = time.monotonic(), 0
    while (seconds := time.monotonic() - began) < 2.0 or number <= 100:
        number += 1
        put(consul, "n2", "a", port=80 + number % 100)
    assert reader.requests["list_keys"] <= BURST + 1 + seconds / (MIN_GAP + 300 * GAP_PER_POD)
    assert reader.requests["read_transaction"] <= reader.requests["list_keys"] + 1


def test_the_manifests_of_a_node_that_are_too_large_for_one_answer_are_read_one_by_one(
    consul: Agent, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_BODY", 64 * 1024)
    for number in range(4):
        consul.put(f"intent/n1/a{number}", f"id: a{number}\nstatus_port: 80\n" + "#" * 20_000)
    put(consul, "n2", "b")
    reader = make("n1", "n2")
    await_pods(reader, *(f"n1/a{number}" for number in range(4)), "n2/b")


def test_names_that_no_pod_can_have_are_counted_for_each_node(consul: Agent, make: Make) -> None:
    put(consul, "n1", "a")
    consul.put("intent/n1/b%20c", "id: b")
    consul.put("intent/not-a-node", "x")
    reader = make("n1")
    await_pods(reader, "n1/a")
    until(reader.watch.ignored.notice, WITHIN)
    assert "n1/b c" in reader.watch.ignored.notice()
    reader.own()
    until(lambda: not reader.watch.ignored.notice(), WITHIN)


def test_an_outage_keeps_all_pods(consul: Agent, make: Make, caplog: pytest.LogCaptureFixture) -> None:
    put(consul, "n1", "a")
    with TcpProxy(consul.http_port) as proxy:
        reader = make("n1", proxy=proxy)
        await_pods(reader, "n1/a")
        proxy.refuse()
        until(lambda: "manifests cannot be read" in caplog.text, WITHIN)
        assert reader.pods() == {"n1/a"}
        proxy.listen()
        put(consul, "n1", "b")
        await_pods(reader, "n1/a", "n1/b")
        reader.watch.stop(10)


def test_a_node_is_awaited_from_its_gain_or_loss_until_its_manifests_are_read(consul: Agent, make: Make) -> None:
    put(consul, "n1", "a")
    reader = make()
    until(lambda: reader.watch.silence() is not None, WITHIN)
    assert not reader.watch.is_awaited("n1")
    reader.published = keys("n1", "a", "orphan")
    awaited: list[bool] = []
    reader.on_announce = lambda: awaited.append(reader.watch.is_awaited("n1"))
    reader.own("n1")
    until(lambda: reader.announced() >= keys("n1", "orphan"), WITHIN)
    assert not any(awaited), "what is announced is certain"
    assert not reader.watch.is_awaited("n1")
    reader.own()
    until(lambda: reader.pods() == set(), WITHIN)
    assert awaited[-1], "a pod of a lost node may be ours again at any time"
    assert reader.watch.is_awaited("n1")
    reader.own("n1")
    until(lambda: not reader.watch.is_awaited("n1"), WITHIN)
    assert reader.pods() == {"n1/a"}


def test_a_node_whose_manifests_are_all_gone_is_awaited_no_more(consul: Agent, make: Make) -> None:
    put(consul, "n1", "a")
    reader = make("n1")
    await_pods(reader, "n1/a")
    reader.own()
    await_pods(reader)
    consul.delete("intent/n1/a")
    reader.own("n1")
    until(lambda: not reader.watch.is_awaited("n1"), WITHIN)


def test_a_node_that_is_lost_and_gained_again_at_once_is_read_again(consul: Agent, make: Make) -> None:
    put(consul, "n1", "a")
    reader = make("n1")
    await_pods(reader, "n1/a")
    reader.steps.clear()
    asked = iter([False])
    reader.watch._owns = lambda _node: next(asked, True)
    reader.watch.wake()
    until(lambda: len(reader.steps) >= 3, WITHIN)
    announced = ("announced", frozenset(keys("n1", "a")))
    assert reader.steps == [announced, ("leftovers", frozenset({"n1"})), announced]
    assert reader.pods() == {"n1/a"}
