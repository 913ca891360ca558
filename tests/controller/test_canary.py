"""All checks fail at once: is this node cut off, or are its pods down? Pods and canary are real sockets."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from controller.health.canary import Canary
from controller.health.store import HealthStore
from controller.probes.engine import ProbeEngine
from controller.runtime.heartbeat import Heartbeat
from reconcilers.health import HealthState, Outcome, ProbeResult, Reason
from reconcilers.isolation import MIN_CHECKS
from reconcilers.spec import PodKey
from tests.support.authority import Authority
from tests.support.net import until
from tests.support.probing import spec
from tests.support.recorders import Announced, RecordedProbes
from tests.support.targets import BlackHole, Target

CRITICAL, PASSING, UNKNOWN = HealthState.CRITICAL, HealthState.PASSING, HealthState.UNKNOWN
LONG = 3600.0
INTERVAL = 0.1
PERIOD = 0.2
"""Seconds between two turns of the canary. Every pod is probed at least once in this time."""
WINDOW = 1.5


class Node:
    """An engine and a store, some pods with a target each, and a target that is the canary."""

    def __init__(self, stack: ExitStack, ca_file: Path) -> None:
        self._stack = stack
        self.announced = Announced()
        self.healths = HealthStore(self.announced)
        self.outside = stack.enter_context(Target())
        self.targets: list[Target] = []
        heartbeat = Heartbeat("probe", 5, time.monotonic)
        self.engine = ProbeEngine(self.healths, RecordedProbes(), heartbeat, ca_file=str(ca_file), max_in_flight=100)
        self.engine.run()
        stack.callback(self.engine.close, 10)

    def run(self, pods: int = MIN_CHECKS) -> None:
        """Probe `pods` more pods every `INTERVAL`, and wait until all pods are passing."""
        for number in range(len(self.targets), len(self.targets) + pods):
            self.targets.append(self._stack.enter_context(Target()))
            self.engine.start([spec(self.targets[-1], f"pod-{number}", interval=INTERVAL)])
        self.wait(*[PASSING] * len(self.targets))

    def watch(self, target: tuple[str, int] | str | None = None, window: float = LONG) -> Canary:
        """Start the canary."""
        where = target or ("127.0.0.1", self.outside.port)
        canary = Canary(where, self.healths, Heartbeat("canary", 10, time.monotonic), window=window, period=PERIOD)
        canary.start()
        self._stack.callback(canary.stop, 10)
        return canary

    def lose(self, *targets: Target) -> None:
        for target in targets or self.targets:
            target.refuse()

    def states(self) -> list[HealthState]:
        return [self.healths.health(self.key(number))[0].state for number in range(len(self.targets))]  # type: ignore[index]

    def wait(self, *states: HealthState) -> None:
        until(lambda: self.states() == list(states), 20, f"the states {states}")

    def last(self) -> list[ProbeResult]:
        return [tracked.last for tracked in self.healths.all() if tracked.last]

    def count(self, pod: int, outcome: Outcome) -> int:
        tracked = self.healths.tracked(self.key(pod))
        return tracked.counts[outcome] if tracked else 0

    @staticmethod
    def key(pod: int) -> PodKey:
        return PodKey("web1", f"pod-{pod}")


@pytest.fixture
def node(authority: Authority) -> Iterator[Node]:
    with ExitStack() as stack:
        yield Node(stack, authority.file)


def test_if_all_checks_fail_and_the_canary_does_not_answer_the_pods_are_unknown(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    node.run()
    node.outside.refuse()
    node.lose()
    node.wait(*[CRITICAL] * MIN_CHECKS)
    node.announced.batches.clear()
    node.watch()
    node.wait(*[UNKNOWN] * MIN_CHECKS)
    health = node.healths.health(node.key(0))
    assert health
    assert health[0].reason is Reason.LOCAL
    assert health[0].detail == (
        f"every check fails and 127.0.0.1:{node.outside.port} cannot be reached either: this node is cut off"
    )
    until(
        lambda: node.announced.keys() == {node.key(number) for number in range(MIN_CHECKS)},
        what="the changes to be announced",
    )
    assert [record.getMessage() for record in caplog.records if record.name == "controller.health.canary"] == [
        health[0].detail
    ]


def test_a_canary_whose_name_cannot_be_resolved_does_not_answer_and_the_thread_goes_on(node: Node) -> None:
    node.run()
    node.watch(("a..b", 80))
    node.lose()
    node.wait(*[UNKNOWN] * MIN_CHECKS)
    node.targets[0].listen()
    node.wait(PASSING, *[CRITICAL] * (MIN_CHECKS - 1))


def test_while_the_node_is_cut_off_failures_are_our_own_fault(node: Node) -> None:
    node.run()
    node.outside.refuse()
    node.watch()
    node.lose()
    node.wait(*[UNKNOWN] * MIN_CHECKS)
    failures, ours = node.count(0, Outcome.FAILURE), node.count(0, Outcome.LOCAL)
    until(lambda: node.count(0, Outcome.LOCAL) > ours + 4)
    assert node.count(0, Outcome.FAILURE) == failures
    assert node.states() == [UNKNOWN] * MIN_CHECKS


def test_the_node_stays_cut_off_for_longer_than_the_window(node: Node) -> None:
    node.run()
    node.outside.refuse()
    node.watch(window=WINDOW)
    node.lose()
    node.wait(*[UNKNOWN] * MIN_CHECKS)
    began = time.monotonic()
    until(lambda: time.monotonic() - began > WINDOW + 0.5)
    assert node.states() == [UNKNOWN] * MIN_CHECKS
    assert node.healths.cut_off
    assert {result.outcome for result in node.last()} == {Outcome.LOCAL}


def test_one_success_ends_the_cut_off_and_checks_that_still_fail_are_critical(node: Node) -> None:
    node.run()
    node.outside.refuse()
    node.watch()
    node.lose()
    node.wait(*[UNKNOWN] * MIN_CHECKS)
    node.targets[0].listen()
    node.wait(PASSING, *[CRITICAL] * (MIN_CHECKS - 1))
    assert node.healths.cut_off == ""


def test_an_answer_of_the_canary_ends_the_cut_off(node: Node) -> None:
    node.run()
    node.outside.refuse()
    node.watch()
    node.lose()
    node.wait(*[UNKNOWN] * MIN_CHECKS)
    node.outside.listen()
    node.wait(*[CRITICAL] * MIN_CHECKS)
    assert node.healths.cut_off == ""


def test_if_the_canary_answers_the_pods_are_critical(node: Node) -> None:
    node.run()
    node.watch()
    node.lose()
    until(lambda: len(node.outside.accepted()) >= 3)
    assert node.states() == [CRITICAL] * MIN_CHECKS
    assert (node.healths.cut_off, node.count(0, Outcome.LOCAL)) == ("", 0)


def test_while_one_check_succeeds_the_canary_is_not_probed(node: Node) -> None:
    node.run(MIN_CHECKS + 1)
    node.outside.refuse()
    node.watch()
    node.lose(*node.targets[1:])
    node.wait(PASSING, *[CRITICAL] * MIN_CHECKS)
    failures = node.count(1, Outcome.FAILURE)
    until(lambda: node.count(1, Outcome.FAILURE) > failures + 4)
    assert node.states() == [PASSING] + [CRITICAL] * MIN_CHECKS
    assert node.healths.cut_off == ""


def test_too_few_failing_checks_are_no_evidence_about_the_node(node: Node) -> None:
    node.run(MIN_CHECKS - 1)
    node.watch()
    node.lose()
    failures = node.count(0, Outcome.FAILURE)
    until(lambda: node.count(0, Outcome.FAILURE) > failures + 4)
    assert node.states() == [CRITICAL] * (MIN_CHECKS - 1)
    assert node.outside.accepted() == []


def test_a_check_that_has_been_critical_for_long_stays_critical(node: Node) -> None:
    node.run(MIN_CHECKS + 1)
    node.lose(node.targets[0])
    node.wait(CRITICAL, *[PASSING] * MIN_CHECKS)
    began = time.monotonic()
    until(lambda: time.monotonic() - began > WINDOW + 0.1)
    node.outside.refuse()
    node.watch(window=WINDOW)
    node.lose(*node.targets[1:])
    node.wait(CRITICAL, *[UNKNOWN] * MIN_CHECKS)
    health = node.healths.health(node.key(0))
    assert health
    assert health[0].reason is Reason.REFUSED


def test_a_canary_that_accepts_no_connection_does_not_answer(node: Node) -> None:
    node.run()
    with BlackHole() as hole:
        node.watch(("127.0.0.1", hole.port))
        node.lose()
        node.wait(*[UNKNOWN] * MIN_CHECKS)


def test_the_canary_can_be_a_unix_socket(node: Node, tmp_path: Path) -> None:
    node.run()
    node.watch(str(tmp_path / "consul.sock"))
    node.lose()
    node.wait(*[UNKNOWN] * MIN_CHECKS)
    assert str(tmp_path / "consul.sock") in node.healths.cut_off


def test_the_canary_stops_within_seconds(node: Node) -> None:
    canary = node.watch()
    began = time.monotonic()
    canary.stop(60)
    assert time.monotonic() - began < 30  # usually 0.5 at most
