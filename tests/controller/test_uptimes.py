"""The time up and down of pods, by a clock that a test sets."""

import logging
from dataclasses import replace
from typing import Any

import pytest

from controller.health import uptimes as module
from controller.health.store import HealthStore
from controller.health.uptimes import FROZEN, SavedAt, Uptimes
from reconcilers.adoption import Inherited
from reconcilers.health import CheckHealth, HealthState, Outcome, ProbeResult, Reason
from reconcilers.record import HealthRecord, decode
from reconcilers.spec import CheckSpec, HttpGet, PodKey, Unprobed
from reconcilers.uptime import Share
from tests.support.recorders import FakeClock

KEY, OTHER = PodKey("web1", "isup"), PodKey("web1", "other")
PASSING, WARNING, CRITICAL, UNKNOWN = (
    HealthState.PASSING,
    HealthState.WARNING,
    HealthState.CRITICAL,
    HealthState.UNKNOWN,
)
HOUR, DAY = 3_600.0, 86_400.0


class Run:
    """One run of a controller on a machine that was booted `booted` seconds ago, at the time `wall`."""

    def __init__(self, booted: float = 1_000.0, wall: float = 1.7e9) -> None:
        self.boottime, self.wall = FakeClock(booted), FakeClock(wall)
        self.uptimes = Uptimes(self.boottime, self.wall)

    def live(self, seconds: float, state: HealthState | None = None, key: PodKey = KEY) -> None:
        if state:
            self.uptimes.note(key, state)
        self.boottime.advance(seconds)
        self.wall.advance(seconds)

    def share(self, window: str = "30d", key: PodKey = KEY) -> tuple[float, float]:
        found = {each.window: each for each in self.uptimes.shares(key)}.get(window, Share(window, 0, 0, 0))
        return found.up, found.down

    def texts(self) -> dict[PodKey, str]:
        return {key: uptime.encode() for key, uptime in self.uptimes.all().items()}

    def saved(self, *, is_same_boot: bool = True) -> SavedAt:
        return SavedAt(self.boottime.now, self.wall.now, is_same_boot=is_same_boot)

    def record(self, state: HealthState = PASSING, since: float = 0.0, **more: Any) -> HealthRecord:
        record = HealthRecord.of(KEY, CheckHealth(state, since=since), 0.0)
        return decode(replace(record, **{"uptime": self.uptimes.text(KEY), **more}).encode(self.wall.now))


def test_passing_and_warning_are_up_and_critical_is_down() -> None:
    run = Run()
    for state in (PASSING, WARNING, UNKNOWN, CRITICAL, UNKNOWN):
        run.live(100, state)
    assert run.share() == (200, 100)


def test_nothing_is_known_of_a_pod_that_never_had_a_state() -> None:
    run = Run()
    run.live(100, UNKNOWN)
    assert (list(run.uptimes.shares(KEY)), run.uptimes.text(KEY), run.uptimes.all()) == ([], "", {})


def test_a_step_of_the_wall_clock_changes_nothing() -> None:
    run = Run()
    run.live(HOUR, PASSING)
    run.wall.advance(-400 * DAY)
    run.live(HOUR, CRITICAL)
    run.wall.advance(900 * DAY)
    assert run.share() == (HOUR, HOUR)


def test_the_time_of_a_pod_that_loses_its_check_is_kept() -> None:
    run = Run()
    run.live(100, PASSING)
    run.uptimes.leave([KEY, OTHER])
    run.live(100)
    run.live(100, CRITICAL)
    assert run.share() == (100, 100)


def test_the_time_of_the_pod_that_lost_its_check_first_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LEFT", 2)
    run, keys = Run(), [PodKey("web1", f"pod{number}") for number in range(4)]
    for key in keys:
        run.live(2, PASSING, key)
    run.uptimes.leave(keys[:2])
    run.uptimes.note(keys[0], PASSING)
    run.uptimes.leave(keys[2:])
    assert set(run.uptimes.all()) == {keys[0], keys[2], keys[3]}


def test_changes_are_counted_when_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_NOTED", 3)
    run = Run()
    for _ in range(10):
        run.live(2, PASSING)
        run.live(2, CRITICAL)
    assert len(run.uptimes._noted) <= 3
    assert run.share() == (20, 20)


def test_a_change_never_counts_all_that_wait_nor_waits_for_the_thread_that_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Run()
    for _ in range(10):
        run.live(2, PASSING)
        run.live(2, CRITICAL)
    monkeypatch.setattr(module, "MOST_NOTED", 3)
    with run.uptimes._lock:
        run.live(2, PASSING)
    assert len(run.uptimes._noted) == 21
    run.live(2, CRITICAL)
    assert len(run.uptimes._noted) == 20
    assert run.share() == (22, 22)


def test_time_in_which_the_process_was_frozen_is_not_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run = Run()
    run.uptimes.beat()
    run.live(10, PASSING)
    run.live(10, UNKNOWN, OTHER)
    run.uptimes.beat()
    run.live(FROZEN)
    run.uptimes.beat()
    assert run.share() == (20 + FROZEN, 0)
    run.live(FROZEN + 2)
    run.uptimes.beat()
    run.live(10)
    assert run.share() == (30 + FROZEN, 0)
    assert caplog.text.count("this process was frozen for 62 s") == 1


def test_a_change_that_is_noted_before_the_beat_after_a_freeze_does_not_count_it() -> None:
    run = Run()
    run.live(10, PASSING)
    run.uptimes.beat()
    run.live(DAY)
    run.live(10, CRITICAL)
    run.uptimes.beat()
    assert run.share() == (10, 10)


# Another run, another boot


def test_the_next_run_continues_and_does_not_count_the_time_between() -> None:
    run = Run()
    run.live(HOUR, PASSING)
    run.live(100, CRITICAL)
    texts, saved = run.texts(), run.saved()
    run.live(HOUR)
    then = Run(run.boottime.now, run.wall.now + 5 * DAY)
    then.uptimes.load(texts, [], saved)
    then.live(100)
    then.live(50, PASSING)
    assert then.share() == (HOUR + 50, 100)


def test_after_a_reboot_the_wall_clock_says_how_much_time_has_passed() -> None:
    run = Run(booted=50 * DAY)
    run.live(HOUR, PASSING)
    texts, saved = run.texts(), run.saved(is_same_boot=False)
    then = Run(booted=60.0, wall=run.wall.now + 29 * DAY)
    then.uptimes.load(texts, [], saved)
    assert then.share() == (HOUR, 0)
    assert then.share("7d") == (0, 0)
    then.live(HOUR, CRITICAL)
    assert then.share("1h") == (0, HOUR)
    again = Run(booted=10.0, wall=then.wall.now)
    again.uptimes.load(then.texts(), [], then.saved(is_same_boot=False))
    assert again.share() == (HOUR, HOUR)


def test_a_wall_clock_that_was_set_back_makes_no_time_pass() -> None:
    run = Run()
    run.live(HOUR, PASSING)
    then = Run(wall=0.0)
    then.uptimes.load(run.texts(), [], run.saved(is_same_boot=False))
    assert then.share("24h") == (HOUR, 0)
    assert then.share("1h")[0] > HOUR - 300


def test_what_is_older_than_all_windows_or_not_readable_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    run = Run()
    run.live(HOUR, PASSING)
    then = Run(run.boottime.now + 32 * DAY)
    then.uptimes.load({**run.texts(), OTHER: "garbage"}, [KEY, OTHER], run.saved())
    assert then.uptimes.all() == {}
    assert "not an uptime" in caplog.text


def test_a_pod_without_a_check_stays_one_in_the_next_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LEFT", 1)
    run = Run()
    run.live(10, PASSING)
    run.live(10, PASSING, OTHER)
    then = Run(run.boottime.now)
    then.uptimes.load(run.texts(), [KEY], run.saved())
    then.uptimes.leave([OTHER])
    assert set(then.uptimes.all()) == {OTHER}


# Another controller


@pytest.mark.parametrize("skew", [0.0, 7 * DAY, -7 * DAY])
def test_an_heir_continues_with_the_record_whatever_the_time_since_boot(skew: float) -> None:
    """The record was written with the last change of the state, and was published until now."""
    member = Run(booted=90 * DAY)
    member.live(DAY, PASSING)
    member.live(HOUR, CRITICAL)
    member.uptimes.note(KEY, PASSING)
    record = member.record()
    member.live(2 * DAY)
    heir = Run(booted=60.0, wall=member.wall.now)
    heir.wall.advance(skew)
    heir.uptimes.note(KEY, CRITICAL)
    heir.wall.advance(-skew)
    heir.uptimes.inherit(record)
    heir.live(HOUR, PASSING)
    assert heir.share() == (3 * DAY + HOUR, HOUR)
    assert heir.share("1h") == (HOUR, 0)


def test_a_record_without_a_time_says_since_when_the_state_is_the_same() -> None:
    heir = Run()
    heir.uptimes.inherit(heir.record(CRITICAL, since=heir.wall.now - HOUR))
    assert heir.share() == (0, HOUR)


@pytest.mark.parametrize(
    ("state", "since", "uptime"), [(UNKNOWN, 5.0, ""), (PASSING, 0.0, ""), (PASSING, 5.0, "garbage")]
)
def test_a_record_that_says_nothing_leaves_what_is_known(state: HealthState, since: float, uptime: str) -> None:
    heir = Run()
    heir.live(10, PASSING)
    heir.uptimes.inherit(heir.record(state, since, uptime=uptime))
    assert heir.share() == (10, 0)


# What the store notes


def test_the_store_notes_the_states_of_its_checks() -> None:
    run = Run()
    healths = HealthStore(lambda _: None, uptimes=run.uptimes)
    spec = CheckSpec(KEY, HttpGet("web1", 80, "/"), 5.0, 5.0)

    def observe(outcome: Outcome, generation: int, reason: Reason = Reason.NONE) -> None:
        healths.observe([ProbeResult(KEY, generation, outcome, run.wall.now, 0.1, reason)])
        run.live(100)

    healths.follow([(spec, 1)])
    run.live(100)
    observe(Outcome.SUCCESS, 1)
    observe(Outcome.SUCCESS, 1)
    observe(Outcome.FAILURE, 1, Reason.STATUS)
    assert run.share() == (200, 100)
    healths.follow([(spec, 2)])
    run.live(100)
    assert run.share() == (200, 100)
    observe(Outcome.SUCCESS, 2)
    healths.forget([KEY])
    run.live(100)
    assert run.share() == (300, 100)
    healths.follow([(replace(spec, probe=Unprobed()), 3)])
    observe(Outcome.SUCCESS, 3)
    assert run.share() == (300, 100)


def test_a_check_that_continues_counts_from_the_start() -> None:
    run = Run()
    before = Inherited(CheckHealth(CRITICAL, Reason.STATUS, since=5.0))
    healths = HealthStore(lambda _: None, uptimes=run.uptimes, inherit=lambda _: before)
    healths.follow([(CheckSpec(KEY, HttpGet("web1", 80, "/"), 5.0, 5.0), 1)])
    run.live(100)
    assert run.share() == (0, 100)
