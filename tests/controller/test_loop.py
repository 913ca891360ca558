"""The loop waits in one place: for sockets, for its timeout, and for calls of `wake`."""

import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from controller.probes.loop import PROMPT, Loop
from tests.support.recorders import FakeClock


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


class Pair:
    """Two connected sockets: `mine` is watched, and the test writes to `other`."""

    def __init__(self) -> None:
        self.mine, self.other = socket.socketpair()
        self.mine.setblocking(False)

    @property
    def fd(self) -> int:
        return self.mine.fileno()

    def close(self) -> None:
        self.mine.close()
        self.other.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.close()


class Owner:
    """Records its events: the descriptor, the mask, and since when they may have been there."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.told: list[tuple[int, int, float]] = []
        self._then = then

    def ready(self, fd: int, events: int, since: float) -> None:
        self.told.append((fd, events, since))
        self._then()


def turn_until(loop: Loop, condition: Callable[[], object], within: float = 10.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        loop.turn(0.1)


# Events


def test_each_event_goes_to_the_owner_of_its_socket(loop: Loop) -> None:
    pairs = [Pair() for _ in range(50)]
    owners = [Owner() for _ in pairs]
    for pair, owner in zip(pairs, owners, strict=True):
        loop.watch(pair.fd, owner)
    turn_until(loop, lambda: all(owner.told for owner in owners))
    for owner in owners:
        owner.told.clear()
    for pair in pairs[::2]:
        pair.other.send(b"x")
    turn_until(loop, lambda: all(owner.told for owner in owners[::2]))
    for pair, owner in zip(pairs[::2], owners[::2], strict=True):
        assert [fd for fd, _, _ in owner.told] == [pair.fd]
        assert owner.told[0][1] & select.EPOLLIN
    assert not any(owner.told for owner in owners[1::2])
    for pair in pairs:
        pair.close()


def test_an_event_is_reported_once_and_again_when_more_comes(loop: Loop, pair: Pair) -> None:
    owner = Owner()
    loop.watch(pair.fd, owner)
    for count in (1, 2, 3):
        pair.other.send(b"x")
        turn_until(loop, lambda count=count: len(owner.told) >= count)  # type: ignore[misc]
        loop.turn(0.0)
        assert len(owner.told) == count, "what is left unread is not told again"


def test_the_end_of_a_connection_is_an_event(loop: Loop, pair: Pair) -> None:
    owner = Owner()
    loop.watch(pair.fd, owner)
    pair.other.close()
    turn_until(loop, lambda: owner.told)
    assert owner.told[0][1] & select.EPOLLRDHUP


def test_a_socket_that_is_forgotten_and_closed_is_not_reported_any_more(loop: Loop, pair: Pair) -> None:
    owner = Owner()
    loop.watch(pair.fd, owner)
    pair.other.send(b"x")
    loop.forget(pair.fd)
    pair.mine.close()
    loop.turn(0.0)
    assert not owner.told
    loop.forget(pair.fd)


def test_a_socket_that_another_owner_closes_in_the_same_turn_is_not_reported_any_more(loop: Loop) -> None:
    with ExitStack() as stack:
        pairs = [Pair(), Pair()]
        for pair in pairs:
            stack.callback(pair.close)
        owners: list[Owner] = []

        def close_other() -> None:
            """The one that is called first closes both."""
            for each in pairs:
                loop.forget(each.fd)
                each.mine.close()

        owners += [Owner(close_other), Owner(close_other)]
        for pair, owner in zip(pairs, owners, strict=True):
            loop.watch(pair.fd, owner)
        loop.turn(5.0)
        assert sum(len(owner.told) for owner in owners) == 1


def test_the_former_owner_of_a_number_gets_no_event_of_the_socket_that_has_it_now(loop: Loop) -> None:
    first = Pair()
    former, present = Owner(), Owner()
    loop.watch(first.fd, former)
    number = first.fd
    loop.forget(number)
    first.close()
    second = Pair()
    if second.fd != number:
        os.dup2(second.fd, number)
        second.mine.close()
        second.mine = socket.socket(fileno=number)
    loop.watch(number, present)
    second.other.send(b"x")
    turn_until(loop, lambda: present.told)
    assert not former.told
    second.close()


def test_an_event_of_a_closed_socket_is_not_given_to_the_one_that_gets_its_number_in_the_same_turn(loop: Loop) -> None:
    """Both sockets have an event. Whoever is called first closes the other one and opens a new one in its place."""
    pairs, successor = [Pair(), Pair()], Owner()
    numbers = [pair.fd for pair in pairs]
    spare, end = socket.socketpair()

    def replace() -> None:
        other = 1 if owners[0].told else 0
        loop.forget(numbers[other])
        pairs[other].mine.close()
        os.dup2(spare.fileno(), numbers[other])
        pairs[other].mine = socket.socket(fileno=numbers[other])
        loop.watch(numbers[other], successor)

    owners = [Owner(replace), Owner(replace)]
    for pair, owner in zip(pairs, owners, strict=True):
        loop.watch(pair.fd, owner)
        pair.other.send(b"x")
    loop.turn(5.0)
    assert sum(len(owner.told) for owner in owners) == 1
    assert not successor.told
    end.send(b"x")
    turn_until(loop, lambda: successor.told)
    for pair in pairs:
        pair.close()
    spare.close()
    end.close()


# Times


def test_a_turn_ends_after_its_time_when_nothing_happens(loop: Loop) -> None:
    began = time.monotonic()
    loop.turn(0.1)
    assert 0.09 < time.monotonic() - began < 30
    loop.turn(-5.0)


def test_an_owner_learns_since_when_its_socket_may_have_been_ready(pair: Pair) -> None:
    clock, owner = FakeClock(), Owner()
    loop = Loop(clock)
    loop.turn(0.0)
    began = clock.now
    pair.other.send(b"x")
    loop.watch(pair.fd, owner)
    clock.advance(0.7)  # a long turn
    loop.turn(5.0)
    [(_, _, since)] = owner.told
    assert since == began
    assert loop.lag == pytest.approx(0.7)
    assert loop.looked == clock.now
    pair.other.send(b"x")
    loop.turn(5.0)
    assert owner.told[1][2] == pytest.approx(clock.now), "the turn before was short"
    assert loop.lag == 0
    loop.close()


class Stops:
    """A clock that advances by `stops` seconds during the next wait, as if this process were stopped."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.stops = [0.0]

    def __call__(self) -> float:
        self.now += self.stops.pop(0) if self.stops else 0.0
        return self.now


def test_a_wait_that_took_longer_than_requested_counts_as_our_own_time(pair: Pair) -> None:
    clock, owner = Stops(), Owner()
    loop = Loop(clock)
    loop.watch(pair.fd, owner)
    loop.turn(0.0)
    for waited, lag in ((PROMPT / 2, 0.0), (3.0, 3.0)):
        owner.told.clear()
        pair.other.send(b"x")
        clock.stops = [0.0, waited]  # when it begins to poll, and when it has polled
        loop.turn(0.0)
        assert loop.lag == pytest.approx(lag)
        assert clock.now - owner.told[0][2] == pytest.approx(lag)
    owner.told.clear()
    pair.other.send(b"x")
    clock.stops = []
    loop.turn(0.0)
    assert loop.lag == 0
    assert clock.now - owner.told[0][2] == pytest.approx(3.0), "it may have been ready while the last turn was away"
    loop.close()


# Waking, and the end


def test_waking_ends_the_present_turn_and_otherwise_the_next(loop: Loop) -> None:
    began = time.monotonic()
    loop.wake()
    loop.wake()
    loop.turn(60.0)
    waker = threading.Timer(0.05, loop.wake)
    waker.start()
    loop.turn(60.0)
    waker.join()
    assert time.monotonic() - began < 10
    began = time.monotonic()
    loop.turn(0.1)
    assert time.monotonic() - began > 0.09, "being woken is not remembered"


def test_waking_after_the_end_does_nothing_and_harms_no_descriptor_of_others() -> None:
    loop = Loop()
    loop.close()
    read, write = os.pipe()
    loop.wake()
    os.close(write)
    assert os.read(read, 8) == b""
    os.close(read)


def test_closing_frees_every_descriptor(pair: Pair) -> None:
    before = descriptors()
    for _ in range(10):
        loop = Loop()
        loop.watch(pair.fd, Owner())
        loop.turn(0.0)
        loop.close()
    assert descriptors() == before


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
