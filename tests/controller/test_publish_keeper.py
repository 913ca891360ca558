"""The thread that compares our health keys with Consul."""

import time
from collections.abc import Callable, Collection

from controller.consul.client import ConsulUnavailable
from controller.publish.kv_keeper import PAUSE, KeyKeeper, glance_period
from controller.runtime.heartbeat import Heartbeat
from reconcilers.spec import PodKey
from tests.support.net import until

ISUP = PodKey("web1", "isup")


def test_lost_keys_are_reported_and_an_error_does_not_end_the_thread() -> None:
    answers: list[Collection[PodKey] | None] = [[], None, [ISUP]]
    reported: list[PodKey] = []

    def look_again(beat: Callable[[], None]) -> Collection[PodKey]:
        beat()
        answer = answers.pop(0) if answers else []
        if answer is None:
            raise ConsulUnavailable("does not answer")
        return answer

    keeper = KeyKeeper(look_again, reported.extend, Heartbeat("kv-look", 30, time.monotonic), period=0.01)
    keeper.start()
    until(lambda: reported)
    keeper.stop(5.0, destroy=False)
    assert reported == [ISUP]


def test_glances_are_made_between_two_looks() -> None:
    calls: list[str] = []

    def look(_: Callable[[], None]) -> Collection[PodKey]:
        calls.append("look")
        return []

    def glance(_: Callable[[], None]) -> Collection[PodKey]:
        calls.append("glance")
        return [ISUP]

    reported: list[PodKey] = []
    heartbeat = Heartbeat("kv-look", 30, time.monotonic)
    keeper = KeyKeeper(look, reported.extend, heartbeat, period=0.2, glance=glance, glance_period=0.01)
    keeper.start()
    until(lambda: calls.count("look") == 3)
    keeper.stop(5.0, destroy=False)
    assert calls[0] == "look"
    assert calls.count("glance") > 3
    assert set(reported) == {ISUP}


def test_two_glances_and_the_heirs_first_probes_fit_into_an_interval() -> None:
    for interval in (1.0, 5.0, 30.0):
        assert glance_period(interval) + interval / 2 < interval


def test_requests_of_a_read_are_spread_until_the_controller_stops() -> None:
    times: list[float] = []
    released: list[float] = []

    def look_again(between: Callable[[], None]) -> Collection[PodKey]:
        for _ in range(3):
            times.append(time.monotonic())
            between()
        while not keeper._thread.stopped.is_set():
            between()
        began = time.monotonic()
        for _ in range(1_000):
            between()
        released.append(time.monotonic() - began)
        return []

    keeper = KeyKeeper(look_again, lambda _: None, Heartbeat("kv-look", 30, time.monotonic), period=0.01)
    keeper.start()
    until(lambda: len(times) == 3)
    keeper.stop(20.0, destroy=False)
    assert times[2] - times[0] > 1.9 * PAUSE
    assert released[0] < 1_000 * PAUSE / 2
