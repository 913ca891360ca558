"""Delays of the controller do not count as failures of a pod. Delays of the pod do."""

import json
import random
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconcilers.health import Outcome, ProbeResult, Reason
from reconcilers.spec import PodKey
from tests.support import targets
from tests.support.authority import Authority
from tests.support.net import until
from tests.support.probing import Bench, is_delayed, spec
from tests.support.recorders import RecordedResults
from tests.support.standstills import Standstills
from tests.support.targets import Target

TIMEOUT = 0.8
STEP = 0.15
"""Seconds that a target takes for each step: the TLS handshake and the answer."""
TIMES = 6
SEED = 11


class Engine:
    """A process that probes `urls` and can be delayed."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.results: list[tuple[str, str, str, str, float, float]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        self.results += (tuple(json.loads(line)) for line in self.process.stdout)

    def end(self) -> None:
        """Close the input of the process, which ends it, and read the remaining results."""
        assert self.process.stdin
        self.process.stdin.close()
        self._reader.join(30)

    def stop(self, seconds: float) -> None:
        """Suspend the process by SIGSTOP for so many seconds."""
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.process.send_signal(signal.SIGCONT)

    def hold_the_interpreter(self, seconds: float) -> None:
        assert self.process.stdin
        print(seconds, file=self.process.stdin, flush=True)
        time.sleep(seconds)


@contextmanager
def engine(authority: Authority, *urls: str, interval: float, timeout: float) -> Iterator[Engine]:
    command = [sys.executable, "-m", "tests.support.stopping", str(authority.file), str(interval), str(timeout), *urls]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield (running := Engine(process))
        running.end()
    assert process.returncode == 0


@pytest.fixture
def slow_urls(authority: Authority) -> Iterator[list[str]]:
    """URLs of targets that take `STEP` seconds for each step, well within the timeout. The last target closes a
    connection whose client does not continue the handshake."""
    patient, impatient = authority.server(), authority.server()
    patient.sni_callback = lambda *_: time.sleep(STEP)
    impatient.sni_callback = _hurry
    with Target() as plain, Target(patient) as secure, Target(impatient) as hasty:
        for target in (plain, secure, hasty):
            target.behave(targets.slow(STEP))
        yield [f"{target.scheme}://localhost:{target.port}/" for target in (plain, secure, hasty)]


def _hurry(connection: ssl.SSLSocket | ssl.SSLObject, *_: object) -> None:
    time.sleep(STEP)
    assert isinstance(connection, ssl.SSLSocket)
    connection.settimeout(STEP / 2)


@pytest.mark.parametrize("hold_up", [Engine.stop, Engine.hold_the_interpreter], ids=["stopped", "no interpreter"])
def test_a_delay_of_the_controller_at_any_stage_of_a_probe_is_not_a_failure_of_the_pod(
    authority: Authority, slow_urls: list[str], hold_up: Callable[[Engine, float], None]
) -> None:
    chance = random.Random(SEED)
    with Standstills() as pauses, engine(authority, *slow_urls * 3, interval=TIMEOUT * 1.2, timeout=TIMEOUT) as running:
        until(lambda: len(running.results) >= 9, 20)
        for _ in range(TIMES):
            before = len(running.results)
            hold_up(running, chance.uniform(0.5, 1.2))
            until(lambda seen=before: len(running.results) > seen + 9, 20)  # type: ignore[misc]
    failures = [each for each in running.results if each[1] == "failure"]
    assert [each for each in failures if not pauses.within(*each[4:])] == [], "failures while the targets were prompt"
    assert {outcome for _, outcome, *_ in running.results} <= {"success", "local", "failure"}
    assert sum(outcome == "success" for _, outcome, *_ in running.results) > len(running.results) / 2


def test_a_permanently_busy_engine_detects_a_hanging_pod(authority: Authority, target: Target) -> None:
    """The turns of this engine are short, so a ready socket never waits for long."""

    class Busy(RecordedResults):
        def observe(self, results: Iterable[ProbeResult]) -> None:
            super().observe(results)
            until = time.monotonic() + 0.005
            while time.monotonic() < until:
                pass

    target.behave(targets.hang, "/hangs")
    bench = Bench(authority.file, results=Busy())
    bench.engine.start([spec(target, f"busy-{number}", interval=0.1) for number in range(30)])
    until(lambda: len(bench.results.all()) > 100)
    bench.engine.start([spec(target, "hangs", interval=1.0, timeout=0.4)])
    key = PodKey("web1", "hangs")
    until(lambda: bench.results.all(key) and not is_delayed(bench.results.all(key)[-1]), 60)
    result = bench.results.all(key)[-1]
    bench.engine.close(10)
    assert (result.outcome, result.reason) == (Outcome.FAILURE, Reason.TIMEOUT), result


def test_the_engine_sleeps_while_it_waits_for_answers(authority: Authority, target: Target) -> None:
    """Each probe of a hanging pod waits for the whole timeout. That must not cost CPU."""
    target.behave(targets.hang)
    bench = Bench(authority.file)
    bench.engine.start([spec(target, "hangs", timeout=30.0), spec(target, "ends", timeout=1.5)])
    until(lambda: target.hits("/hangs") and target.hits("/ends"))
    before = _sleeps()
    result = bench.results.first(PodKey("web1", "ends"))
    slept = _sleeps() - before
    bench.engine.close(10)
    assert result.reason is Reason.TIMEOUT
    assert result.duration < 15, "the probe ends at its own timeout, not at another event"
    assert slept < 10 + 5 * result.duration, "about one wait a second, not a hundred"


def _sleeps() -> int:
    """Returns how often the thread "probe" has waited so far."""
    (probe,) = (thread for thread in threading.enumerate() if thread.name == "probe")
    status = Path(f"/proc/self/task/{probe.native_id}/status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
