"""A thread that stands still is named. A thread that runs is not."""

import threading

from controller.runtime.heartbeat import Heartbeat, Heartbeats
from tests.support.recorders import FakeClock


def test_a_pulse_stands_still_only_after_its_limit() -> None:
    clock = FakeClock()
    heartbeat = Heartbeat("watch", 30, clock)
    clock.advance(30)
    assert not heartbeat.stands_still()
    clock.advance(0.1)
    assert heartbeat.stands_still()
    heartbeat.beat()
    assert heartbeat.silence() == 0
    assert not heartbeat.stands_still()


def test_a_new_pulse_counts_from_its_making_so_that_a_start_is_no_standstill() -> None:
    clock = FakeClock(10_000)
    heartbeat = Heartbeat("watch", 5, clock)
    clock.advance(4)
    assert not heartbeat.stands_still()


def test_complaints_name_the_threads_that_stand_still_and_for_how_long() -> None:
    clock = FakeClock()
    heartbeats = Heartbeats(clock)
    quick, slow = heartbeats.new("probe", 5), heartbeats.new("watch", 30)
    assert not heartbeats.complaints()
    clock.advance(12)
    assert heartbeats.complaints() == ["thread probe has stood still for 12 s"]
    clock.advance(20)
    assert len(heartbeats.complaints()) == 2
    quick.beat()
    slow.beat()
    assert not heartbeats.complaints()


def test_a_thread_that_waits_for_others_is_hopeless_much_later() -> None:
    clock = FakeClock()
    heartbeats = Heartbeats(clock)
    alone, asking = heartbeats.new("probe", 5), heartbeats.new("watch", 30, asks=True)
    clock.advance(5.1)
    assert heartbeats.hopeless()
    assert heartbeats.stuck() == ["thread probe has stood still for 5 s"]
    alone.beat()
    assert not heartbeats.hopeless()
    assert not heartbeats.stuck()
    clock.advance(590)
    alone.beat()
    assert asking.stands_still()
    assert not heartbeats.hopeless()
    clock.advance(5)
    alone.beat()
    assert heartbeats.hopeless()


def test_a_thread_that_has_ended_is_hopeless_as_soon_as_it_is_missed() -> None:
    clock = FakeClock()
    heartbeats = Heartbeats(clock)
    thread = threading.Thread(target=heartbeats.new("session", 30, asks=True).beat)
    thread.start()
    thread.join()
    clock.advance(30)
    assert not heartbeats.hopeless()
    clock.advance(0.1)
    assert heartbeats.hopeless()
    assert heartbeats.complaints() == ["thread session has stood still for 30 s"]
