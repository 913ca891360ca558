"""The set-up of the tests: a tool that is missing is named, and a test that hangs ends."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

TOOLS = ("ruff", "mypy", "lint-imports", "python", "coverage", "pytest")


def script(place: Path, text: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"#!/bin/bash\n{text}\n")
    place.chmod(0o755)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with the real `tests/run`, in which every program succeeds, but no browser can be set up."""
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "run", tmp_path / "tests" / "run")
    script(tmp_path / "tests" / "setup", '[[ "$*" != *browser* ]] || { echo "setup: no browser" >&2; exit 1; }')
    script(tmp_path / "deploy" / "venv", "true")
    for tool in TOOLS:
        script(tmp_path / ".venv" / "bin" / tool, "true")
    script(
        tmp_path / ".venv" / "bin" / "pytest", 'echo "$*" >>pytest.log; echo "skipped, browser: a (3)" >>$TESTS_SKIPPED'
    )
    return tmp_path


def run(project: Path, *arguments: str, ci: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"CI": ci, "CONSUL": ""}
    return subprocess.run(
        [project / "tests" / "run", *arguments], env=environment, capture_output=True, text=True, check=False
    )


def test_a_tool_that_cannot_be_set_up_fails_the_run_after_the_other_tests(project: Path) -> None:
    done = run(project)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-2:] == [
        "skipped, browser: a (3)",
        "failed: browser, systemd-analyze, image-builder (not set up)",
    ]
    assert (project / "pytest.log").exists()


def test_in_ci_a_tool_that_cannot_be_set_up_fails_the_run_before_the_tests(project: Path) -> None:
    done = run(project, ci="true")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "failed: browser, systemd-analyze, image-builder"
    assert not (project / "pytest.log").exists()


def test_a_run_of_some_tests_sets_up_packages_only(project: Path) -> None:
    done = run(project, "tests/reconcilers", ci="true")
    assert done.returncode == 0, done.stdout
    assert (project / "pytest.log").read_text() == "tests/reconcilers\n"


def test_a_lint_step_that_fails_during_the_tests_fails_the_run(project: Path) -> None:
    script(project / ".venv" / "bin" / "mypy", "exit 1")
    done = run(project, "tests/reconcilers")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "failed: mypy")


def test_a_tool_without_a_source_is_reported_as_missing(tmp_path: Path) -> None:
    script(tmp_path / "tests" / "setup", "")
    shutil.copy(ROOT / "tests" / "setup", tmp_path / "tests" / "setup")
    for name in ("bash", "sed", "dirname", "mkdir", "flock"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    script(tmp_path / "id", "echo 1000")
    done = subprocess.run(
        [tmp_path / "tests" / "setup", "browser", "image-builder"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "setup: on Debian, as root: apt-get install chromium chromium-driver buildah mmdebstrap\n"


SKIPPED = """
import pytest
from tests.support.setup import require

def test_one() -> None:
    require("no-such-tool")
"""


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_a_test_whose_tool_is_missing_is_skipped_by_name_and_fails_in_ci(tmp_path: Path, ci: str, code: int) -> None:
    done = pytest_on(tmp_path, SKIPPED, "-p", "tests.conftest", CI=ci, TESTS_SKIPPED=str(tmp_path / "kept"))
    assert done.returncode == code, done.stdout
    line = "skipped, no-such-tool: setup: unknown tool no-such-tool: test_it.py (1)\n"
    assert (line in done.stdout) is not bool(ci)
    assert ci or (tmp_path / "kept").read_text() == line


HANGS = """
import threading
import pytest

@pytest.fixture
def stuck() -> None:
    threading.Event().wait()

def test_that_hangs(stuck) -> None: ...

def test_after_it() -> None: ...
"""


def test_a_fixture_that_hangs_fails_its_test_alone(tmp_path: Path) -> None:
    done = pytest_on(tmp_path, HANGS, "-n", "1", "-o", "faulthandler_timeout=1")
    assert "1 failed, 1 passed" in done.stdout


def pytest_on(folder: Path, tests: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run pytest with this project's configuration on a file in `folder`."""
    (folder / "test_it.py").write_text(tests)
    config = ROOT / "pyproject.toml"
    command = [sys.executable, "-m", "pytest", f"--config-file={config}", f"--rootdir={folder}", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | environ
    return subprocess.run(
        [*command, "-p", "no:cacheprovider", "test_it.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
