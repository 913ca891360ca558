"""The members of a fleet by a real Consul: they join, leave, die, freeze, and are cut off."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from controller.cli.policy import hcl, least
from controller.config import Config
from controller.consul.client import AgentCheck, ConsulClient
from controller.consul.holders import Holders
from controller.consul.registration import RegistrationKeeper, controller_service
from controller.members import current_share, member_status
from controller.members.current_share import CurrentShare
from controller.members.member_status import MemberStatus
from controller.members.membership_watch import MembershipWatch
from controller.runtime.boottime import boottime
from controller.runtime.heartbeat import Heartbeat
from reconcilers import members_in_effect, membership
from reconcilers.share import FleetView, Share
from tests.support.consul import Agent
from tests.support.net import until
from tests.support.proxy import Line, TcpProxy
from tests.support.standstills import Standstills

WITHIN = 30.0
SETTLING, TTL, LATE = 3.0, 2.0, 1.0
"""Seconds, in place of longer ones."""
NODES = [f"node{number}" for number in range(60)]


class Candidate(AbstractContextManager["Candidate"]):
    """A controller that is or wants to be a member, without pods."""

    def __init__(
        self,
        agent: Agent,
        member: str,
        proxy: TcpProxy | None = None,
        port: int = 9815,
        token: str | None = None,
        fleet: str = "f",
        started: str = "",
    ) -> None:
        settings = agent.settings(token)
        if proxy:
            settings = replace(settings, address=f"http://127.0.0.1:{proxy.port}")
        self.member = member
        self.stuck: list[str] = []
        self.unready: list[str] = []
        self.late = 0.0
        self.share = CurrentShare(Share(member))
        self.client = ConsulClient(settings)
        self.watch = MembershipWatch(
            self.client, fleet, self.share, _heartbeat("members"), _heartbeat("members-count"), started=started
        )
        status = MemberStatus(self.watch, member, lambda: self.stuck, self.complaints, lambda: boottime() + self.late)
        meta = {"fleet": fleet, "member": member, "started": started}
        service = controller_service(member, "1.2.3", "http", "127.0.0.1", port, meta)
        client = ConsulClient(settings, timeout=1.0)
        self.keeper = RegistrationKeeper(client, lambda: service, status, Holders(), _heartbeat("membership"))

    def complaints(self) -> list[str]:
        return [*filter(None, [self.watch.complaint()]), *self.unready]

    def __enter__(self) -> Self:
        self.watch.start()
        self.keeper.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.keeper.stop(2.0)
        self.watch.stop(2.0)
        self.client.close()

    def sees(self, *members: str) -> Callable[[], bool]:
        return lambda: self.share.current().view.members == members

    def owned(self) -> set[str]:
        return {node for node in NODES if self.share.owns(node)}

    def probed(self) -> set[str]:
        return {node for node in NODES if self.share.may_probe(node)}


def _heartbeat(name: str) -> Heartbeat:
    return Heartbeat(name, 30, time.monotonic, asks=True)


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (membership, member_status, current_share, members_in_effect):
        monkeypatch.setattr(module, "TTL", TTL)
    monkeypatch.setattr(membership, "SETTLING", SETTLING)
    monkeypatch.setattr(membership, "LATE", LATE)
    monkeypatch.setattr(member_status, "PERIOD", 0.4)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def status_of(agent: Agent, member: str) -> str:
    return str(agent.request("GET", "agent/checks").json().get(f"podpulse-{member}", {}).get("Status", ""))


def catalog_output(agent: Agent, member: str) -> str:
    checks = agent.request("GET", "health/checks/podpulse").json()
    return next(str(check["Output"]) for check in checks if check["ServiceID"] == f"podpulse-{member}")


def test_the_first_members_of_a_fleet_need_not_wait(consul: Agent, stack: ExitStack) -> None:
    began = time.monotonic()
    first = stack.enter_context(Candidate(consul, "m1"))
    until(first.sees("m1"), WITHIN)
    assert time.monotonic() - began < SETTLING
    assert first.owned() == set(NODES)
    assert first.watch.complaint() == ""


def test_a_later_member_takes_its_share_after_a_while_and_gives_it_back_when_it_leaves(
    consul: Agent, stack: ExitStack
) -> None:
    first = stack.enter_context(Candidate(consul, "m1"))
    until(first.sees("m1"), WITHIN)
    began = time.monotonic()
    with Candidate(consul, "m2") as second:
        until(lambda: status_of(consul, "m2") == "warning", WITHIN)
        assert "m2, is not a member of fleet f yet" in second.watch.complaint()
        for each in (first, second):
            until(each.sees("m1", "m2"), WITHIN)
        assert time.monotonic() - began >= SETTLING + TTL - 0.5
        assert first.owned() | second.owned() == set(NODES)
        assert not first.owned() & second.owned()
        assert first.owned()
        assert second.owned()
        assert first.share.current().index == second.share.current().index
        assert catalog_output(consul, "m2") == "ok"
    until(first.sees("m1"), WITHIN)
    assert first.owned() == set(NODES)
    assert "podpulse-m2" not in consul.request("GET", "agent/services").json()


def test_a_controller_that_leaves_sees_that_it_has_left(consul: Agent, stack: ExitStack) -> None:
    first = stack.enter_context(Candidate(consul, "m1"))
    until(first.sees("m1"), WITHIN)
    assert not first.watch.wait_until_left(0.1)
    first.share.leave()
    first.keeper.stop(2.0)
    assert first.watch.wait_until_left(WITHIN)
    assert first.owned() == set()


def test_a_controller_without_a_fleet_is_no_member(consul: Agent, stack: ExitStack) -> None:
    service = controller_service("x0", "1", "http", "127.0.0.1", 1)
    with consul.client() as client:
        client.register_service(service, AgentCheck(service.id, service.id, "Podpulse", "", "passing"), 60.0)
    first = stack.enter_context(Candidate(consul, "m1"))
    until(first.sees("m1"), WITHIN)
    time.sleep(0.5)
    until(first.sees("m1"), WITHIN)


def test_a_controller_of_another_fleet_waits_until_the_fleet_is_gone(consul: Agent, stack: ExitStack) -> None:
    """Otherwise both would check the pods of the one `intent/` tree."""
    with Candidate(consul, "m1") as first:
        until(first.sees("m1"), WITHIN)
        other = stack.enter_context(Candidate(consul, "m2", fleet="g"))
        until(lambda: "another fleet checks the same pods: f;" in other.watch.complaint(), WITHIN)
        until(lambda: status_of(consul, "m2") == "warning", WITHIN)
        time.sleep(SETTLING)
        assert other.owned() == set()
        until(lambda: first.watch.complaint() == "", WITHIN)
    until(other.sees("m2"), WITHIN)
    assert other.owned() == set(NODES)


def test_a_hanging_thread_ends_the_membership_and_an_unready_controller_stays(consul: Agent, stack: ExitStack) -> None:
    first, second = both(consul, stack)
    second.unready.append("the session is lost")
    until(lambda: "session" in consul.request("GET", "agent/checks").json()["podpulse-m2"]["Output"], WITHIN)
    until(first.sees("m1", "m2"), WITHIN)
    second.stuck.append("thread probe has stood still for 6 s")
    until(first.sees("m1"), WITHIN)
    until(second.sees("m1"), WITHIN)
    second.stuck.clear()
    until(lambda: status_of(consul, "m2") == "warning", WITHIN)
    until(first.sees("m1", "m2"), WITHIN)


def test_a_member_that_is_silent_for_the_ttl_is_gone_and_checks_nothing(consul: Agent, stack: ExitStack) -> None:
    proxy = stack.enter_context(TcpProxy(consul.http_port))
    first, second = both(consul, stack, proxy)
    with Standstills() as pauses:
        cut_off_at = time.monotonic()
        proxy.behave(Line(stalled=True))
        until(lambda: not second.owned(), WITHIN, "the member that is cut off to check nothing")
        now = time.monotonic()
        assert now - cut_off_at >= TTL - 0.5 or pauses.within(cut_off_at, now)
    assert second.watch.is_stopped()
    assert second.watch.complaint().startswith("the members of fleet f ")
    until(first.sees("m1"), WITHIN)
    assert first.owned() == set(NODES)
    proxy.behave(Line())
    until(second.sees("m1", "m2"), WITHIN)
    until(first.sees("m1", "m2"), WITHIN)


@pytest.mark.slow
def test_a_renewal_that_arrives_late_moves_the_nodes_once(consul: Agent, stack: ExitStack) -> None:
    """The agent executes the renewal from before the break when the line works again. A trial in which the machine
    stood still is not judged, because each member may have missed the TTL then."""
    proxy = stack.enter_context(TcpProxy(consul.http_port))
    first, second = both(consul, stack, proxy)
    views: list[tuple[str, ...]] = []
    first.share.listen(lambda: views.append(first.share.current().view.members))
    judged = 0
    while judged < 3:
        views.clear()
        with Standstills() as pauses:
            proxy.behave(Line(stalled=True))
            until(first.sees("m1"), WITHIN)
            until(lambda: not second.owned(), WITHIN)
            proxy.behave(Line())
            until(first.sees("m1", "m2"), WITHIN)
            until(second.sees("m1", "m2"), WITHIN)
        if pauses.seconds < TTL / 4:
            judged += 1
            assert [members for members, _ in groupby(views)] == [("m1",), ("m1", "m2")]


def test_the_only_member_checks_on_while_it_is_cut_off(consul: Agent, stack: ExitStack) -> None:
    proxy = stack.enter_context(TcpProxy(consul.http_port))
    first = stack.enter_context(Candidate(consul, "m1", proxy))
    until(first.sees("m1"), WITHIN)
    proxy.behave(Line(stalled=True))
    until(lambda: first.watch.view() is None, WITHIN)
    assert first.owned() == set(NODES)
    until(lambda: first.probed() == set(NODES), WITHIN)


def test_a_member_whose_agent_is_dead_checks_on(consul: Agent, stack: ExitStack) -> None:
    proxy = stack.enter_context(TcpProxy(consul.http_port))
    _, second = both(consul, stack, proxy)
    owned = second.owned()
    proxy.refuse()
    until(lambda: second.watch.view() is None, WITHIN, "the lapse to be noticed")
    time.sleep(1.0)
    assert second.owned() == owned
    until(lambda: second.probed() == owned, WITHIN)


def test_a_member_that_stood_still_for_the_ttl_asks_before_it_goes_on(consul: Agent, stack: ExitStack) -> None:
    _, second = both(consul, stack)
    changes: list[int] = []
    second.share.listen(lambda: changes.append(len(second.owned())))
    second.late = 2 * TTL
    until(lambda: 0 in changes, WITHIN, "the share to be empty")
    until(lambda: bool(second.owned()), WITHIN, "the agent has not noticed, so it is a member still")


def test_a_member_that_was_never_missed_does_not_wait_when_it_has_read_the_members_again(
    consul: Agent, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, second = both(consul, stack)
    owned = second.owned()
    changes: list[int] = []
    second.share.listen(lambda: changes.append(len(second.owned())))
    monkeypatch.setattr(members_in_effect, "TTL", 1000.0)
    second.late = 2 * TTL
    until(lambda: 0 in changes, WITHIN, "the share to be empty")
    until(lambda: second.owned() == owned, WITHIN)


def test_a_member_that_was_missed_waits_like_a_new_one_and_all_agree(
    consul: Agent, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = stack.enter_context(TcpProxy(consul.http_port))
    first, second = both(consul, stack, proxy)
    monkeypatch.setattr(members_in_effect, "TTL", 1000.0)
    proxy.behave(Line(stalled=True))
    until(first.sees("m1"), WITHIN)
    until(lambda: not second.owned(), WITHIN)
    proxy.behave(Line())
    until(lambda: status_of(consul, "m2") == "passing", WITHIN)
    for each in (first, second):
        until(lambda each=each: each.share.current().view.joining == ("m2",), WITHIN)  # type: ignore[misc]
    assert second.owned() == set()
    assert first.owned() == set(NODES)
    assert "m2, is not a member of fleet f yet" in second.watch.complaint()
    assert all(first.share.may_lose(node) is (FleetView(1, ("m1", "m2")).owner(node) == "m2") for node in NODES)


def test_a_member_that_is_cut_off_has_stopped_when_one_counts_that_it_cannot_see(
    consul: Agent, stack: ExitStack
) -> None:
    proxy = stack.enter_context(TcpProxy(consul.http_port))
    first, second = both(consul, stack, proxy)
    client = stack.enter_context(consul.client())
    third = registered_by_hand(client, "m3", "warning")
    until(lambda: first.share.current().view.joining == ("m3",), WITHIN)
    probed: list[set[str]] = []

    def note() -> None:
        if "m3" in first.share.current().view.members:
            probed.append(second.probed())

    first.share.listen(note)
    proxy.behave(Line(stalled=True))
    client.update_check(third, "passing", "ok")
    until(lambda: bool(probed), WITHIN, "the third member to count")
    assert probed[0] == set()


def test_a_member_counts_at_once_when_another_one_has_written_with_its_view(
    consul: Agent, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = both(consul, stack)
    monkeypatch.setattr(members_in_effect, "TTL", 1000.0)
    client = stack.enter_context(consul.client())
    registered_by_hand(client, "m3", "passing")
    until(lambda: first.share.current().view.joining == ("m3",), WITHIN)
    index = first.share.current().index
    first.watch.settle(index)
    first.watch.settle(index + 2)
    assert first.sees("m1", "m2")()
    assert first.share.current().index == index
    first.watch.settle(index + 1)
    assert first.sees("m1", "m2", "m3")()
    assert first.share.current().index == index + 1


def registered_by_hand(client: ConsulClient, member: str, status: str, fleet: str = "f") -> str:
    """Registers a controller whose check nobody renews, for a minute. Returns the id of its service."""
    meta = {"fleet": fleet, "member": member, "started": "2026-01-01T00:00:00Z"}
    service = controller_service(member, "1", "http", "127.0.0.1", 1, meta)
    client.register_service(service, AgentCheck(service.id, service.id, "Podpulse", "", status), 60.0)
    return service.id


def test_two_controllers_with_one_id_are_noticed(consul_binary: Path, stack: ExitStack) -> None:
    server = stack.enter_context(Agent(consul_binary))
    other = stack.enter_context(Agent(consul_binary, node="web2", join=server.lan))
    first = stack.enter_context(Candidate(server, "m1"))
    until(first.sees("m1"), WITHIN)
    stack.enter_context(Candidate(other, "m1", port=9816))
    expected = "fleet f has 2 controllers with the id m1: http://127.0.0.1:9815 and http://127.0.0.1:9816"
    until(lambda: first.watch.complaint() == expected, WITHIN)


def test_of_two_controllers_with_one_id_the_first_one_is_the_member(consul_binary: Path, stack: ExitStack) -> None:
    server = stack.enter_context(Agent(consul_binary))
    other = stack.enter_context(Agent(consul_binary, node="web2", join=server.lan))
    first = stack.enter_context(Candidate(server, "m1", started="2026-01-01T00:00:00Z"))
    until(first.sees("m1"), WITHIN)
    second = stack.enter_context(Candidate(other, "m1", port=9816, started="2026-01-01T00:00:01Z"))
    until(lambda: "2 controllers with the id m1" in second.watch.complaint(), WITHIN)
    assert first.owned() == set(NODES)
    assert second.owned() == set()


def test_a_second_controller_with_the_id_of_a_member_at_the_same_agent_checks_nothing(
    consul: Agent, stack: ExitStack
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as page:
        port = page.getsockname()[1]
        first = stack.enter_context(Candidate(consul, "m1", port=port, started="2026-01-01T00:00:00Z"))
        until(first.sees("m1"), WITHIN)
        second = stack.enter_context(Candidate(consul, "m1", port=9816, started="2026-01-01T00:00:01Z"))
        expected = f"another controller with the id m1 is the member: http://127.0.0.1:{port}"
        until(lambda: second.watch.complaint() == expected, WITHIN)
        assert first.owned() == set(NODES)
        assert second.owned() == set()


def test_an_agent_that_restarts_loses_no_member_for_long(consul: Agent, stack: ExitStack) -> None:
    first = stack.enter_context(Candidate(consul, "m1"))
    until(first.sees("m1"), WITHIN)
    consul.restart()
    until(lambda: status_of(consul, "m1") == "passing", WITHIN)
    until(lambda: first.watch.view() is not None and first.sees("m1")(), WITHIN)


def test_no_node_is_given_up_while_consul_shows_no_member(consul: Agent, stack: ExitStack) -> None:
    members = both(consul, stack)
    shares: list[int] = []
    members[0].share.listen(lambda: shares.append(len(members[0].owned())))
    members[1].share.listen(lambda: shares.append(len(members[1].owned())))
    reads = [each.watch.reads() for each in members]
    node = consul.request("GET", "agent/self").json()["Config"]["NodeName"]
    consul.request("PUT", "catalog/deregister", json.dumps({"Node": node}))
    until(lambda: all(each.watch.reads() > before for each, before in zip(members, reads, strict=True)), WITHIN)
    assert members[0].owned() | members[1].owned() == set(NODES)
    for each in members:
        until(each.sees("m1", "m2"), WITHIN)
    assert 0 not in shares


def test_the_members_can_be_read_at_once(consul: Agent, stack: ExitStack) -> None:
    first = stack.enter_context(Candidate(consul, "m1"))
    until(first.sees("m1"), WITHIN)
    for _ in range(5):
        first.watch.hurry()
    until(lambda: first.watch.view() is not None, WITHIN)
    assert first.sees("m1")()


def test_the_rights_of_acl_policy_suffice_and_a_token_without_a_right_is_explained(
    acl_consul: Agent, stack: ExitStack
) -> None:
    config = Config(node_name="m1", fleet="f")
    rules = hcl(least(config, acl_consul.node, any_node=False, lists=False))
    first = stack.enter_context(Candidate(acl_consul, "m1", token=acl_consul.create_token(rules)))
    until(first.sees("m1"), WITHIN)
    poor = acl_consul.create_token('service "podpulse" { policy = "write" }')
    second = stack.enter_context(Candidate(acl_consul, "m2", token=poor))
    until(lambda: "its token may not read the service podpulse or the nodes" in second.watch.complaint(), WITHIN)
    assert second.owned() == set()


def both(agent: Agent, stack: ExitStack, proxy: TcpProxy | None = None) -> tuple[Candidate, Candidate]:
    """Two members that see each other; the second one speaks to Consul by `proxy`."""
    first = stack.enter_context(Candidate(agent, "m1"))
    second = stack.enter_context(Candidate(agent, "m2", proxy))
    for each in (first, second):
        until(each.sees("m1", "m2"), WITHIN)
    return first, second


def test_the_others_know_who_is_joining_and_which_nodes_they_may_lose(consul: Agent, stack: ExitStack) -> None:
    first = stack.enter_context(Candidate(consul, "m1"))
    until(first.sees("m1"), WITHIN)
    assert not any(map(first.share.may_lose, NODES))
    client = stack.enter_context(consul.client())
    for member, fleet in (("m2", "f"), ("o1", "other")):
        registered_by_hand(client, member, "warning", fleet)
    until(lambda: first.share.current().view.joining == ("m2",), WITHIN, "the one of this fleet to be joining")
    assert first.sees("m1")()
    later = FleetView(1, ("m1", "m2"))
    assert [node for node in NODES if first.share.may_lose(node)] == [
        node for node in NODES if later.owner(node) == "m2"
    ]
    client.update_check("podpulse-m2", "passing", "ok")
    until(first.sees("m1", "m2"), WITHIN)
    assert first.share.current().view.joining == ()
    assert not any(map(first.share.may_lose, NODES))
