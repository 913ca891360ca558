"""The thread that looks after our health keys."""

import time
from collections.abc import Callable, Collection

from controller.consul.client import ConsulUnavailable
from controller.publish.kv_keeper import KeyKeeper
from controller.runtime.heartbeat import Heartbeat
from reconcilers.spec import PodKey
from tests.support.net import until

ISUP = PodKey("web1", "isup")


def test_lost_keys_are_told_and_an_error_ends_nothing() -> None:
    answers: list[Collection[PodKey] | None] = [[], None, [ISUP]]
    told: list[PodKey] = []

    def look(beat: Callable[[], None]) -> Collection[PodKey]:
        beat()
        answer = answers.pop(0) if answers else []
        if answer is None:
            raise ConsulUnavailable("does not answer")
        return answer

    keeper = KeyKeeper(look, told.extend, Heartbeat("kv-look", 30, time.monotonic), period=0.01)
    keeper.start()
    until(lambda: told)
    keeper.stop(5.0, destroy=False)
    assert told == [ISUP]
