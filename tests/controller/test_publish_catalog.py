"""Pods on nodes without an agent in the catalog of a real Consul."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controller.consul.catalog import NodeEntries, read_node
from controller.publish.catalog import NO_MANIFEST, NOT_THERE
from controller.publish.catalog_entries import AGENT_AGAIN, HAS_AGENT
from controller.publish.fences import INDEX_WENT_BACK, READS
from reconcilers.health import HealthState, Reason
from reconcilers.record import HealthRecord, Unsettled
from reconcilers.share import FleetView
from reconcilers.spec import PodKey
from tests.support import catalog_sink
from tests.support.catalog_sink import (
    ADDRESS,
    NODE,
    PAGE,
    PAGE_ID,
    PORT,
    Publisher,
    check,
    critical,
    index,
    node,
    passing,
    register,
    services,
)
from tests.support.consul import DB1_ID, Agent

New = Callable[..., Publisher]
DB1 = PodKey("db1", "page")
DB1_PAGE_ID = "podpulse:db1:page"
OURS = {"external-node": "true", "external-source": "podpulse"}


@pytest.fixture
def new(consul: Agent) -> Iterator[New]:
    with catalog_sink.publishers(consul) as new:
        yield new


def test_node_service_and_check_are_registered_with_our_marks(consul: Agent, new: New) -> None:
    publisher = new()
    assert publisher.put(passing()) == {}
    found = consul.request("GET", "health/service/page?passing").json()
    (one,) = found
    assert (one["Node"]["Node"], one["Node"]["Address"], one["Node"]["Meta"]) == (NODE, ADDRESS, OURS)
    service = one["Service"]
    assert (service["ID"], service["Port"], service["Tags"]) == (PAGE_ID, 8000, ["blue"])
    assert service["Meta"] == {"podpulse-node": NODE, "external-source": "podpulse"}
    assert check(consul)["Output"] == "passing\nall well"
    assert NODE in check(consul)["Notes"]
    assert publisher.sink.published(PAGE) == passing()


def test_a_change_of_the_status_is_one_operation_and_nothing_is_written_twice(consul: Agent, new: New) -> None:
    publisher = new()
    publisher.put(passing())
    before = publisher.count("transaction")
    assert publisher.put(critical()) == {}
    assert publisher.count("transaction") == before + 1
    assert check(consul)["Status"] == "critical"
    assert check(consul)["Output"] == "critical (status): answered 500\noops"
    assert consul.request("GET", "health/service/page?passing").json() == []


@pytest.mark.parametrize(("first", "then"), [("passing", "warning"), ("warning", "warning"), ("critical", "critical")])
def test_unknown_health_neither_removes_a_pod_from_dns_nor_adds_it(
    consul: Agent, new: New, first: str, then: str
) -> None:
    publisher = new()
    publisher.put(HealthRecord(PAGE, HealthState(first)))
    publisher.put(HealthRecord(PAGE, HealthState.UNKNOWN, Reason.LOCAL))
    assert check(consul)["Status"] == then


def test_the_node_goes_with_its_last_service(consul: Agent, new: New) -> None:
    publisher = new()
    publisher.put(passing(), passing(PORT))
    assert publisher.delete(PAGE) == {}
    assert services(consul) == {"podpulse:printer1:port"}
    assert publisher.delete(PORT) == {}
    assert node(consul) is None
    assert publisher.put(passing()) == {}
    assert services(consul) == {PAGE_ID}


def test_a_node_whose_id_begins_with_the_name_of_another_is_not_taken_for_it(consul_binary: Path) -> None:
    """Consul answers with web1 when it is asked for db1 and has no node db1."""
    with Agent(consul_binary, config={"node_id": DB1_ID}) as agent, catalog_sink.publishers(agent) as new:
        publisher = new("m1", 1)
        assert read_node(publisher.client, "db1") == NodeEntries(None)
        before = services(agent, "web1")
        assert publisher.put(passing(DB1)) == {}
        found = node(agent, "db1")
        assert found
        assert (found["Address"], services(agent, "db1")) == (ADDRESS, {DB1_PAGE_ID})
        assert check(agent, DB1_PAGE_ID, "db1")["Status"] == "passing"
        assert publisher.sink.look_again() == frozenset()
        assert publisher.delete(DB1) == {}
        assert node(agent, "db1") is None
        assert services(agent, "web1") == before


def test_a_node_of_ours_whose_id_begins_with_the_name_of_another_is_left_alone(consul: Agent, new: New) -> None:
    register(consul, ID=DB1_ID, NodeMeta=OURS)
    before = node(consul)
    publisher = new("m1", 1)
    publisher.delete(DB1)
    assert publisher.sink.look_again() == frozenset()
    assert node(consul) == before, "it has no services, and is not removed"
    assert publisher.put(passing(DB1)) == {}
    assert services(consul, "db1") == {DB1_PAGE_ID}
    publisher.sink.withdraw_all(5.0)
    assert node(consul, "db1") is None
    assert node(consul) == before


def test_a_node_is_found_whatever_the_case_of_its_name(consul: Agent, new: New) -> None:
    register(consul)
    found = read_node(new().client, NODE.upper())
    assert found.node
    assert found.node.name == NODE


def test_a_node_of_others_gets_services_but_is_neither_changed_nor_removed(consul: Agent, new: New) -> None:
    register(consul, NodeMeta={"external-node": "true"}, Service={"Service": "theirs"})
    before = node(consul)
    publisher = new()
    assert publisher.put(passing()) == {}
    assert services(consul) == {PAGE_ID, "theirs"}
    assert publisher.delete(PAGE) == {}
    assert services(consul) == {"theirs"}
    assert node(consul) == before
    consul.request("PUT", "catalog/deregister", json.dumps({"Node": NODE, "ServiceID": "theirs"}))
    publisher.sink.look_again()
    assert node(consul) == before


def test_a_node_of_ours_stays_as_long_as_others_use_it(consul: Agent, new: New) -> None:
    publisher = new()
    publisher.put(passing())
    register(consul, SkipNodeUpdate=True, Service={"Service": "theirs"})
    publisher.delete(PAGE)
    assert services(consul) == {"theirs"}
    consul.request("PUT", "catalog/deregister", json.dumps({"Node": NODE, "ServiceID": "theirs"}))
    register(consul, SkipNodeUpdate=True, Check={"Name": "of the node", "Status": "passing"})
    publisher.sink.look_again()
    assert node(consul)
    consul.request("PUT", "catalog/deregister", json.dumps({"Node": NODE, "CheckID": "of the node"}))
    publisher.sink.look_again()
    assert node(consul) is None


def test_a_service_of_others_with_our_id_is_left_alone(consul: Agent, new: New) -> None:
    register(consul, Service={"ID": PAGE_ID, "Service": "page"})
    publisher = new()
    assert "not ours" in publisher.put(passing(), passing(PORT))[PAGE]
    publisher.sink.leftovers(NODE)
    publisher.delete(PAGE)
    assert services(consul) == {PAGE_ID, "podpulse:printer1:port"}


def test_a_node_with_an_agent_is_left_alone_and_named_once(
    consul: Agent, new: New, caplog: pytest.LogCaptureFixture
) -> None:
    key = PodKey(consul.node, "page")
    publisher = new()
    before = services(consul, consul.node)
    for _ in range(2):
        assert publisher.put(passing(key), passing()) == {key: HAS_AGENT}
        publisher.now += AGENT_AGAIN + 1
    assert services(consul, consul.node) == before
    assert caplog.text.count(f"nodes with a Consul agent are left alone in the catalog: {consul.node}") == 1
    assert check(consul)["Status"] == "passing", "the other node is published"


def test_a_node_that_gets_an_agent_is_left_alone_from_then_on(consul: Agent, new: New) -> None:
    publisher = new()
    publisher.put(passing())
    register(consul, SkipNodeUpdate=True, Check={"CheckID": "serfHealth", "Name": "Serf", "Status": "passing"})
    before = index(consul)
    assert publisher.sink.look_again() == {PAGE}
    assert publisher.sink.published(PAGE) is None
    assert publisher.put(passing()) == {PAGE: HAS_AGENT}
    assert index(consul) == before


def test_a_node_without_agent_any_more_is_published_after_a_while(consul: Agent, new: New) -> None:
    publisher = new()
    register(consul, Check={"CheckID": "serfHealth", "Name": "Serf", "Status": "critical"})
    assert publisher.put(passing()) == {PAGE: HAS_AGENT}
    consul.request("PUT", "catalog/deregister", json.dumps({"Node": NODE}))
    publisher.now += AGENT_AGAIN + 1
    assert publisher.put(passing()) == {}


def test_what_others_change_or_remove_is_found_and_repaired(consul: Agent, new: New) -> None:
    publisher = new()
    publisher.put(passing(), passing(PORT))
    assert publisher.sink.look_again() == frozenset()
    register(
        consul,
        SkipNodeUpdate=True,
        Check={"CheckID": PAGE_ID, "Name": "x", "ServiceID": PAGE_ID, "Status": "critical"},
    )
    consul.request("PUT", "catalog/deregister", json.dumps({"Node": NODE, "ServiceID": "podpulse:printer1:port"}))
    assert publisher.sink.look_again() == {PAGE, PORT}
    assert isinstance(publisher.sink.published(PAGE), Unsettled)
    assert publisher.sink.published(PORT) is None
    assert publisher.put(passing(), passing(PORT)) == {}
    assert check(consul)["Status"] == "passing"
    consul.request("PUT", "catalog/deregister", json.dumps({"Node": NODE}))
    assert publisher.sink.look_again() == {PAGE, PORT}
    assert publisher.put(passing(), passing(PORT)) == {}
    assert services(consul) == {PAGE_ID, "podpulse:printer1:port"}


def test_a_write_that_others_have_overtaken_is_repeated_and_repairs_it(consul: Agent, new: New) -> None:
    publisher = new()
    publisher.put(passing(), passing(PORT))
    consul.request("PUT", "catalog/deregister", json.dumps({"Node": NODE}))
    assert publisher.put(critical()) == {}
    assert check(consul)["Status"] == "critical"
    assert publisher.sink.look_again() == {PORT}, "the other one is found later"


def test_a_deletion_that_others_have_overtaken_is_done(consul: Agent, new: New) -> None:
    publisher = new()
    publisher.put(passing())
    consul.request("PUT", "catalog/deregister", json.dumps({"Node": NODE}))
    assert publisher.delete(PAGE) == {}
    assert publisher.sink.published(PAGE) is None


def test_a_service_whose_check_others_have_removed_is_removed(consul: Agent, new: New) -> None:
    publisher = new()
    publisher.put(passing())
    consul.request("PUT", "catalog/deregister", json.dumps({"Node": NODE, "CheckID": PAGE_ID}))
    assert publisher.delete(PAGE) == {}
    assert node(consul) is None


def test_a_late_removal_by_the_member_that_lost_the_node_is_refused(consul: Agent, new: New) -> None:
    before, heir = new("m1", 5), new("m2", 9)
    before.put(passing())
    heir.sink.leftovers(NODE)
    heir.put(passing())
    assert before.delete(PAGE) == {}
    assert services(consul) == {PAGE_ID}
    assert not before.share.owns(NODE)


def test_a_changed_registration_is_written_and_the_health_stays(consul: Agent, new: New) -> None:
    publisher = new()
    publisher.put(passing())
    publisher.port, publisher.prefix = 9000, "pod-"
    assert isinstance(publisher.sink.published(PAGE), Unsettled)
    assert publisher.put(passing()) == {}
    (found,) = consul.request("GET", "health/service/pod-page?passing").json()
    assert found["Service"]["Port"] == 9000
    assert consul.request("GET", "catalog/service/page").json() == []


def test_a_changed_address_of_a_node_of_ours_is_written(consul: Agent, new: New) -> None:
    new().put(passing())
    publisher = new()
    publisher.address = lambda _: "10.7.7.7"
    publisher.sink.leftovers(NODE)
    assert publisher.put(passing()) == {}
    found = node(consul)
    assert found
    assert (found["Address"], found["Meta"]) == ("10.7.7.7", OURS)


def test_without_an_address_only_nodes_that_are_there_get_services(consul: Agent, new: New) -> None:
    publisher = new()
    publisher.address = lambda _: None
    other = PodKey("printer2", "page")
    register(consul)
    assert publisher.put(passing(), passing(other)) == {other: NOT_THERE}
    assert services(consul) == {PAGE_ID}
    assert node(consul, "printer2") is None


def test_a_pod_without_manifest_or_that_is_being_deployed_is_not_registered(consul: Agent, new: New) -> None:
    publisher = new()
    publisher.gone.add(PAGE)
    deploying = HealthRecord(PORT, HealthState.UNKNOWN, Reason.DEPLOYING)
    assert publisher.put(passing(), deploying) == {PAGE: NO_MANIFEST}
    assert node(consul) is None


def test_many_pods_are_written_in_transactions_of_64_operations(consul: Agent, new: New) -> None:
    publisher = new()
    records = [passing(PodKey(f"n{number}", pod)) for number in range(40) for pod in "abc"]
    assert publisher.put(*records) == {}
    assert publisher.count("transaction") == 1 + 4
    assert len(consul.request("GET", "health/service/a?passing").json()) == 40
    publisher.delete(*(record.key for record in records))
    assert consul.request("GET", "catalog/nodes?node-meta=external-node:true").json() == []


def test_an_earlier_run_is_taken_over_and_nothing_changes_until_there_is_a_verdict(consul: Agent, new: New) -> None:
    new().put(passing())
    before = index(consul)
    publisher = new()
    assert publisher.sink.leftovers(NODE, "printer2") == {PAGE}
    assert isinstance(publisher.sink.published(PAGE), Unsettled)
    assert publisher.sink.published_without_break(PAGE) == HealthRecord(PAGE, HealthState.PASSING)
    assert publisher.sink.look_again() == frozenset()
    assert index(consul) == before
    assert publisher.put(passing()) == {}
    assert publisher.sink.published(PAGE) == passing()


def test_what_others_have_written_is_not_without_a_break(consul: Agent, new: New) -> None:
    publisher = new()
    publisher.put(critical())
    assert publisher.sink.published_without_break(PAGE) is None
    assert publisher.sink.published_without_break(PORT) is None


def test_what_an_earlier_member_left_on_nodes_of_our_share_is_found_and_removed(consul: Agent, new: New) -> None:
    nodes = [f"n{number}" for number in range(8)]
    new("dead", 1).put(*(passing(PodKey(name, "page")) for name in nodes))
    heir = new("m1", 2, "m1", "m2")
    ours = {PodKey(name, "page") for name in nodes if heir.share.owns(name)}
    assert 0 < len(ours) < 8
    assert heir.sink.find() == ours
    assert heir.sink.find() == ours, "as long as they are there"
    heir.sink.adopt(ours)
    assert heir.delete(*ours) == {}
    left = {each["Node"] for each in consul.request("GET", "catalog/nodes?node-meta=external-node:true").json()}
    assert left == set(nodes) - {key.node for key in ours}


def test_a_stray_service_on_a_known_node_is_found_but_not_taken_for_a_change(consul: Agent, new: New) -> None:
    publisher = new()
    publisher.put(passing())
    new().put(passing(PORT))
    assert publisher.sink.look_again() == frozenset()
    assert publisher.sink.find() == {PORT}
    publisher.scheduled.add(PORT)
    assert publisher.sink.look_again() == {PORT}


def test_a_node_of_ours_without_services_is_removed_where_it_is_found(consul: Agent, new: New) -> None:
    register(consul, NodeMeta=OURS)
    register(consul, Node="theirs", NodeMeta={"external-node": "true"})
    assert new().sink.find() == set()
    assert node(consul) is None
    assert node(consul, "theirs")


def test_a_late_write_of_the_member_that_lost_the_node_is_refused(consul: Agent, new: New) -> None:
    """The heir has written the same status. The previous member does not know that the node is not its node."""
    before, heir = new("m1", 5), new("m2", 9)
    before.put(passing())
    heir.sink.leftovers(NODE)
    heir.put(passing())
    assert "m2, with view 9" in check(consul)["Notes"]
    assert before.put(critical()) == {}
    assert check(consul)["Status"] == "passing"
    assert not before.share.owns(NODE)
    assert before.membership.hurried == 1
    assert before.sink.published(PAGE) is None
    before.share.apply(FleetView(9, ("m1",)))
    assert before.put(critical()) == {}
    assert check(consul)["Status"] == "critical"


def test_an_index_that_went_back_does_not_keep_a_node_from_its_member(consul: Agent, new: New) -> None:
    new("m1", 500).put(passing())
    member = new("m1", 7)
    member.sink.leftovers(NODE)
    assert member.put(critical()) == {}
    member.now += INDEX_WENT_BACK
    member.membership.count += READS
    member.sink.look_again()
    assert member.share.owns(NODE)
    assert member.put(critical()) == {}
    assert check(consul)["Status"] == "critical"


def test_a_node_that_is_another_members_now_is_disowned_and_not_read(consul: Agent, new: New) -> None:
    publisher = new("m1", 5)
    publisher.put(passing())
    publisher.share.apply(FleetView(6, ("m2",)))
    before = index(consul)
    assert publisher.put(critical()) == {}
    assert publisher.delete(PAGE) == {}
    assert publisher.sink.look_again() == frozenset()
    assert publisher.sink.find() == set()
    assert index(consul) == before
    assert publisher.sink.published(PAGE) is None


def test_without_a_fleet_the_view_of_a_fleet_in_a_check_does_not_matter(consul: Agent, new: New) -> None:
    new("m1", 500).put(passing())
    publisher = new()
    publisher.sink.leftovers(NODE)
    assert publisher.put(critical()) == {}
    assert check(consul)["Status"] == "critical"


def test_a_consul_that_does_not_answer_leaves_the_records_uncertain(consul: Agent, new: New) -> None:
    publisher = new(timeout=1.0)
    publisher.put(passing())
    consul.pause()
    assert publisher.put(critical(), passing(PORT)).keys() == {PAGE, PORT}
    consul.resume()
    consul.wait_ready()
    assert isinstance(publisher.sink.published(PAGE), Unsettled)
    assert publisher.put(passing()) == {}
    assert check(consul)["Status"] == "passing"


def test_a_request_that_was_not_sent_changes_nothing_that_is_known(consul: Agent, new: New) -> None:
    publisher = new()
    publisher.put(passing())
    consul.kill()
    assert publisher.put(critical()).keys() == {PAGE}
    assert publisher.sink.published(PAGE) == passing()


def test_a_refusal_of_one_service_does_not_prevent_the_others(acl_consul: Agent) -> None:
    rules = 'node_prefix "" { policy = "write" } service "page" { policy = "write" }'
    with catalog_sink.publishers(acl_consul) as new:
        publisher = new(token=acl_consul.create_token(rules))
        failed = publisher.put(passing(), passing(PORT))
        assert failed.keys() == {PORT}
        assert "ermission denied" in failed[PORT]
        assert services(acl_consul) == {PAGE_ID}


def test_a_node_that_may_not_be_written_does_not_prevent_the_others(acl_consul: Agent) -> None:
    rules = f'node "{NODE}" {{ policy = "write" }} service_prefix "" {{ policy = "write" }}'
    other = PodKey("printer2", "page")
    with catalog_sink.publishers(acl_consul) as new:
        failed = new(token=acl_consul.create_token(rules)).put(passing(), passing(other))
        assert failed.keys() == {other}
        assert "ermission denied" in failed[other]


def test_everything_of_ours_is_withdrawn_in_time_after_a_cancel(consul: Agent, new: New) -> None:
    register(consul, Node="theirs", NodeMeta={"external-node": "true"})
    publisher = new()
    publisher.put(passing(), passing(PodKey("theirs", "page")))
    publisher.client.cancel()
    publisher.sink.withdraw_all(5.0)
    assert node(consul) is None
    assert services(consul, "theirs") == set()
    assert node(consul, "theirs")
