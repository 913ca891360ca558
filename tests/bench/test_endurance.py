"""What the long run says of histories that are known: memory that stays, warms up, or leaks."""

import pytest

from tests.bench.endurance import MB, Sample, taken

BEGIN = 104 * MB


def history(seconds: float, memory: float, grows: float, until: float = float("inf")) -> list[Sample]:
    """A sample every two seconds; `memory` bytes at first, and `grows` more each second for so long."""
    times = [2.0 * number for number in range(int(seconds / 2) + 1)]
    return [Sample(at, int(memory + grows * min(at, until)), 9, 3, 15, 0, 0) for at in times]


def is_well(samples: list[Sample]) -> bool:
    """Whether every limit is met; memory has one in any case."""
    figures = {figure.what: figure for figure in taken(samples, changes=500)}
    assert figures["memory: the last quarter's median"].limit is not None
    return all(figure.met is not False for figure in figures.values())


@pytest.mark.parametrize("seconds", [2, 105, 180, 599])
def test_in_a_short_run_memory_may_stay_and_caches_may_fill(seconds: float) -> None:
    assert is_well(history(seconds, BEGIN, 0.0))
    assert is_well(history(seconds, BEGIN, 12 * MB / seconds))


@pytest.mark.parametrize(("seconds", "leak"), [(105, 10.0), (105, 1.0), (180, 10.0), (180, 1.0), (599, 0.25)])
def test_a_leak_is_noticed_in_a_short_run_too(seconds: float, leak: float) -> None:
    assert not is_well(history(seconds, BEGIN, leak * MB))


def test_in_a_long_run_a_slow_leak_is_noticed() -> None:
    assert is_well(history(2_700, BEGIN, 12 * MB / 300, until=300))
    assert not is_well(history(2_700, BEGIN, 12 * MB / 900))
