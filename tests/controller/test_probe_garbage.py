"""A probe leaves no reference cycle, however it ends.

The collector searches all objects for cycles almost never (`cli/run.py`), so memory would grow with each such probe.
"""

import gc
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from reconcilers.health import Outcome
from reconcilers.spec import CheckSpec, PodKey
from tests.support import targets
from tests.support.authority import self_signed
from tests.support.net import until
from tests.support.probing import Bench, spec
from tests.support.targets import Target

PROBES = 8
OF_AN_ENGINE = 3
"""The engine of an earlier test leaves at most so many objects of one type."""
OURS = ("controller", "httptools", "hpack")


@pytest.fixture
def left() -> Iterator[Callable[[], Counter[str]]]:
    """Returns how many objects only the collector could free since the start of the test, by type."""

    def collected() -> Counter[str]:
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        gc.set_debug(0)
        found = Counter(type(each).__name__ for each in gc.garbage if type(each).__module__.startswith(OURS))
        gc.garbage.clear()
        return Counter({name: count for name, count in found.items() if count > OF_AN_ENGINE})

    gc.collect()
    gc.disable()
    try:
        yield collected
    finally:
        gc.enable()
        gc.garbage.clear()


def probed(bench: Bench, check: CheckSpec, outcome: Outcome) -> None:
    """Probes a check until some probes have this outcome, and stops it while a probe may be under way."""
    bench.engine.start([check])
    results = bench.results
    until(lambda: [one.outcome for one in results.all(check.key)].count(outcome) >= PROBES, 30.0, "some probes")
    bench.engine.stop([check.key])


BEHAVIOURS = {
    "silent": targets.hang,
    "closed": targets.close,
    "reset": targets.reset,
    "half an answer": targets.raw_then_hang(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "half a body": targets.raw_then_hang(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"),
    "no HTTP": targets.raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
}


@pytest.mark.parametrize("name", BEHAVIOURS)
@pytest.mark.parametrize("tls", [False, True])
def test_a_failed_probe(
    bench: Bench, target: Target, secure: Target, left: Callable[[], Counter[str]], name: str, *, tls: bool
) -> None:
    asked = secure if tls else target
    asked.behave(BEHAVIOURS[name])
    probed(bench, spec(asked, interval=0.1, timeout=0.1), Outcome.FAILURE)
    assert not left()


@pytest.mark.parametrize("tls", [False, True])
def test_a_success(
    bench: Bench, target: Target, secure: Target, left: Callable[[], Counter[str]], *, tls: bool
) -> None:
    probed(bench, spec(secure if tls else target, interval=0.5), Outcome.SUCCESS)
    assert not left()


def test_a_refused_connection(bench: Bench, target: Target, left: Callable[[], Counter[str]]) -> None:
    target.refuse()
    probed(bench, spec(target, interval=0.1, timeout=0.1), Outcome.FAILURE)
    assert not left()


def test_a_refused_certificate(bench: Bench, left: Callable[[], Counter[str]]) -> None:
    with Target(self_signed()) as target:
        probed(bench, spec(target, interval=0.5), Outcome.FAILURE)
        assert not left()


def test_a_probe_that_is_stopped(bench: Bench, target: Target, left: Callable[[], Counter[str]]) -> None:
    target.behave(targets.hang)
    for number in range(PROBES):
        check = spec(target, pod=f"pod-{number}")
        bench.engine.start([check])
        until(lambda: target.hits, what="the request")
        bench.engine.stop([PodKey("web1", f"pod-{number}")])
    assert not left()
