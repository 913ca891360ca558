"""What a member of a fleet writes to its own keys is refused by Consul if the keys were written meanwhile."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from controller.consul.answers import Operation
from controller.consul.client import ConsulClient
from controller.publish.handover import Change
from reconcilers.health import HealthState, Reason
from reconcilers.keys import health_key
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey
from tests.support.consul import Agent
from tests.support.members import Member, key_of, member
from tests.support.net import until
from tests.support.proxy import Line, TcpProxy

ISUP = PodKey("web1", "isup")
PASSING = HealthRecord(ISUP, HealthState.PASSING, detail="200 OK", since=50.0, last_probe=60.0)
CRITICAL = HealthRecord(ISUP, HealthState.CRITICAL, Reason.STATUS, "answered 500", "oops", since=70.0)


@pytest.fixture
def m1(consul: Agent) -> Iterator[Member]:
    """A member that is alone, with view 10."""
    with member(consul, "m1", 10, "m1") as made:
        yield made


@pytest.fixture
def m2(consul: Agent) -> Iterator[Member]:
    """A member that is alone, with view 20."""
    with member(consul, "m2", 20, "m2") as made:
        yield made


def sent(one: Member, record: HealthRecord | None) -> list[Operation]:
    """What the member would send now."""
    assert one.session
    return one.handover.operations(Change(ISUP, record), one.session, 7.0, one.share.current().index)


def verbs(operations: list[Operation]) -> list[str]:
    return [operation.verb for operation in operations]


def test_every_write_says_which_version_of_the_key_it_replaces(m1: Member) -> None:
    assert verbs(sent(m1, PASSING)) == ["check-not-exists", "lock"]
    assert verbs(sent(m1, None)) == ["check-not-exists", "lock", "delete"]
    m1.sink.write([PASSING], [])
    first = sent(m1, CRITICAL)
    assert verbs(first) == ["check-index", "lock"]
    assert verbs(sent(m1, None)) == ["check-index", "lock", "delete"]
    m1.sink.write([CRITICAL], [])
    assert sent(m1, PASSING)[0].index > first[0].index
    m1.sink.write([], [ISUP])
    assert verbs(sent(m1, PASSING)) == ["check-not-exists", "lock"]


def test_a_write_needs_one_request(m1: Member) -> None:
    for put, delete in (([PASSING], []), ([CRITICAL], []), ([], [ISUP]), ([PASSING], [])):
        m1.asked.clear()
        assert m1.sink.write(put, delete) == {}
        assert m1.asked == ["transaction"]


@pytest.mark.parametrize("late", [PASSING, None], ids=["put", "delete"])
def test_a_write_that_arrives_after_a_later_one_is_refused(m1: Member, late: HealthRecord | None) -> None:
    m1.sink.write([PASSING], [])
    operations = sent(m1, late)
    m1.sink.write([CRITICAL], [])
    assert m1.client.transaction(operations).failed
    stands = key_of(m1.agent, ISUP)
    assert stands
    assert stands.record == CRITICAL


def test_a_write_that_arrives_after_an_heir_has_removed_the_key_is_refused(m1: Member, m2: Member) -> None:
    m1.sink.write([PASSING], [])
    operations = sent(m1, CRITICAL)
    m2.sink.leftovers(ISUP.node)
    assert m2.sink.write([], [ISUP]) == {}
    assert m1.client.transaction(operations).failed
    assert m1.agent.keys() == []


def test_a_creation_that_arrives_after_an_heir_has_created_the_key_is_refused(m1: Member, m2: Member) -> None:
    operations = sent(m1, PASSING)
    assert m2.sink.write([CRITICAL], []) == {}
    assert m1.client.transaction(operations).failed


@pytest.mark.parametrize("record", [PASSING, None], ids=["put", "delete"])
def test_a_key_that_somebody_else_has_written_is_read_and_written(m1: Member, record: HealthRecord | None) -> None:
    m1.sink.write([PASSING], [])
    m1.agent.put(health_key(ISUP), "no record")
    m1.asked.clear()
    put, delete = ([CRITICAL], []) if record else ([], [ISUP])
    assert m1.sink.write(put, delete) == {}
    assert m1.asked == ["transaction", "read_transaction", "transaction"]
    stands = key_of(m1.agent, ISUP)
    assert (stands and stands.record) == (CRITICAL if record else None)


def test_a_key_that_somebody_else_has_deleted_is_created(m1: Member) -> None:
    m1.sink.write([PASSING], [])
    m1.agent.delete(health_key(ISUP))
    assert m1.sink.write([CRITICAL], []) == {}
    stands = key_of(m1.agent, ISUP)
    assert stands
    assert (stands.record, stands.session) == (CRITICAL, m1.session)


def test_after_the_end_of_the_session_its_keys_are_created_at_once(m1: Member) -> None:
    m1.sink.write([PASSING], [])
    assert m1.session
    m1.agent.destroy_session(m1.session)
    m1.session = m1.agent.new_session()
    m1.asked.clear()
    until(lambda: m1.sink.write([PASSING], []) == {}, what="Consul's lock delay of a millisecond to pass")
    assert "read_transaction" not in m1.asked


def test_a_write_without_an_answer_cannot_replace_the_one_that_follows(m1: Member) -> None:
    """It waits in the line, and arrives when the line works again: after the one that follows, or before it."""
    m1.sink.write([PASSING], [])
    with TcpProxy(m1.agent.http_port) as proxy:
        address = f"http://127.0.0.1:{proxy.port}"
        m1.client.apply(replace(m1.agent.settings(), address=address))
        proxy.behave(Line(stalled=True))
        assert m1.sink.write([CRITICAL], []).keys() == {ISUP}
        m1.client.apply(m1.agent.settings())
        later = replace(PASSING, written=2000.0)
        assert m1.sink.write([later], []) == {}, "Consul refuses the older one, so this one need not be repeated"
        assert m1.sink.published(ISUP) == later
        before = proxy.passed
        proxy.behave(Line())
        until(lambda: proxy.passed > before, what="the older write to arrive")
        with ConsulClient(m1.agent.settings()) as other:
            other.transaction([Operation("get", health_key(ISUP))])
    assert m1.sink.look_again() == set()


def test_a_removal_after_a_creation_without_an_answer_is_repeated(m1: Member) -> None:
    """Nothing is left of the key by which Consul could refuse the creation if it arrives later."""
    with TcpProxy(m1.agent.http_port) as proxy:
        m1.client.apply(replace(m1.agent.settings(), address=f"http://127.0.0.1:{proxy.port}"))
        proxy.behave(Line(stalled=True))
        assert m1.sink.write([PASSING], []).keys() == {ISUP}
        m1.client.apply(m1.agent.settings())
        assert m1.sink.write([], [ISUP]).keys() == {ISUP}
        proxy.behave(Line())
        until(lambda: m1.agent.keys() == [health_key(ISUP)], what="the older write to arrive")
        m1.now += 60.0
        assert m1.sink.write([], [ISUP]) == {}
    assert m1.agent.keys() == []
