"""Members of a fleet that pass health keys from one session to another, against a real Consul."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from controller.consul.answers import Operation
from controller.publish.fences import INDEX_WENT_BACK, READS
from controller.publish.handover import Change, Handover
from controller.publish.kv import NO_SESSION, OVERTAKEN, KvSink
from reconcilers.health import HealthState, Reason
from reconcilers.keys import health_key
from reconcilers.ports import DONE, Desired
from reconcilers.publication import HealthReconciler
from reconcilers.record import Elsewhere, HealthRecord, Unsettled
from reconcilers.share import FleetView
from reconcilers.spec import PodKey
from tests.reconcilers.fakes import FakeDesires
from tests.support.consul import Agent
from tests.support.members import Member, Reader, key_of, member
from tests.support.net import until

BOTH = ("m1", "m2")
NODE = next(node for node in (f"web{number}" for number in range(99)) if FleetView(1, BOTH).owner(node) == "m1")
"""A node of m1 if there are both members, and of m2 if it is alone."""
OTHER_NODE = next(node for node in (f"web{number}" for number in range(99)) if FleetView(1, BOTH).owner(node) == "m2")
ISUP = PodKey(NODE, "isup")
PASSING = HealthRecord(ISUP, HealthState.PASSING, detail="200 OK", since=50.0, last_probe=60.0)
CRITICAL = HealthRecord(ISUP, HealthState.CRITICAL, Reason.STATUS, "answered 500", "oops", since=70.0)


def named(count: int, node: str = NODE) -> list[HealthRecord]:
    return [HealthRecord(PodKey(node, f"pod{number}"), HealthState.PASSING) for number in range(count)]


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


def test_a_member_writes_the_index_of_its_view_as_flags(m1: Member) -> None:
    assert m1.sink.write([PASSING], []) == {}
    stands = key_of(m1.agent, ISUP)
    assert stands
    assert (stands.record, stands.session, stands.flags) == (PASSING, m1.session, 10)


def test_without_a_fleet_the_operations_are_the_same_as_ever() -> None:
    handover = Handover.without_fleet()
    key = health_key(ISUP)
    put, delete = Change(ISUP, PASSING), Change(ISUP, None)
    assert handover.admit([put, delete], "s") == (0, [put, delete])
    assert handover.operations(put, "s", 7.0) == [Operation("lock", key, PASSING.encode(7.0), "s")]
    assert handover.operations(delete, "s", 7.0) == [Operation("lock", key, session="s"), Operation("delete", key)]
    payload = Operation("lock", key, b"x", "s").payload()
    assert payload == {"KV": {"Verb": "lock", "Key": key, "Value": "eA==", "Session": "s"}}


def test_the_heir_takes_a_key_from_a_living_session_and_inherits_its_record(m1: Member, m2: Member) -> None:
    m1.sink.write([PASSING], [])
    assert m2.sink.leftovers(NODE) == {ISUP}
    published = m2.sink.published(ISUP)
    assert isinstance(published, Elsewhere)
    assert m2.sink.published_without_break(ISUP) == published
    assert published.ours() == PASSING
    assert (published.since, published.written) == (50.0, 1000.0)
    assert m2.sink.write([CRITICAL], []) == {}
    stands = key_of(m2.agent, ISUP)
    assert stands
    assert (stands.record, stands.session, stands.flags) == (CRITICAL, m2.session, 20)
    assert m2.sink.published(ISUP) == CRITICAL
    assert m2.sink.published_without_break(ISUP) == CRITICAL
    assert m2.handover.taken == 1
    assert m2.holders.complaint() == "", "a member of the same fleet is no rival"


def test_a_record_that_is_taken_over_unchanged_keeps_the_time_when_it_was_written(m1: Member, m2: Member) -> None:
    m1.sink.write([PASSING], [])
    before = m1.agent.get(health_key(ISUP))
    m2.sink.leftovers(NODE)
    theirs = m2.sink.published_without_break(ISUP)
    assert isinstance(theirs, Elsewhere)
    assert m2.sink.write([replace(theirs.ours(), written=999.0)], []) == {}
    assert m1.agent.get(health_key(ISUP)) == (before or b"").replace(b"00:16:40", b"00:16:39")


def test_no_reader_sees_a_key_without_a_holder_while_members_take_it_from_each_other(m1: Member, m2: Member) -> None:
    records = named(30)
    m1.sink.write(records, [])
    with Reader(m1.agent, frozenset(record.key for record in records)) as reader:
        for index in range(31, 71):
            heir = (m1, m2)[index % 2]
            heir.sees(index, "m1" if heir is m1 else "m2")
            heir.sink.leftovers(NODE)
            assert heir.sink.write(records, []) == {}
        until(lambda: reader.reads > 20)
    assert reader.faults == []
    assert reader.holders == {m1.session, m2.session}
    assert m1.handover.taken + m2.handover.taken == 40 * len(records)


def test_three_hundred_keys_are_taken_in_few_requests(m1: Member, m2: Member) -> None:
    records = named(300)
    m1.sink.write(records, [])
    m2.sink.leftovers(NODE)
    m2.asked.clear()
    assert m2.sink.write(records, []) == {}
    assert m2.asked == ["transaction"] * 15, "21 keys fit in one"
    assert {entry["Session"] for entry in m2.agent.entries("health/").values()} == {m2.session}


def test_a_key_that_the_holder_writes_in_the_meantime_is_read_again_and_taken(m1: Member, m2: Member) -> None:
    m1.sink.write([PASSING], [])
    m2.sink.leftovers(NODE)
    m1.sink.write([CRITICAL], [])
    m2.asked.clear()
    assert m2.sink.write([PASSING, *named(3)], []) == {}
    assert m2.asked == ["transaction", "transaction", "read_transaction", "transaction"]
    stands = key_of(m2.agent, ISUP)
    assert stands
    assert (stands.record, stands.session) == (PASSING, m2.session)


@pytest.mark.parametrize("late", [replace(CRITICAL, last_probe=59.9), replace(PASSING, written=999.0)])
def test_a_newer_probe_that_the_holder_publishes_in_the_meantime_is_kept(
    m1: Member, m2: Member, late: HealthRecord
) -> None:
    """The heir reads the key, and then the holder writes it once more. What the heir wanted to write is older: a probe
    of its own, or what it has read."""
    m1.sink.write([replace(PASSING, last_probe=58.0)], [])
    m2.sink.leftovers(NODE)
    m1.sink.write([replace(PASSING, manifest_sha="0" * 64)], [])
    assert m2.sink.write([late], []) == {ISUP: OVERTAKEN}
    theirs = m2.sink.published_without_break(ISUP)
    assert isinstance(theirs, Elsewhere)
    wanted = FakeDesires({ISUP: Desired(replace(CRITICAL, last_probe=59.9))})
    reconciler = HealthReconciler(wanted, m2.sink, m2.share)
    for last_probe, status in ((59.9, PASSING.status), (59.9, PASSING.status), (61.0, CRITICAL.status)):
        wanted[ISUP] = Desired(replace(CRITICAL, last_probe=last_probe))
        assert not reconciler.reconcile([ISUP]).get(ISUP, DONE).error
        stands = key_of(m2.agent, ISUP)
        assert stands
        assert (stands.record.status, stands.session) == (status, m2.session), "it is the heir's at once"
        assert stands.record.last_probe >= 60.0


def test_a_key_whose_holder_is_not_known_is_read_and_taken(m1: Member, m2: Member) -> None:
    m1.sink.write([PASSING], [])
    assert m2.sink.write([CRITICAL], []) == {}
    assert m2.asked == ["transaction", "read_transaction", "transaction"]
    stands = key_of(m2.agent, ISUP)
    assert stands
    assert (stands.record, stands.session) == (CRITICAL, m2.session)


@pytest.mark.parametrize("delete", [False, True], ids=["put", "delete"])
def test_the_key_of_a_holder_that_dies_in_the_meantime_is_written_without_it(
    m1: Member, m2: Member, *, delete: bool
) -> None:
    m1.sink.write([PASSING], [])
    m2.sink.leftovers(NODE)
    assert m1.session
    m1.agent.destroy_session(m1.session)
    put, gone = ([], [ISUP]) if delete else ([PASSING], [])
    until(lambda: m2.sink.write(put, gone) == {}, what="Consul's lock delay of a millisecond to pass")
    stands = key_of(m2.agent, ISUP)
    assert (stands and stands.session) == (None if delete else m2.session)


def test_a_pod_whose_key_another_member_holds_is_deleted(m1: Member, m2: Member) -> None:
    m1.sink.write([PASSING, *named(1)], [])
    m2.sink.leftovers(NODE)
    assert m2.sink.write([], [ISUP]) == {}
    assert m2.agent.keys() == [health_key(named(1)[0].key)]
    assert m2.sink.published(ISUP) is None


def test_the_keys_of_an_earlier_session_of_the_same_member_are_taken(m1: Member) -> None:
    m1.sink.write([PASSING], [])
    m1.session = m1.agent.new_session()
    assert m1.sink.published(ISUP) not in {None, PASSING}
    assert m1.sink.write([PASSING], []) == {}
    stands = key_of(m1.agent, ISUP)
    assert stands
    assert stands.session == m1.session


def test_a_new_session_does_not_make_the_record_of_another_member_uncertain(m1: Member, m2: Member) -> None:
    m1.sink.write([PASSING], [])
    m2.sink.leftovers(NODE)
    m2.session = m2.agent.new_session()
    assert isinstance(m2.sink.published_without_break(ISUP), Elsewhere)
    assert m2.sink.write([PASSING], []) == {}
    stands = key_of(m1.agent, ISUP)
    assert stands
    assert stands.session == m2.session


def test_a_fleet_takes_the_keys_of_a_controller_of_one_node_and_both_say_what_to_do(
    consul: Agent, m1: Member, caplog: pytest.LogCaptureFixture
) -> None:
    with member(consul, "single") as other:
        single = KvSink(other.client, other, holders=other.holders)
        single.write([PASSING, *named(3)], [])
        assert m1.sink.leftovers(NODE) == {ISUP, *(record.key for record in named(3))}
        with caplog.at_level("WARNING"):
            assert m1.sink.write([PASSING], []) == {}
            assert m1.sink.write(named(3), []) == {}
        (warning,) = [record.message for record in caplog.records]
        assert warning == (
            f"took over health keys of node {NODE} from session {other.session}, which no member of a fleet has "
            f"written: if a controller of node {NODE} runs, stop it, because it probes the same pods as this fleet"
        )
        assert single.write([CRITICAL], []).keys() == {ISUP}
        assert other.holders.complaint() == (
            f"lock is already held by session {m1.session} of a member of a fleet: the fleet checks node {NODE}, so "
            "stop this controller, or all members of the fleet"
        )
        stands = key_of(consul, ISUP)
        assert stands
        assert (stands.record, stands.session) == (PASSING, m1.session)


def test_keys_that_members_take_from_each_other_are_not_of_a_controller_of_one_node(
    m1: Member, m2: Member, caplog: pytest.LogCaptureFixture
) -> None:
    m1.sink.write([PASSING], [])
    m2.sink.leftovers(NODE)
    assert m2.sink.write([PASSING], []) == {}
    assert "took over" not in caplog.text


# --- fencing ---


def test_a_member_with_an_older_view_is_refused_and_stops(m1: Member, m2: Member) -> None:
    m1.sink.write([PASSING], [])
    m2.sink.leftovers(NODE)
    m2.sink.write([PASSING], [])
    assert m1.sink.write([CRITICAL, *named(2)], []) == {}, "pods of another member are not failed"
    stands = key_of(m1.agent, ISUP)
    assert stands
    assert (stands.record, stands.session, stands.flags) == (PASSING, m2.session, 20)
    assert not m1.share.owns(NODE)
    assert m1.membership.asked == 1
    assert m1.sink.published(ISUP) is None
    m1.asked.clear()
    assert m1.sink.write([CRITICAL], [ISUP]) == {}
    assert m1.asked == []


def test_a_fenced_node_is_ours_again_when_our_view_is_as_new(m1: Member, m2: Member) -> None:
    m2.sink.write([PASSING], [])
    m1.sink.leftovers(NODE)
    m1.sink.write([CRITICAL], [])
    assert not m1.share.owns(NODE)
    m1.sees(20, *BOTH)
    assert m1.share.owns(NODE)
    assert m1.sink.leftovers(NODE) == {ISUP}
    assert m1.sink.write([CRITICAL], []) == {}
    stands = key_of(m1.agent, ISUP)
    assert stands
    assert (stands.session, stands.flags) == (m1.session, 20)


def test_the_members_are_read_once_for_several_fenced_nodes(m1: Member, m2: Member) -> None:
    others = named(1, OTHER_NODE)
    m2.sink.write([PASSING, *others], [])
    for record in (PASSING, *others):
        m1.sink.write([record], [])
    assert not m1.share.owns(OTHER_NODE)
    assert m1.membership.asked == 1


def test_if_two_members_own_a_node_the_better_informed_one_writes_alone(m1: Member, m2: Member) -> None:
    for turn in range(20):
        for one in (m1, m2):
            record = replace(PASSING if turn % 2 else CRITICAL, detail=one.share.current().member)
            if one.share.owns(NODE):
                assert one.sink.write([record], []) == {}
    assert [one.share.owns(NODE) for one in (m1, m2)] == [False, True]
    stands = key_of(m1.agent, ISUP)
    assert stands
    assert (stands.record.detail, stands.session, stands.flags) == ("m2", m2.session, 20)
    assert m1.handover.taken == 0
    assert m2.handover.taken == 1


def test_a_worse_informed_heir_loses_the_key_to_its_better_informed_owner(m1: Member, m2: Member) -> None:
    """The owner wrote the key before it learned of the newer view."""
    m2.sees(5, "m2")
    m2.sink.write([PASSING], [])
    m2.sees(20, "m2")
    assert m1.sink.write([CRITICAL], []) == {}, "the Flags are of view 5, and view 10 is newer"
    assert m2.sink.look_again() == {ISUP}
    assert m2.sink.write([PASSING], []) == {}
    assert m1.sink.look_again() == {ISUP}
    assert m1.sink.write([CRITICAL], []) == {}
    assert not m1.share.owns(NODE)
    stands = key_of(m1.agent, ISUP)
    assert stands
    assert (stands.record, stands.session, stands.flags) == (PASSING, m2.session, 20)


def test_a_glance_reads_one_key_of_each_node_and_shows_that_the_node_is_lost(m1: Member, m2: Member) -> None:
    m1.sees(10, "m1")
    records = [*named(20, NODE), *named(20, OTHER_NODE)]
    assert m1.sink.write(records, []) == {}
    m1.asked.clear()
    assert m1.sink.glance() == set()
    assert len(m1.asked) == 1
    m2.sees(20, "m2")
    m2.sink.leftovers(NODE)
    assert m2.sink.write(named(20, NODE), []) == {}
    lost = m1.sink.glance()
    assert {key.node for key in lost} == {NODE}
    assert m1.sink.write([each for each in records if each.key in lost], []) == {}
    assert not m1.share.owns(NODE)
    assert m1.share.owns(OTHER_NODE)


def test_a_glance_shows_that_a_node_is_lost_although_the_heir_has_deleted_the_key_that_it_reads(
    m1: Member, m2: Member
) -> None:
    """For the heir the first pod has no check. What is left of its key does not say who has the node."""
    first, *others = records = named(5, NODE)
    assert m1.sink.write(records, []) == {}
    m2.sink.leftovers(NODE)
    assert m2.sink.write(others, [first.key]) == {}
    lost = m1.sink.glance()
    assert lost == {each.key for each in records}
    assert m1.sink.write(records, []) == {}
    assert not m1.share.owns(NODE)
    assert key_of(m1.agent, first.key) is None


def test_a_look_does_not_report_the_keys_of_a_node_that_was_lost_meanwhile(m1: Member, m2: Member) -> None:
    m1.sink.write([PASSING], [])

    def hand_over() -> None:
        for each in (m1, m2):
            each.sees(20, "m2")
        m2.sink.leftovers(NODE)
        assert m2.sink.write([CRITICAL], []) == {}

    assert m1.sink.look_again(hand_over) == set()


def test_flags_and_share_of_a_write_are_of_the_same_view(m1: Member) -> None:
    m1.sees(30, *BOTH)
    others = named(1, OTHER_NODE)
    assert m1.sink.write([PASSING, *others], [PodKey(OTHER_NODE, "gone")]) == {}
    stands = key_of(m1.agent, ISUP)
    assert stands
    assert stands.flags == 30
    assert key_of(m1.agent, others[0].key) is None, "it is a pod of another member"
    assert m1.sink.published(others[0].key) is None


def test_flags_that_stay_ahead_are_of_before_a_restore(
    m1: Member, m2: Member, caplog: pytest.LogCaptureFixture
) -> None:
    m2.sink.write([PASSING], [])
    m1.sink.leftovers(NODE)
    m1.sink.write([CRITICAL], [])
    assert not m1.share.owns(NODE)
    m1.now += INDEX_WENT_BACK - 0.1
    m1.membership.read += READS
    m1.sink.look_again()
    assert not m1.share.owns(NODE), "it is too early"
    m1.now += 0.1
    m1.membership.read -= 1
    m1.sink.look_again()
    assert not m1.share.owns(NODE), "the membership was not read again for sure"
    m1.membership.read += 1
    m1.sink.look_again()
    assert m1.share.owns(NODE)
    assert m1.sink.leftovers(NODE) == {ISUP}
    assert m1.sink.write([CRITICAL], []) == {}
    stands = key_of(m1.agent, ISUP)
    assert stands
    assert (stands.record, stands.session, stands.flags) == (CRITICAL, m1.session, 10)
    m1.sink.look_again()
    assert caplog.text.count("Consul's index went back") == 1


def test_a_fence_that_the_view_has_reached_is_no_sign_of_a_restore(
    m1: Member, m2: Member, caplog: pytest.LogCaptureFixture
) -> None:
    m2.sink.write([PASSING], [])
    m1.sink.write([CRITICAL], [])
    m1.sees(20, *BOTH)
    m1.now += INDEX_WENT_BACK
    m1.membership.read += READS
    m1.sink.look_again()
    assert "went back" not in caplog.text


def test_a_writer_that_is_ahead_of_a_restored_index_again_is_fenced_again(m1: Member, m2: Member) -> None:
    m2.sink.write([PASSING], [])
    m1.sink.write([CRITICAL], [])
    m1.now += INDEX_WENT_BACK
    m1.membership.read += READS
    m1.sink.look_again()
    m2.sees(21, "m2")
    m2.sink.write([CRITICAL], [])
    m1.sink.leftovers(NODE)
    m1.sink.write([CRITICAL], [])
    assert not m1.share.owns(NODE)


# --- the keys of a share ---


def test_the_keys_of_lost_nodes_are_forgotten_and_neither_written_nor_deleted(m1: Member) -> None:
    m1.sink.write([PASSING], [])
    m1.sink.disown([ISUP, PodKey(NODE, "unknown")])
    assert m1.sink.published(ISUP) is None
    assert m1.sink.published_without_break(ISUP) is None
    stands = key_of(m1.agent, ISUP)
    assert stands
    assert stands.session == m1.session


def test_what_is_known_of_other_nodes_is_kept_when_nodes_are_gained(m1: Member, m2: Member) -> None:
    m1.sink.write(named(2, OTHER_NODE), [])
    m2.sink.write([PASSING, *named(2, "third")], [])
    m2.sink.write([], [named(2, "third")[0].key])
    assert m2.sink.leftovers(OTHER_NODE, "fourth") == {record.key for record in named(2, OTHER_NODE)}
    assert m2.sink.published(ISUP) == PASSING
    assert isinstance(m2.sink.published(named(2, OTHER_NODE)[1].key), Elsewhere)
    m2.agent.delete(health_key(ISUP))
    assert m2.sink.leftovers(NODE) == {ISUP}, "a key that is gone has changed"
    assert m2.sink.published(ISUP) is None


def test_only_keys_of_own_nodes_are_looked_at_again(m1: Member) -> None:
    m1.sink.write([PASSING, *named(1, OTHER_NODE)], [])
    m1.scheduled = {ISUP, PodKey(OTHER_NODE, "silent")}
    m1.agent.delete("health/", recurse=True)
    m1.sees(30, *BOTH)
    assert m1.sink.look_again() == {ISUP}


def test_a_key_without_a_manifest_is_found_when_it_is_expected(m1: Member, m2: Member) -> None:
    m2.sink.write([PASSING], [])
    m1.sees(30, *BOTH)
    assert m1.sink.look_again() == set()
    m1.sink.expect([ISUP])
    assert m1.sink.look_again() == {ISUP}
    assert m1.sink.write([], [ISUP]) == {}
    assert m1.agent.keys() == []


def test_a_record_of_another_member_that_cannot_be_decoded_is_uncertain(m1: Member, m2: Member) -> None:
    assert m2.session
    m1.agent.put(health_key(ISUP), "no record", acquire=m2.session)
    assert m1.sink.leftovers(NODE) == {ISUP}
    assert type(m1.sink.published(ISUP)) is Unsettled
    assert m1.sink.write([PASSING], []) == {}


def test_without_a_session_nothing_is_taken(m1: Member, m2: Member) -> None:
    m2.sink.write([PASSING], [])
    m1.session = None
    m1.sink.leftovers(NODE)
    assert isinstance(m1.sink.published(ISUP), Elsewhere)
    assert m1.sink.write([CRITICAL], []) == {ISUP: NO_SESSION}
