"""Connections and TLS sessions: when they are kept, that none is left at the end, and which addresses are tried."""

from collections import Counter
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from ssl import TLSVersion

import pytest

from controller.probes.resolver import TTL, Answer
from reconcilers.health import Outcome, Reason
from reconcilers.spec import CheckSpec, PodKey, Tls
from reconcilers.target_guard import Guard
from tests.support import targets
from tests.support.authority import Authority
from tests.support.checks import grpc, http, https, probe_all, tcp
from tests.support.faults import KeptConnections
from tests.support.health_server import HealthServer, healthy
from tests.support.net import until
from tests.support.probing import Bench, is_delayed
from tests.support.targets import Target, twins

OFTEN = 0.1


def run_until(bench: Bench, specs: Collection[CheckSpec], count: int) -> None:
    """Lets the checks run until each was probed `count` times in all, and stops them."""

    def done() -> bool:
        counts = Counter(result.key for result in bench.results.all())
        return all(counts[spec.key] >= count for spec in specs)

    bench.engine.start(specs)
    until(done, within=30)
    bench.engine.stop([spec.key for spec in specs])


def probe_often(bench: Bench, *specs: CheckSpec, count: int) -> None:
    """Lets each check be probed `count` times. Every probe must be a success."""
    run_until(bench, specs, count)
    assert [result for result in bench.results.all() if result.outcome is not Outcome.SUCCESS] == []


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_one_connection_serves_all_probes_of_a_check_that_reuses_it(
    bench: Bench, authority: Authority, *, secure: bool
) -> None:
    kept = KeptConnections()
    with Target(authority.server() if secure else None) as target:
        target.behave(kept)
        probe_often(bench, (https if secure else http)(target.port, "reuse", reuse=True, interval=OFTEN), count=8)
        assert len(target.accepted()) == 1
        assert kept.served[0] >= 8


def test_every_probe_has_its_own_connection_otherwise(bench: Bench, authority: Authority) -> None:
    """The target would keep the connections."""
    with Target() as plain, Target(authority.server()) as secure:
        served = []
        for target in (plain, secure):
            target.behave(kept := KeptConnections())
            served.append(kept)
        specs = http(plain.port, "plain", interval=OFTEN), https(secure.port, "secure", interval=OFTEN)
        probe_often(bench, *specs, count=6)
        for target, kept in zip((plain, secure), served, strict=True):
            assert len(target.accepted()) >= 6
            assert set(kept.served) == {1}


@pytest.mark.parametrize("hasty", [False, True], ids=["between probes", "as the request crosses it"])
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_a_kept_connection_that_the_target_closed_is_no_failure(
    bench: Bench, authority: Authority, *, secure: bool, hasty: bool
) -> None:
    kept = KeptConnections(limit=2, hasty=hasty)
    with Target(authority.server() if secure else None) as target:
        target.behave(kept)
        probe_often(bench, (https if secure else http)(target.port, "closing", reuse=True, interval=OFTEN), count=9)
        assert len(target.accepted()) >= 4
        assert max(kept.served) == 2


def test_a_target_that_started_again_is_no_failure_for_a_kept_connection(bench: Bench, authority: Authority) -> None:
    with Target() as target:
        target.behave(KeptConnections())
        spec = http(target.port, "restarted", reuse=True, interval=OFTEN)
        bench.engine.start([spec])
        bench.results.first(spec.key)
        target.close()
        until(lambda: bench.results.all(spec.key)[-1].reason is Reason.REFUSED)
        target.listen()
        until(lambda: bench.results.all(spec.key)[-1].outcome is Outcome.SUCCESS)
    assert {result.reason for result in bench.results.all(spec.key)} <= {Reason.NONE, Reason.REFUSED, Reason.PROTOCOL}


def test_silence_on_a_kept_connection_is_silence_after_connecting(bench: Bench, target: Target) -> None:
    """In this case libcurl reports no time for connecting, as if it had not begun to connect."""

    def once(connection: targets.Connection) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        targets.hang(connection)

    target.behave(once)
    spec = http(target.port, "silent", reuse=True, interval=0.4, timeout=0.3)
    bench.engine.start([spec])
    until(lambda: any(result.reason and not is_delayed(result) for result in bench.results.all(spec.key)))
    bench.engine.stop([spec.key])
    result = next(result for result in bench.results.all(spec.key) if result.reason and not is_delayed(result))
    assert (result.reason, result.detail) == (Reason.TIMEOUT, "connected, then nothing for 0.3 s")
    assert result.phases.first_byte > 0.2 > result.phases.connect


def test_grpc_keeps_its_connection_and_gets_over_a_restart(bench: Bench, authority: Authority) -> None:
    pair = authority.files()
    with HealthServer(healthy()) as plain, HealthServer(healthy(), certificate=pair) as secure:
        kept = grpc(plain.port, "kept", reuse=True, interval=OFTEN)
        specs = [kept, grpc(secure.port, "secure", reuse=True, tls=Tls(), interval=OFTEN)]
        probe_often(bench, *specs, count=6)
        assert all(not any(result.phases[1:3]) for spec in specs for result in bench.results.all(spec.key)[1:])
        bench.engine.start([kept])
        plain.close()
        until(lambda: bench.results.all(kept.key)[-1].reason is Reason.REFUSED)
        with HealthServer(healthy(), port=plain.port):
            until(lambda: bench.results.all(kept.key)[-1].outcome is Outcome.SUCCESS)
        bench.engine.stop([kept.key])


@pytest.mark.parametrize("version", [TLSVersion.TLSv1_2, TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_no_tls_session_is_ever_resumed(bench: Bench, authority: Authority, version: TLSVersion) -> None:
    context = authority.server()
    context.minimum_version = context.maximum_version = version
    with Target(context) as target:
        specs = [
            https(target.port, "resume", tls=Tls(resume=True), interval=OFTEN),
            https(target.port, "fresh", tls=Tls(), interval=OFTEN),
        ]
        probe_often(bench, *specs, count=8)
        assert len(target.hits()) >= 16
        assert not any(hit.resumed for hit in target.hits())
        expiries = {result.certificate.expires for spec in specs for result in bench.results.all(spec.key)}
        assert len(expiries) == 1
        assert min(expiries) > 0


def test_no_descriptor_is_left_by_any_kind_of_probe(bench: Bench, authority: Authority) -> None:
    """Three hundred probes of each kind. About half of the targets fail."""
    with ExitStack() as stack:
        plain, secure, bad, closed = (
            stack.enter_context(Target(context)) for context in (None, authority.server(), None, None)
        )
        health = stack.enter_context(HealthServer(healthy()))
        bad.behave(targets.reset)
        closed.refuse()
        kinds = [
            *(http(target.port, f"http-{target.port}", interval=OFTEN) for target in (plain, bad, closed)),
            *(tcp(target.port, f"tcp-{target.port}", interval=OFTEN) for target in (plain, closed)),
            *(grpc(port, f"grpc-{port}", interval=OFTEN) for port in (health.port, closed.port)),
            https(secure.port, "https-good", interval=OFTEN),
            https(bad.port, "https-silent", interval=OFTEN, timeout=OFTEN),
        ]
        specs = [each for spec in kinds for each in copies(spec, 3)]
        before = descriptors()
        for count in (25, 50):
            run_until(bench, specs, count)
        until(lambda: descriptors() <= before + 20, what="descriptors are closed again")
        until(lambda: plain.open_connections() == secure.open_connections() == 0)


def copies(spec: CheckSpec, count: int) -> list[CheckSpec]:
    return [replace(spec, key=PodKey(spec.key.node, f"{spec.key.pod}-{number}")) for number in range(count)]


def descriptors() -> int:
    """Returns the number of descriptors of this whole process, including the test's targets."""
    return len(list(Path("/proc/self/fd").iterdir()))


# Addresses


@pytest.fixture
def ipv6() -> None:
    try:
        Target(host="::1").close()
    except OSError:
        pytest.skip("this machine has no IPv6 on loopback")


@pytest.mark.parametrize("listening", [("127.0.0.1",), ("::1",), ("127.0.0.1", "::1")], ids="+".join)
@pytest.mark.usefixtures("ipv6")
def test_a_host_with_both_kinds_of_address_is_reached_on_whichever_listens(
    bench: Bench, authority: Authority, listening: tuple[str, ...]
) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(Target(authority.server(), host=listening[0]))
        every = [first, *(stack.enter_context(Target(authority.server(), host, first.port)) for host in listening[1:])]
        named = Tls(server_name="localhost")
        specs = [
            https(first.port, "name"),
            https(first.port, "server-name", tls=named),
            tcp(first.port, "tcp"),
            http(first.port, "v4", host="web1", address="127.0.0.1", tls=named),
            http(first.port, "v6", host="web1", address="::1", tls=named),
        ]
        found = {name: result.reason for name, result in probe_all(bench, specs).items()}
        assert found == {
            "name": Reason.NONE,
            "server-name": Reason.NONE,
            "tcp": Reason.NONE,
            "v4": Reason.NONE if "127.0.0.1" in listening else Reason.REFUSED,
            "v6": Reason.NONE if "::1" in listening else Reason.REFUSED,
        }
        assert sum(len(target.hits("/v6")) for target in every if target.host == "::1") == ("::1" in listening)


@pytest.mark.usefixtures("ipv6")
def test_an_address_in_place_of_a_name_is_written_in_the_url_in_its_valid_form(bench: Bench) -> None:
    with Target(host="::1") as target:
        result = bench.result(http(target.port, "v6", host="localhost", address="::1"))
        assert result.outcome is Outcome.SUCCESS
        target.refuse()
        refused = bench.result(http(target.port, "v6", host="localhost", address="::1"))
        assert refused.detail == f"connection to [::1]:{target.port} refused"


def test_a_kept_connection_belongs_to_one_host_whatever_name_tls_asks_for(bench: Bench, authority: Authority) -> None:
    """Two pods of one service on two hosts have the same name for TLS and the same port. Each of them must be
    probed."""
    with twins(authority.server("web.example"), "127.0.0.2", "127.0.0.1") as (one, other):
        for target in (one, other):
            target.behave(KeptConnections())
        tls = Tls(server_name="web.example")
        fixed = https(one.port, "one", tls=tls, host="web1", address="127.0.0.2", reuse=True, interval=OFTEN)
        probe_often(bench, fixed, https(one.port, "other", tls=tls, reuse=True, interval=OFTEN), count=4)
        assert {hit.path for hit in one.hits()} == {"/one"}
        assert {hit.path for hit in other.hits()} == {"/other"}


class Names:
    """The answer of a resolver. A test can change it."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    def __call__(self, _name: str) -> Answer:
        return Answer(self.addresses)


class Denying(Guard):
    """Denies one address, as if it were a link-local one."""

    def objection(self, address: str, port: int) -> str:
        return "it may not be probed" if address == "127.0.0.2" else super().objection(address, port)


@pytest.mark.parametrize("change", ["the name leaves an address", "the guard denies an address"])
@pytest.mark.parametrize("kind", ["http", "https"])
def test_a_kept_connection_is_left_when_its_address_may_not_be_asked_any_more(
    authority: Authority, change: str, kind: str
) -> None:
    names = Names("127.0.0.2", "127.0.0.3", "127.0.0.4")
    bench = Bench(authority.file, ask=names)
    context = authority.server("web1") if kind != "http" else None
    with ExitStack() as stack:
        stack.callback(bench.engine.close, 10)
        first = stack.enter_context(Target(context, "127.0.0.2"))
        every = [first, *(stack.enter_context(Target(context, host, first.port)) for host in names.addresses[1:])]
        for target in every:
            target.behave(KeptConnections())
        check = (http if kind == "http" else https)(first.port, "kept", host="web1", reuse=True, interval=OFTEN)
        bench.engine.start([check])
        until(lambda: len(bench.results.all(check.key)) >= 4)
        if change == "the name leaves an address":
            names.addresses = names.addresses[1:]
            entry = bench.engine._prober.resolver._entries["web1"]
            entry.answered -= TTL
            entry.asked -= TTL
        else:
            bench.engine.apply(ca_file=str(authority.file), guard=Denying())
        until(lambda: every[1].hits() or every[2].hits(), what="another address is asked")
        assert {hit.headers["host"] for target in every for hit in target.hits()} == {f"web1:{first.port}"}
        before = len(bench.results.all(check.key))
        bench.results.after(check.key, before + 3)
        assert first.open_connections() <= 1, "at most the idle one"
        assert {result.outcome for result in bench.results.all(check.key)} == {Outcome.SUCCESS}
