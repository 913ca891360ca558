"""A probe engine that has more to do than it can: late for all alike, and wrong about none."""

import re
import time
from collections.abc import Iterable

import pytest

from controller.probes.engine import MOST_PATIENCE
from reconcilers.health import Outcome, ProbeResult, Reason
from tests.support.authority import Authority
from tests.support.net import until
from tests.support.probing import Bench, spec
from tests.support.recorders import RecordedResults
from tests.support.targets import Target

SAID = re.compile(r"this controller is overloaded: it keeps \d+ % of the probes; an interval of [\d.]+ s would fit")
CHECKS = 30
INTERVAL = 0.4


class Burning(RecordedResults):
    """Takes so much of the probe thread's time in each of its turns."""

    seconds = 0.06

    def observe(self, results: Iterable[ProbeResult]) -> None:
        super().observe(results)
        time.sleep(self.seconds)


@pytest.mark.slow
def test_an_engine_that_cannot_do_all_does_what_it_can_for_each_check_alike_and_says_so(
    authority: Authority, target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    results = Burning()
    bench = Bench(authority.file, results=results)
    pods = [spec(target, f"pod-{number}", interval=INTERVAL, timeout=0.3) for number in range(CHECKS)]
    bench.engine.start(pods)

    until(lambda: min(len(results.all(pod.key)) for pod in pods) >= 5, 60)
    counts = [len(results.all(pod.key)) for pod in pods]
    assert max(counts) - min(counts) <= 2, counts
    assert {result.outcome for result in results.all()} == {Outcome.SUCCESS}, "late for all alike: each stays known"
    assert 0 < bench.engine.kept.ratio < 0.9
    assert "this controller is overloaded: it keeps" in caplog.text

    results.seconds = 3 * MOST_PATIENCE * INTERVAL / CHECKS
    until(lambda: any("it keeps" in result.detail for result in results.all()), 60)
    bench.engine.close(10)
    unknown = [result for result in results.all() if result.outcome is not Outcome.SUCCESS]
    assert {(result.outcome, result.reason) for result in unknown} == {(Outcome.LOCAL, Reason.LOCAL)}, [
        (each.reason, each.detail, each.duration, each.phases) for each in unknown if each.outcome is Outcome.FAILURE
    ]
    assert any(SAID.fullmatch(result.detail) for result in unknown)
