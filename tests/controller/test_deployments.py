"""Which pods are being deployed, by the trees. Manifests are given as they are read, reality is in a real Consul."""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest

from controller.intent.consul import ConsulSource
from controller.intent.deployments import Deployments
from controller.intent.fleet_source import FleetSource
from controller.intent.manifest_store import ManifestStore
from controller.intent.reality import HEARTBEAT_LIMIT, RealityTree, RealityWatch
from controller.intent.source import OneSource, SourceError
from controller.runtime.heartbeat import Heartbeat
from reconcilers.gate import Entry, Listing
from reconcilers.health import HealthState, Reason
from reconcilers.options import Rules
from reconcilers.p2 import manifest as p2manifest
from reconcilers.record import HealthRecord
from reconcilers.spec import NO_VERSION, ManifestVersion, PodKey
from tests.reconcilers.fakes import FakeSink
from tests.support.consul import Agent
from tests.support.net import until
from tests.support.recorders import FakeClock

ROOT = Path(__file__).parents[2]
A, B = PodKey("web1", "a"), PodKey("web1", "b")
NOW = 1000.0
V1, V2 = (f"id: a\nstatus_port: 80\nconfig: {{version: {version}}}\n".encode() for version in (1, 2))


class Trees:
    """The manifests of intent in a store, and what was published by an earlier run."""

    def __init__(self, grace: float = 60.0, *published: HealthRecord) -> None:
        self.store = ManifestStore(Rules())
        self.version = 0
        self.clock = FakeClock(NOW)
        self.sink = FakeSink(*published)
        self.deployments = Deployments(
            grace, self.store, self.sink.published, self.clock, lacks=lambda node: node in self.empty
        )
        self.empty: set[str] = set()
        """The nodes that are known to run nothing, although they were not listed."""

    def intend(self, data: bytes | None, key: PodKey = A) -> None:
        self.version += 1
        entries = {} if data is None else {key: Entry((self.version,), data)}
        if data is None:
            self.store.remove([key])
        self.store.replace(Listing(self.version, entries))
        self.deployments.intend([key])

    def run(self, *, filtered: bool = False, node: str = "", **pods: bytes) -> None:
        """With `node`, the listing is one of a fleet's source."""
        self.version += 1
        entries = {PodKey(node or "web1", pod): Entry((self.version,), data) for pod, data in pods.items()}
        self.deployments.run(Listing(self.version, entries, filtered=filtered, node=node))

    def succeed(self, key: PodKey, version: ManifestVersion | None = None) -> None:
        """Reports the success of a probe of the version in force, or of `version`."""
        intent = self.store.intent(key)
        self.deployments.succeeded(key, version or (intent.in_force if intent else NO_VERSION))

    def excuses(self, key: PodKey = A, after: float = 1.0) -> bool:
        return self.deployments.excuses(key, NOW + after)


def test_a_pod_that_is_not_in_reality_is_excused_until_its_first_success() -> None:
    trees = Trees()
    trees.run()
    trees.intend(V1)
    assert (trees.excuses(), trees.excuses(B)) == (True, False)
    trees.succeed(B)
    trees.succeed(A)
    assert not trees.excuses()


def test_a_success_of_an_earlier_version_does_not_end_the_deployment() -> None:
    trees = Trees()
    trees.run()
    trees.intend(V1)
    earlier = trees.store.intents()[A].in_force
    trees.intend(V2)
    trees.succeed(A, earlier)
    assert trees.excuses()
    trees.succeed(A)
    assert not trees.excuses()


def test_it_is_excused_no_longer_than_the_grace() -> None:
    trees = Trees(60.0)
    trees.intend(V1)
    assert (trees.excuses(after=59.9), trees.excuses(after=60.0)) == (True, False)


@pytest.mark.parametrize(
    ("status", "deploys"),
    [(b"{interval: 9s, expect_status: 204, kind: tcp}", False), (b"{path: /new}", True), (b"{port: 81}", True)],
)
def test_a_change_that_p2s_sha_ignores_is_no_deployment_and_the_documents_say_so(status: bytes, deploys: bool) -> None:
    trees = Trees()
    trees.run(a=V1)
    trees.intend(V1)
    assert not trees.excuses()
    trees.intend(V1 + b"status: " + status + b"\n")
    assert trees.excuses() is deploys
    for document in ("deploy/operations.md", "deploy/config.example.yaml"):
        said = " ".join((ROOT / document).read_text().replace("\n#", " ").split())
        assert "p2's SHA" in said
        assert "is no deployment" in said


def test_without_a_grace_nobody_is_excused() -> None:
    trees = Trees(0.0)
    trees.run()
    trees.intend(V1)
    assert not trees.excuses(after=0.0)


def test_a_pod_that_runs_as_intended_is_not_excused_whichever_was_read_first() -> None:
    for first, second in ((0, 1), (1, 0)):
        trees = Trees()
        steps = (lambda: trees.intend(V1), lambda: trees.run(a=b"# as p2 wrote it\n" + V1))  # noqa: B023
        steps[first]()
        steps[second]()
        assert not trees.excuses()


def test_a_new_version_is_excused_until_it_answers_and_not_the_old_one() -> None:
    trees = Trees()
    trees.run(a=V1)
    trees.intend(V1)
    trees.intend(V2)
    trees.succeed(A)
    assert trees.excuses(), "it was the old version that answered"
    trees.run(a=V2)
    assert trees.excuses(), "it was launched, and is starting"
    trees.succeed(A)
    assert not trees.excuses()


def test_where_acls_filtered_reality_what_is_missing_there_is_as_it_was_seen_before() -> None:
    trees = Trees()
    trees.run(filtered=True, a=V1)
    trees.intend(V1)
    assert not trees.excuses(), "what is shown counts"
    trees.run(filtered=True)
    trees.intend(V2)
    trees.succeed(A)
    assert trees.excuses(), "it was the old version that answered, by what was seen before"
    trees.intend(V1, B)
    trees.succeed(B)
    assert not trees.excuses(B), "of a pod that was never shown nothing is known but what it answers"


def test_the_grace_begins_with_the_version_and_not_with_each_of_its_forms() -> None:
    trees = Trees()
    trees.intend(V1)
    trees.clock.advance(50.0)
    trees.intend(b"# a comment\n" + V1)
    trees.intend(b"id: [")
    trees.run(b=V1)
    assert (trees.excuses(after=59.0), trees.excuses(after=61.0)) == (True, False)
    trees.intend(V2)
    assert trees.excuses(after=61.0)


def test_a_removed_pod_is_forgotten_and_a_pod_without_check_is_none() -> None:
    trees = Trees()
    trees.intend(V1)
    trees.intend(None)
    assert not trees.excuses()
    trees.intend(V1)
    assert trees.excuses()
    trees.intend(b"id: a\n")
    assert not trees.excuses()


def test_a_manifest_that_p2_would_not_read_is_never_one_that_runs() -> None:
    ours = b"id: a\nstatus_port: 80\nlaunchables: {x: {location: y}}\n"
    assert p2manifest.sha_or_empty(ours) == ""
    trees = Trees()
    trees.run(a=ours)
    trees.intend(ours)
    assert trees.excuses()


@pytest.mark.parametrize(
    ("status", "version", "excused"),
    [
        (HealthState.CRITICAL, V1, False),
        (HealthState.PASSING, V1, False),
        (HealthState.UNKNOWN, V1, True),
        (HealthState.CRITICAL, V2, True),
    ],
)
def test_what_an_earlier_run_published_of_this_version_is_kept(
    status: HealthState, version: bytes, excused: bool
) -> None:
    trees = Trees(60.0, HealthRecord(A, status, manifest_sha=p2manifest.sha(version)))
    trees.intend(V1)
    assert trees.excuses() is excused


# In a fleet


ELSEWHERE = PodKey("web2", "a")


def deploying(since: float) -> HealthRecord:
    """What is published of a pod whose first failure since its schedule was at `since`."""
    return HealthRecord(A, HealthState.UNKNOWN, Reason.DEPLOYING, since=since, manifest_sha=p2manifest.sha(V1))


@pytest.mark.parametrize("launched", [None, V1], ids=["not launched", "launched before it was handed over"])
@pytest.mark.parametrize("first", ["intent", "reality"])
def test_a_grace_that_has_begun_is_continued_and_not_begun_again(launched: bytes | None, first: str) -> None:
    trees = Trees(60.0, deploying(NOW - 50.0))
    runs = {"a": launched} if launched else {}
    steps: list[Callable[[], None]] = [
        lambda: trees.intend(V1),
        lambda: trees.run(node="web1", filtered=False, **runs),
    ]
    for step in steps if first == "intent" else reversed(steps):
        step()
    assert (trees.excuses(after=9.0), trees.excuses(after=11.0)) == (True, False)
    trees.succeed(A)
    assert not trees.excuses()


def test_a_grace_that_another_controller_s_clock_began_later_begins_now() -> None:
    trees = Trees(60.0, deploying(NOW + 5.0))
    trees.intend(V1)
    assert (trees.excuses(after=1.0), trees.excuses(after=61.0)) == (True, False)


def test_an_old_version_that_passes_is_known_to_be_replaced_whichever_was_read_first() -> None:
    """The newest version is scheduled and has not been launched. The version before it answers."""
    for first, second in ((0, 1), (1, 0)):
        trees = Trees(60.0, HealthRecord(A, HealthState.PASSING, manifest_sha=p2manifest.sha(V2)))
        steps = (lambda: trees.intend(V2), lambda: trees.run(node="web1", a=V1))  # noqa: B023
        steps[first]()
        steps[second]()
        assert trees.excuses()


def test_a_pod_that_passes_or_was_never_published_gets_no_grace_from_a_later_first_listing() -> None:
    trees = Trees(60.0, HealthRecord(A, HealthState.PASSING, manifest_sha=p2manifest.sha(V1)))
    trees.intend(V1)
    trees.intend(V1, B)
    trees.succeed(B)
    trees.run(node="web1", b=V2)
    assert (trees.excuses(A), trees.excuses(B)) == (False, False)


def test_each_node_has_its_own_reality() -> None:
    trees = Trees()
    trees.run(node="web1", a=V1)
    trees.intend(V1, ELSEWHERE)
    trees.run(node="web2")
    trees.intend(V1)
    assert (trees.excuses(A), trees.excuses(ELSEWHERE)) == (False, True)
    trees.run(node="web2", a=V1)
    assert trees.excuses(ELSEWHERE), "it was launched, and is starting"


def test_what_runs_on_a_node_is_forgotten_with_the_node() -> None:
    trees = Trees()
    trees.run(node="web1", a=V1)
    trees.deployments.keep_nodes(lambda node: node != "web1")
    trees.intend(V1)
    assert trees.excuses(), "it is not known any more that it runs"
    trees.run(node="web1", a=V1)
    assert not trees.excuses()


def test_on_a_node_that_is_known_to_run_nothing_a_new_pod_is_starting_after_its_launch() -> None:
    trees = Trees()
    trees.empty.add("web1")
    trees.intend(V1)
    trees.run(node="web1", a=V1)
    assert trees.excuses()


# Reality


class Seen(list[dict[str, bytes]]):
    def run(self, listing: Listing) -> None:
        self.append({key.pod: entry.data for key, entry in listing.entries.items()})

    def keep_nodes(self, owns: Callable[[str], bool]) -> None:
        assert owns("web1")


@pytest.fixture
def seen(consul: Agent) -> Iterator[Seen]:
    found = Seen()
    with consul.client() as client:
        tree = RealityTree(OneSource(ConsulSource(client, "reality", "web1", tuple)))
        watch = RealityWatch(tree, found, Heartbeat("reality", HEARTBEAT_LIMIT, FakeClock()))
        watch.start()
        yield found
        watch.stop(5.0)


def test_what_runs_is_reported_at_once_and_with_every_change(consul: Agent, seen: Seen) -> None:
    until(lambda: seen == [{}], what="an empty tree is an answer")
    consul.put("reality/web1/a", V1)
    consul.put("reality/web10/a", V2)
    until(lambda: {"a": V1} in seen)
    consul.put("reality/web1/a", V2)
    until(lambda: seen[-1] == {"a": V2})
    consul.delete("reality/web1/a")
    until(lambda: seen[-1] == {}, what="what does not run any more to be missing")


class Moody:
    """A source that gives these answers, and then waits until it is cancelled."""

    def __init__(self, *answers: Listing | SourceError) -> None:
        self._answers = list(answers)

    def leftovers(self) -> Collection[PodKey]:
        return ()

    def absent(self, keys: Collection[PodKey]) -> Collection[PodKey]:
        return keys

    def next(self, wait: float) -> Listing:
        assert wait > 0
        answer = self._answers.pop(0) if self._answers else SourceError("nothing more")
        if isinstance(answer, SourceError):
            raise answer
        return answer

    def cancel(self) -> None:
        self._answers.clear()


def test_errors_and_doubtful_listings_leave_what_was_read_and_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    here = Listing(1, {A: Entry((1,), V1)})
    source = Moody(here, SourceError("no"), SourceError("no"), Listing(2, {}, doubt="no leader"), here)
    seen = Seen()
    watch = RealityWatch(RealityTree(OneSource(source)), seen, Heartbeat("reality", HEARTBEAT_LIMIT, FakeClock()))
    with caplog.at_level("INFO"):
        watch.start()
        until(lambda: len(seen) == 2)
        watch.stop(5.0)
    assert seen == [{"a": V1}] * 2
    assert caplog.messages.count("the manifests that really run cannot be read, the last listing is kept: no") == 1
    assert "the manifests that really run can be read again" in caplog.messages


def test_what_runs_on_the_nodes_of_a_share_is_reported_when_it_changes_and_when_a_node_is_gained(consul: Agent) -> None:
    owned, found = {"web1"}, list[tuple[str, set[str]]]()

    class Runs:
        def run(self, listing: Listing) -> None:
            found.append((listing.node, {key.pod for key in listing.entries}))

        def keep_nodes(self, owns: Callable[[str], bool]) -> None:
            found[:] = [each for each in found if owns(each[0])]

    for node in ("web1", "web2"):
        consul.put(f"reality/{node}/a", V1)
    with consul.client() as client:
        source = FleetSource(client, "reality", owned.__contains__)
        tree = RealityTree(source, owned.__contains__, source.lacks, gap=0.05)
        watch = RealityWatch(tree, Runs(), Heartbeat("reality", HEARTBEAT_LIMIT, FakeClock()))
        assert not source.lacks("web3"), "nothing is known before the first answer"
        watch.start()
        until(lambda: found == [("web1", {"a"})])
        until(lambda: source.lacks("web3") and not source.lacks("web2"))
        consul.put("reality/web1/b", V1)
        until(lambda: found[-1] == ("web1", {"a", "b"}))
        owned.add("web2")
        watch.wake()
        until(lambda: found[-1] == ("web2", {"a"}), what="the gained node to be listed")
        owned.remove("web1")
        watch.wake()
        until(lambda: {node for node, _ in found} == {"web2"}, what="the lost node to be forgotten")
        watch.stop(5.0)
