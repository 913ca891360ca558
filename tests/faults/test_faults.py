"""The controller goes through every fault once, and through a random run, and keeps what it promises.

Each run is a process of its own, as `tests/faults/run` starts it. They wait more than they work, so all of them go at
the same time.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.catalogue import FAULTS
from tests.faults.history import write
from tests.faults.tales import Tale, passing

WITHIN = 360.0
"""The longest run, of the process, takes 150 s where nothing else runs."""
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
def runs() -> Iterator[Mapping[str, subprocess.Popen[str]]]:
    """All of them, under way."""
    with ExitStack() as ends:
        started = {name: _started(name, options) for name, options in RUNS.items()}
        for run in started.values():
            ends.enter_context(run)
            ends.callback(run.terminate)
        yield started


def _started(name: str, options: tuple[str, ...]) -> "subprocess.Popen[str]":
    faults = [fault.name for fault in FAULTS.values() if fault.group == name and not fault.only_long]
    command = [
        *(sys.executable, "-m", "tests.faults", "--seed", SEED, "--verbose"),
        *("--keep", str(KEPT / name)),
        *options,
        *(("--faults", ",".join(faults)) if faults else ()),
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.faults
@pytest.mark.timeout(WITHIN + 60)
@pytest.mark.parametrize("name", RUNS)
def test_every_promise_is_kept(runs: Mapping[str, "subprocess.Popen[str]"], name: str) -> None:
    said, _ = runs[name].communicate(timeout=WITHIN)
    print(said)
    assert runs[name].returncode == 0


def test_every_fault_has_its_run() -> None:
    assert {fault.group for fault in FAULTS.values()} <= set(RUNS)


def _run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tests.faults", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


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
