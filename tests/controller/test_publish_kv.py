"""The sink in Consul's KV store, against a real Consul."""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from controller.app import PUBLICATION_BATCH, PUBLICATION_LINGER
from controller.consul.client import ConsulClient, ConsulSettings, ConsulUnavailable, TransactionResult
from controller.consul.holders import Holders
from controller.members.current_share import CurrentShare
from controller.publish.desired import DesiredHealth
from controller.publish.kv import LATEST, READABLE, UNREADABLE, KvSink
from controller.runtime.control_loop import ControlLoop
from controller.runtime.heartbeat import Heartbeat
from controller.runtime.work_queue import WorkQueue
from reconcilers.health import CheckHealth, HealthState, Reason
from reconcilers.keys import health_key
from reconcilers.publication import HealthReconciler
from reconcilers.record import HealthRecord, Unsettled, decode
from reconcilers.share import Share
from reconcilers.spec import PodKey
from tests.reconcilers.fakes import FakeHealths
from tests.support.consul import Agent
from tests.support.fake_http import Asked, FakeServer, Reply
from tests.support.gateway import Gateway
from tests.support.net import until
from tests.support.nginx import Nginx
from tests.support.recorders import RecordedLoop, RecordedQueue

ISUP = PodKey("web1", "isup")
PASSING = HealthRecord(ISUP, HealthState.PASSING, last_probe=5.0)
CRITICAL = HealthRecord(ISUP, HealthState.CRITICAL, Reason.STATUS, "answered 500", "oops")


@dataclass
class Lease:
    """A session that is kept elsewhere."""

    session: str | None = None

    def current(self) -> str | None:
        return self.session


@dataclass
class Bench:
    """A sink at an agent, its live session, its client, and the operations that the client has requested."""

    agent: Agent
    lease: Lease
    client: ConsulClient
    sink: KvSink
    asked: list[str] = field(default_factory=list)
    now: float = 100.0
    holders: Holders = field(default_factory=Holders)

    def stands(self, key: PodKey = ISUP) -> HealthRecord | None:
        value = self.agent.get(health_key(key))
        return None if value is None else decode(value)

    def holder(self, key: PodKey = ISUP) -> str:
        return str(self.agent.entries("health/")[health_key(key)].get("Session", ""))


@pytest.fixture
def bench(consul: Agent) -> Iterator[Bench]:
    lease, asked = Lease(consul.new_session()), list[str]()
    client = ConsulClient(consul.settings(), timeout=1.0, observe=lambda operation, *_: asked.append(operation))
    holders = Holders()
    sink = KvSink(client, lease, holders=holders, clock=lambda: made.now, wall_clock=lambda: 1000.0)
    made = Bench(consul, lease, client, sink, asked, holders=holders)
    yield made
    client.close()


def named(count: int, output: str = "") -> list[HealthRecord]:
    return [HealthRecord(PodKey("web1", f"pod{at}"), HealthState.PASSING, output=output) for at in range(count)]


def test_a_record_is_written_under_the_session_and_known_afterwards(bench: Bench) -> None:
    assert bench.sink.published(ISUP) is None
    assert bench.sink.write([PASSING], []) == {}
    assert bench.stands() == PASSING
    assert bench.holder() == bench.lease.session
    assert bench.sink.published(ISUP) == PASSING
    fields = json.loads(bench.agent.get("health/isup/web1") or b"")
    assert (fields["Id"], fields["Node"], fields["Status"], fields["Time"]) == (
        "isup",
        "web1",
        "passing",
        "1970-01-01T00:16:40.000000Z",
    )


def test_a_newer_record_replaces_the_older_and_a_delete_removes_it(bench: Bench) -> None:
    bench.sink.write([PASSING], [])
    assert bench.sink.write([CRITICAL], []) == {}
    assert bench.stands() == CRITICAL
    assert bench.sink.write([], [ISUP]) == {}
    assert bench.agent.keys() == []
    assert bench.sink.published(ISUP) is None
    assert bench.sink.write([], [ISUP]) == {}, "a key that is gone already is no failure"


def test_without_a_session_nothing_is_sent_and_every_key_fails(bench: Bench) -> None:
    bench.lease.session = None
    failed = bench.sink.write([PASSING], [PodKey("web1", "gone")])
    assert failed == dict.fromkeys([ISUP, PodKey("web1", "gone")], "there is no live session to publish with")
    assert bench.asked == []


def test_nothing_is_written_with_a_dead_session(bench: Bench) -> None:
    bench.sink.write([PASSING], [])
    assert bench.lease.session
    bench.agent.destroy_session(bench.lease.session)
    failed = bench.sink.write([CRITICAL], [PodKey("web1", "other")])
    assert failed.keys() == {ISUP, PodKey("web1", "other")}
    assert "invalid session" in failed[PodKey("web1", "other")]
    assert re.search("invalid session|lock delay", failed[ISUP]), "a key just freed may be refused for its delay first"
    assert bench.agent.keys() == []


def test_a_new_session_makes_everything_unsettled(bench: Bench) -> None:
    bench.sink.write([PASSING], [])
    assert bench.lease.session
    bench.agent.destroy_session(bench.lease.session)
    bench.lease.session = None
    assert bench.sink.published(ISUP) == PASSING, "until there is a new one, there is nothing that could be done"
    bench.lease.session = bench.agent.new_session()
    assert bench.sink.published(ISUP) not in {None, PASSING}
    until(lambda: bench.sink.write([PASSING], []) == {}, what="the lock delay to end")
    assert bench.holder() == bench.lease.session
    assert bench.sink.published(ISUP) == PASSING


def test_a_thousand_records_take_at_most_twenty_requests(bench: Bench) -> None:
    records = named(1000)
    assert bench.sink.write(records, []) == {}
    assert len(bench.asked) <= 20
    assert len(bench.agent.keys("health/")) == 1000
    assert bench.sink.write([], [record.key for record in records]) == {}
    assert bench.agent.keys() == []


def test_big_records_are_split_by_size(bench: Bench) -> None:
    records = named(100, "\x00" * 4096)
    assert bench.sink.write(records, []) == {}
    assert 3 < len(bench.asked) < 20
    assert len(bench.agent.keys("health/")) == 100


def test_a_record_too_big_for_consul_fails_alone(bench: Bench) -> None:
    huge = HealthRecord(PodKey("web1", "huge"), HealthState.PASSING, detail="x" * 600_000)
    failed = bench.sink.write([*named(3), huge, PASSING], [])
    assert failed.keys() == {huge.key}
    assert "413" in failed[huge.key]
    assert len(bench.agent.keys("health/")) == 4


@contextmanager
def through(agent: Agent, address: str) -> Iterator[Bench]:
    """A sink that reaches `agent` at this address."""
    lease, asked = Lease(agent.new_session()), list[str]()
    with ConsulClient(ConsulSettings(address), timeout=5.0, observe=lambda *said: asked.append(said[1])) as client:
        yield Bench(agent, lease, client, KvSink(client, lease), asked)


def test_a_request_that_a_proxy_refuses_for_its_size_is_split(consul: Agent) -> None:
    records = named(100, "\x00" * 1024)
    with Nginx(consul.http_port, "16k") as nginx, through(consul, nginx.address) as bench:
        assert bench.sink.write(records, []) == {}
        assert len(bench.agent.keys("health/")) == 100
        assert bench.asked.count("refused") > 1
        bench.asked.clear()
        assert bench.sink.write(records, []) == {}
        assert set(bench.asked) == {"ok"}, "the size that passed is remembered"
        assert bench.sink.write([], [record.key for record in records[50:]]) == {}
        assert len(bench.agent.keys("health/")) == 50
        assert bench.lease.session
        consul.destroy_session(bench.lease.session)
    with Nginx(consul.http_port, "2k") as nginx, through(consul, nginx.address) as bench:
        assert bench.sink.write(named(50), []) == {}
        bench.asked.clear()
        later = KvSink(bench.client, bench.lease)
        assert len(later.leftovers("web1")) == 50
        assert bench.asked.count("refused") > 0
        bench.asked.clear()
        assert later.look_again() == set()
        assert set(bench.asked) == {"ok"}


def test_a_record_that_a_consul_with_low_limits_refuses_fails_alone(consul_binary: Path) -> None:
    limits = {"kv_max_value_size": 16_384, "txn_max_req_len": 16_384}
    large = HealthRecord(PodKey("web1", "large"), HealthState.PASSING, detail="x" * 20_000)
    with Agent(consul_binary, config={"limits": limits}) as agent, through(agent, agent.address) as bench:
        for _ in range(2):
            failed = bench.sink.write([large, *named(100, "x" * 1024)], [])
            assert failed.keys() == {large.key}
            assert "413" in failed[large.key]
            assert len(agent.keys("health/")) == 100


def test_a_record_that_a_proxy_refuses_for_its_content_fails_alone(consul: Agent) -> None:
    wicked = HealthRecord(PodKey("web1", "wicked"), HealthState.PASSING)
    with Gateway(consul.http_port) as gateway, through(consul, f"http://127.0.0.1:{gateway.port}") as bench:
        gateway.lie = lambda asked: Reply(403, b"blocked") if b'"health/wicked/web1"' in asked.body else None
        failed = bench.sink.write([wicked, *named(20)], [])
        assert failed.keys() == {wicked.key}
        assert "403 blocked" in failed[wicked.key]
        assert len(consul.keys("health/")) == 20


def test_if_everything_is_refused_few_changes_are_tried_and_others_each_time(consul: Agent) -> None:
    records = named(64)
    with Gateway(consul.http_port) as gateway, through(consul, f"http://127.0.0.1:{gateway.port}") as bench:
        gateway.lie = lambda _: Reply(403, b"Permission denied")
        assert bench.sink.write(records, []).keys() == {record.key for record in records}
        assert len(bench.asked) <= 10
        refused = [record.key.pod for record in records[:2]]
        gateway.lie = lambda asked: (
            Reply(403, b"blocked") if any(f"health/{pod}/".encode() in asked.body for pod in refused) else None
        )
        assert bench.sink.write(records, []).keys() == {record.key for record in records[:2]}


def test_a_key_that_another_session_holds_fails_and_the_others_are_written_at_once(bench: Bench) -> None:
    other = bench.agent.new_session()
    for pod in ("pod3", "pod7"):
        bench.agent.put(f"health/{pod}/web1", "theirs", acquire=other)
    failed = bench.sink.write(named(10), [PodKey("web1", "gone")])
    assert failed.keys() == {PodKey("web1", "pod3"), PodKey("web1", "pod7")}
    assert len(bench.agent.keys("health/")) == 10
    assert bench.asked == ["transaction"] * 2 + ["read_transaction", "agent_services"], "and who holds them is asked"
    assert all(f"lock is already held by session {other}, " in why for why in failed.values())
    assert bench.agent.get("health/pod3/web1") == b"theirs"
    assert bench.sink.write([], [PodKey("web1", "pod3")]).keys() == {PodKey("web1", "pod3")}
    bench.agent.destroy_session(other)
    until(lambda: bench.sink.write(named(4), []) == {}, what="Consul's lock delay of a millisecond to pass")
    assert bench.holder(PodKey("web1", "pod3")) == bench.lease.session


def test_the_holders_of_deleted_keys_are_forgotten(bench: Bench) -> None:
    other = bench.agent.new_session()
    bench.agent.put("health/isup/web1", "theirs", acquire=other)
    bench.sink.write([PASSING], [])
    bench.sink.leftovers("web1")
    assert other in bench.holders.complaint()
    assert other in bench.holders.owner()
    bench.agent.request("DELETE", "kv/health/isup/web1")
    bench.sink.leftovers("web1")
    assert bench.holders.complaint() == ""


def test_one_foreign_lock_does_not_make_its_holder_the_owner_of_the_node_while_we_hold_keys(bench: Bench) -> None:
    other = bench.agent.new_session()
    bench.agent.put("health/pod0/web1", "theirs", acquire=other)
    bench.sink.write(named(2), [])
    assert bench.holder(PodKey("web1", "pod1")) == bench.lease.session
    assert other in bench.holders.complaint()
    assert bench.holders.owner() == ""


def test_an_orphan_is_taken_over_or_removed(bench: Bench) -> None:
    bench.agent.put("health/isup/web1", CRITICAL.encode(0))
    bench.agent.put("health/old/web1", "no record")
    assert set(bench.sink.leftovers("web1")) == {ISUP, PodKey("web1", "old")}
    assert bench.sink.published(ISUP) not in {None, CRITICAL}
    assert bench.sink.published(PodKey("web1", "old"))
    assert bench.sink.write([CRITICAL], [PodKey("web1", "old")]) == {}
    assert bench.agent.keys() == ["health/isup/web1"]
    assert bench.holder() == bench.lease.session


def test_records_that_our_session_holds_are_not_written_again(bench: Bench) -> None:
    assert bench.lease.session
    bench.agent.put("health/isup/web1", PASSING.encode(0), acquire=bench.lease.session)
    assert set(bench.sink.leftovers("web1")) == {ISUP}
    assert bench.sink.published(ISUP) == PASSING


def test_leftovers_are_those_of_this_node_and_other_keys_are_kept(bench: Bench) -> None:
    for key in ("health/isup/web1", "health/isup/web2", "health/isup/web10", "health/isup", "health/a/b/web1"):
        bench.agent.put(key, PASSING.encode(0))
    assert set(bench.sink.leftovers("web1")) == {ISUP}


def test_leftovers_read_before_there_is_a_session_are_not_forgotten(bench: Bench) -> None:
    session, bench.lease.session = bench.lease.session, None
    bench.agent.put("health/isup/web1", PASSING.encode(0))
    bench.sink.leftovers("web1")
    bench.lease.session = session
    bench.sink.write(named(1), [])
    assert bench.sink.published(ISUP) not in {None, PASSING}


def test_many_leftovers_are_read_in_few_requests(bench: Bench) -> None:
    bench.sink.write(named(200), [])
    bench.asked.clear()
    assert len(bench.sink.leftovers("web1")) == 200
    assert len(bench.asked) <= 5
    assert all(bench.sink.published(record.key) == record for record in named(200))


def test_look_again_finds_foreign_writes_and_deletes(bench: Bench) -> None:
    bench.sink.write([PASSING, *named(2)], [])
    bench.agent.put("health/isup/web1", CRITICAL.encode(0))
    bench.agent.delete("health/pod0/web1")
    seen = bench.sink.leftovers("web1")
    assert set(seen) == {ISUP, PodKey("web1", "pod0"), PodKey("web1", "pod1")}
    assert bench.sink.published(PodKey("web1", "pod0")) is None
    assert bench.sink.published(PodKey("web1", "pod1")) == named(2)[1]
    assert bench.sink.published(ISUP) == CRITICAL, "our session still holds it: it differs from what we want said"


def test_a_record_of_another_pod_under_a_key_is_unsettled(bench: Bench) -> None:
    assert bench.lease.session
    bench.agent.put("health/other/web1", PASSING.encode(0), acquire=bench.lease.session)
    bench.sink.leftovers("web1")
    published = bench.sink.published(PodKey("web1", "other"))
    assert published
    assert published.key == PodKey("web1", "other")
    assert published != replace(PASSING, key=PodKey("web1", "other"))


def test_a_write_that_was_never_sent_keeps_the_known_record(bench: Bench) -> None:
    bench.sink.write([PASSING], [])
    bench.agent.kill()
    failed = bench.sink.write([CRITICAL], [])
    assert "did not answer" in failed[ISUP]
    assert bench.sink.published(ISUP) == PASSING


def test_an_unanswered_write_is_repeated_until_no_older_one_can_arrive(bench: Bench) -> None:
    bench.sink.write([PASSING], [])
    bench.agent.pause()
    failed = bench.sink.write([CRITICAL, *named(100)], [])
    assert len(failed) == 101
    assert bench.asked == ["transaction"] * 2, "what Consul does not answer is not asked a second time"
    assert bench.sink.published(ISUP) not in {PASSING, CRITICAL}, "nobody knows what stands there"
    bench.agent.resume()
    bench.agent.wait_ready()
    assert "may still arrive" in bench.sink.write([PASSING], [])[ISUP]
    until(lambda: bench.agent.get(health_key(named(1)[0].key)), what="the unanswered write to arrive")
    bench.now += LATEST
    assert bench.sink.write([PASSING], []) == {}
    assert bench.stands() == PASSING, "whichever of the two came first before"
    assert bench.sink.published(ISUP) == PASSING


def test_with_a_refused_token_every_key_fails_with_the_error_of_consul(consul_binary: Path) -> None:
    with Agent(consul_binary, acl=True) as agent:
        token = agent.create_token('key_prefix "health/isup" { policy = "write" }')
        with agent.client(token) as client:
            sink = KvSink(client, Lease(agent.new_session()))
            failed = sink.write([PASSING, *named(1)], [])
            assert failed.keys() == {PodKey("web1", "pod0")}
            assert re.match("Consul refused it: .*Permission denied", failed[PodKey("web1", "pod0")])
            assert agent.keys() == ["health/isup/web1"]


def test_a_lease_that_ends_between_two_tries_ends_the_writing() -> None:
    lease = Lease("abc")

    def respond(_: Asked) -> Reply:
        lease.session = None
        return Reply(409, b'{"Errors": [{"OpIndex": 0, "What": "lock is already held"}]}')

    with FakeServer(respond) as server, ConsulClient(ConsulSettings(server.address)) as client:
        failed = KvSink(client, lease).write(named(3), [])
        assert len(server.asked) == 1
    assert [failed[record.key] for record in named(3)] == [
        "Consul refused it: lock is already held",
        "there is no live session to publish with",
        "there is no live session to publish with",
    ]


def test_a_conflict_about_unknown_operations_is_an_error() -> None:
    reply = Reply(409, b'{"Errors": [{"OpIndex": 7, "What": "?"}]}')
    with FakeServer(lambda _: reply) as server, ConsulClient(ConsulSettings(server.address)) as client:
        failed = KvSink(client, Lease("abc")).write([PASSING], [])
    assert "not a valid answer of Consul" in failed[ISUP]


def test_look_again_finds_records_that_differ_from_the_known_ones(bench: Bench) -> None:
    records = named(70)
    session = bench.lease.session or ""
    bench.sink.write([PASSING, *records], [])
    assert bench.sink.look_again() == set()
    bench.sink.leftovers("web1")
    bench.sink.write([], [records[0].key, records[1].key])

    late, gone, others = records[0], records[2], records[3]
    bench.agent.put("health/isup/web1", CRITICAL.encode(0), acquire=session)
    bench.agent.put(health_key(late.key), late.encode(0), acquire=session)
    bench.agent.delete(health_key(gone.key))
    bench.agent.put(health_key(others.key), others.encode(0), release=session)
    assert bench.sink.look_again() == {ISUP, late.key, gone.key, others.key}
    assert bench.sink.published(ISUP) == CRITICAL
    assert bench.sink.published(gone.key) is None
    assert bench.sink.published(others.key) not in {None, others}
    assert bench.sink.published(late.key) == late
    assert bench.sink.published(records[4].key) == records[4]
    assert bench.sink.look_again() == set()


def test_unreadable_keys_keep_their_known_records_and_are_logged_once(
    consul_binary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Consul omits them silently from its answer."""
    caplog.set_level("INFO")
    every = 'key_prefix "health/" { policy = "write" }'
    [other] = named(1)
    with Agent(consul_binary, acl=True) as agent:
        token = agent.create_token(every)
        with agent.client(token) as client:
            sink = KvSink(client, Lease(agent.new_session()))
            assert sink.write([PASSING, other], []) == {}
            agent.replace_rules(token, every + ' key_prefix "health/isup" { policy = "deny" }')
            agent.delete(health_key(other.key))
            until(lambda: sink.look_again() == {other.key}, what="the other is found gone")
            assert sink.look_again() == set()
            assert sink.published(ISUP) == PASSING
            assert [record.getMessage() for record in caplog.records if record.name.endswith("kv")] == [
                f"{UNREADABLE}: 1 keys, such as health/isup/web1"
            ]
            agent.delete("health/isup/web1")
            agent.replace_rules(token, every)
            until(lambda: sink.look_again() == {ISUP}, what="the right is back, and what was missed is found")
            assert caplog.messages.count(READABLE) == 1


def test_leftovers_that_may_not_be_read_are_unsettled(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
    bench.sink.write([PASSING], [])
    monkeypatch.setattr(bench.client, "transaction", lambda _: TransactionResult())
    assert bench.sink.leftovers("web1") == {ISUP}
    assert isinstance(bench.sink.published(ISUP), Unsettled)


def test_a_foreign_record_of_a_pod_without_a_check_is_found_and_can_be_deleted(bench: Bench) -> None:
    scheduled = [*(record.key for record in named(70)), ISUP]
    sink = KvSink(bench.client, bench.lease, lambda: scheduled)
    assert sink.look_again() == set()
    bench.agent.put("health/isup/web1", b"rubbish")
    assert sink.look_again() == {ISUP}
    assert sink.published(ISUP) is not None
    assert sink.write([], [ISUP]) == {}
    assert bench.stands() is None
    assert sink.look_again() == set()


def test_a_hanging_write_ends_when_it_is_cancelled(bench: Bench) -> None:
    bench.agent.pause()
    timer = threading.Timer(0.1, bench.client.cancel)
    timer.start()
    assert "cancelled" in bench.sink.write([PASSING], [])[ISUP]
    timer.join()
    with pytest.raises(ConsulUnavailable):
        bench.sink.leftovers("web1")
    bench.agent.resume()


def reconciling(bench: Bench, healths: dict[PodKey, CheckHealth]) -> HealthReconciler:
    """The reconciler that publishes these healths into the sink."""
    local = FakeHealths()
    local.known = {key: (health, 7.0) for key, health in healths.items()}
    return HealthReconciler(DesiredHealth(local, time.monotonic), bench.sink, CurrentShare(Share.of_node(ISUP.node)))


def test_the_reconciler_repairs_leftovers_and_then_writes_nothing(bench: Bench) -> None:
    healthy = CheckHealth(HealthState.PASSING, since=5.0)
    bench.agent.put("health/isup/web1", PASSING.encode(0))
    bench.agent.put("health/old/web1", PASSING.encode(0))
    bench.agent.put("health/young/web1", PASSING.encode(0))
    young = PodKey("web1", "young")
    reconciler = reconciling(bench, {ISUP: healthy, young: CheckHealth()})
    keys = list(bench.sink.leftovers("web1"))
    assert reconciler.reconcile(keys) == {}
    assert bench.agent.keys() == ["health/isup/web1", "health/young/web1"]
    assert (bench.holder(), bench.holder(young)) == (bench.lease.session, "")
    bench.asked.clear()
    assert reconciler.reconcile(keys) == {}
    assert bench.asked == []


def test_foreign_changes_of_our_keys_are_noticed_and_repaired(bench: Bench) -> None:
    pods = named(5)
    healthy = CheckHealth(HealthState.PASSING, since=5.0)
    reconciler = reconciling(bench, {record.key: healthy for record in pods})
    reconciler.reconcile([record.key for record in pods])
    assert bench.sink.look_again() == set()
    deleted, locked, rewritten, lied, _ = (record.key for record in pods)
    bench.agent.delete(health_key(deleted))
    bench.agent.delete(health_key(locked))
    other = bench.agent.new_session()
    bench.agent.put(health_key(locked), b"mine", acquire=other)
    bench.agent.put(health_key(rewritten), b"rubbish")
    bench.agent.put(health_key(lied), replace(CRITICAL, key=lied).encode(1.0))
    lost = bench.sink.look_again()
    assert set(lost) == {deleted, locked, rewritten, lied}
    assert set(reconciler.reconcile(lost)) == {locked}
    bench.agent.destroy_session(other)
    until(lambda: reconciler.reconcile([locked]) == {}, what="the lock's delay to pass")
    assert [bench.stands(record.key) for record in pods] == pods
    assert all(bench.holder(record.key) == bench.lease.session for record in pods)
    assert bench.sink.look_again() == set()


def test_look_again_sends_one_request_per_64_keys_and_none_without_a_session(bench: Bench) -> None:
    bench.sink.write(named(100), [])
    bench.asked.clear()
    bench.sink.look_again()
    assert bench.asked == ["read_transaction"] * 2
    bench.lease.session = None
    assert bench.sink.look_again() == set()
    assert bench.asked == ["read_transaction"] * 2


def test_a_thousand_pods_that_change_at_once_take_the_control_loop_at_most_twenty_requests(bench: Bench) -> None:
    keys = [PodKey("web1", f"pod{at}") for at in range(1000)]
    reconciler = reconciling(bench, dict.fromkeys(keys, CheckHealth(HealthState.CRITICAL, since=5.0)))
    queue: WorkQueue[PodKey] = WorkQueue("publication", RecordedQueue())
    loop = ControlLoop(
        queue, reconciler, RecordedLoop(), Heartbeat("publish", 30, time.monotonic),
        batch=PUBLICATION_BATCH, linger=PUBLICATION_LINGER,
    )  # fmt: skip
    queue.add(keys)
    loop.start()
    until(lambda: not len(queue) and not queue.working(), 60, "all to be published")
    loop.stop(10)
    assert bench.asked == ["transaction"] * len(bench.asked)
    assert len(bench.asked) <= 20
    assert len(bench.agent.keys("health/")) == 1000
