"""An overloaded probe engine skips the same share of probes of each check, and reports no false failure."""

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
    """Takes `seconds` of the probe thread in each of its turns."""

    seconds = 0.06

    def observe(self, results: Iterable[ProbeResult]) -> None:
        super().observe(results)
        time.sleep(self.seconds)


@pytest.mark.slow
def test_an_overloaded_engine_keeps_the_same_share_of_probes_for_each_check_and_logs_it(
    authority: Authority, target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    results = Burning()
    bench = Bench(authority.file, results=results)
    pods = [spec(target, f"pod-{number}", interval=INTERVAL) for number in range(CHECKS)]
    bench.engine.start(pods)

    def stays_known() -> bool:
        """Whether this holds for the last probes. A machine that stood still for seconds makes pods unknown."""
        return {result.outcome for result in results.all()[-2 * CHECKS :]} == {Outcome.SUCCESS}

    until(lambda: min(len(results.all(pod.key)) for pod in pods) >= 5 and stays_known(), 60)
    counts = [len(results.all(pod.key)) for pod in pods]
    assert max(counts) - min(counts) <= 2, counts
    assert Outcome.FAILURE not in {result.outcome for result in results.all()}
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
