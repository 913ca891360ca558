"""A kind of line that comes very often is written for a while and then counted, and the count is logged."""

import logging

from controller.runtime.log.rate_limit import BURST, MINUTE, SOON, RateLimitFilter

LOGGER = "controller.store"


class Limit:
    """A filter with a clock that the tests set."""

    def __init__(self, burst: int = BURST) -> None:
        self.now = 0.0
        self._filter = RateLimitFilter(burst, lambda: self.now)

    def admits(self, text: str, now: float, state: str = "", level: int = logging.INFO, logger: str = LOGGER) -> bool:
        self.now = now
        record = logging.makeLogRecord(
            {"name": logger, "levelno": level, "msg": "%s", "args": (text,), **({"state": state} if state else {})}
        )
        return self._filter.filter(record)

    def reports(self, now: float, *, at_end: bool = False) -> list[logging.LogRecord]:
        self.now = now
        return self._filter.reports(at_end=at_end)

    def texts(self, now: float, *, at_end: bool = False) -> list[str]:
        return [record.getMessage() for record in self.reports(now, at_end=at_end)]


def test_lines_with_different_texts_are_written() -> None:
    limit = Limit()
    assert all(limit.admits(f"pod-{number} is critical", 0) for number in range(100))
    assert not limit.reports(MINUTE)


def test_a_repeated_line_is_counted_and_reported_soon_and_then_once_a_minute() -> None:
    limit = Limit()
    assert limit.admits("Consul is away", 0)
    assert not any(limit.admits("Consul is away", second) for second in range(1, 5))
    assert not limit.reports(1 + SOON - 0.1)
    assert limit.texts(1 + SOON) == ["Consul is away (repeated 4 times in the last 6 s)"]
    assert not any(limit.admits("Consul is away", second) for second in range(10, 67))
    assert not limit.reports(69)
    assert limit.texts(70) == ["Consul is away (repeated 57 times in the last 64 s)"]
    assert not limit.reports(80)


def test_after_a_quiet_minute_the_line_is_written_again() -> None:
    limit = Limit()
    assert limit.admits("Consul is away", 0)
    limit.reports(MINUTE)
    assert limit.admits("Consul is away", MINUTE)


def test_a_pod_that_alternates_between_states_is_not_a_repetition() -> None:
    limit = Limit()
    assert all(limit.admits(f"a is {state}", 0) for state in ("critical", "passing", "critical", "passing"))


def test_of_a_mass_outage_a_burst_is_written_and_the_rest_is_counted_by_state() -> None:
    limit = Limit()
    written = [limit.admits(f"pod-{number} is critical", 0, "critical") for number in range(9_000)]
    assert sum(written) == 100
    limit.admits("other is unknown", 1, "unknown", logging.WARNING)
    (report,) = limit.reports(SOON)
    text = "8901 more like this in the last 5 s (8900 critical, 1 unknown): other is unknown"
    assert report.getMessage() == text
    assert (report.name, report.levelno, vars(report)["repeated"]) == (LOGGER, logging.WARNING, 8_901)
    assert limit.admits("pod-1 is passing", 6, "passing"), "the next hundred are written"


def test_kinds_are_limited_independently() -> None:
    limit = Limit(burst=1)
    assert limit.admits("a", 0)
    assert not limit.admits("b", 0)
    assert limit.admits("b", 0, logger="controller.consul.session")


def test_the_end_reports_what_was_counted_so_far() -> None:
    limit = Limit()
    limit.admits("a", 0)
    limit.admits("a", 1)
    assert limit.texts(2, at_end=True) == ["a (repeated 1 time in the last 2 s)"]
