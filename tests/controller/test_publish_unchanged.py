"""Keys that have not changed are not read again. Every change of them is noticed, against a real Consul."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from controller.consul.client import ConsulClient, ConsulSettings
from controller.publish.kv import KvSink
from reconcilers.health import HealthState
from reconcilers.keys import health_key
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey
from tests.support.consul import Agent
from tests.support.fake_http import Asked, Reply
from tests.support.gateway import Gateway

RECORDS = [HealthRecord(PodKey("web1", f"pod{at}"), HealthState.PASSING) for at in range(100)]
CHANGED = RECORDS[70]


class Lease:
    """A session that is kept elsewhere."""

    def __init__(self, session: str) -> None:
        self.session = session

    def current(self) -> str:
        return self.session


class Published:
    """A sink that has published `RECORDS` through a gateway, and the verbs of each of its later requests."""

    def __init__(self, agent: Agent, gateway: Gateway, client: ConsulClient) -> None:
        self.verbs: list[set[str]] = []
        self.too_large: set[str] = set()
        self.client = client
        self.session = agent.new_session()
        self.sink = KvSink(client, Lease(self.session))
        assert self.sink.write(RECORDS, []) == {}
        gateway.lie = self._note

    def _note(self, asked: Asked) -> Reply | None:
        self.verbs.append({operation["KV"]["Verb"] for operation in json.loads(asked.body or b"[]")})
        return Reply(413, b"too large") if self.verbs[-1] & self.too_large else None


@contextmanager
def publishing(agent: Agent) -> Iterator[Published]:
    with (
        Gateway(agent.http_port) as gateway,
        ConsulClient(ConsulSettings(f"http://127.0.0.1:{gateway.port}")) as client,
    ):
        yield Published(agent, gateway, client)


def test_unchanged_keys_are_not_read(consul: Agent) -> None:
    with publishing(consul) as published:
        assert published.sink.look_again() == set()
        assert published.verbs == [{"check-index"}] * 2, "64 keys in a request"
        assert published.sink.write([CHANGED], []) == {}
        published.verbs.clear()
        assert published.sink.look_again() == set()
        assert published.verbs == [{"check-index"}] * 2, "our own writes are known"


def test_keys_that_an_earlier_run_has_written_are_read_once(consul: Agent) -> None:
    with publishing(consul) as published:
        later = KvSink(published.client, Lease(published.session))
        assert len(later.leftovers("web1")) == 100
        published.verbs.clear()
        assert later.look_again() == set()
        assert published.verbs == [{"check-index"}] * 2


CHANGES: dict[str, Callable[[Agent, str, str], None]] = {
    "deleted": lambda agent, key, _: agent.delete(key),
    "written without the session": lambda agent, key, _: agent.put(key, b"rubbish"),
    "written with our session": lambda agent, key, session: agent.put(key, b"rubbish", acquire=session),
    "released": lambda agent, key, session: agent.put(key, CHANGED.encode(0), release=session),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_key_is_noticed_and_only_its_group_is_read(consul: Agent, change: str) -> None:
    with publishing(consul) as published:
        CHANGES[change](consul, health_key(CHANGED.key), published.session)
        assert published.sink.look_again() == {CHANGED.key}
        assert published.verbs.count({"check-index"}) == 2
        assert 1 <= published.verbs.count({"get"}) <= 2, "a missing key is read twice"


def test_a_key_that_was_deleted_and_written_again_is_read(consul: Agent) -> None:
    with publishing(consul) as published:
        key = health_key(CHANGED.key)
        value = consul.get(key) or b""
        consul.delete(key)
        consul.put(key, value, acquire=published.session)
        assert published.sink.look_again() == set(), "the record is the same"
        assert {"get"} in published.verbs


def test_the_end_of_the_session_is_noticed(consul: Agent) -> None:
    with publishing(consul) as published:
        assert published.sink.look_again() == set()
        consul.destroy_session(published.session)
        assert published.sink.look_again() == {record.key for record in RECORDS}


def test_a_restored_snapshot_is_noticed(consul_binary: Path) -> None:
    critical = HealthRecord(CHANGED.key, HealthState.CRITICAL)
    with Agent(consul_binary, persistent=True) as agent, publishing(agent) as published:
        snapshot = agent.request("GET", "snapshot").body
        assert published.sink.write([critical], []) == {}
        assert published.sink.look_again() == set()
        assert agent.request("PUT", "snapshot", snapshot).status == 200
        assert published.sink.look_again() == {CHANGED.key}
        assert published.sink.published(CHANGED.key) == CHANGED
        assert published.sink.write([critical], []) == {}
        assert published.sink.look_again() == set()


def test_a_proxy_that_refuses_the_comparison_for_its_size_does_not_prevent_the_read(consul: Agent) -> None:
    with publishing(consul) as published:
        published.too_large = {"check-index"}
        consul.delete(health_key(CHANGED.key))
        assert published.sink.look_again() == {CHANGED.key}
