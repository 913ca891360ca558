"""Where a probe connects: the guard judges the address of a name, and no denied address gets a connection."""

import pytest

from controller.probes.resolver import TTL, Answer, Resolver
from controller.probes.target import Target as Place
from controller.probes.target_resolver import TargetResolver
from controller.probes.verdict import Verdict
from controller.probes.worker import Worker
from reconcilers.health import CheckHealth, HealthState, Outcome, Reason
from reconcilers.spec import UNKNOWN_ADDRESS, CheckSpec, HttpGet, PodKey, TcpConnect, Unprobed
from reconcilers.target_guard import Allowance, Guard
from tests.support import targets
from tests.support.authority import Authority
from tests.support.net import until
from tests.support.probing import Bench, spec
from tests.support.recorders import FakeClock
from tests.support.targets import Target

METADATA = "169.254.169.254"


def denying(port: int, *allowed: str) -> Guard:
    """A guard for which `port` is Consul's."""
    return Guard(frozenset({port}), tuple(map(Allowance.parse, allowed)))


def answering(*addresses: str) -> Resolver:
    """A resolver that knows "web1"."""
    resolver = Resolver(lambda: None, lambda _: Answer(addresses))
    resolver.start()
    until(lambda: resolver.lookup("web1"))
    resolver.stop()
    return resolver


def worker(host: str = "web1", address: str | None = None) -> Worker:
    return Worker(CheckSpec(PodKey("web1", "isup"), HttpGet(host, 80, "/"), 5.0, 5.0, address=address), 1)


# Without an engine


def test_a_check_that_sends_nothing_has_its_verdict_without_a_target() -> None:
    targets = TargetResolver(Resolver(lambda: None), Guard())
    found = targets.find(Worker(CheckSpec(PodKey("web1", "isup"), Unprobed(), 5.0, 5.0), 1))
    detail = "reported as passing without a probe: the manifest has no status_port"
    assert found == Verdict(Outcome.SUCCESS, detail=detail)


@pytest.mark.parametrize("addresses", [("10.0.0.1",), ("fd00::1",), ("10.0.0.1", "fd00::1")])
def test_a_name_is_reached_at_its_addresses(addresses: tuple[str, ...]) -> None:
    assert TargetResolver(answering(*addresses), Guard()).find(worker()) == Place(addresses, 80)


def test_localhost_is_this_machine_whatever_a_resolver_says() -> None:
    resolver = Resolver(lambda: None, lambda _: Answer(("192.0.2.1",)))
    found = TargetResolver(resolver, Guard()).find(worker("localhost"))
    assert found == Place(("127.0.0.1", "::1"), 80)


def test_a_fixed_address_needs_no_resolver_and_is_judged_too() -> None:
    targets = TargetResolver(Resolver(lambda: None), Guard())
    assert targets.find(worker(address="10.0.0.7")) == Place(("10.0.0.7",), 80)
    found = targets.find(worker(address=METADATA))
    assert found == Verdict(Outcome.LOCAL, Reason.DENIED, f"{METADATA} is a link-local address, and may not be probed")


def test_a_name_in_place_of_an_address_is_resolved_and_its_addresses_are_judged() -> None:
    targets = TargetResolver(answering("10.0.0.7"), Guard())
    assert targets.find(worker("elsewhere", address="web1")) == Place(("10.0.0.7",), 80)
    assert targets.find(worker("elsewhere", address="localhost")) == Place(("127.0.0.1", "::1"), 80)
    found = TargetResolver(answering(METADATA), Guard()).find(worker("elsewhere", address="web1"))
    assert isinstance(found, Verdict)
    assert (found.reason, found.detail.split()[0]) == (Reason.DENIED, METADATA)


def test_a_name_in_place_of_an_address_is_looked_up_again() -> None:
    answers, clock = [Answer(("10.0.0.1",))], FakeClock()
    resolver = Resolver(lambda: None, lambda _: answers[-1], clock)
    resolver.start()
    targets, mine = TargetResolver(resolver, Guard()), worker("elsewhere", address="printer.example")
    until(lambda: targets.find(mine) == Place(("10.0.0.1",), 80))
    answers.append(Answer(("10.0.0.2",)))
    clock.advance(TTL + 1)
    until(lambda: targets.find(mine) == Place(("10.0.0.2",), 80))
    resolver.stop()


def test_an_address_that_could_not_be_found_out_is_our_fault_and_the_name_is_not_asked_for() -> None:
    resolver = Resolver(lambda: None, lambda _: Answer(("192.0.2.1",)))
    found = TargetResolver(resolver, Guard()).find(worker(address=UNKNOWN_ADDRESS))
    detail = "the address of node web1 is not known: Consul's catalog has not named it"
    assert found == Verdict(Outcome.LOCAL, Reason.LOCAL, detail)


def test_the_target_is_found_once_and_again_when_the_answer_changes() -> None:
    answers, clock = [Answer(("10.0.0.1",))], FakeClock()
    resolver = Resolver(lambda: None, lambda _: answers[-1], clock)
    resolver.start()
    targets, mine = TargetResolver(resolver, Guard()), worker()
    until(lambda: targets.find(mine) == Place(("10.0.0.1",), 80))
    assert targets.find(mine) is targets.find(mine)
    answers.append(Answer(("10.0.0.2",)))
    clock.advance(TTL + 1)
    until(lambda: targets.find(mine) == Place(("10.0.0.2",), 80))
    answers.append(Answer((METADATA,)))
    clock.advance(TTL + 1)
    until(lambda: isinstance(targets.find(mine), Verdict), what="a name that is pointed elsewhere to be denied")
    answers.append(Answer(("10.0.0.2",)))
    clock.advance(TTL + 1)
    until(lambda: targets.find(mine) == Place(("10.0.0.2",), 80))
    resolver.stop()


def test_of_several_addresses_the_denied_ones_are_left_out() -> None:
    targets = TargetResolver(answering(METADATA, "10.0.0.1", "::ffff:169.254.0.1"), Guard())
    assert targets.find(worker()) == Place(("10.0.0.1",), 80)
    found = TargetResolver(answering(METADATA, "224.0.0.1"), Guard()).find(worker())
    assert isinstance(found, Verdict)
    assert found.reason is Reason.DENIED


# In the engine


@pytest.mark.parametrize("kind", ["http", "https", "tcp"])
def test_a_denied_port_is_our_own_decision_and_no_connection_is_made(
    authority: Authority, target: Target, kind: str
) -> None:
    bench = Bench(authority.file, guard=denying(target.port))
    check = spec(target, scheme="https" if kind == "https" else "http")
    if kind == "tcp":
        check = CheckSpec(check.key, TcpConnect("localhost", target.port), 5.0, 5.0)
    result = bench.result(check)
    bench.engine.close(10)
    assert (result.outcome, result.reason) == (Outcome.LOCAL, Reason.DENIED)
    assert result.detail == f"port {target.port} is Consul's own, and may not be probed"
    assert target.accepted() == []


def test_a_check_that_is_denied_is_unknown_and_never_critical(authority: Authority, target: Target) -> None:
    bench = Bench(authority.file, guard=denying(target.port))
    check = spec(target, interval=0.1)
    bench.engine.start([check])
    bench.results.after(check.key, 4)
    bench.engine.close(10)
    health = CheckHealth()
    for result in bench.results.all(check.key):
        health = health.after(result, check)
    assert (health.state, health.reason) == (HealthState.UNKNOWN, Reason.DENIED)
    assert target.accepted() == []


@pytest.mark.parametrize("allowed", ["127.0.0.1:{port}", "127.0.0.0/8:{port}"])
def test_a_denied_port_that_the_operator_allows_is_probed(authority: Authority, target: Target, allowed: str) -> None:
    bench = Bench(authority.file, guard=denying(target.port, allowed.format(port=target.port)))
    assert bench.result(spec(target, host="web1", address="127.0.0.1")).outcome is Outcome.SUCCESS
    bench.engine.close(10)


def test_an_allowance_of_addresses_does_not_open_consuls_port(authority: Authority, target: Target) -> None:
    bench = Bench(authority.file, guard=denying(target.port, "127.0.0.0/8"))
    assert bench.verdict(spec(target))[:2] == (Outcome.LOCAL, Reason.DENIED)
    bench.engine.close(10)
    assert target.accepted() == []


def test_a_name_of_a_denied_address_is_denied(authority: Authority) -> None:
    bench = Bench(authority.file, ask=lambda _: Answer((METADATA,)))
    outcome, reason, detail = bench.verdict(spec(80, host="web1"))
    bench.engine.close(10)
    assert (outcome, reason) == (Outcome.LOCAL, Reason.DENIED)
    assert METADATA in detail


def test_the_unspecified_address_is_not_taken_for_this_machine(authority: Authority, target: Target) -> None:
    """The kernel would connect it to localhost."""
    bench = Bench(authority.file)
    for number, address in enumerate(("0.0.0.0", "::", "::ffff:0.0.0.0")):
        verdict = bench.verdict(spec(target, f"pod-{number}", host="web1", address=address))
        assert verdict[:2] == (Outcome.LOCAL, Reason.DENIED)
    bench.engine.close(10)
    assert target.accepted() == []


def test_a_redirect_into_what_is_denied_leads_nowhere(authority: Authority, target: Target) -> None:
    with Target() as consul:
        target.behave(targets.redirect(f"http://localhost:{consul.port}/v1/kv/"))
        bench = Bench(authority.file, guard=denying(consul.port))
        assert bench.verdict(spec(target))[1] is Reason.REDIRECT
        bench.engine.close(10)
        assert consul.accepted() == []
