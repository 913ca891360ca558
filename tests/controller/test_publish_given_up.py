"""The last member of a fleet gives up its health keys. A controller without a fleet takes them over."""

import threading
from dataclasses import replace

import pytest

from controller.consul.client import ConsulClient
from controller.publish.given_up import GIVEN_UP, LastKeys
from controller.publish.kv import KvSink
from reconcilers.health import HealthState
from reconcilers.record import Elsewhere, HealthRecord
from reconcilers.spec import PodKey
from tests.support.consul import Agent
from tests.support.members import Member, Reader, key_of, member
from tests.support.net import until
from tests.support.proxy import Line, TcpProxy

RECORDS = [HealthRecord(PodKey("web1", f"pod{number}"), HealthState.PASSING) for number in range(100)]
PODS = [record.key for record in RECORDS]


def give_up(of: Member, *, heirs: bool = False, destroy: bool = False, session: str | None = None) -> None:
    with ConsulClient(of.agent.settings(), timeout=2.0) as client:
        client.cancel()
        keys = LastKeys(client, lambda: PODS, lambda: heirs)
        keys.start()
        keys.session = of.session or "" if session is None else session
        keys.stop(60.0, destroy=destroy)


def flags(consul: Agent) -> set[int]:
    return {found.flags for key in PODS if (found := key_of(consul, key))}


def test_a_controller_of_one_node_takes_keys_over_that_were_given_up(consul: Agent) -> None:
    with member(consul, "m1", 10, "m1") as last, member(consul, "web1") as other:
        last.sink.write(RECORDS, [])
        single = KvSink(other.client, other, holders=other.holders)
        assert single.write(RECORDS, []).keys() == set(PODS)
        with Reader(consul, frozenset(PODS)) as read:
            give_up(last)
            assert flags(consul) == {GIVEN_UP}
            assert single.write(RECORDS, []).keys() == set(PODS), "now it reads that they were given up"
            assert single.write(RECORDS, []) == {}
        assert flags(consul) == {0}
        assert read.faults == []
        assert {found.session for key in PODS if (found := key_of(consul, key))} == {other.session}
        assert other.holders.complaint() == ""


def test_a_key_that_was_written_after_it_was_given_up_is_read_again(consul: Agent) -> None:
    with member(consul, "m1", 10, "m1") as last, member(consul, "web1") as other:
        last.sink.write(RECORDS, [])
        give_up(last)
        single = KvSink(other.client, other, holders=other.holders)
        single.write(RECORDS, [])
        consul.put("health/pod7/web1", consul.get("health/pod7/web1") or b"", acquire=last.session or "", flags="10")
        assert single.write(RECORDS, []).keys() == {PODS[7]}
        assert single.write(RECORDS[7:8], []).keys() == {PODS[7]}, "it is not given up any more"
        give_up(last)
        single.write(RECORDS[7:8], [])
        assert single.write(RECORDS[7:8], []) == {}


def test_nothing_is_given_up_if_there_are_heirs_or_the_keys_are_removed_or_there_is_no_session(consul: Agent) -> None:
    with member(consul, "m1", 10, "m1") as last:
        last.sink.write(RECORDS, [])
        give_up(last, heirs=True)
        give_up(last, destroy=True)
        give_up(last, session="")
        assert flags(consul) == {10}


def test_only_own_keys_are_given_up(consul: Agent) -> None:
    with member(consul, "m1", 10, "m1") as last, member(consul, "m2", 20, "m2") as other:
        last.sink.write(RECORDS, [])
        other.sink.leftovers("web1")
        other.sink.write(RECORDS[:1], [])
        give_up(last)
        assert flags(consul) == {GIVEN_UP, 20}


def test_a_member_that_starts_takes_over_what_the_last_one_has_given_up(consul: Agent) -> None:
    with member(consul, "m1", 10, "m1") as last, member(consul, "m2", 20, "m2") as other:
        last.sink.write(RECORDS, [])
        give_up(last)
        assert other.sink.leftovers("web1") == set(PODS)
        assert other.sink.write(RECORDS, []) == {}
        assert flags(consul) == {20}


def test_a_member_that_goes_on_with_its_session_writes_its_keys_again(consul: Agent) -> None:
    with member(consul, "m1", 10, "m1") as last:
        last.sink.write(RECORDS, [])
        give_up(last)
        assert last.sink.leftovers("web1") == set(PODS)
        assert isinstance(last.sink.published(PODS[0]), Elsewhere), "it is written again, and without a break"
        assert last.sink.write(RECORDS, []) == {}
        assert flags(consul) == {10}


def test_a_session_that_has_ended_and_a_consul_that_does_not_answer_end_it(
    consul: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    with member(consul, "m1", 10, "m1") as last:
        last.sink.write(RECORDS, [])
        consul.destroy_session(last.session or "")
        give_up(last)
        assert flags(consul) == set()
        consul.stop()
        give_up(last)
        assert "cannot take over the health keys before they vanish" in caplog.text


def test_the_end_does_not_wait_for_a_consul_that_hangs(consul: Agent) -> None:
    settings = consul.settings()
    with TcpProxy(consul.http_port) as proxy, member(consul, "m1", 10, "m1") as last:
        last.sink.write(RECORDS, [])
        proxy.behave(Line(stalled=True))
        address = f"http://127.0.0.1:{proxy.port}"
        with ConsulClient(replace(settings, address=address), timeout=1e6) as client:
            keys = LastKeys(client, lambda: PODS, lambda: False)
            keys.session = last.session or ""
            end = threading.Thread(target=keys.stop, args=(0.1,), kwargs={"destroy": False}, daemon=True)
            end.start()
            until(lambda: not end.is_alive(), what="the end")
    assert flags(consul) == {10}
