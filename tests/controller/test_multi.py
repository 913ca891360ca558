"""Waiting in one place: for libcurl's sockets and timers, and for whoever wakes."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pycurl
import pytest

from controller.probes.multi import Multi
from tests.support import targets
from tests.support.net import until
from tests.support.recorders import FakeClock
from tests.support.targets import Target


@pytest.fixture
def multi() -> Iterator[Multi]:
    multi = Multi()
    yield multi
    multi.close()


def transfer(target: Target, path: str = "/", timeout_ms: int = 5_000) -> pycurl.Curl:
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, f"http://127.0.0.1:{target.port}{path}")
    curl.setopt(pycurl.NOSIGNAL, 1)
    curl.setopt(pycurl.TIMEOUT_MS, timeout_ms)
    curl.setopt(pycurl.WRITEFUNCTION, len)
    return curl


def turn_until(multi: Multi, condition: Callable[[], object], within: float = 10.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        multi.turn(0.1)


def collect(multi: Multi, count: int) -> dict[pycurl.Curl, tuple[int, str]]:
    """Turn until so many transfers have ended; each leaves."""
    found: dict[pycurl.Curl, tuple[int, str]] = {}

    def ended() -> bool:
        for curl, code, message in multi.ended():
            found[curl] = (code, message)
            multi.remove(curl)
        return len(found) >= count

    turn_until(multi, ended)
    return found


def test_a_transfer_goes_in_and_comes_out_when_it_has_ended(multi: Multi, target: Target) -> None:
    curl = transfer(target)
    multi.add(curl)
    assert collect(multi, 1) == {curl: (pycurl.E_OK, "")}
    assert curl.getinfo(pycurl.RESPONSE_CODE) == 200
    assert list(multi.ended()) == []


def test_many_transfers_run_beside_each_other_and_each_has_its_own_end(multi: Multi, target: Target) -> None:
    target.behave(targets.close, "/closes")
    good = [transfer(target, f"/{number}") for number in range(100)]
    bad = [transfer(target, "/closes") for _ in range(20)]
    for curl in (*good, *bad):
        multi.add(curl)
    found = collect(multi, 120)
    assert {found[curl][0] for curl in good} == {pycurl.E_OK}
    assert {found[curl][0] for curl in bad} == {pycurl.E_GOT_NOTHING}
    assert all(found[curl][1] for curl in bad), "an error has its message"


def test_a_deadline_is_kept_while_nothing_else_happens(multi: Multi, target: Target) -> None:
    target.behave(targets.hang)
    curl = transfer(target, timeout_ms=200)
    multi.add(curl)
    began = time.monotonic()
    found: list[int] = []
    while not found:
        multi.turn(60.0)
        found = [code for _, code, _ in multi.ended()]
    assert found == [pycurl.E_OPERATION_TIMEDOUT]
    assert 0.15 < time.monotonic() - began < 5
    multi.remove(curl)


def test_a_transfer_that_is_taken_out_is_gone_with_its_connection(multi: Multi, target: Target) -> None:
    target.behave(targets.hang)
    curl = transfer(target)
    multi.add(curl)
    turn_until(multi, lambda: target.hits() and target.open_connections() == 1)
    multi.remove(curl)
    until(lambda: target.open_connections() == 0)
    assert list(multi.ended()) == []


def test_a_turn_ends_after_its_time_when_nothing_happens(multi: Multi) -> None:
    began = time.monotonic()
    multi.turn(0.1)
    assert 0.09 < time.monotonic() - began < 2
    multi.turn(-5.0)


def test_waking_ends_the_present_turn_and_otherwise_the_next(multi: Multi) -> None:
    began = time.monotonic()
    multi.wake()
    multi.wake()
    multi.turn(60.0)
    waker = threading.Timer(0.05, multi.wake)
    waker.start()
    multi.turn(60.0)
    waker.join()
    assert time.monotonic() - began < 10
    began = time.monotonic()
    multi.turn(0.1)
    assert time.monotonic() - began > 0.09, "being woken is not remembered"


def test_waking_after_the_end_does_nothing_and_harms_no_descriptor_of_others(target: Target) -> None:
    multi = Multi()
    multi.close()
    read, write = os.pipe()
    multi.wake()
    os.close(write)
    assert os.read(read, 8) == b""
    os.close(read)


def test_closing_frees_every_descriptor(target: Target) -> None:
    before = _descriptors()
    multi = Multi()
    target.behave(targets.hang)
    curls = [transfer(target) for _ in range(10)]
    for curl in curls:
        multi.add(curl)
    turn_until(multi, lambda: target.open_connections() == 10)
    for curl in curls:
        multi.remove(curl)
        curl.close()
    multi.close()
    until(lambda: target.open_connections() == 0)
    until(lambda: _descriptors() - 10 <= before, what="descriptors freed (the target's 10 are its own)")


def test_idle_connections_are_kept_as_many_as_wanted(multi: Multi, target: Target) -> None:
    """HTTP/1.1 without `Connection: close`: the target leaves it to us."""
    target.behave(targets.raw_then_hang(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
    multi.keep_connections(3)
    for count in (8, 1):
        curls = [transfer(target) for _ in range(count)]
        for curl in curls:
            multi.add(curl)
        collect(multi, count)
    until(lambda: target.open_connections() <= 3 + 1)
    assert target.open_connections() >= 1


class Waits:
    """What a waiter is told: until when something was handled, and since when it may have been ready."""

    def __init__(self) -> None:
        self.told: list[tuple[float, float]] = []

    def opened(self, now: float, since: float) -> None:
        pass

    def handled(self, now: float, since: float, *, failed: bool) -> None:
        assert not failed
        self.told.append((now, since))


def test_who_waits_for_a_transfer_is_told_for_how_long_it_may_have_been_ready(target: Target) -> None:
    clock, waits = FakeClock(), Waits()
    multi = Multi(clock)

    def on_open(fd: int, _: int) -> int:
        multi.opened(fd, waits)
        return pycurl.SOCKOPT_OK

    curl = transfer(target)
    curl.setopt(pycurl.SOCKOPTFUNCTION, on_open)
    multi.turn(0.0)
    multi.add(curl)
    clock.advance(0.7)  # a long turn
    turn_until(multi, lambda: waits.told)
    [(now, since)] = waits.told
    assert now == clock.now
    assert now - since == pytest.approx(0.7)
    turn_until(multi, lambda: list(multi.ended()))
    assert all(since == pytest.approx(now) for now, since in waits.told[1:]), "the later turns were short"
    multi.remove(curl)
    multi.close()


def test_who_had_a_socket_before_takes_nothing_from_who_has_it_now(multi: Multi, target: Target) -> None:
    """Of several addresses libcurl closes the socket that lost; another transfer may get its number."""
    former, waits = Waits(), Waits()
    sockets: list[int] = []

    def on_open(fd: int, _: int) -> int:
        sockets.append(fd)
        multi.opened(fd, former)
        multi.opened(fd, waits)
        return pycurl.SOCKOPT_OK

    curl, other = transfer(target), transfer(target)
    curl.setopt(pycurl.SOCKOPTFUNCTION, on_open)
    multi.add(other)
    multi.add(curl)
    multi.remove(other, former, sockets)
    turn_until(multi, lambda: waits.told)
    multi.remove(curl, waits, sockets)
    assert not former.told


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
