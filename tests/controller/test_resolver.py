"""The resolver answers from memory and looks names up in threads. An error of a name server is no failure of a pod."""

import threading
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


def test_a_lookup_does_not_wait_and_has_the_answer_once_it_has_arrived(lookups: Lookups) -> None:
    assert lookups.lookup() is None
    assert lookups.lookup() is None
    assert lookups.learn(HERE, "web2") == HERE
    assert lookups.lookup() is None
    lookups.server.says(HERE)
    until(lambda: lookups.lookup() == HERE)
    assert sorted(lookups.server.asked) == ["web1", "web2"]


def test_an_answer_is_used_for_its_ttl_and_after_that_until_the_next_answer_arrives(lookups: Lookups) -> None:
    assert lookups.learn(HERE) == HERE
    lookups.clock.advance(TTL)
    assert lookups.lookup() == HERE
    assert lookups.server.asked == ["web1"]
    lookups.clock.advance(1)
    assert lookups.lookup() == HERE, "the one who asks does not wait for the new answer"
    until(lambda: lookups.server.asked == ["web1"] * 2)
    lookups.server.says(ELSEWHERE)
    until(lambda: lookups.lookup() == ELSEWHERE)


def test_an_answer_is_kept_for_minutes_while_the_resolver_reports_errors(lookups: Lookups) -> None:
    lookups.learn(HERE)
    lookups.clock.advance(TTL + 1)
    assert lookups.learn(TROUBLE) == HERE
    lookups.clock.advance(STALE - 2)
    assert lookups.learn(TROUBLE) == HERE
    lookups.clock.advance(RETRY + 1)
    assert lookups.learn(TROUBLE) == TROUBLE, "for ever it does"
    lookups.clock.advance(RETRY + 1)
    assert lookups.learn(HERE) == HERE


def test_an_answer_is_kept_for_minutes_while_a_lookup_hangs(lookups: Lookups) -> None:
    lookups.learn(HERE)
    lookups.clock.advance(TTL + 1)
    assert lookups.lookup() == HERE
    until(lambda: len(lookups.server.asked) == 2)
    lookups.clock.advance(STALE - 1)
    assert lookups.lookup() == HERE
    lookups.clock.advance(1)
    assert lookups.lookup() is None
    assert lookups.server.asked == ["web1"] * 2, "one lookup of a name at a time"


def test_an_answer_that_a_name_does_not_exist_replaces_the_previous_answer(lookups: Lookups) -> None:
    lookups.learn(HERE)
    lookups.clock.advance(TTL + 1)
    lookups.learn(UNKNOWN)
    assert lookups.lookup() == UNKNOWN


@pytest.mark.parametrize("answer", [UNKNOWN, TROUBLE])
def test_a_name_without_an_address_is_looked_up_again_only_after_the_retry_time(
    lookups: Lookups, answer: Answer
) -> None:
    assert lookups.learn(answer) == answer
    for _ in range(100):
        assert lookups.lookup() == answer
    assert lookups.server.asked == ["web1"]
    lookups.clock.advance(RETRY + 0.1)
    assert lookups.lookup() is None
    lookups.server.says(HERE)
    until(lambda: lookups.lookup() == HERE)


def test_a_doubted_answer_is_looked_up_again_at_once_and_used_until_the_next_answer(lookups: Lookups) -> None:
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


def test_hanging_lookups_leave_a_thread_for_other_lookups(lookups: Lookups) -> None:
    for number in range(THREADS - 1):
        assert lookups.lookup(f"hangs-{number}") is None
    assert lookups.learn(HERE) == HERE


# The system's resolver


def test_the_system_resolves_localhost_to_distinct_addresses() -> None:
    answer = ask_system("localhost")
    assert "127.0.0.1" in answer.addresses
    assert len(set(answer.addresses)) == len(answer.addresses)
    assert (answer.error, answer.temporary) == ("", False)


@pytest.mark.parametrize("name", ["x" * 100, "a..b", "grüße" * 20])
def test_an_invalid_name_is_a_permanent_error_of_the_name(name: str) -> None:
    """A label of over 63 letters is refused by the C library: no test asks a name server."""
    answer = ask_system(name)
    assert (answer.addresses, answer.temporary) == ((), False)
    assert answer.error.startswith(f"{name} cannot be resolved: ")


# In the engine


@dataclass
class Probing:
    """An engine, and the name server of the test that it uses."""

    server: NameServer
    bench: Bench


@pytest.fixture
def probing(authority: Authority) -> Iterator[Probing]:
    server = NameServer()
    bench = Bench(authority.file, ask=server)
    yield Probing(server, bench)
    bench.engine.close(10)


@dataclass
class Timed(Probing):
    """For this engine time passes only when the test says so."""

    clock: FakeClock


@pytest.fixture
def timed(authority: Authority) -> Iterator[Timed]:
    server, clock = NameServer(), FakeClock()
    bench = Bench(authority.file, ask=server, clock=clock)
    yield Timed(server, bench, clock)
    bench.engine.close(10)


@pytest.mark.parametrize("trouble", ["refuses", "does not answer"])
def test_the_next_probe_uses_the_new_address_of_a_name_whose_old_address_failed(
    probing: Probing, target: Target, trouble: str
) -> None:
    with Target(host="127.0.0.3", port=target.port) as old:
        old.behave(targets.hang)
        probing.server.always_says(Answer(("127.0.0.3",)), "web1")
        if trouble == "refuses":
            old.refuse()
        check = spec(target, "moved", host="web1", interval=2.0, timeout=1.5)
        probing.bench.engine.start([check])
        until(lambda: len(probing.bench.results.all(check.key)) >= 2)
        probing.server.always_says(Answer(("127.0.0.1",)), "web1")
        before = len(probing.bench.results.all(check.key))
        until(lambda: probing.bench.results.all(check.key)[-1].outcome is Outcome.SUCCESS, 20)
        later = probing.bench.results.all(check.key)[before:]
        failed = [each for each in later if each.outcome is not Outcome.SUCCESS]
        assert len(failed) <= 2, "the one in flight, and the one whose failure makes the name be resolved again"
        probing.bench.engine.stop([check.key])


def test_a_hanging_lookup_delays_no_other_probe(probing: Probing, target: Target) -> None:
    probing.server.always_says(HERE, "web2")
    hanging = [spec(target, f"hangs-{number}", host="web1", interval=0.5, timeout=0.5) for number in range(50)]
    living = [spec(target, f"lives-{number}", host=host, interval=0.2) for number, host in enumerate(["web2"] * 3)]
    probing.bench.engine.start([*hanging, *living])
    until(lambda: all(len(target.hits(f"/lives-{number}")) >= 8 for number in range(3)))

    def connected_at(number: int) -> list[float]:
        return [hit.connected for hit in target.hits(f"/lives-{number}")]

    until(lambda: all(in_step(connected_at(number)[-8:], 0.2) for number in range(3)), 60, "one probe in each interval")
    assert not [hit for hit in target.hits() if hit.path.startswith("/hangs")]


def test_a_lookup_that_hangs_until_the_timeout_has_the_outcome_local_and_the_reason_dns(
    timed: Timed, target: Target
) -> None:
    timed.bench.engine.start([spec(target, host="web1", timeout=0.3)])
    until(lambda: timed.server.asked)
    timed.clock.advance(0.301)
    result = timed.bench.results.first(PodKey("web1", "isup"))
    assert (result.outcome, result.reason) == (Outcome.LOCAL, Reason.DNS)
    assert result.detail == "web1 was not resolved within 0.3 s"
    assert result.duration == result.phases.dns == pytest.approx(0.301)
    assert target.accepted() == []


def test_a_hanging_lookup_gives_a_result_in_each_interval_and_later_a_success(probing: Probing, target: Target) -> None:
    key = PodKey("web1", "isup")
    probing.bench.engine.start([spec(target, host="web1", interval=0.2, timeout=0.2)])
    results = [probing.bench.results.after(key, number) for number in range(3)]
    assert {(result.outcome, result.reason) for result in results} == {(Outcome.LOCAL, Reason.DNS)}
    assert probing.server.asked == ["web1"], "one lookup of a name at a time"
    probing.server.says(HERE)
    until(lambda: probing.bench.results.all(key)[-1].outcome is Outcome.SUCCESS)


def test_the_duration_and_the_timeout_of_a_probe_include_the_lookup(timed: Timed, target: Target) -> None:
    target.behave(targets.hang, "/hangs")
    checks = [spec(target, pod, host="web1", timeout=5.0) for pod in ("answers", "hangs")]
    timed.bench.engine.start(checks)
    until(lambda: timed.server.asked)
    timed.clock.advance(2.0)
    workers = timed.bench.engine._workers
    until(lambda: all(workers[check.key].dns for check in checks), what="the engine has seen how much time has passed")
    timed.server.says(HERE)
    result = timed.bench.results.first(checks[0].key)
    assert result.outcome is Outcome.SUCCESS
    assert result.duration == result.phases.dns == pytest.approx(2.0)
    until(lambda: target.hits("/hangs"))
    timed.clock.advance(3.0)
    result = timed.bench.results.first(checks[1].key)
    assert (result.outcome, result.reason) == (Outcome.FAILURE, Reason.TIMEOUT)
    assert result.duration == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("answer", "outcome", "reason"),
    [(UNKNOWN, Outcome.FAILURE, Reason.DNS), (TROUBLE, Outcome.LOCAL, Reason.LOCAL)],
    ids=["no such name", "no name server"],
)
def test_only_a_name_that_does_not_exist_is_a_failure_of_the_pod(
    probing: Probing, target: Target, answer: Answer, outcome: Outcome, reason: Reason
) -> None:
    probing.server.always_says(answer)
    verdict = probing.bench.verdict(spec(target, host="web1"))
    assert verdict == (outcome, reason, answer.error)


def test_a_check_stopped_during_its_lookup_sends_nothing_and_has_no_result(probing: Probing, target: Target) -> None:
    check = spec(target, host="web1", timeout=0.3)
    probing.bench.engine.start([check])
    until(lambda: probing.server.asked)
    probing.bench.engine.stop([check.key])
    probing.server.says(HERE)
    probing.server.always_says(HERE, "web2")
    assert probing.bench.result(spec(target, "other", host="web2")).outcome is Outcome.SUCCESS
    assert [hit.path for hit in target.hits()] == ["/other"]
    assert probing.bench.results.all(check.key) == []


def test_a_probe_finds_the_one_address_that_answers(probing: Probing, target: Target) -> None:
    """Nothing listens on the first address."""
    probing.server.always_says(Answer(("127.0.0.3", "127.0.0.1")))
    assert probing.bench.result(spec(target, host="web1")).outcome is Outcome.SUCCESS


def test_at_most_max_in_flight_probes_are_sent_when_a_hanging_lookup_ends(authority: Authority, target: Target) -> None:
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
