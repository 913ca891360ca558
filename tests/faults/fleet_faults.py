"""What may happen to the members of a fleet."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from random import Random

from tests.faults.fault import Fault
from tests.faults.history import FaultBegan, FaultEnded, FaultStood
from tests.faults.line_faults import behaves
from tests.faults.process_faults import killed, stopped
from tests.faults.stage import Stage
from tests.support.fake_http import Asked, Reply
from tests.support.gateway import Lie
from tests.support.proxy import CLEAR, Line

ALMOST_JOINED = 4.3
"""Seconds after its start in which a member is not yet shown as one, but almost."""
CUT_OFF = 8.0
"""Seconds for which a member is cut off: its check expires, and its session does not."""
WRITTEN = 8
"""The number of pods that change while a member is cut off."""
REMOVED = 3.0
"""Seconds in which the others remove a pod."""
TURN = 20.0
"""Seconds from one joining or leaving to the next."""
SEEN = 2.0
"""Seconds after which all members have seen that one has left."""


def behind(stage: Stage, random: Random) -> Iterator[None]:
    """One member is not told any more who the members are, and another one joins. So two views are in force."""
    joins = random.choice([each for each in stage.controllers if each is not stage.controller])
    joins.process.terminate()
    time.sleep(SEEN)
    released = threading.Event()
    stage.gateway.lie = _holds_members(released)
    stage.proxy.cut()
    joins.start()
    yield
    stage.gateway.lie = None
    released.set()
    stage.proxy.cut()


def _holds_members(released: threading.Event) -> Lie:
    """Answers about the members are held back until `released`."""

    def hold(asked: Asked) -> Reply | None:
        if asked.path.startswith("/v1/health/service/"):
            released.wait()
        return None

    return hold


def cut_off_as_one_joins(stage: Stage, random: Random) -> Iterator[None]:
    """One member is cut off just before Consul shows another one that joins."""
    joins = random.choice([each for each in stage.controllers if each is not stage.controller])
    joins.process.terminate()
    time.sleep(SEEN)
    joins.start()
    time.sleep(ALMOST_JOINED)
    with _cut_off(stage):
        time.sleep(CUT_OFF)
    yield


@contextmanager
def _cut_off(stage: Stage) -> Iterator[None]:
    """A member is cut off. That is recorded as a fault of its own, because the checker must know when it begins."""
    name, member, note, now = "member-cut-off", stage.controller.member, stage.recorder.note, stage.recorder.now
    note(FaultBegan(now(), name, ("cut",), member))
    stage.proxy.behave(Line(stalled=True))
    stands = now()
    yield
    note(FaultStood(stands, now(), name))
    stage.proxy.behave(CLEAR)
    note(FaultEnded(now(), name))


def cut_off_in_writes(stage: Stage, random: Random) -> Iterator[None]:
    """A member is cut off, and its last writes wait in the line. The pods are removed before the writes arrive."""
    pods = random.sample(stage.pods.wanted(), WRITTEN)
    with _cut_off(stage):
        for name in pods:
            pod = stage.pods.all[name]
            pod.turn("500" if pod.good else "ok")
        time.sleep(CUT_OFF)
        for name in pods:
            stage.pods.remove(name)
        time.sleep(REMOVED)
    yield
    time.sleep(SEEN)
    for name in pods:
        stage.pods.schedule(name)


def join_and_leave(stage: Stage, random: Random) -> Iterator[None]:
    """A member leaves in order, and joins 20 s later."""
    stage.process.terminate()
    time.sleep(TURN)
    stage.start()
    time.sleep(TURN)
    yield


def rolling_restart(stage: Stage, random: Random) -> Iterator[None]:
    """One member after the other is stopped in order and started again, as an upgrade does it."""
    for each in random.sample(stage.controllers, len(stage.controllers)):
        each.process.terminate()
        each.start()
        stage.wait_whole()
    yield


def all_killed(stage: Stage, random: Random) -> Iterator[None]:
    """kill -9 of all members."""
    for each in stage.controllers:
        each.process.kill()
    yield
    for each in stage.controllers:
        each.start()


STALLED = partial(behaves, Line(stalled=True))

FAULTS = (
    Fault("member-killed", "fleet", killed, seconds=8),
    Fault("member-killed-for-long", "fleet", killed, seconds=25),
    Fault("member-frozen", "fleet", stopped, seconds=8),
    Fault("member-frozen-for-long", "fleet", stopped, seconds=25),
    Fault("member-cut-off", "fleet", STALLED, ("cut",), seconds=8),
    Fault("member-cut-off-for-long", "fleet", STALLED, ("cut",), seconds=25),
    Fault("member-cut-off-as-one-joins", "fleet", cut_off_as_one_joins, seconds=0, takes=16),
    Fault("member-cut-off-in-writes", "fleet", cut_off_in_writes, seconds=0, takes=11),
    Fault("member-behind", "fleet", behind, ("behind",), seconds=24, takes=8),
    Fault("members-join-and-leave", "fleet", join_and_leave, seconds=0, takes=42),
    Fault("members-restarted", "fleet", rolling_restart, seconds=0, takes=45),
    Fault("members-killed", "fleet", all_killed, seconds=23, of_all=True),
)
