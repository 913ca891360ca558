"""The scenario `overload`: more checks than a core can probe. The targets are healthy, except those of two pods.

No healthy pod may be reported as failing. The controller must make nearly all probes that the core allows. A pod that
fails must be found within three of the intervals that are kept. The full speed of the core follows from what a probe
costs at the beginning, when there are few checks. With busy loops nobody knows how much of the core is left.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.bench import podpulse, process
from tests.bench.measure import Say, Work, measure, wait_until_ready
from tests.bench.podpulse import Podpulse
from tests.bench.report import Reach, Report, reached
from tests.bench.targets import NODE, Targets
from tests.support.targets import Target, hang

PORTS = 10_000
"""The highest number of targets. With more checks, several pods share a target."""
CALM = 0.05
"""The share of the checks that runs in the beginning."""
CALM_SECONDS = 10.0
FULL_SPEED = 0.8
MOST_MB = 500
KEPT_INTERVALS = 3
BEFORE_TURN = 0.5
"""The share of the time after which the two pods begin to fail."""
PATIENCE = 10
"""The least number of intervals for which the test waits until a failing pod is critical."""
CGROUP = Path("/sys/fs/cgroup")
PERIOD = 100_000


def run(work: Work, say: Say) -> Report:
    """Runs a few checks first, and then all of them. Half-way two pods begin to fail."""
    with ExitStack() as stack:
        targets = stack.enter_context(Targets(min(work.checks, PORTS), work.scheme))
        refuses, hangs = (stack.enter_context(Target(host=targets.address)) for _ in range(2))
        prober = stack.enter_context(podpulse.running(targets, work.interval, work.options))
        few = targets.ports[: max(1, int(work.checks * CALM))]
        prober.write(few)
        calm = measure(
            prober, targets, Work(len(few), work.interval, min(CALM_SECONDS, work.seconds)), _silent, ports=few
        )
        say(f"{len(few)} checks: {calm.cpu_ms_per_1000_probes:.0f} us a probe; now {work.checks}")
        stack.enter_context(busy(work.busy))
        stack.enter_context(quota(prober.pid, work.quota))
        _write_all(prober, targets, work, len(few))
        _schedule(prober, "refuses", refuses.port)
        _schedule(prober, "hangs", hangs.port)
        wait_until_ready(prober, targets, work)
        say(f"every target was asked; watching for {work.seconds:g} s")
        prober.begin()
        cpu, began = process.cpu_seconds(prober.pid), time.time()
        time.sleep(work.seconds * BEFORE_TURN)
        hangs.behave(hang)
        refuses.refuse()
        found = _found(prober, ("refuses", "hangs"), max(work.seconds * (1 - BEFORE_TURN), PATIENCE * work.interval))
        time.sleep(max(0.0, began + work.seconds - time.time()))
        cpu, seconds = process.cpu_seconds(prober.pid) - cpu, time.time() - began
        prober.end()
        targets.log.settle()
        probes = len(targets.log.hits(began, began + seconds))
        memory = process.peak_rss_mb(prober.pid)
        ready = prober.ready()
    last = prober.last()
    kept = last.sum("podpulse_probes_kept_ratio")
    wrong = {name.split("#")[0] for name in last.pods("podpulse_probes_total", 'result="failure"')} - set(found)
    cost = calm.cpu_ms_per_1000_probes / 1e6
    full = min(1.0, work.quota) / cost if cost else float("inf")  # so few probes may cost less than a clock tick
    missed = max(0.0, 1 - probes / seconds / min(full, work.checks / work.interval))
    reaches = [
        Reach("healthy pods of which a probe failed, at any moment", len(wrong), "", 0),
        Reach("healthy pods that are unknown at the end", len(last.pods("podpulse_health", 'state="unknown"')), ""),
        Reach("probes a second", probes / seconds, ""),
        Reach("probes a second that are wanted", work.checks / work.interval, ""),
        Reach("share of the probes that is kept, by its own metric", kept, ""),
        Reach("not done, of what is wanted and the core could do", missed, "", None if work.busy else 1 - FULL_SPEED),
        Reach("CPU", cpu / seconds, "cores"),
        Reach("peak memory", memory, "MB", MOST_MB),
    ]
    for name, after in found.items():
        what = f"the pod that {name}: critical after"
        reaches.append(Reach(what, after / work.interval * kept, "kept intervals", KEPT_INTERVALS))
    beside = f", beside {work.busy} busy loops" if work.busy else ""
    share = f", with {work.quota:.0%} of a core" if work.quota < 1 else ""
    title = f"{work.checks} {work.scheme} checks every {work.interval:g} s{beside}{share}"
    return reached(title, work.as_json("overload"), reaches, [f"/-/ready: {ready}", prober.notes()])


def _silent(_: str) -> None:
    """Reports nothing: the figures of the beginning are reported together with what follows."""


def _write_all(prober: Podpulse, targets: Targets, work: Work, there: int) -> None:
    prober.write(targets.ports[there:])
    left, number = work.checks - len(targets.ports), 2
    while left > 0:
        prober.write(targets.ports[:left], suffix=f"-{number}")
        left, number = left - len(targets.ports), number + 1


def _schedule(prober: Podpulse, name: str, port: int) -> None:
    manifest = f"id: {name}\nstatus_port: {port}\nstatus_http: true\n"
    answer = prober.consul.request("PUT", f"kv/intent/{NODE}/{name}", manifest)
    assert answer.status == 200, answer.body


def _found(prober: Podpulse, names: tuple[str, ...], within: float) -> dict[str, float]:
    """Returns after how many seconds each pod was critical in Consul; infinity if it was not."""
    began, found = time.monotonic(), dict.fromkeys(names, float("inf"))
    while time.monotonic() < began + within and float("inf") in found.values():
        for name in names:
            if found[name] == float("inf") and _is_critical(prober, name):
                found[name] = time.monotonic() - began
        time.sleep(0.1)
    return found


def _is_critical(prober: Podpulse, name: str) -> bool:
    answer = prober.consul.request("GET", f"kv/health/{name}/{NODE}?raw")
    return answer.status == 200 and b"critical" in answer.body


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Runs loops that use the processor and do nothing else."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


@contextmanager
def quota(pid: int, share: float) -> Iterator[None]:
    """Limits a process to this share of one core, by a control group of its own (version 1 or 2, whichever exists)."""
    if share >= 1:
        yield
        return
    old = CGROUP / "cpu"
    group, limit, text = (
        (old / f"podpulse-bench-{pid}", "cpu.cfs_quota_us", f"{int(share * PERIOD)}")
        if old.is_dir()
        else (CGROUP / f"podpulse-bench-{pid}", "cpu.max", f"{int(share * PERIOD)} {PERIOD}")
    )
    group.mkdir()
    try:
        (group / limit).write_text(text)
        (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        with suppress(OSError):
            (group.parent / "cgroup.procs").write_text(str(pid))
        _patiently(group.rmdir)


def _patiently(step: Callable[[], None]) -> None:
    """Repeats a step that fails: a control group is busy for a moment after its last process has left it."""
    for _ in range(50):
        try:
            step()
        except OSError:
            time.sleep(0.1)
        else:
            return
