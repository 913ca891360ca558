"""How long a new manifest waits for its first probe."""

import time
from statistics import median

import pytest

from tests.support.consul import Agent
from tests.support.controller import watch_for
from tests.support.fleet import Fleet
from tests.support.net import until
from tests.system.conftest import Launch

ALREADY = [f"pod-{number}" for number in range(200)]
NEW = [f"new-{number}" for number in range(25)]


@pytest.mark.alone
def test_a_new_pod_among_two_hundred_is_probed_within_fifty_milliseconds_in_the_median(
    consul: Agent, launch: Launch, fleet: Fleet
) -> None:
    fleet.schedule(*ALREADY)
    launch(consul, defaults={"interval": "5s", "timeout": "2s"})
    until(lambda: fleet.asked_by_pod().keys() == set(ALREADY), 10.0, "every pod is asked")

    waited = []
    for pod in NEW:
        watch_for(0.1)  # one writer, not a flood: a flood is listed in batches, at most every 40 ms beside so many pods
        written = time.monotonic()
        fleet.schedule(pod)
        fleet.wait_asked(pod)
        waited.append(fleet.asked(pod)[0] - written)

    print(f"first request after {median(waited) * 1000:.0f} ms in the median, {max(waited) * 1000:.0f} ms at most")
    assert median(waited) < 0.05
