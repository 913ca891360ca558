"""Faults of the controller's own process."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random

from tests.faults.fault import Fault
from tests.faults.stage import NODE, Stage
from tests.faults.tracing import hold, polling, release
from tests.support.authority import Authority
from tests.support.clock import Clock
from tests.support.net import until
from tests.support.proxy import CLEAR, Line

RESTARTS = 3
MANY_RESTARTS = 20
BRIEF_STOPS = 4
BUSY = 4
FIRST_VERDICT_WITHIN = 30.0
GONE_WITHIN = 45.0
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
STEPS = (0.5, -0.5, MINUTE, -MINUTE, HOUR, -HOUR, DAY, -DAY)
"""By how many seconds a wall clock jumps; a night of summer time's end, and a machine that slept, are among them."""


def killed(stage: Stage, random: Random) -> Iterator[None]:
    """The process is killed with SIGKILL, and is started again after a while."""
    stage.process.kill()
    yield
    stage.start()


def killed_again_and_again(times: int, stage: Stage, random: Random) -> Iterator[None]:
    """The process is killed with SIGKILL and started again after a second, several times."""
    for _ in range(times):
        stage.process.kill()
        time.sleep(1.0)
        stage.start()
        time.sleep(random.uniform(0.0, 1.5))
    yield


def stopped(stage: Stage, random: Random) -> Iterator[None]:
    """The process is stopped by SIGSTOP."""
    stage.process.stop()
    yield
    stage.process.go_on()


def stopped_briefly(stage: Stage, random: Random) -> Iterator[None]:
    """The process is stopped by SIGSTOP many times, each time for about as long as a probe may take. The targets answer
    slowly."""
    pods = [pod for pod in stage.pods.all.values() if pod.good]
    before = {pod: pod.does for pod in pods}
    for pod in pods:
        pod.turn("ok-slower")
    for least, most in ((0.3, 0.5), (0.5, 1.5)) * BRIEF_STOPS:
        stage.process.stop()
        time.sleep(random.uniform(least, most))
        stage.process.go_on()
        time.sleep(random.uniform(1.0, 1.5) * stage.scale.interval)
    yield
    for pod, does in before.items():
        pod.turn(does)


def machine_stood_still(how: Callable[[Clock, float], None], stage: Stage, random: Random) -> Iterator[None]:
    """The machine was suspended or paused for so long that Consul ended our session. Some pods died meanwhile.
    Afterwards the clocks of the process show what the clocks of such a machine show."""
    stage.process.terminate()
    stage.start(stage.clock)
    stage.process.wait_ready()
    stage.settle()
    began = time.monotonic()
    stage.process.stop()
    good = [pod for pod in stage.pods.all.values() if pod.good]
    for pod in random.sample(good, len(good) // 2):
        pod.turn("500")
    yield
    until(lambda: not stage.observer.known(), GONE_WITHIN, "the keys to go with their session")
    how(stage.clock, time.monotonic() - began)
    stage.process.go_on()
    stage.settle()
    stage.process.terminate()
    stage.clock.right()
    stage.start()


def killed_for_good(stage: Stage, random: Random) -> Iterator[None]:
    """The process is killed with SIGKILL. It is started again only after its lease must have ended."""
    yield from killed(stage, random)


def probe_thread_held(stage: Stage, random: Random) -> Iterator[None]:
    """Only the thread that probes is stopped."""
    held: list[int] = []

    def is_found() -> bool:
        """Whether the thread is found. It is not found at moments in which it does not wait."""
        held[:] = [tid for tid, waits in polling(stage.process.pid) if any("eventfd" in each for each in waits)]
        return bool(held)

    until(is_found, what="the thread that probes to wait")
    hold(held[0])
    yield
    release(held[0])


def terminated(stage: Stage, random: Random) -> Iterator[None]:
    """SIGTERM while probes are in flight, then a restart."""
    pod = random.choice(stage.pods.wanted() or list(stage.pods.all))
    before = stage.pods.all[pod].does
    stage.pods.all[pod].turn("hang")
    time.sleep(stage.scale.interval + stage.scale.timeout / 2)
    stage.process.terminate()
    yield
    stage.pods.all[pod].turn(before)
    stage.start()


def terminated_twice(stage: Stage, random: Random) -> Iterator[None]:
    """SIGTERM, and a second SIGTERM while the process stops."""
    stage.process.terminate(times=2)
    yield
    stage.start()


def terminated_in_a_write(stage: Stage, random: Random) -> Iterator[None]:
    """SIGTERM while writes to Consul are in flight. They take half a second each."""
    stage.proxy.behave(Line(delay=0.5))
    for pod in list(stage.pods.all.values())[:3]:
        pod.turn("500" if pod.good else "ok")
    time.sleep(stage.scale.interval)
    stage.process.terminate()
    stage.proxy.behave(CLEAR)
    yield
    stage.start()


def terminated_while_consul_hangs(stage: Stage, random: Random) -> Iterator[None]:
    """SIGTERM while no request to Consul is answered."""
    stage.proxy.behave(Line(stalled=True))
    time.sleep(1.0)
    stage.process.terminate()
    stage.proxy.behave(CLEAR)
    yield
    stage.start()


def terminated_at_its_start(stage: Stage, random: Random) -> Iterator[None]:
    """SIGTERM at several moments of the start."""
    stage.process.terminate()
    for _ in range(RESTARTS):
        starting = stage.spawn()
        time.sleep(random.uniform(0.1, 1.5))
        starting.terminate()
    yield
    stage.start()


def reloaded(stage: Stage, random: Random) -> Iterator[None]:
    """SIGHUP with a configuration that changes no check, with invalid configurations, and without a configuration."""
    config = stage.process.config
    good = config.read_bytes()
    for changed in (good + b"log_level: debug\n", good + b"defaults: [no, mapping]\n", b"\x00\xff", None, good):
        config.unlink(missing_ok=True)
        if changed is not None:
            config.write_bytes(changed)
        stage.process.reload()
        time.sleep(random.uniform(0.3, 0.8))
    yield


def no_descriptors(stage: Stage, random: Random) -> Iterator[None]:
    """The process cannot open any further descriptor."""
    pid = stage.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
    yield
    with suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def log_not_read(stage: Stage, random: Random) -> Iterator[None]:
    """The reader of standard error stops reading while many lines are logged."""
    stage.process.log.rest(stage.process.pid)
    for pod in stage.pods.all.values():
        pod.turn("500" if pod.good else "ok")
    yield
    stage.process.log.go()


def log_closed(stage: Stage, random: Random) -> Iterator[None]:
    """The reader of standard error is gone. A new process gets a new reader."""
    stage.process.log.leave()
    for pod in list(stage.pods.all.values())[:3]:
        pod.turn("500" if pod.good else "ok")
    yield
    stage.process.terminate()
    stage.start()


def throttled(stage: Stage, random: Random) -> Iterator[None]:
    """The process gets a third of a processor, in time slices as short as those of a quota of the kernel."""
    healed, pid = threading.Event(), stage.process.pid

    def throttle() -> None:
        while not healed.wait(0.03):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.07)
            os.kill(pid, signal.SIGCONT)

    for pod in stage.pods.all.values():
        if pod.good:
            pod.turn("ok-slower")
    thread = threading.Thread(target=throttle, daemon=True)
    thread.start()
    yield
    healed.set()
    thread.join()
    for pod in stage.pods.all.values():
        if pod.good:
            pod.turn("ok")


def clock_stepped(stage: Stage, random: Random) -> Iterator[None]:
    """The wall clock jumps forward and back, stays wrong for a while, and is corrected."""
    stage.process.terminate()
    stage.start(stage.clock)
    for step in random.sample(STEPS, 3):
        stage.clock.set(step)
        time.sleep(random.uniform(1.0, 2.5) * stage.scale.interval)
    yield
    stage.clock.set(0.0)


def clock_stepped_over_a_restart(stage: Stage, random: Random) -> Iterator[None]:
    """The wall clock jumps while the controller does not run. So its saved state is from the future or from long
    ago."""
    for step in random.sample((-HOUR, HOUR), 2):
        stage.process.kill()
        stage.clock.set(step)
        stage.start(stage.clock)
        time.sleep(3 * stage.scale.interval)
    yield
    stage.process.terminate()
    stage.clock.set(0.0)
    stage.start()


def authorities_replaced(stage: Stage, random: Random) -> Iterator[None]:
    """The authorities that a new pod's check trusts are replaced right after its first verdict. The new ones have not
    signed the target's certificate. They are replaced by a link to another folder, as Kubernetes does it."""
    pod = stage.pods.one_more()
    mount = stage.folder / f"mount-{pod.name}"
    old, new = Authority(mount / "..old"), Authority(mount / "..new")
    (mount / "..data").symlink_to("..old")
    (mount / "ca.pem").symlink_to(Path("..data", old.file.name))
    pod.speak_tls(old.server(NODE), mount / "ca.pem")
    stage.pods.schedule(pod.name)
    until(lambda: pod.name in stage.observer.known(), FIRST_VERDICT_WITHIN, "the new pod's first verdict")
    (mount / "..data_tmp").symlink_to(new.file.parent.name)
    (mount / "..data_tmp").replace(mount / "..data")
    pod.distrust()
    yield


def second_controller(stage: Stage, random: Random) -> Iterator[None]:
    """Another controller of the same node runs at the same time, as on a machine that was copied with its name."""
    second = stage.second()
    try:
        second.wait_listening()
        yield
        second.terminate()
    finally:
        second.kill()


def busy(stage: Stage, random: Random) -> Iterator[None]:
    """Four loops use the processor and do nothing else."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY)]
    yield
    for loop in loops:
        loop.kill()
        loop.wait()


FAULTS = (
    Fault("killed", "process", killed, seconds=3, long=25, in_fleets=True),
    Fault("killed-for-good", "process", killed_for_good, seconds=23, long=40),
    Fault(
        "killed-again-and-again",
        "process",
        partial(killed_again_and_again, RESTARTS),
        seconds=0,
        takes=10,
        in_fleets=True,
    ),
    Fault(
        "killed-twenty-times",
        "process",
        partial(killed_again_and_again, MANY_RESTARTS),
        seconds=0,
        takes=60,
        only_long=True,
    ),
    Fault("stopped", "process", stopped, seconds=5, long=25),
    Fault("machine-suspended", "process", partial(machine_stood_still, Clock.suspend), ("clock",), seconds=21, takes=8),
    Fault("machine-paused", "process", partial(machine_stood_still, Clock.pause), ("clock",), seconds=21, takes=8),
    Fault("stopped-briefly", "process", stopped_briefly, seconds=0, takes=16, in_fleets=True),
    Fault("terminated", "process", terminated, seconds=0.5, in_fleets=True),
    Fault("terminated-twice", "process", terminated_twice, seconds=0.5, in_fleets=True),
    Fault("terminated-in-a-write", "process", terminated_in_a_write, ("slow",), seconds=0, in_fleets=True),
    Fault(
        "terminated-while-consul-hangs", "process", terminated_while_consul_hangs, ("cut",), seconds=0, in_fleets=True
    ),
    Fault("terminated-at-its-start", "process", terminated_at_its_start, seconds=0, takes=5, in_fleets=True),
    Fault("reloaded", "process", reloaded, seconds=2, in_fleets=True),
    Fault("probe-thread-held", "process", probe_thread_held, ("stuck",), seconds=9, long=20, in_fleets=True),
    Fault("no-descriptors", "process", no_descriptors, ("local", "cut"), seconds=3, long=20),
    Fault("log-not-read", "process", log_not_read, seconds=4, long=10, in_fleets=True),
    Fault("log-closed", "process", log_closed, seconds=2, in_fleets=True),
    Fault("busy", "process", busy, ("busy",), seconds=2, long=15, in_fleets=True, of_all=True),
    Fault("throttled", "process", throttled, ("busy",), seconds=6, long=20),
    Fault("clock-stepped", "process", clock_stepped, ("clock",), seconds=2, long=15, takes=8, in_fleets=True),
    Fault(
        "clock-stepped-over-a-restart",
        "process",
        clock_stepped_over_a_restart,
        ("clock",),
        seconds=1,
        takes=12,
        in_fleets=True,
    ),
    Fault("authorities-replaced", "process", authorities_replaced, ("files",), seconds=8),
    Fault("second-controller", "process", second_controller, ("two",), seconds=4, long=25, in_fleets=True),
)
