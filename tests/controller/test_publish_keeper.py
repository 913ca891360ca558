"""The thread that compares our health keys with Consul."""

import time
from collections.abc import Callable, Collection

from controller.consul.client import ConsulUnavailable
from controller.publish.kv_keeper import KeyKeeper
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
