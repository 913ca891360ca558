"""Names: answered from memory, looked up beside whoever asks, and a resolver in trouble is no pod's fault."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from controller.probes.resolver import RETRY, STALE, THREADS, TTL, Answer, Resolver, ask_system
from controller.runtime.faults import Faults
from reconcilers.health import Outcome, Reason
from reconcilers.spec import PodKey
from tests.support import targets
from tests.support.authority import Authority
from tests.support.controller import in_step
from tests.support.faults import Crowd
from tests.support.lookups import ELSEWHERE, HERE, TROUBLE, UNKNOWN, Lookups, NameServer
from tests.support.net import until
from tests.support.probing import Bench, spec
from tests.support.recorders import FakeClock
from tests.support.targets import Target


@pytest.fixture
def lookups() -> Iterator[Lookups]:
    lookups = Lookups()
    yield lookups
    lookups.resolver.stop()


# From memory


def test_a_name_is_not_waited_for_and_known_once_it_is_answered(lookups: Lookups) -> None:
    assert lookups.lookup() is None
    assert lookups.lookup() is None
    assert lookups.learn(HERE, "web2") == HERE
    assert lookups.lookup() is None
    lookups.server.says(HERE)
    until(lambda: lookups.lookup() == HERE)
    assert sorted(lookups.server.asked) == ["web1", "web2"]


def test_an_answer_serves_for_its_time_and_is_asked_for_again_after_it_while_it_still_serves(lookups: Lookups) -> None:
    assert lookups.learn(HERE) == HERE
    lookups.clock.advance(TTL)
    assert lookups.lookup() == HERE
    assert lookups.server.asked == ["web1"]
    lookups.clock.advance(1)
    assert lookups.lookup() == HERE, "the one who asks does not wait for the new answer"
    until(lambda: lookups.server.asked == ["web1"] * 2)
    lookups.server.says(ELSEWHERE)
    until(lambda: lookups.lookup() == ELSEWHERE)


def test_a_resolver_in_trouble_does_not_make_an_answer_be_forgotten_for_minutes(lookups: Lookups) -> None:
    lookups.learn(HERE)
    lookups.clock.advance(TTL + 1)
    assert lookups.learn(TROUBLE) == HERE
    lookups.clock.advance(STALE - 2)
    assert lookups.learn(TROUBLE) == HERE
    lookups.clock.advance(RETRY + 1)
    assert lookups.learn(TROUBLE) == TROUBLE, "for ever it does"
    lookups.clock.advance(RETRY + 1)
    assert lookups.learn(HERE) == HERE


def test_a_lookup_that_hangs_does_not_make_an_answer_be_forgotten_for_minutes(lookups: Lookups) -> None:
    lookups.learn(HERE)
    lookups.clock.advance(TTL + 1)
    assert lookups.lookup() == HERE
    until(lambda: len(lookups.server.asked) == 2)
    lookups.clock.advance(STALE - 1)
    assert lookups.lookup() == HERE
    lookups.clock.advance(1)
    assert lookups.lookup() is None
    assert lookups.server.asked == ["web1"] * 2, "one lookup of a name at a time"


def test_a_name_that_is_gone_is_believed_to_be_gone(lookups: Lookups) -> None:
    lookups.learn(HERE)
    lookups.clock.advance(TTL + 1)
    lookups.learn(UNKNOWN)
    assert lookups.lookup() == UNKNOWN


@pytest.mark.parametrize("answer", [UNKNOWN, TROUBLE])
def test_a_name_without_answer_is_asked_for_again_soon_but_not_each_time(lookups: Lookups, answer: Answer) -> None:
    assert lookups.learn(answer) == answer
    for _ in range(100):
        assert lookups.lookup() == answer
    assert lookups.server.asked == ["web1"]
    lookups.clock.advance(RETRY + 0.1)
    assert lookups.lookup() is None
    lookups.server.says(HERE)
    until(lambda: lookups.lookup() == HERE)


def test_a_doubted_answer_is_asked_for_again_at_once_and_serves_until_then(lookups: Lookups) -> None:
    assert lookups.learn(HERE) == HERE
    lookups.resolver.doubt("web1")
    assert lookups.server.asked == ["web1"], "the answer is new"
    lookups.clock.now += RETRY + 0.1
    lookups.resolver.doubt("web1")
    lookups.resolver.doubt("web1")
    lookups.resolver.doubt("unknown")
    until(lambda: lookups.server.asked == ["web1"] * 2)
    assert lookups.lookup() == HERE
    lookups.server.says(ELSEWHERE)
    until(lambda: lookups.lookup() == ELSEWHERE)
    assert lookups.server.asked == ["web1"] * 2


def test_lookups_that_hang_leave_the_other_threads_to_the_others(lookups: Lookups) -> None:
    for number in range(THREADS - 1):
        assert lookups.lookup(f"hangs-{number}") is None
    assert lookups.learn(HERE) == HERE


# The system's resolver


def test_the_system_resolves_localhost_to_addresses_each_once() -> None:
    answer = ask_system("localhost")
    assert "127.0.0.1" in answer.addresses
    assert len(set(answer.addresses)) == len(answer.addresses)
    assert (answer.error, answer.temporary) == ("", False)


@pytest.mark.parametrize("name", ["x" * 100, "a..b", "grüße" * 20])
def test_a_name_that_no_resolver_takes_is_the_names_fault(name: str) -> None:
    """A label of over 63 letters is refused by the C library: no test asks a name server."""
    answer = ask_system(name)
    assert (answer.addresses, answer.temporary) == ((), False)
    assert answer.error.startswith(f"{name} cannot be resolved: ")


# In the engine


@dataclass
class Probing:
    """An engine whose names are looked up by a name server of the test."""

    server: NameServer
    bench: Bench


@pytest.fixture
def probing(authority: Authority) -> Iterator[Probing]:
    server = NameServer()
    bench = Bench(authority.file, ask=server)
    yield Probing(server, bench)
    bench.engine.close(10)


@pytest.mark.parametrize("trouble", ["refuses", "does not answer"])
def test_a_name_whose_address_fails_is_followed_by_the_next_probe(
    probing: Probing, target: Target, trouble: str
) -> None:
    with Target(host="127.0.0.3", port=target.port) as old:
        old.behave(targets.hang)
        probing.server.always_says(Answer(("127.0.0.3",)), "web1")
        if trouble == "refuses":
            old.refuse()
        check = spec(target, "moved", host="web1", interval=2.0, timeout=0.5)
        probing.bench.engine.start([check])
        until(lambda: len(probing.bench.results.all(check.key)) >= 2)
        probing.server.always_says(Answer(("127.0.0.1",)), "web1")
        until(lambda: probing.bench.results.all(check.key)[-1].outcome is Outcome.SUCCESS)
        failed = [each for each in probing.bench.results.all(check.key) if each.outcome is not Outcome.SUCCESS]
        assert len(failed) <= 4
        probing.bench.engine.stop([check.key])


def test_a_name_that_hangs_delays_no_other_probe(probing: Probing, target: Target) -> None:
    probing.server.always_says(HERE, "web2")
    hanging = [spec(target, f"hangs-{number}", host="web1", interval=0.5) for number in range(50)]
    living = [spec(target, f"lives-{number}", host=host, interval=0.2) for number, host in enumerate(["web2"] * 3)]
    probing.bench.engine.start([*hanging, *living])
    until(lambda: all(len(target.hits(f"/lives-{number}")) >= 8 for number in range(3)))

    def connected_at(number: int) -> list[float]:
        return [hit.connected for hit in target.hits(f"/lives-{number}")]

    until(
        lambda: all(in_step(connected_at(number)[-8:], 0.2) for number in range(3)), what="one probe in each interval"
    )
    assert not [hit for hit in target.hits() if hit.path.startswith("/hangs")]


def test_a_name_that_hangs_is_our_own_fault_of_reason_dns_at_the_deadline(probing: Probing, target: Target) -> None:
    result = probing.bench.result(spec(target, host="web1", timeout=0.3))
    assert (result.outcome, result.reason) == (Outcome.LOCAL, Reason.DNS)
    assert result.detail == "web1 was not resolved within 0.3 s"
    assert 0.28 < result.duration < 3
    assert 0.28 < result.phases.dns < 3
    assert target.accepted() == []


def test_a_name_that_hangs_is_reported_at_each_interval_and_recovers(probing: Probing, target: Target) -> None:
    key = PodKey("web1", "isup")
    probing.bench.engine.start([spec(target, host="web1", interval=0.2)])
    results = [probing.bench.results.after(key, number) for number in range(3)]
    assert {(result.outcome, result.reason) for result in results} == {(Outcome.LOCAL, Reason.DNS)}
    assert probing.server.asked == ["web1"], "one lookup of a name at a time"
    probing.server.says(HERE)
    until(lambda: probing.bench.results.all(key)[-1].outcome is Outcome.SUCCESS)


def test_the_time_for_the_name_is_part_of_the_probe_and_of_its_deadline(probing: Probing, target: Target) -> None:
    probing.bench.engine.start([spec(target, host="web1", timeout=5.0)])
    until(lambda: probing.server.asked)
    began = time.monotonic()
    until(lambda: time.monotonic() - began > 0.3)
    probing.server.says(HERE)
    result = probing.bench.results.first(PodKey("web1", "isup"))
    assert result.outcome is Outcome.SUCCESS
    assert result.phases.dns >= 0.28
    assert result.duration >= result.phases.dns


@pytest.mark.parametrize(
    ("answer", "outcome", "reason"),
    [(UNKNOWN, Outcome.FAILURE, Reason.DNS), (TROUBLE, Outcome.LOCAL, Reason.LOCAL)],
    ids=["no such name", "no name server"],
)
def test_only_a_name_that_is_not_there_is_the_pods_fault(
    probing: Probing, target: Target, answer: Answer, outcome: Outcome, reason: Reason
) -> None:
    probing.server.always_says(answer)
    verdict = probing.bench.verdict(spec(target, host="web1"))
    assert verdict == (outcome, reason, answer.error)


def test_a_worker_that_is_stopped_while_its_name_hangs_is_gone(probing: Probing, target: Target) -> None:
    check = spec(target, host="web1", timeout=0.3)
    probing.bench.engine.start([check])
    until(lambda: probing.server.asked)
    probing.bench.engine.stop([check.key])
    probing.server.says(HERE)
    probing.server.always_says(HERE, "web2")
    assert probing.bench.result(spec(target, "other", host="web2")).outcome is Outcome.SUCCESS
    assert [hit.path for hit in target.hits()] == ["/other"]
    assert probing.bench.results.all(check.key) == []


def test_of_many_addresses_one_that_answers_is_found(probing: Probing, target: Target) -> None:
    """Nothing listens on the first one."""
    probing.server.always_says(Answer(("127.0.0.3", "127.0.0.1")))
    assert probing.bench.result(spec(target, host="web1")).outcome is Outcome.SUCCESS


def test_never_more_than_max_in_flight_are_sent_when_a_name_that_hung_is_answered(
    authority: Authority, target: Target
) -> None:
    target.greeting = crowd = Crowd(0.1)
    server = NameServer()
    bench = Bench(authority.file, max_in_flight=3, ask=server)
    bench.engine.start([spec(target, f"pod-{number}", host="web1", interval=3.0) for number in range(12)])
    until(lambda: server.asked)
    server.says(HERE)
    until(lambda: len(set(crowd.paths)) >= 12)
    bench.engine.close(10)
    assert 1 <= crowd.most <= 3


def test_an_unexpected_exception_costs_one_lookup_and_no_thread(caplog: pytest.LogCaptureFixture) -> None:
    answer, done = Answer(("192.0.2.7",)), threading.Semaphore(0)
    clock = FakeClock()

    def ask(name: str) -> Answer:
        if name.startswith("bad"):
            raise ZeroDivisionError
        return answer

    faults = Faults()
    resolver = Resolver(done.release, ask, clock, faults)
    resolver.start()
    for number in range(2 * THREADS):
        resolver.lookup(f"bad{number}")
        assert done.acquire(timeout=10)
    failed = resolver.lookup("bad0")
    assert failed is not None
    assert failed.temporary
    resolver.lookup("good")
    assert done.acquire(timeout=10)
    assert resolver.lookup("good") == answer
    resolver.stop()
    assert faults.counts() == {"dns": 2 * THREADS}
    assert len(caplog.messages) == 2 * THREADS
