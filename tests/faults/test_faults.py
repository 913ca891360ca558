"""The controller goes through every fault once, and through a random run, and keeps what it promises.

Each run is a process of its own, as `tests/faults/run` starts it. They wait more than they work, so some of them go at
the same time.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.catalogue import FAULTS
from tests.faults.history import write
from tests.faults.tales import Tale, passing

WITHIN = 360.0
"""The longest run, of the process, takes 150 s where nothing else runs."""
AT_ONCE = 3
SEED = "20"
KEPT = Path(__file__).resolve().parents[2] / ".cache" / "faults"
RUNS: Mapping[str, tuple[str, ...]] = {
    "random": ("--minutes", "1.5", "--pods", "20", "--pause", "1", "6"),
    "process": ("--each", "--alone"),
    "line": ("--each", "--alone"),
    "answers": ("--each", "--alone"),
    "cluster": ("--each",),
    "keys": ("--each", "--alone"),
    "acl": ("--each", "--acl"),
}


@pytest.fixture(scope="module")
def runs() -> Iterator[Mapping[str, "Future[subprocess.CompletedProcess[str]]"]]:
    """All of them, some at a time, in their order."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(_run_of, name, options) for name, options in RUNS.items()}
        pool.shutdown(cancel_futures=True)


def _run_of(name: str, options: tuple[str, ...]) -> "subprocess.CompletedProcess[str]":
    faults = [fault.name for fault in FAULTS.values() if fault.group == name and not fault.only_long]
    return _run(
        *("--seed", SEED, "--verbose", "--keep", str(KEPT / name)),
        *options,
        *(("--faults", ",".join(faults)) if faults else ()),
        within=WITHIN,
    )


@pytest.mark.faults
@pytest.mark.timeout(len(RUNS) * WITHIN)
@pytest.mark.parametrize("name", RUNS)
def test_every_promise_is_kept(runs: Mapping[str, "Future[subprocess.CompletedProcess[str]]"], name: str) -> None:
    done = runs[name].result()
    print(done.stdout, done.stderr)
    assert done.returncode == 0


def test_every_fault_has_its_run() -> None:
    assert {fault.group for fault in FAULTS.values()} <= set(RUNS)


def _run(*arguments: str, within: float = 60) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tests.faults", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=within)


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
