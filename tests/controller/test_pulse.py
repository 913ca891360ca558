"""A thread that stands still is named, one that turns is not."""

import threading

from controller.runtime.heartbeat import Pulse, Pulses
from tests.support.recorders import FakeClock


def test_a_pulse_stands_still_only_after_its_limit() -> None:
    clock = FakeClock()
    pulse = Pulse("watch", 30, clock)
    clock.advance(30)
    assert not pulse.stands_still()
    clock.advance(0.1)
    assert pulse.stands_still()
    pulse.beat()
    assert pulse.silence() == 0
    assert not pulse.stands_still()


def test_a_new_pulse_counts_from_its_making_so_that_a_start_is_no_standstill() -> None:
    clock = FakeClock(10_000)
    pulse = Pulse("watch", 5, clock)
    clock.advance(4)
    assert not pulse.stands_still()


def test_complaints_name_the_threads_that_stand_still_and_for_how_long() -> None:
    clock = FakeClock()
    pulses = Pulses(clock)
    quick, slow = pulses.new("probe", 5), pulses.new("watch", 30)
    assert not pulses.complaints()
    clock.advance(12)
    assert pulses.complaints() == ["thread probe has stood still for 12 s"]
    clock.advance(20)
    assert len(pulses.complaints()) == 2
    quick.beat()
    slow.beat()
    assert not pulses.complaints()


def test_a_thread_that_waits_for_others_is_hopeless_much_later() -> None:
    clock = FakeClock()
    pulses = Pulses(clock)
    alone, asking = pulses.new("probe", 5), pulses.new("watch", 30, asks=True)
    clock.advance(5.1)
    assert pulses.hopeless()
    alone.beat()
    assert not pulses.hopeless()
    clock.advance(590)
    alone.beat()
    assert asking.stands_still()
    assert not pulses.hopeless()
    clock.advance(5)
    alone.beat()
    assert pulses.hopeless()


def test_a_thread_that_has_ended_is_hopeless_as_soon_as_it_is_missed() -> None:
    clock = FakeClock()
    pulses = Pulses(clock)
    thread = threading.Thread(target=pulses.new("session", 30, asks=True).beat)
    thread.start()
    thread.join()
    clock.advance(30)
    assert not pulses.hopeless()
    clock.advance(0.1)
    assert pulses.hopeless()
    assert pulses.complaints() == ["thread session has stood still for 30 s"]
