"""The controller keeps its promises through every fault and through random runs.

Each run is a process of its own, started as `tests/faults/run` starts it. A run mostly waits, so several run at once.
"""

import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.faults import runs
from tests.faults.catalogue import FAULTS
from tests.faults.history import write
from tests.faults.runs import Run
from tests.faults.tales import Tale, passing
from tests.support import program
from tests.support.program import Programs

PROGRAM = (sys.executable, "-m", "tests.faults")
WITHIN = 300.0
"""A short run takes about 90 s where nothing else runs."""
AT_ONCE = 7
"""Half of the runs, so that each thread of the pool has two."""
KEPT = Path(__file__).resolve().parents[2] / ".cache" / "faults"
RUNS = runs.every_run()

Done = Mapping[str, Future[CompletedProcess[str]]]


@pytest.fixture(scope="module")
def done() -> Iterator[Done]:
    """Starts all runs in their order, `AT_ONCE` at a time. Those that still run at the end are ended."""
    with ThreadPoolExecutor(AT_ONCE) as pool, Programs() as programs:
        try:
            yield {name: pool.submit(programs.run, _command(name, run), within=WITHIN) for name, run in RUNS.items()}
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _command(name: str, run: Run) -> tuple[str, ...]:
    return (*PROGRAM, "--verbose", "--keep", str(KEPT / name.replace(" ", "-")), *run.options)


@pytest.mark.faults
@pytest.mark.timeout(len(RUNS) * WITHIN)
@pytest.mark.parametrize("name", RUNS)
def test_every_promise_is_kept(done: Done, name: str) -> None:
    ended = done[name].result()
    print(ended.stdout, ended.stderr)
    assert ended.returncode == 0


def test_ci_injects_every_fault_once() -> None:
    """Except those that take a minute and most of those of a fleet. `tests/run --long` injects these too."""
    found = [fault for run in RUNS.values() for fault in runs.injected(run)]
    every = [fault.name for fault in FAULTS.values() if not fault.only_long and fault.group != "fleet"]
    assert sorted(found) == sorted([*every, runs.IN_A_FLEET])


def test_no_run_takes_much_longer_than_the_others() -> None:
    assert max(run.seconds for run in RUNS.values()) <= 1.5 * runs.SECONDS


def _run(*arguments: str) -> CompletedProcess[str]:
    return program.run([*PROGRAM, *arguments], within=60.0)


def test_wrong_use_is_exit_code_2() -> None:
    for arguments in (("--faults", "flood"), ("--minutes", "0"), ("--replay", "/nonexistent"), ("--without", "Z9")):
        done = _run(*arguments)
        assert done.returncode == 2
        assert done.stderr


def test_the_faults_are_listed() -> None:
    assert {line.split()[0] for line in _run("--list").stdout.splitlines()} == set(FAULTS)


def test_a_history_is_judged_again(tmp_path: Path) -> None:
    write(tmp_path / "good", Tale().pod("a").told())
    write(tmp_path / "bad", Tale().pod("a").pod("b", end=20.0, shown=[(1.3, 26.0, passing())]).told())
    assert _run("--replay", str(tmp_path / "good")).returncode == 0
    done = _run("--replay", str(tmp_path / "bad"))
    assert done.returncode == 1
    assert done.stdout.startswith("B1 (health does not outlive its pod) at 24.00 s b: ")
