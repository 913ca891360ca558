"""Which pods are being deployed, as the trees tell: with manifests as they are read, and reality of a real Consul."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.intent.consul import ConsulSource
from controller.intent.deployments import Deployments
from controller.intent.manifest_store import ManifestStore
from controller.intent.reality import HEARTBEAT_LIMIT, RealityWatch
from controller.intent.source import SourceError
from controller.runtime.heartbeat import Heartbeat
from reconcilers.gate import Entry, Listing
from reconcilers.health import HealthState
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
        self.deployments = Deployments(grace, self.store, FakeSink(*published).published, self.clock)

    def intend(self, data: bytes | None, key: PodKey = A) -> None:
        self.version += 1
        entries = {} if data is None else {key: Entry((self.version,), data)}
        if data is None:
            self.store.remove([key])
        self.store.replace(Listing(self.version, entries))
        self.deployments.intend([key])

    def run(self, *, filtered: bool = False, **pods: bytes) -> None:
        self.version += 1
        entries = {PodKey("web1", pod): Entry((self.version,), data) for pod, data in pods.items()}
        self.deployments.run(Listing(self.version, entries, filtered=filtered))

    def succeed(self, key: PodKey, version: ManifestVersion | None = None) -> None:
        """A probe of the version in force, or of an earlier one, was a success."""
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
def test_what_an_earlier_run_told_of_this_version_stays_told(
    status: HealthState, version: bytes, excused: bool
) -> None:
    trees = Trees(60.0, HealthRecord(A, status, manifest_sha=p2manifest.sha(version)))
    trees.intend(V1)
    assert trees.excuses() is excused


# Reality


class Seen(list[dict[str, bytes]]):
    def __call__(self, listing: Listing) -> None:
        self.append({key.pod: entry.data for key, entry in listing.entries.items()})


@pytest.fixture
def seen(consul: Agent) -> Iterator[Seen]:
    found = Seen()
    with consul.client() as client:
        watch = RealityWatch(
            ConsulSource(client, "reality", "web1", tuple), found, Heartbeat("reality", HEARTBEAT_LIMIT, FakeClock())
        )
        watch.start()
        yield found
        watch.stop(5.0)


def test_what_runs_is_told_at_once_and_with_every_change(consul: Agent, seen: Seen) -> None:
    until(lambda: seen == [{}], what="an empty tree is an answer")
    consul.put("reality/web1/a", V1)
    consul.put("reality/web10/a", V2)
    until(lambda: {"a": V1} in seen)
    consul.put("reality/web1/a", V2)
    until(lambda: seen[-1] == {"a": V2})
    consul.delete("reality/web1/a")
    until(lambda: seen[-1] == {}, what="what does not run any more to be missing")


class Moody:
    """A source that answers as it is told to, and then waits for its end."""

    def __init__(self, *answers: Listing | SourceError) -> None:
        self._answers = list(answers)

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
    watch = RealityWatch(source, seen, Heartbeat("reality", HEARTBEAT_LIMIT, FakeClock()))
    with caplog.at_level("INFO"):
        watch.start()
        until(lambda: len(seen) == 2)
        watch.stop(5.0)
    assert seen == [{"a": V1}] * 2
    assert caplog.messages.count("the manifests that really run cannot be read, the last listing is kept: no") == 1
    assert "the manifests that really run can be read again" in caplog.messages
