"""Kept connections against real servers: they cause no false verdict, and all are closed in the end."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from controller.probes import engine, worker
from reconcilers.health import Outcome, ProbeResult
from reconcilers.spec import CheckSpec, Tls
from reconcilers.target_guard import Guard
from tests.support import targets
from tests.support.authority import Authority
from tests.support.chains import FUTURE
from tests.support.checks import grpc, http, https
from tests.support.faults import KeptConnections, idle_limit
from tests.support.health_server import HealthServer, healthy
from tests.support.net import until
from tests.support.probing import Bench, is_delayed
from tests.support.targets import Target, head

OFTEN = 0.1
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"
BAD = b"HTTP/1.1 500 Bad\r\nContent-Length: 0\r\n\r\n"
REQUEST_TIMEOUT = head(408, {"Content-Length": "0"})
AMOUNTS = [300, pytest.param(5000, marks=pytest.mark.long)]
"""The number of probes of a test."""


def verdicts(bench: Bench, specs: Sequence[CheckSpec], count: int) -> Counter[tuple[Outcome, str]]:
    """Returns how often each outcome and sentence came in at least `count` probes of `specs` together. Probes that the
    machine delayed do not count."""

    def evidence() -> list[ProbeResult]:
        return [result for result in bench.results.all() if not is_delayed(result)]

    bench.engine.start(specs)
    until(lambda: len(evidence()) >= count, within=20 + count / 20)
    bench.engine.stop([spec.key for spec in specs])
    return Counter((result.outcome, result.detail) for result in evidence())


def many(
    make: Callable[..., CheckSpec], port: int, interval: float = OFTEN, checks: int = 30, **options: object
) -> list[CheckSpec]:
    return [make(port, f"pod-{number}", reuse=True, interval=interval, **options) for number in range(checks)]


@pytest.mark.parametrize("count", AMOUNTS)
@pytest.mark.parametrize("limit", [0.06, 0.1, 0.2])
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_an_answer_408_to_an_idle_connection_is_not_an_answer_to_a_probe(
    bench: Bench, authority: Authority, *, secure: bool, limit: float, count: int
) -> None:
    with Target(authority.server() if secure else None) as target:
        target.behave(idle_limit(limit, REQUEST_TIMEOUT, OK))
        found = verdicts(bench, many(https if secure else http, target.port), count)
    assert set(found) == {(Outcome.SUCCESS, "")}


@pytest.mark.long
@pytest.mark.parametrize("interval", [1.0, 2.0])
@pytest.mark.parametrize("limit", [0.6, 1.0, 2.0])
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_the_idle_limits_of_real_servers_give_no_false_verdict(
    bench: Bench, authority: Authority, *, secure: bool, limit: float, interval: float
) -> None:
    """Many checks at once make 5,000 probes in less than a minute."""
    with Target(authority.server() if secure else None) as target:
        target.behave(idle_limit(limit, REQUEST_TIMEOUT, OK))
        specs = many(https if secure else http, target.port, interval, checks=240)
        found = verdicts(bench, specs, 5000)
    assert set(found) == {(Outcome.SUCCESS, "")}


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_an_answer_that_came_before_the_request_is_not_evidence(
    bench: Bench, authority: Authority, *, secure: bool
) -> None:
    """The target says 200 to the idle connection, and 500 to each request."""
    with Target(authority.server() if secure else None) as target:
        target.behave(idle_limit(OFTEN / 2, OK, BAD))
        found = verdicts(bench, many(https if secure else http, target.port, 1.0), 90)
    assert set(found) == {(Outcome.FAILURE, "answered with status 500")}


def test_bytes_after_a_complete_answer_do_not_change_the_verdict(bench: Bench, target: Target) -> None:
    target.behave(KeptConnections(body=b"ok\n" + REQUEST_TIMEOUT + OK))
    target.behave(targets.raw(OK + REQUEST_TIMEOUT), "/pod-1")
    found = verdicts(bench, many(http, target.port), 90)
    assert set(found) == {(Outcome.SUCCESS, "")}


@pytest.mark.parametrize("count", AMOUNTS)
@pytest.mark.parametrize("farewell", [targets.close, targets.reset], ids=["close", "reset"])
@pytest.mark.parametrize("hasty", [False, True], ids=["between probes", "at the moment of reuse"])
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_a_probe_is_repeated_on_a_new_connection_if_the_server_ends_a_kept_one(
    bench: Bench, authority: Authority, farewell: targets.Behaviour, *, secure: bool, hasty: bool, count: int
) -> None:
    with Target(authority.server() if secure else None) as target:
        target.behave(KeptConnections(limit=2, hasty=hasty, farewell=farewell))
        found = verdicts(bench, many(https if secure else http, target.port), count)
    assert set(found) == {(Outcome.SUCCESS, "")}


@pytest.mark.parametrize("count", AMOUNTS)
@pytest.mark.parametrize("age", [300, 2000])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_a_grpc_server_that_limits_the_age_of_connections_never_fails(
    bench: Bench, authority: Authority, *, secure: bool, age: int, count: int
) -> None:
    limits = {"grpc.max_connection_age_ms": age, "grpc.max_connection_age_grace_ms": 50}
    with HealthServer(healthy(), certificate=authority.files() if secure else None, options=limits) as server:
        found = verdicts(bench, many(grpc, server.port, tls=Tls() if secure else None), count)
    assert set(found) == {(Outcome.SUCCESS, "")}


def test_a_certificate_that_is_replaced_under_a_kept_connection_is_read_in_time(
    bench: Bench, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "CERTIFICATE_EVERY", 0.5)
    with Target(authority.server()) as target:
        target.behave(kept := KeptConnections())
        check = https(target.port, "replaced", reuse=True, interval=OFTEN)
        bench.engine.start([check])
        before = bench.results.first(check.key).certificate.expires
        target.tls = authority.server(not_after=FUTURE)
        until(lambda: bench.results.all(check.key)[-1].certificate.expires == FUTURE.timestamp())
        bench.engine.stop([check.key])
    assert before != FUTURE.timestamp()
    assert max(kept.served) > 1, "it was kept"


def test_a_certificate_is_read_at_most_65_seconds_late_whatever_the_interval() -> None:
    for interval in (1.0, 10.0, 29.0, 31.0, 45.0, 300.0):
        check = worker.Worker(https(1, "slow", interval=interval), 1)
        check.certificate_due = worker.CERTIFICATE_EVERY
        at = 0.0
        while not check.wants_certificate(at := at + interval):
            pass
        assert at <= max(65.0, interval)


# Number of kept connections


@pytest.fixture
def kept(authority: Authority) -> Iterator[Target]:
    """A target that keeps every connection open."""
    with Target(authority.server()) as target:
        target.behave(KeptConnections())
        yield target


def sockets() -> int:
    """The number of sockets of this process."""
    return sum(str(each.readlink()).startswith("socket:") for each in Path("/proc/self/fd").iterdir() if each.exists())


def keep_all(bench: Bench, target: Target) -> list[CheckSpec]:
    specs = many(https, target.port, interval=60.0)
    bench.engine.start(specs)
    for spec in specs:
        bench.results.first(spec.key)
    return specs


def test_no_more_connections_are_kept_than_descriptors_allow(
    bench: Bench, kept: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "keepable", lambda *_: 7)
    before = sockets()
    specs = many(https, kept.port)
    bench.engine.start(specs)
    until(lambda: len(bench.results.all()) >= 200, within=60)
    until(lambda: bench.engine._prober._kept)
    assert len(bench.engine._prober._kept) <= 7
    bench.engine.stop([spec.key for spec in specs])
    assert not bench.engine._prober._kept
    assert {result.outcome for result in bench.results.all()} == {Outcome.SUCCESS}
    until(lambda: sockets() <= before)


def test_keepable_limits_the_number_of_kept_connections(
    bench: Bench, kept: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "keepable", lambda *_: 7)
    keep_all(bench, kept)
    until(lambda: kept.open_connections() == 7)


def test_a_connection_that_the_target_ends_between_probes_is_closed_at_once(bench: Bench, target: Target) -> None:
    target.behave(KeptConnections(limit=1))
    before = sockets()
    specs = many(http, target.port, interval=60.0)
    bench.engine.start(specs)
    for spec in specs:
        bench.results.first(spec.key)
    until(lambda: sockets() <= before)


ENDS: dict[str, Callable[[Bench, Sequence[CheckSpec]], object]] = {
    "the checks stop": lambda bench, specs: bench.engine.stop([spec.key for spec in specs]),
    "a file is replaced": lambda bench, _: bench.engine.renew(["/a/file"]),
    "the guard changes": lambda bench, _: bench.engine.apply(
        ca_file=bench.engine._ca_file, guard=Guard(frozenset({1}))
    ),
    "the engine ends": lambda bench, _: bench.engine.close(10),
}


@pytest.mark.parametrize("end", ENDS)
def test_no_kept_connection_is_left_when(bench: Bench, kept: Target, end: str) -> None:
    before = sockets()
    specs = keep_all(bench, kept)
    until(lambda: kept.open_connections() == len(specs))
    ENDS[end](bench, specs)
    until(lambda: kept.open_connections() == 0)
    until(lambda: sockets() <= before)


def test_probe_all_leaves_one_connection_for_each_check(bench: Bench, kept: Target) -> None:
    specs = keep_all(bench, kept)
    before = sockets()
    bench.engine.probe_all(lambda: None)
    until(lambda: len(bench.results.all()) >= 2 * len(specs))
    until(lambda: kept.open_connections() == len(specs))
    until(lambda: sockets() <= before)


def test_a_connection_made_with_replaced_authorities_is_not_kept(bench: Bench, authority: Authority) -> None:
    """The authorities are replaced while the probe is in flight."""
    with Target(authority.server()) as target:
        target.behave(targets.slow(0.5, KeptConnections()))
        check = https(target.port, "slow", reuse=True, interval=60.0)
        bench.engine.start([check])
        until(target.hits)
        bench.engine.renew([str(authority.file)])
        assert bench.results.first(check.key).outcome is Outcome.SUCCESS
        until(lambda: target.open_connections() == 0)


def test_a_ping_between_two_calls_is_answered(bench: Bench) -> None:
    """A server that gets no answer to its PING ends the connection."""
    pings = {"grpc.keepalive_time_ms": 1000, "grpc.keepalive_timeout_ms": 300, "grpc.http2.max_pings_without_data": 0}
    pings["grpc.keepalive_permit_without_calls"] = 1
    with HealthServer(healthy(), options=pings) as server:
        check = grpc(server.port, "kept", reuse=True, interval=1.7)
        bench.engine.start([check])
        until(lambda: len(bench.results.all(check.key)) >= 3)
        bench.engine.stop([check.key])
    assert not any(result.phases.connect for result in bench.results.all(check.key)[1:])
