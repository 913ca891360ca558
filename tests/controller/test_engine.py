"""The probe engine against real targets. Their access logs show which probes were sent."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from controller.probes.engine import AT_ONCE
from controller.probes.prober import Prober
from controller.probes.schedule import RESOLUTION
from reconcilers.health import Outcome, ProbeResult, Reason
from reconcilers.spec import CheckSpec, ManifestVersion, PodKey, Unprobed
from tests.support import targets
from tests.support.authority import Authority
from tests.support.faults import Crowd
from tests.support.net import until
from tests.support.probing import Bench, gaps, spec
from tests.support.recorders import FakeClock, RecordedResults
from tests.support.targets import Hit, Target

LOCAL, SUCCESS = Outcome.LOCAL, Outcome.SUCCESS


# Cadence


def test_the_first_probe_is_sent_at_once_and_a_success_carries_the_body(bench: Bench, target: Target) -> None:
    began, began_wall = time.monotonic(), time.time()
    bench.engine.start([spec(target, interval=3600.0)])
    result = bench.results.first(PodKey("web1", "isup"))
    assert (result.outcome, result.reason, result.detail) == (SUCCESS, Reason.NONE, "")
    assert (result.output, result.status_code) == ("ok\n", 200)
    assert began_wall - 1 < result.started < time.time() + 1
    assert 0 < result.duration < time.monotonic() - began
    [hit] = target.hits()
    assert (hit.method, hit.path, hit.headers["host"]) == ("GET", "/isup", f"localhost:{target.port}")
    assert hit.headers["user-agent"].startswith("podpulse/")


def test_a_check_that_sends_nothing_succeeds_at_its_interval(bench: Bench, target: Target) -> None:
    key = PodKey("web1", "isup")
    bench.engine.start([CheckSpec(key, Unprobed(), interval=0.2, timeout=0.2)])
    until(lambda: len(bench.results.all(key)) >= 3)
    assert bench.engine.running([key])
    bench.engine.stop([key])
    assert {(each.outcome, each.reason, each.output) for each in bench.results.all(key)} == {(SUCCESS, Reason.NONE, "")}
    assert target.accepted() == []


def test_a_check_that_sends_nothing_needs_no_free_transfer(authority: Authority, target: Target) -> None:
    target.behave(targets.hang)
    bench = Bench(authority.file, max_in_flight=1)
    try:
        bench.engine.start([spec(target, "hangs", interval=10.0, timeout=10.0)])
        until(lambda: target.hits("/hangs"))
        key = PodKey("web1", "isup")
        bench.engine.start([CheckSpec(key, Unprobed(), interval=0.2, timeout=0.2)])
        until(lambda: len(bench.results.all(key)) >= 6)
        assert {each.outcome for each in bench.results.all(key)} == {SUCCESS}
    finally:
        bench.engine.close(5.0)


def test_probes_come_at_their_interval_each_on_a_connection_of_its_own(bench: Bench, target: Target) -> None:
    """Judged by six probes in a row, because a machine that stands still for a moment delays and skips probes."""

    def come_at_their_interval() -> bool:
        steady = gaps(hit.connected for hit in target.hits()[-6:])
        is_even = len(steady) == 5 and all(0.05 < gap < 0.5 for gap in steady)
        return is_even and 0.17 < sum(steady) / len(steady) < 0.24 and max(bench.metrics.lateness[-6:]) < 0.5

    bench.engine.start([spec(target, interval=0.2)])
    until(come_at_their_interval, 60)
    bench.engine.stop([PodKey("web1", "isup")])
    assert len(target.accepted()) == len(target.hits())
    assert min(bench.metrics.lateness) >= 0


def test_probe_all_probes_every_check_and_counts_a_probe_in_flight_as_local(bench: Bench, target: Target) -> None:
    """The controller does this after its machine was suspended. Without it, the next probes are due in a minute."""
    begun = threading.Event()
    target.behave(targets.hang, "/hangs")
    pods = [spec(target, name, interval=60.0, timeout=10.0) for name in ("hangs", "a", "b")]
    bench.engine.start(pods)
    until(lambda: len(target.hits()) == len(pods) and len(bench.results.all()) == 2)
    target.behave(targets.answer(200), "/hangs")
    bench.engine.probe_all(begun.set)
    assert begun.wait(10)
    until(lambda: len(bench.results.all()) == 2 + 1 + len(pods))
    local = [result for result in bench.results.all() if result.outcome is not Outcome.SUCCESS]
    assert [(result.key, result.outcome, result.reason) for result in local] == [
        (pods[0].key, Outcome.LOCAL, Reason.LOCAL)
    ], "the probe was sent, so it has a result"
    assert [len(target.hits(f"/{pod.key.pod}")) for pod in pods] == [2, 2, 2]
    assert bench.metrics.skips == 0
    bench.engine.stop([pod.key for pod in pods])


def test_a_result_has_the_version_that_was_in_force_when_its_probe_started(bench: Bench, target: Target) -> None:
    target.behave(targets.hang)
    old = replace(spec(target, timeout=10.0), version=ManifestVersion(1, b"old"))
    new = replace(old, version=ManifestVersion(2, b"new"))
    bench.engine.start([old])
    until(target.hits)
    bench.engine.update([new])
    assert bench.engine.running([old.key])[old.key].version.data == b"new"
    target.behave(targets.answer(200))
    bench.engine.probe_all(lambda: None)
    ended, success = bench.results.first(old.key), bench.results.after(old.key, 1)
    assert (ended.outcome, ended.version.data, success.outcome, success.version.data) == (
        LOCAL,
        b"old",
        SUCCESS,
        b"new",
    )
    assert ended.generation == success.generation, "the worker goes on"


def test_checks_that_must_not_be_probed_wait_and_continue_soon(authority: Authority, target: Target) -> None:
    allowed, asked = threading.Event(), set[str]()

    def may_probe(node: str) -> bool:
        asked.add(node)
        return allowed.is_set()

    bench = Bench(authority.file, may_probe=may_probe)
    specs = [spec(target, f"pod{each}", interval=0.2) for each in range(2 * AT_ONCE)]
    try:
        bench.engine.start(specs)
        bench.engine.probe_all(lambda: None)
        until(lambda: bool(asked))
        time.sleep(1.0)
        assert target.accepted() == []
        allowed.set()
        until(lambda: all(len(bench.results.all(each.key)) >= 2 for each in specs))
        assert asked == {"web1"}
    finally:
        bench.engine.close(10)


def test_an_update_of_a_check_that_was_stopped_does_nothing(bench: Bench, target: Target) -> None:
    check = spec(target)
    bench.engine.update([check])
    assert bench.engine.running([check.key]) == {}
    assert bench.result(spec(target, "other")).outcome is SUCCESS


def test_after_a_fault_in_probe_all_begun_is_called_and_probes_continue(
    bench: Bench, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()

    def fail(*_: object) -> None:
        monkeypatch.undo()
        raise RuntimeError("unexpected")

    bench.engine.start([spec(target, interval=0.2)])
    until(target.hits)
    monkeypatch.setattr(Prober, "drop", fail)
    bench.engine.probe_all(begun.set)
    assert begun.wait(10)
    seen = len(target.hits())
    until(lambda: len(target.hits()) > seen)


def test_the_second_probe_of_a_new_check_is_at_least_half_an_interval_later(bench: Bench, target: Target) -> None:
    """Otherwise a threshold of two failures does not protect a new check."""
    pods = [spec(target, f"pod-{number}", interval=1.0) for number in range(AT_ONCE + 20)]
    bench.engine.start(pods)
    until(lambda: all(len(target.hits(f"/pod-{number}")) >= 3 for number in range(len(pods))), 60)
    bench.engine.stop([pod.key for pod in pods])
    starts = [[result.started for result in bench.results.all(pod.key)] for pod in pods]
    assert min(gap for each in starts for gap in gaps(each[:3])) > 0.5 - RESOLUTION


def test_a_check_that_continues_after_a_restart_is_not_probed_again_at_once(bench: Bench, target: Target) -> None:
    continued = [spec(target, f"pod-{number}", interval=1.0) for number in range(10)]
    new = [spec(target, f"new-{number}", interval=3600.0) for number in range(10)]
    began = time.monotonic()
    bench.results.before = {pod.key: time.time() - 0.1 for pod in continued}
    bench.engine.start([*continued, *new])
    until(
        lambda: all(target.hits(f"/{pod.key.pod}") for pod in (*continued, *new)), what="new checks are probed at once"
    )
    firsts = [target.hits(f"/{pod.key.pod}")[0].connected - began for pod in continued]
    assert min(firsts) >= 0.4 - RESOLUTION, "half an interval after the last probe of the earlier run"


@dataclass(frozen=True, slots=True)
class Timed:
    """An engine for which time passes only when the test says so."""

    bench: Bench
    clock: FakeClock

    def first_probes(self, specs: Sequence[CheckSpec], within: float) -> list[float]:
        """Start these checks, and let `within` seconds pass. Returns after how many seconds each was due first."""
        self.bench.engine.start(specs)
        until(lambda: len(self.bench.results.all()) >= AT_ONCE)
        at_once = self.bench.metrics.lateness.copy()
        self.bench.engine.stop([result.key for result in self.bench.results.all()])
        assert len(at_once) == AT_ONCE
        self.clock.advance(within)
        until(lambda: len({result.key for result in self.bench.results.all()}) == len(specs), 60)
        return at_once + [within - lateness for lateness in self.bench.metrics.lateness[len(at_once) :]]


@pytest.fixture
def timed(authority: Authority) -> Iterator[Timed]:
    clock = FakeClock()
    bench = Bench(authority.file, clock=clock)
    yield Timed(bench, clock)
    bench.engine.close(10)


def test_checks_of_another_controller_are_probed_within_half_an_interval(timed: Timed, target: Target) -> None:
    pods = [spec(target, f"pod-{number}", interval=4.0) for number in range(AT_ONCE + 50)]
    timed.bench.results.before = dict.fromkeys((pod.key for pod in pods), None)
    waited = timed.first_probes(pods, half_an_interval := 2.0)
    assert waited.count(0.0) == AT_ONCE, "some checks are probed at once"
    assert len(waited) == len(pods)
    assert half_an_interval / 2 < max(waited) <= half_an_interval


@pytest.mark.alone
def test_a_hanging_target_is_probed_every_interval_if_the_timeout_equals_the_interval(
    bench: Bench, target: Target
) -> None:
    target.behave(targets.hang)
    bench.engine.start([spec(target, interval=0.3, timeout=0.3)])
    until(lambda: no_gap_is_longer(target.hits(), 0.3 + 0.25), 60)


def no_gap_is_longer(hits: Sequence[Hit], seconds: float) -> bool:
    """Whether this holds for the last five probes. Earlier ones may have been delayed by a machine that stood still."""
    return len(hits) >= 5 and max(gaps(hit.connected for hit in hits[-5:])) < seconds


def test_a_long_probe_does_not_delay_the_next_probe(bench: Bench, target: Target) -> None:
    target.behave(targets.hang)
    bench.engine.start([spec(target, interval=0.4, timeout=0.9)])
    until(lambda: len(target.hits()) >= 4 and max(bench.metrics.lateness[-3:]) < 0.25, 60)


@pytest.mark.alone
def test_a_hanging_target_does_not_delay_other_checks(bench: Bench, target: Target) -> None:
    target.behave(targets.hang, "/hangs")
    bench.engine.start([spec(target, "hangs", interval=0.2), spec(target, "lives", interval=0.2)])
    until(lambda: no_gap_is_longer(target.hits("/lives"), 0.2 + 0.25), 60)


def test_some_of_many_new_checks_start_at_once_and_all_within_an_interval(timed: Timed, target: Target) -> None:
    pods = [spec(target, f"pod-{number}", interval=1.0) for number in range(200)]
    waited = timed.first_probes(pods, 1.0)
    assert len(waited) == len(pods)
    assert max(waited) <= 1.0
    spread = [int(moment / 0.2) for moment in waited[AT_ONCE:]]
    assert all(spread.count(part) < 60 for part in range(5)), "the rest is spread over the interval"


# Stop means stopped


def test_after_stop_no_connection_is_opened_and_no_result_is_observed(bench: Bench, target: Target) -> None:
    bench.engine.start([spec(target, "gone", interval=0.1), spec(target, "stays", interval=0.1)])
    until(lambda: len(target.hits("/gone")) >= 3)
    bench.engine.stop([PodKey("web1", "gone")])
    results = len(bench.results.all(PodKey("web1", "gone")))
    until(lambda: not target.open_connections() or len(target.hits("/stays")) > 50)
    hits, others = len(target.hits("/gone")), len(target.hits("/stays"))
    until(lambda: len(target.hits("/stays")) >= others + 5)
    assert len(target.hits("/gone")) == hits
    assert len(bench.results.all(PodKey("web1", "gone"))) == results


def test_stop_returns_after_a_request_in_flight_has_ended(bench: Bench, target: Target) -> None:
    target.behave(targets.hang)
    bench.engine.start([spec(target, timeout=60.0)])
    until(lambda: target.open_connections() == 1 and target.hits())
    bench.engine.stop([PodKey("web1", "isup")])
    until(lambda: target.open_connections() == 0, what="the connection is closed, long before the timeout")
    assert bench.results.all() == []
    assert bench.engine.running([PodKey("web1", "isup")]) == {}


def test_a_new_worker_starts_after_the_old_one_has_stopped_and_has_a_newer_generation(
    bench: Bench, target: Target
) -> None:
    target.behave(targets.hang, "/old")
    old, new = spec(target, "old", timeout=60.0), spec(target, "new")
    new = CheckSpec(old.key, new.probe, new.interval, new.timeout)
    bench.engine.start([old])
    until(lambda: target.hits("/old"))
    bench.engine.stop([old.key])
    bench.engine.start([new])
    result = bench.results.first(old.key)
    (_, first), (_, second) = bench.results.followed
    assert first < second == result.generation
    assert bench.engine.running([old.key]) == {old.key: new}
    until(lambda: target.open_connections() == 0, what="both to be closed, long before the old one's timeout")


def test_follow_is_called_before_the_first_result(authority: Authority, target: Target) -> None:
    class Strict(RecordedResults):
        def observe(self, results: Iterable[ProbeResult]) -> None:
            known = {(followed.key, generation) for followed, generation in self.followed}
            super().observe(result for result in results if (result.key, result.generation) in known)

    bench = Bench(authority.file, results=Strict())
    for number in range(100):
        assert bench.result(spec(target, f"pod-{number}")).outcome in {SUCCESS, LOCAL}
        if number >= AT_ONCE - 2:
            break
    bench.engine.close(10)


def test_stop_returns_for_a_check_that_does_not_run(bench: Bench) -> None:
    bench.engine.stop([PodKey("web1", "never")])


def test_running_returns_only_checks_that_run(bench: Bench, target: Target) -> None:
    check = spec(target)
    bench.engine.start([check])
    assert bench.engine.running([check.key, PodKey("web1", "other")]) == {check.key: check}


def test_close_ends_thread_and_requests_and_frees_every_descriptor(authority: Authority, target: Target) -> None:
    bench = Bench(authority.file)
    bench.result(spec(target, "warm-up"))
    bench.engine.close(10)
    before = descriptors()
    bench = Bench(authority.file)
    target.behave(targets.hang)
    bench.engine.start([spec(target, f"pod-{number}") for number in range(20)])
    until(lambda: target.open_connections() == 20)
    bench.engine.close(10)
    until(lambda: target.open_connections() == 0)
    until(lambda: descriptors() - 20 <= before, what="descriptors freed (the target's 20 are its own)")


def test_calls_after_close_change_nothing_and_return(authority: Authority, target: Target) -> None:
    bench = Bench(authority.file)
    bench.engine.close(10)
    read, write = os.pipe()
    bench.engine.start([spec(target)])
    bench.engine.stop([PodKey("web1", "isup")])
    bench.engine.close(10)
    os.close(write)
    assert os.read(read, 8) == b""
    os.close(read)
    assert target.accepted() == []


def test_descriptors_do_not_grow_with_probes(bench: Bench, target: Target) -> None:
    for behaviour in (targets.answer(), targets.reset, targets.close):
        pods = [f"{behaviour.__name__}-{number}" for number in range(5)]
        for pod in pods:
            target.behave(behaviour, f"/{pod}")
        bench.engine.start([spec(target, pod, interval=0.1) for pod in pods])
    until(lambda: len(target.hits()) > 30)
    before = descriptors()
    until(lambda: len(target.hits()) > 120)
    until(lambda: descriptors() < before + 15, what="descriptors of probes in flight only")


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# Our own faults


def test_a_probe_without_a_free_transfer_has_the_outcome_local(authority: Authority, target: Target) -> None:
    target.behave(targets.hang)
    bench = Bench(authority.file, max_in_flight=2)
    bench.engine.start([spec(target, f"hangs-{number}", interval=60.0, timeout=60.0) for number in range(2)])
    until(lambda: len(target.hits()) == 2)
    bench.engine.start([spec(target, f"pod-{number}", interval=0.5) for number in range(4)])
    until(lambda: len({result.key for result in bench.results.all()}) == 4)
    assert {(result.outcome, result.reason) for result in bench.results.all()} == {(LOCAL, Reason.LOCAL)}
    assert all("2 probes are in flight already" in result.detail for result in bench.results.all())
    assert target.open_connections() == 2
    bench.engine.close(10)


def test_few_transfers_are_shared_evenly_by_all_checks(authority: Authority, target: Target) -> None:
    target.behave(targets.slow(0.1))
    bench = Bench(authority.file, max_in_flight=2)
    pods = [spec(target, f"pod-{number}", interval=0.4) for number in range(20)]
    bench.engine.start(pods)
    until(lambda: len(target.hits()) >= 100 and {each.outcome for each in bench.results.all()[-40:]} == {SUCCESS}, 60)
    bench.engine.close(10)
    hits = [len(target.hits(f"/pod-{number}")) for number in range(20)]
    assert max(hits) - min(hits) <= 2, hits
    outcomes = {result.outcome for result in bench.results.all()}
    assert Outcome.FAILURE not in outcomes, "late probes are not the fault of a pod"


def test_at_most_max_in_flight_connections_are_open_also_at_the_start(authority: Authority, target: Target) -> None:
    target.greeting = crowd = Crowd(0.05)
    bench = Bench(authority.file, max_in_flight=3)
    bench.engine.start([spec(target, f"pod-{number}", interval=2.0) for number in range(12)])
    until(lambda: len(crowd.paths) >= 18)
    bench.engine.close(10)
    assert 1 <= crowd.most <= 3


def test_probes_without_free_descriptors_are_local_and_later_succeed(authority: Authority) -> None:
    with Target() as plain, Target(authority.server()) as secure:
        urls = [
            f"http://127.0.0.1:{plain.port}/",
            f"http://localhost:{plain.port}/",
            f"https://localhost:{secure.port}/",
        ]
        urls.append(f"http://{'x' * 100}:80/")
        done = subprocess.run(
            [sys.executable, "-m", "tests.support.starved", authority.file, *urls],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result[:2] for result in results[:4]] == [["local", "local"]] * 4, results
    assert [result[0] for result in results[4:7]] == ["success"] * 3, results
    assert "Traceback" not in done.stderr


def test_a_timeout_during_a_delay_of_the_probe_thread_is_not_a_failure(authority: Authority, target: Target) -> None:
    """The process may have been stopped or starved of CPU, and the answer may have arrived in time."""
    stand_still, may_go_on = threading.Event(), threading.Event()

    class Blocking(RecordedResults):
        def observe(self, results: Iterable[ProbeResult]) -> None:
            super().observe(results)
            if stand_still.is_set():
                stand_still.clear()
                may_go_on.wait(60)

    answers, clock = threading.Event(), FakeClock()

    def answer_when_told(connection: targets.Connection) -> None:
        answers.wait(10)
        targets.answer()(connection)

    target.behave(answer_when_told, "/slow")
    bench = Bench(authority.file, results=Blocking(), clock=clock)
    bench.engine.start([spec(target, "slow", timeout=0.3)])
    until(lambda: target.hits("/slow"))
    stand_still.set()
    bench.engine.start([spec(target, "quick")])
    until(lambda: not stand_still.is_set())
    answers.set()
    until(lambda: target.open_connections() == 0, what="the target has answered and closed")
    clock.advance(0.9)
    may_go_on.set()
    result = bench.results.first(PodKey("web1", "slow"))
    assert result.outcome in {SUCCESS, LOCAL}, result
    bench.engine.close(10)


def test_an_exception_in_the_observer_does_not_end_the_engine(
    authority: Authority, target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(RecordedResults):
        def observe(self, results: Iterable[ProbeResult]) -> None:
            super().observe(results)
            if len(self.all()) < 3:
                raise ZeroDivisionError

    bench = Bench(authority.file, results=Failing())
    bench.engine.start([spec(target, interval=0.1)])
    bench.results.after(PodKey("web1", "isup"), 5)
    bench.engine.close(10)
    assert "step of the probe engine: unexpected exception; everything else goes on" in caplog.text


def test_the_heartbeat_beats_while_no_check_runs(bench: Bench) -> None:
    bench.heartbeat._last -= 100
    until(lambda: not bench.heartbeat.stands_still())


@pytest.mark.alone
def test_two_hundred_probes_a_second_run_without_skips(bench: Bench, target: Target) -> None:
    bench.engine.start([spec(target, f"pod-{number}", interval=0.5) for number in range(100)])

    def run_without_skips() -> bool:
        skips, before = bench.metrics.skips, len(target.hits())
        until(lambda: len(target.hits()) > before + 150, 20)
        return bench.metrics.skips == skips and {each.outcome for each in bench.results.all()[-100:]} == {SUCCESS}

    until(run_without_skips, 60, "150 probes in a row without a skip")
