"""The thread that renews the agent's checks, against a real Consul."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from controller.publish.agent import EXPIRED, TTL
from controller.publish.agent_keeper import TtlKeeper
from controller.runtime.heartbeat import Heartbeat
from reconcilers.health import HealthState, Reason
from reconcilers.record import HealthRecord, Unsettled
from reconcilers.spec import PodKey
from tests.support.agent_sink import CRITICAL, ISUP, PASSING, Bench, named, sink_at
from tests.support.consul import Agent
from tests.support.net import until
from tests.support.recorders import FakeClock


@contextmanager
def kept(bench: Bench) -> Iterator[TtlKeeper]:
    keeper = TtlKeeper(bench.sink, "web1", bench.found.append, Heartbeat("agent-ttl", 30, time.monotonic))
    keeper.start()
    yield keeper
    keeper.stop(5.0)


def test_the_checks_of_a_dead_controller_turn_critical(consul: Agent) -> None:
    with sink_at(consul, ttl=0.5) as bench:
        bench.sink.write([PASSING], [])
        until(lambda: bench.status() == "critical", what="the the expiry")
        bench.await_catalog("critical")
        assert "TTL expired" in bench.in_catalog()["Output"]
        assert "all well" in bench.in_catalog()["Output"]


def test_renewed_checks_outlive_their_ttl_and_nothing_else_is_sent(consul: Agent) -> None:
    with sink_at(consul, ttl=6.0) as bench:
        bench.sink.leftovers("web1")
        bench.sink.write(named(20), [])
        for at in range(20):
            bench.await_catalog("passing", f"pod{at}")
        index = bench.index()
        bench.asked.clear()
        with kept(bench):
            until(lambda: bench.asked.count("update_check") >= 80, 60, "four renewals of each")
        assert set(bench.asked) == {"update_check", "agent_services", "agent_checks"}
        assert bench.asked.count("agent_services") <= bench.asked.count("update_check") / 10
        assert bench.lost == []
        assert bench.index() == index, "nothing was written to the catalog"
        assert all(bench.status(f"podpulse:web1:pod{at}") == "passing" for at in range(20))


def test_renewals_are_spread_and_only_due_ones_are_sent(consul: Agent) -> None:
    clock = FakeClock()
    with sink_at(consul, clock=clock) as bench:
        bench.sink.write(named(10), [])
        bench.asked.clear()
        bench.sink.renew(1.0)
        assert bench.asked == [], "all were updated just now"
        clock.advance(bench.sink.period)
        bench.sink.renew(0.25)
        assert bench.asked == ["agent_checks", *["update_check"] * 3]
        bench.sink.renew(0.25)
        bench.sink.renew(1.0)
        bench.sink.renew(1.0)
        assert bench.asked.count("update_check") == 10
        assert bench.asked.count("agent_checks") == 3, "whether they have run out is asked once for each share"


def test_an_agent_that_lost_its_state_is_noticed_within_a_period(consul: Agent) -> None:
    with sink_at(consul, ttl=1.5) as bench:
        bench.sink.leftovers("web1")
        bench.sink.write([PASSING, *named(2)], [])
        with kept(bench):
            consul.restart()
            until(lambda: len(bench.lost) >= 3, what="the loss to be noticed")
        assert set(bench.lost) == {ISUP, PodKey("web1", "pod0"), PodKey("web1", "pod1")}


def test_a_renewal_notices_a_lost_service(consul: Agent) -> None:
    clock = FakeClock()
    with sink_at(consul, clock=clock) as bench:
        bench.sink.write([PASSING, *named(1)], [])
        consul.request("PUT", "agent/service/deregister/podpulse:web1:isup")
        clock.advance(bench.sink.period)
        bench.sink.renew(1.0)
        assert bench.lost == [ISUP]
        assert bench.sink.published(ISUP) is None


def test_renewing_goes_on_after_the_agent_hung(consul: Agent) -> None:
    with sink_at(consul, ttl=1.5, timeout=1.0) as bench:
        bench.sink.leftovers("web1")
        bench.sink.write([PASSING], [])
        with kept(bench):
            consul.pause()
            until(lambda: bench.asked.count("agent_services") >= 3, what="unanswered requests")
            consul.resume()
            bench.asked.clear()

            def passes() -> bool:
                """Writes lost records again: the check may have expired meanwhile."""
                lost = bench.lost.copy()
                bench.lost.clear()
                if lost:
                    bench.sink.write([PASSING], [])
                return bench.asked.count("update_check") >= 2 and bench.status() == "passing"

            until(passes, what="renewals, and the check to pass again")


def test_checks_that_expired_during_a_freeze_are_lost_and_not_renewed(consul: Agent) -> None:
    clock = FakeClock()
    with sink_at(consul, clock=clock) as bench:
        bench.sink.write([PASSING, *named(1)], [])
        clock.advance(TTL)
        assert bench.sink.published_without_break(ISUP) == HealthRecord(ISUP, HealthState.PASSING)
        bench.sink.renew(0.1)
        clock.advance(TTL / 2)
        bench.asked.clear()
        assert bench.sink.published_without_break(PodKey("web1", "pod0")) is None
        assert isinstance(bench.sink.published(PodKey("web1", "pod0")), Unsettled)
        assert bench.sink.published(ISUP) == PASSING
        bench.sink.renew(1.0)
        assert bench.lost == [PodKey("web1", "pod0")]
        assert bench.asked == ["update_check"], "of the check that has not expired"
        assert bench.voids == 1
        assert bench.sink.write(named(1), []) == {}, "because there is evidence now"
        assert bench.sink.published_without_break(PodKey("web1", "pod0"))


def test_checks_that_expired_during_a_freeze_need_evidence_to_be_in_dns(consul: Agent) -> None:
    clock = FakeClock()
    with sink_at(consul, clock=clock) as bench:
        bench.sink.write([PASSING], [])
        clock.advance(TTL + 1)
        assert bench.sink.write([HealthRecord(ISUP, HealthState.UNKNOWN, Reason.FLAPPING)], []) == {}
        assert bench.status() == "critical"


def test_unsettled_checks_are_not_renewed(consul: Agent) -> None:
    with sink_at(consul, ttl=0.6) as earlier:
        earlier.sink.write([PASSING], [])
    with sink_at(consul, ttl=0.6) as bench:
        bench.sink.leftovers("web1")
        with kept(bench):
            until(lambda: bench.status() == "critical", what="a leftover without evidence to run out")
        assert "update_check" not in bench.asked


def test_stopping_leaves_the_services_as_they_are(consul: Agent) -> None:
    with sink_at(consul) as bench:
        bench.sink.write([PASSING], [])
        with kept(bench):
            pass
        assert bench.status() == "passing"


def test_after_an_error_all_services_are_read_before_any_is_renewed(consul: Agent) -> None:
    clock = FakeClock()
    with sink_at(consul, timeout=1.0, clock=clock) as bench:
        bench.sink.leftovers("web1")
        bench.sink.write([PASSING], [])
        keeper = TtlKeeper(bench.sink, "web1", bench.found.append, Heartbeat("agent-ttl", 30, clock))
        keeper._turn()
        clock.advance(bench.sink.period)
        consul.pause()
        keeper._turn()
        assert bench.asked[-1] == "agent_checks", "without an answer"
        consul.resume()
        consul.request("PUT", "agent/check/deregister/podpulse:web1:isup")
        bench.asked.clear()
        keeper._turn()
        assert bench.asked[0] == "agent_services"
        assert bench.lost == [ISUP]


def test_a_check_whose_renewal_is_refused_is_unsettled_and_lost(consul_binary: Path) -> None:
    clock = FakeClock()
    with Agent(consul_binary, acl=True) as agent:
        token = agent.create_token('service_prefix "" { policy = "write" }')
        with sink_at(agent, token=token, clock=clock) as bench:
            bench.sink.write([PASSING], [])
            agent.delete_token(token)
            clock.advance(bench.sink.period)
            bench.sink.renew(1.0)
            assert bench.lost == [ISUP]
            assert isinstance(bench.sink.published(ISUP), Unsettled)


def test_leftovers_do_not_reduce_the_number_of_renewals(consul: Agent) -> None:
    with sink_at(consul) as earlier:
        earlier.sink.write(named(10), [])
    clock = FakeClock()
    with sink_at(consul, clock=clock) as bench:
        bench.sink.leftovers("web1")
        bench.sink.write([PASSING], [])
        clock.advance(bench.sink.period)
        bench.asked.clear()
        bench.sink.renew(0.05)
        assert bench.asked == ["agent_checks", "update_check"]


def test_leftovers_are_reported_as_soon_as_the_agent_answers(consul: Agent) -> None:
    with sink_at(consul) as earlier:
        earlier.sink.write([PASSING, *named(1)], [])
    with sink_at(consul, ttl=1.5, timeout=1.0) as bench:
        consul.pause()
        with kept(bench) as keeper:
            until(lambda: bench.asked.count("agent_services") >= 2, what="unanswered requests")
            assert not keeper.wait(0.0)
            assert bench.found == []
            consul.resume()
            assert keeper.wait(30.0)
            bench.asked.clear()
            until(lambda: bench.asked.count("agent_services") >= 2, 30.0, "more requests")
        assert bench.found == [{ISUP, PodKey("web1", "pod0")}]
        assert isinstance(bench.sink.published(ISUP), Unsettled)


def test_checks_that_expired_while_our_clocks_stood_still_are_not_renewed(consul: Agent) -> None:
    clock = FakeClock()
    with sink_at(consul, ttl=0.5, clock=clock) as bench:
        bench.sink.write([PASSING, *named(2)], [])
        until(lambda: {check["Status"] for check in bench.checks().values()} == {"critical"}, what="the expiry")
        clock.advance(bench.sink.period)
        bench.asked.clear()
        bench.sink.renew(1.0)
        assert "update_check" not in bench.asked
        assert bench.voids == 1
        assert set(bench.lost) == {ISUP, PodKey("web1", "pod0"), PodKey("web1", "pod1")}
        assert bench.sink.published_without_break(ISUP) is None
        bench.sink.renew(1.0)
        assert bench.voids == 1, "the expiry is already known"


def test_health_from_before_the_expiry_of_checks_is_not_published(consul: Agent) -> None:
    with sink_at(consul, ttl=0.5, clock=FakeClock()) as bench:
        bench.sink.write([PASSING, *named(1, HealthState.CRITICAL)], [])
        until(lambda: bench.status() == "critical", what="the the expiry")
        assert bench.sink.write(named(1), []) == {PodKey("web1", "pod0"): EXPIRED}
        assert (bench.voids, bench.status("podpulse:web1:pod0")) == (1, "critical")
        assert bench.sink.write(named(1), []) == {}


def test_a_check_that_becomes_critical_during_the_request_has_not_expired(consul: Agent) -> None:
    clock = FakeClock()
    meanwhile: list[Callable[[], object]] = []

    def read_clock() -> float:
        if len(meanwhile) == 1:
            meanwhile.pop()()
        elif meanwhile:
            meanwhile.pop()
        return clock()

    with sink_at(consul, clock=read_clock) as bench:
        bench.sink.write([PASSING], [])
        clock.advance(bench.sink.period)
        meanwhile += [lambda: bench.sink.write([CRITICAL], []), list]
        bench.sink.renew(1.0)
        assert not meanwhile
        assert (bench.voids, bench.lost, bench.status()) == (0, [], "critical")
