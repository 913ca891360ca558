"""The sink at the local agent, against a real Consul."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.consul.client import ConsulClient, ConsulSettings, ConsulUnavailable
from controller.members.current_share import CurrentShare
from controller.publish.agent import TTL, AgentSink
from controller.publish.desired import DesiredHealth
from reconcilers.health import CheckHealth, HealthState, Reason
from reconcilers.publication import HealthReconciler
from reconcilers.record import HealthRecord, Unsettled
from reconcilers.share import Share
from reconcilers.spec import PodKey
from tests.reconcilers.fakes import FakeHealths
from tests.support.agent_sink import (
    CRITICAL,
    ISUP,
    ISUP_ID,
    PASSING,
    UNKNOWN,
    WARNING,
    Bench,
    Directory,
    named,
    sink_at,
)
from tests.support.consul import Agent
from tests.support.dns import addresses
from tests.support.fake_http import Asked, FakeServer, Reply
from tests.support.net import free_ports, until
from tests.support.recorders import FakeClock

OTHER = PodKey("web1", "other")


@pytest.fixture
def bench(consul: Agent) -> Iterator[Bench]:
    with sink_at(consul) as made:
        yield made


def register(agent: Agent, identity: str, name: str, **more: object) -> None:
    """A service of another program."""
    answer = agent.request("PUT", "agent/service/register", json.dumps({"ID": identity, "Name": name, **more}))
    assert answer.status == 200


def test_a_pod_becomes_a_service_whose_check_has_the_reason(bench: Bench) -> None:
    assert bench.sink.published(ISUP) is None
    assert bench.sink.write([PASSING], []) == {}
    service = bench.services()[ISUP_ID]
    assert (service["Service"], service["Port"], service["Tags"]) == ("isup", 8000, ["blue"])
    assert service["Meta"] == {"podpulse-node": "web1", "external-source": "podpulse"}
    bench.await_catalog("passing")
    assert bench.in_catalog()["Output"] == "passing\nall well"
    assert bench.sink.published(ISUP) == PASSING


@pytest.mark.parametrize(
    ("record", "status", "output"),
    [
        (WARNING, "warning", "warning: slow"),
        (CRITICAL, "critical", "critical (status): answered 500\noops"),
        (UNKNOWN, "critical", "unknown (local): no descriptors"),
    ],
    ids=str,
)
def test_the_first_record_of_a_pod_reaches_the_catalog_with_its_reason(
    bench: Bench, record: HealthRecord, status: str, output: str
) -> None:
    assert bench.sink.write([record], []) == {}
    until(lambda: bench.in_catalog().get("Output") == output, what="the reason in the catalog")
    assert bench.in_catalog()["Status"] == status


def test_the_check_follows_the_published_record(bench: Bench) -> None:
    for record, status in ((PASSING, "passing"), (CRITICAL, "critical"), (WARNING, "warning"), (PASSING, "passing")):
        assert bench.sink.write([record], []) == {}
        assert bench.status() == status
        assert bench.sink.published(ISUP) == record
        bench.await_catalog(status)


def test_another_reason_reaches_the_catalog_though_the_status_stays(bench: Bench) -> None:
    bench.sink.write([CRITICAL], [])
    bench.asked.clear()
    refused = HealthRecord(ISUP, HealthState.CRITICAL, Reason.REFUSED, "connection refused")
    assert bench.sink.write([refused], []) == {}
    until(lambda: "connection refused" in bench.in_catalog()["Output"], what="the reason in the catalog")
    assert bench.in_catalog()["Status"] == "critical"
    assert bench.asked == ["update_check", "register_service"]


def test_unknown_neither_removes_a_pod_from_dns_nor_adds_it(bench: Bench) -> None:
    bench.sink.write([PASSING], [])
    bench.sink.write([UNKNOWN], [])
    assert bench.status() == "warning", "dns goes on to answer it"
    bench.sink.write([CRITICAL], [])
    bench.sink.write([UNKNOWN], [])
    assert bench.status() == "critical"


def test_dns_answers_only_pods_that_are_healthy(consul_binary: Path) -> None:
    (port,) = free_ports(1)
    with Agent(consul_binary, config={"ports": {"dns": port}}) as agent, sink_at(agent) as bench:
        bench.sink.write([PASSING], [])
        until(lambda: addresses(port, "isup.service.consul") == ["127.0.0.1"], what="DNS to answer it")
        assert addresses(port, "blue.isup.service.consul") == ["127.0.0.1"]
        bench.sink.write([UNKNOWN], [])
        bench.await_catalog("warning")
        assert addresses(port, "isup.service.consul") == ["127.0.0.1"]
        bench.sink.write([CRITICAL], [])
        until(lambda: addresses(port, "isup.service.consul") == [], what="DNS to answer it no more")
        bench.sink.write([PASSING], [])
        until(lambda: addresses(port, "isup.service.consul") == ["127.0.0.1"], what="DNS to answer it again")
        bench.sink.write([], [ISUP])
        assert addresses(port, "isup.service.consul") == []


def test_a_deleted_pod_leaves_no_service(bench: Bench) -> None:
    bench.sink.write([PASSING], [])
    assert bench.sink.write([], [ISUP, OTHER]) == {}, "a pod that is not there is gone already"
    assert bench.services() == {}
    assert ISUP_ID not in bench.checks()
    assert bench.in_catalog() == {}
    assert bench.sink.published(ISUP) is None


def test_a_changed_port_or_tag_registers_the_service_again_and_keeps_its_status(bench: Bench) -> None:
    bench.sink.write([PASSING], [])
    bench.directory.port, bench.directory.tags = 9000, ()
    assert bench.sink.published(ISUP) not in {None, PASSING}
    index = bench.in_catalog()["CreateIndex"]
    assert bench.sink.write([PASSING], []) == {}
    assert (bench.services()[ISUP_ID]["Port"], bench.services()[ISUP_ID]["Tags"]) == (9000, [])
    assert bench.sink.published(ISUP) == PASSING
    assert (bench.in_catalog()["Status"], bench.in_catalog()["CreateIndex"]) == ("passing", index)


def test_a_pod_without_manifest_fails_alone(bench: Bench) -> None:
    bench.directory.gone = {ISUP}
    assert bench.sink.write([PASSING, *named(1)], []) == {ISUP: "the pod has no manifest that describes its service"}
    assert list(bench.services()) == ["podpulse:web1:pod0"]


def test_a_foreign_service_with_our_id_is_not_changed_and_the_other_services_are_written(bench: Bench) -> None:
    register(bench.agent, ISUP_ID, "isup", Port=1, Meta={"external-source": "nomad"})
    before = bench.services()[ISUP_ID]
    assert bench.sink.leftovers("web1") == frozenset()
    failed = bench.sink.write([PASSING, *named(2)], [])
    assert failed == {
        ISUP: "the agent has a service 'podpulse:web1:isup' whose meta lacks external-source=podpulse: not ours"
    }
    assert bench.sink.write([], [ISUP]) == {}
    assert bench.services()[ISUP_ID] == before
    assert len(bench.services()) == 3


def test_our_service_is_not_removed_after_another_owner_has_replaced_it(bench: Bench) -> None:
    bench.sink.write([PASSING], [])
    register(bench.agent, ISUP_ID, "isup", Port=1)
    assert bench.sink.write([], [ISUP]) == {}
    assert bench.services()[ISUP_ID]["Port"] == 1


def test_foreign_services_are_ignored(bench: Bench) -> None:
    register(bench.agent, "isup", "isup", Meta={"external-source": "podpulse"})
    register(bench.agent, "podpulse:web1", "podpulse", Meta={"external-source": "podpulse"})
    register(bench.agent, "podpulse:web10:isup", "isup", Meta={"external-source": "podpulse"})
    before = bench.services()
    assert bench.sink.leftovers("web1") == frozenset()
    bench.sink.write([PASSING], [])
    bench.sink.refresh()
    bench.sink.write([], [ISUP])
    assert bench.services() == before
    assert bench.lost == []


def test_services_of_an_earlier_run_are_found_by_id_and_mark_and_removed(bench: Bench) -> None:
    with sink_at(bench.agent) as earlier:
        earlier.sink.write([PASSING, *named(2)], [])
    keys = bench.sink.leftovers("web1")
    assert keys == {ISUP, PodKey("web1", "pod0"), PodKey("web1", "pod1")}
    assert isinstance(bench.sink.published(ISUP), Unsettled)
    assert bench.sink.write([], keys) == {}
    assert bench.services() == {}


def test_a_restart_registers_nothing_again_and_does_not_change_the_catalog(bench: Bench) -> None:
    with sink_at(bench.agent) as earlier:
        earlier.sink.write([PASSING, *named(20)], [])
        for record in (PASSING, *named(20)):
            earlier.await_catalog("passing", record.key.pod)
    index = bench.index()
    bench.sink.leftovers("web1")
    bench.asked.clear()
    assert bench.sink.write([PASSING, *named(20)], []) == {}
    assert set(bench.asked) == {"update_check"}
    assert len(bench.asked) == 21
    assert bench.index() == index
    assert bench.sink.published(ISUP) == PASSING


def test_unknown_after_a_restart_keeps_a_pod_in_dns(bench: Bench) -> None:
    with sink_at(bench.agent) as earlier:
        earlier.sink.write([PASSING], [])
    bench.sink.leftovers("web1")
    bench.sink.write([UNKNOWN], [])
    assert bench.status() == "warning"


def test_a_changed_ttl_is_registered_after_a_restart(bench: Bench) -> None:
    with sink_at(bench.agent, ttl=30.0) as earlier:
        earlier.sink.write([PASSING], [])
    bench.sink.leftovers("web1")
    bench.sink.write([PASSING], [])
    assert "20 s" in bench.checks()[ISUP_ID]["Notes"]
    assert bench.status() == "passing"


def test_a_service_published_before_leftovers_were_read_and_then_lost_is_not_a_leftover(bench: Bench) -> None:
    with sink_at(bench.agent) as earlier:
        earlier.sink.write(named(1), [])
    bench.sink.write([PASSING], [])
    bench.agent.request("PUT", f"agent/service/deregister/{ISUP_ID}")
    assert bench.sink.leftovers("web1") == {PodKey("web1", "pod0")}
    assert bench.lost == [ISUP]


def test_leftovers_that_cannot_be_read_change_nothing(bench: Bench) -> None:
    bench.sink.write([PASSING], [])
    bench.agent.kill()
    with pytest.raises(ConsulUnavailable):
        bench.sink.leftovers("web1")
    assert bench.sink.published(ISUP) == PASSING


def test_services_are_registered_again_at_an_agent_that_lost_its_state(bench: Bench) -> None:
    bench.sink.write([PASSING, *named(2)], [])
    bench.agent.restart()
    assert bench.services() == {}
    bench.sink.refresh()
    assert sorted(bench.lost) == [ISUP, PodKey("web1", "pod0"), PodKey("web1", "pod1")]
    assert bench.sink.published(ISUP) is None
    assert bench.sink.write([PASSING, *named(2)], []) == {}
    assert len(bench.services()) == 3


def test_a_change_fails_once_at_an_agent_that_lost_its_state(bench: Bench) -> None:
    bench.sink.write([PASSING], [])
    bench.agent.restart()
    assert "registered again" in bench.sink.write([CRITICAL], [])[ISUP]
    assert bench.sink.published(ISUP) is None
    assert bench.sink.write([CRITICAL], []) == {}
    assert bench.status() == "critical"


def test_a_removed_or_changed_check_is_noticed(bench: Bench) -> None:
    bench.sink.write([PASSING, *named(1)], [])
    bench.agent.request("PUT", f"agent/check/deregister/{ISUP_ID}")
    bench.agent.request("PUT", "agent/check/fail/podpulse:web1:pod0")
    bench.sink.refresh()
    assert sorted(bench.lost) == [ISUP, PodKey("web1", "pod0")]
    assert bench.sink.write([PASSING, *named(1)], []) == {}
    assert (bench.status(), bench.status("podpulse:web1:pod0")) == ("passing", "passing")


def test_a_service_that_appears_with_our_mark_is_reported_after_leftovers_were_read(bench: Bench) -> None:
    register(bench.agent, "podpulse:web1:other", "other", Meta={"external-source": "podpulse"})
    bench.sink.refresh()
    assert bench.lost == [], "nobody knows yet which pods there are to be"
    bench.sink.leftovers("web1")
    register(bench.agent, ISUP_ID, "isup", Meta={"external-source": "podpulse"})
    bench.sink.refresh()
    assert bench.lost == [ISUP]
    assert bench.sink.published(ISUP)


def test_with_an_agent_that_is_down_every_key_fails_after_two_requests(bench: Bench) -> None:
    bench.sink.write(named(10), [])
    bench.agent.kill()
    bench.asked.clear()
    failed = bench.sink.write(named(10, HealthState.CRITICAL), [])
    assert len(failed) == 10
    assert bench.asked == ["update_check"] * 2
    assert set(list(failed.values())[2:]) == {"not tried, because the agent does not answer"}
    assert all(isinstance(bench.sink.published(key), Unsettled) for key in failed), "what is outdated is not renewed"


def test_services_that_could_not_be_read_are_unsettled(bench: Bench) -> None:
    bench.sink.write([PASSING], [])
    bench.agent.kill()
    assert len(bench.sink.write([CRITICAL, *named(2)], [])) == 3
    assert isinstance(bench.sink.published(ISUP), Unsettled)


def test_updates_of_registered_checks_do_not_wait_for_registrations(bench: Bench) -> None:
    bench.sink.write([PASSING], [])
    bench.asked.clear()
    assert bench.sink.write([*named(1), CRITICAL], []) == {}
    assert bench.asked == [
        "agent_checks",
        *("agent_services", "agent_checks", "update_check", "register_service", "update_check"),
    ], "the expiry of checks is read first"


def test_failures_that_are_not_in_a_row_do_not_end_a_batch() -> None:
    def respond(asked: Asked) -> Reply:
        if asked.method == "GET":
            return Reply(200, b"{}")
        return Reply(500 if re.search(b"pod[024]", asked.body) else 200)

    with FakeServer(respond) as server, ConsulClient(ConsulSettings(server.address)) as client:
        failed = AgentSink(client, Directory().describe, lambda _: None).write(named(5), [])
    assert failed.keys() == {PodKey("web1", f"pod{at}") for at in (0, 2, 4)}
    assert all("500" in why for why in failed.values())


def test_a_failing_service_does_not_delay_the_others(bench: Bench) -> None:
    strange = HealthRecord(PodKey("web1", "strange"), HealthState.PASSING)
    bench.directory.gone = {strange.key}
    records = named(3)
    failed = bench.sink.write([records[0], strange, *records[1:]], [])
    assert failed.keys() == {strange.key}
    assert len(bench.services()) == 3


def test_a_hanging_request_ends_when_it_is_cancelled(bench: Bench) -> None:
    bench.client.cancel()
    assert "cancelled" in bench.sink.write([PASSING], [])[ISUP]


def test_a_thousand_changes_take_one_request_each_and_are_soon_in_the_catalog(consul: Agent) -> None:
    with sink_at(consul, ttl=3600.0) as bench:
        assert bench.sink.write(named(1000), []) == {}
        bench.asked.clear()
        assert bench.sink.write(named(1000, HealthState.CRITICAL), []) == {}
        assert bench.asked == ["update_check"] * 1000
        until(lambda: len(consul.request("GET", "health/state/critical").json()) == 1000, 30, "all in the catalog")


def test_a_token_for_the_services_prefix_is_needed_and_enough(consul_binary: Path) -> None:
    with Agent(consul_binary, acl=True) as agent:
        token = agent.create_token('service_prefix "pod-" { policy = "write" }')
        with sink_at(agent, token=token) as bench:
            bench.directory.prefix = "pod-"
            assert bench.sink.leftovers("web1") == frozenset()
            assert bench.sink.write([PASSING], []) == {}
            assert bench.sink.write([CRITICAL], []) == {}
            bench.sink.refresh()
            assert bench.lost == []
            bench.agent.request("PUT", f"agent/check/deregister/{ISUP_ID}")
            assert "registered again" in bench.sink.write([PASSING], [])[ISUP], "the words for it are others with ACLs"
            assert bench.sink.leftovers("web1") == {ISUP}
            assert bench.sink.write([], [ISUP]) == {}
            assert bench.services() == {}
            bench.directory.prefix = ""
            assert "403" in bench.sink.write([PASSING], [])[ISUP]
            assert bench.services() == {}


def test_a_service_whose_new_name_is_refused_keeps_its_old_name_and_its_check_is_updated(consul_binary: Path) -> None:
    clock = FakeClock()
    with Agent(consul_binary, acl=True) as agent:
        token = agent.create_token('service_prefix "pod-" { policy = "write" }')
        with sink_at(agent, token=token, clock=clock) as bench:
            bench.directory.prefix = "pod-"
            bench.sink.write([PASSING], [])
            bench.directory.prefix = "other-"
            clock.advance(TTL - 1)
            bench.asked.clear()
            assert "403" in bench.sink.write([PASSING], [])[ISUP]
            assert "update_check" in bench.asked
            clock.advance(bench.sink.period)
            bench.asked.clear()
            bench.sink.renew(1.0)
            assert (bench.asked, bench.lost) == (["agent_checks", "update_check"], []), (
                "it is renewed, however seldom it is written"
            )
            clock.advance(TTL - 1)
            assert "403" in bench.sink.write([UNKNOWN], [])[ISUP]
            assert bench.status() == "warning", "it has not run out"
            assert "403" in bench.sink.write([CRITICAL], [])[ISUP]
            assert bench.status() == "critical"
            bench.directory.prefix = "pod-"
            assert bench.sink.write([PASSING], []) == {}
            assert bench.services()[ISUP_ID]["Service"] == "pod-isup"


def reconciling(bench: Bench, healths: dict[PodKey, CheckHealth]) -> HealthReconciler:
    """The reconciler that publishes these healths into the sink."""
    local = FakeHealths()
    local.known = {key: (health, 7.0) for key, health in healths.items()}
    return HealthReconciler(DesiredHealth(local, time.monotonic), bench.sink, CurrentShare(Share.of_node(ISUP.node)))


def test_the_reconciler_repairs_leftovers_and_then_writes_nothing(bench: Bench) -> None:
    with sink_at(bench.agent) as earlier:
        earlier.sink.write([CRITICAL, *named(1), HealthRecord(OTHER, HealthState.PASSING)], [])
    young = PodKey("web1", "pod0")
    healths = {ISUP: CheckHealth(HealthState.PASSING, since=5.0), young: CheckHealth()}
    reconciler = reconciling(bench, healths)
    keys = list(bench.sink.leftovers("web1"))
    assert reconciler.reconcile(keys) == {}
    assert sorted(bench.services()) == [ISUP_ID, "podpulse:web1:pod0"]
    assert bench.status() == "passing"
    bench.asked.clear()
    assert reconciler.reconcile(keys) == {}
    assert bench.asked == []
