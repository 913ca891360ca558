"""What may happen to the members of a fleet."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from random import Random

from tests.faults.fault import Fault
from tests.faults.history import FaultBegan, FaultEnded, FaultStood
from tests.faults.line_faults import behaves
from tests.faults.observer import LOOKS
from tests.faults.pods import Pod
from tests.faults.process_faults import killed, stopped
from tests.faults.stage import Stage
from tests.support.fake_http import Asked, Reply
from tests.support.gateway import Lie
from tests.support.net import until
from tests.support.proxy import CLEAR, Line

ALMOST_JOINED = 4.3
"""Seconds after its start in which a member is not yet shown as one, but almost."""
CUT_OFF = 8.0
"""Seconds for which a member is cut off: its check expires, and its session does not."""
WRITES = 30.0
"""Seconds in which a member writes the health of a pod that has changed."""
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
    """A member is cut off while a write of it is on its way. The write arrives when others have taken over its pods,
    and when these pods have been removed."""
    stage.wait_whole()
    write = _HeldWrite(stage, random)
    until(write.began.is_set, WRITES, "the member to write the health of a pod that has changed")
    with _cut_off(stage):
        _wait(write.is_overtaken, CUT_OFF)
        for name in write.pods:
            stage.pods.remove(name)
        _wait(write.is_left_alone, REMOVED)
        time.sleep(SEEN)  # the metrics do not show these pods any more either
        write.release()
    yield
    time.sleep(SEEN)
    for name in write.pods:
        stage.pods.schedule(name)


class _HeldWrite:
    """Changes one pod of each node of the member, and holds the first write that is only about such pods. Consul
    refuses a late write as a whole if it is about another pod too."""

    def __init__(self, stage: Stage, random: Random) -> None:
        self._observer, self._gateway, self._sessions = stage.observer, stage.gateway, _sessions(stage)
        self._keys = {pod.health_key: pod.name for pod in self._one_of_each_node(stage, random)}
        self._released = threading.Event()
        self.began = threading.Event()
        self.pods: frozenset[str] = frozenset()
        """The pods that the write is about."""
        self._gateway.lie = self._hold
        for name in self._keys.values():
            stage.pods.all[name].turn("500" if stage.pods.all[name].good else "ok")

    def _one_of_each_node(self, stage: Stage, random: Random) -> Iterator[Pod]:
        ours = [stage.pods.all[name] for name in self._held_by_member()]
        by_node = {pod.node: pod for pod in random.sample(ours, len(ours)) if pod.wanted}
        yield from by_node.values()

    def _held_by_member(self) -> list[str]:
        return sorted(name for name, record in self._observer.known().items() if record.session in self._sessions)

    def _hold(self, asked: Asked) -> Reply | None:
        if asked.path.startswith("/v1/txn") and not self.began.is_set():
            operations = [each["KV"] for each in json.loads(asked.body) if "KV" in each]
            keys = {each["Key"] for each in operations}
            if keys and keys <= self._keys.keys() and any(each["Verb"] == "lock" for each in operations):
                self.pods = frozenset(self._keys[key] for key in keys)
                self.began.set()
                self._released.wait()
        return None

    def is_overtaken(self) -> bool:
        """Whether others hold the keys of the pods."""
        return not self.pods.intersection(self._held_by_member())

    def is_left_alone(self) -> bool:
        """Whether the keys of the pods are gone."""
        return not self.pods & self._observer.known().keys()

    def release(self) -> None:
        """Lets the write pass."""
        self._gateway.lie = None
        self._released.set()


def _sessions(stage: Stage) -> frozenset[str]:
    """Returns the sessions of the member."""
    prefix = f"health:{stage.controller.member}:"
    sessions = stage.ask("GET", "session/list").json()
    return frozenset(each["ID"] for each in sessions if each["Name"].startswith(prefix))


def _wait(condition: Callable[[], bool], within: float) -> None:
    """Waits until `condition()` is true, or for `within` seconds."""
    deadline = time.monotonic() + within
    while not condition() and time.monotonic() < deadline:
        time.sleep(LOOKS)


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
