"""The limits of the long run, applied to known histories: memory that stays the same, warms up, or leaks."""

import pytest

from tests.bench.__main__ import SCENARIOS
from tests.bench.endurance import CHANGES, MB, Sample, taken

BEGIN = 104 * MB


def history(seconds: float, memory: float, grows: float, until: float = float("inf")) -> list[Sample]:
    """Returns a sample every two seconds. `memory` is in bytes and grows by `grows` bytes per second, up to the second
    `until`."""
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


@pytest.mark.parametrize("seconds", [900, 2_700])
def test_in_a_long_run_a_slow_leak_is_noticed(seconds: float) -> None:
    assert is_well(history(seconds, BEGIN, 12 * MB / 300, until=300))
    assert not is_well(history(seconds, BEGIN, 12 * MB / (seconds / 3)))


def test_by_default_a_small_leak_per_change_or_per_probe_is_noticed() -> None:
    """A manifest and its check take more than 2 kB. The smallest object of Python takes 16 bytes."""
    default = SCENARIOS["endurance"]
    assert not is_well(history(default.seconds, BEGIN, 2_000 * CHANGES))
    assert not is_well(history(default.seconds, BEGIN, 16 * default.checks / default.interval))
