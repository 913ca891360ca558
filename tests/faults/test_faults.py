"""The controller goes through every fault once, and through a random run, and keeps what it promises.

Each run is a process of its own, as `tests/faults/run` starts it. They wait more than they work, so some of them go at
the same time.
"""

import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.faults.catalogue import FAULTS
from tests.faults.history import write
from tests.faults.tales import Tale, passing
from tests.support import program
from tests.support.program import Programs

PROGRAM = (sys.executable, "-m", "tests.faults")
WITHIN = 360.0
"""The longest run, of the process, takes 150 s where nothing else runs."""
AT_ONCE = 3
SEED = "20"
KEPT = Path(__file__).resolve().parents[2] / ".cache" / "faults"
RUNS: Mapping[str, tuple[str, ...]] = {
    "random": ("--minutes", "1.5", "--pods", "20", "--pause", "1", "6"),
    "process": ("--each", "--alone"),
    "cluster": ("--each",),
    "acl": ("--each", "--acl"),
    "answers": ("--each", "--alone"),
    "keys": ("--each", "--alone"),
    "line": ("--each", "--alone"),
}
"""The longest first, so that none of them goes on alone at the end."""


@pytest.fixture(scope="module")
def runs() -> Iterator[Mapping[str, Future[CompletedProcess[str]]]]:
    """All of them, some at a time, in their order. When nobody asks for more of them, what runs is ended."""
    with ThreadPoolExecutor(AT_ONCE) as pool, Programs() as programs:
        try:
            yield {
                name: pool.submit(programs.run, _command(name, options), within=WITHIN)
                for name, options in RUNS.items()
            }
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _command(name: str, options: tuple[str, ...]) -> tuple[str, ...]:
    faults = [fault.name for fault in FAULTS.values() if fault.group == name and not fault.only_long]
    return (
        *(*PROGRAM, "--seed", SEED, "--verbose", "--keep", str(KEPT / name)),
        *options,
        *(("--faults", ",".join(faults)) if faults else ()),
    )


@pytest.mark.faults
@pytest.mark.timeout(len(RUNS) * WITHIN)
@pytest.mark.parametrize("name", RUNS)
def test_every_promise_is_kept(runs: Mapping[str, Future[CompletedProcess[str]]], name: str) -> None:
    done = runs[name].result()
    print(done.stdout, done.stderr)
    assert done.returncode == 0


def test_every_fault_has_its_run() -> None:
    assert {fault.group for fault in FAULTS.values()} <= set(RUNS)


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
