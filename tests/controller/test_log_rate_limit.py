"""A kind of line that comes very often is written for a while and then counted, and the count is told."""

import logging

from controller.runtime.log.rate_limit import MINUTE, SOON, RateLimitFilter

KIND = ("controller.store", "%s is %s")


def say(brake: RateLimitFilter, text: str, now: float, about: str = "", level: int = logging.INFO) -> bool:
    return brake.admits(KIND, level, text, about, now)


def test_what_is_said_differently_is_written() -> None:
    brake = RateLimitFilter()
    assert all(say(brake, f"pod-{number} is critical", 0) for number in range(100))
    assert not brake.over(MINUTE)


def test_what_is_said_again_is_counted_and_told_soon_and_then_once_a_minute() -> None:
    brake = RateLimitFilter()
    assert say(brake, "Consul is away", 0)
    assert not any(say(brake, "Consul is away", second) for second in range(1, 5))
    assert not brake.over(1 + SOON - 0.1)
    assert [str(each) for each in brake.over(1 + SOON)] == ["Consul is away (repeated 4 times in the last 6 s)"]
    assert not any(say(brake, "Consul is away", second) for second in range(10, 67))
    assert not brake.over(69)
    assert [str(each) for each in brake.over(70)] == ["Consul is away (repeated 57 times in the last 64 s)"]
    assert not brake.over(80)


def test_after_a_quiet_minute_it_is_news_again() -> None:
    brake = RateLimitFilter()
    assert say(brake, "Consul is away", 0)
    brake.over(MINUTE)
    assert say(brake, "Consul is away", MINUTE)


def test_a_pod_that_goes_to_and_fro_is_no_repetition() -> None:
    brake = RateLimitFilter()
    assert all(say(brake, f"a is {state}", 0) for state in ("critical", "passing", "critical", "passing"))


def test_of_a_mass_outage_a_burst_is_written_and_the_rest_is_told_with_what_it_was_about() -> None:
    brake = RateLimitFilter()
    written = [say(brake, f"pod-{number} is critical", 0, "critical") for number in range(9_000)]
    assert sum(written) == 100
    say(brake, "other is unknown", 1, "unknown", logging.WARNING)
    (told,) = brake.over(SOON)
    assert str(told) == "8901 more like this in the last 5 s (8900 critical, 1 unknown): other is unknown"
    assert (told.kind, told.level, told.count) == (KIND, logging.WARNING, 8_901)
    assert say(brake, "pod-1 is passing", 6, "passing"), "the next hundred are written"


def test_kinds_do_not_hold_each_other_up() -> None:
    brake = RateLimitFilter(burst=1)
    assert say(brake, "a", 0)
    assert not say(brake, "b", 0)
    assert brake.admits(("controller.consul.session", "%s"), logging.INFO, "b", "", 0)


def test_the_end_tells_what_was_counted_so_far() -> None:
    brake = RateLimitFilter()
    say(brake, "a", 0)
    say(brake, "a", 1)
    assert [str(each) for each in brake.rest(2)] == ["a (repeated 1 time in the last 2 s)"]
