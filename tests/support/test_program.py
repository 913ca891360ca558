"""No process that a program started is left after a timeout, the end of the context, or the program's exit."""

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import program
from tests.support.net import until
from tests.support.program import Programs

CHILD = "sleep 600 & echo $! >child; echo begun; "
TIDY = "trap 'echo kept >history; echo sorry; exit 7' TERM; "
DEAF = "trap '' TERM; "
FOR_LONG = "while true; do sleep 0.1; done"
SOON = 3.0
"""Seconds of the timeout. A shell starts in much less."""


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path) -> Iterator[None]:
    yield
    child = int((tmp_path / "child").read_text())
    until(lambda: not _runs(child), what="what it had started to be gone")


def _runs(pid: int) -> bool:
    """Returns whether the process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_program_that_takes_too_long_may_clean_up_and_its_output_is_reported(tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        program.run(["bash", "-c", TIDY + CHILD + FOR_LONG], within=SOON, cwd=tmp_path)
    assert caught.value.output == "begun\nsorry\n"
    assert "begun\nsorry\n" in "".join(caught.value.__notes__)
    assert (tmp_path / "history").read_text() == "kept\n"


def test_a_program_that_ignores_sigterm_is_killed_with_its_whole_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "GRACE", 0.2)
    with pytest.raises(subprocess.TimeoutExpired):
        program.run(["bash", "-c", DEAF + CHILD + FOR_LONG], within=SOON, cwd=tmp_path)


def test_processes_that_outlive_a_program_are_killed_at_its_exit(tmp_path: Path) -> None:
    done = program.run(["bash", "-c", f"{CHILD}pwd; echo $X >&2; exit 3"], within=60.0, cwd=tmp_path, env={"X": "y"})
    assert (done.returncode, done.stdout, done.stderr) == (3, f"begun\n{tmp_path}\n", "y\n")


def test_the_end_of_the_context_ends_the_programs_of_all_threads_and_starts_no_more(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        with Programs() as programs:
            runs = [pool.submit(programs.run, ["bash", "-c", TIDY + CHILD + FOR_LONG], within=600.0, cwd=tmp_path)
                    for _ in range(2)]  # fmt: skip
            until((tmp_path / "child").exists, 30.0)
        assert (tmp_path / "history").exists(), "it was waited for"
        assert runs[0].result(30.0).returncode == 7
        assert isinstance(runs[1].exception(30.0), RuntimeError)


def test_each_program_leads_its_own_session(tmp_path: Path) -> None:
    done = program.run(["bash", "-c", f"{CHILD}cut -d ' ' -f 6 /proc/$$/stat"], within=60.0, cwd=tmp_path)
    assert int(done.stdout.split()[-1]) != os.getsid(0)
