"""Where programs come from that are not on `PATH`: the variable CONSUL, packages of a Debian suite, .venv."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.consul import Agent

WRAPPER = """#!/bin/sh
echo "$*" >>"{log}"
exec "{consul}" "$@"
"""


def ran(program: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "deploy" / program), *arguments]
    return subprocess.run(command, env=os.environ | environ, capture_output=True, text=True, check=False)


def test_the_consul_that_the_variable_names_is_the_one_that_is_run(consul_binary: Path, tmp_path: Path) -> None:
    wrapper, log = tmp_path / "another-consul", tmp_path / "log"
    wrapper.write_text(WRAPPER.format(log=log, consul=consul_binary))
    wrapper.chmod(0o755)
    found = ran("get-consul", CONSUL=str(wrapper))
    assert (found.returncode, found.stdout) == (0, f"{wrapper}\n")
    with Agent(Path(found.stdout.strip())) as agent:
        assert agent.request("GET", "status/leader").status == 200
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["version", "agent"]


def test_a_program_that_is_not_consul_is_reported_and_no_other_consul_is_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no program")
    for named in (tmp_path / "missing", tmp_path / "file", tmp_path):
        found = ran("get-consul", CONSUL=str(named))
        assert (found.returncode, found.stdout) == (1, "")
        assert f"expected an executable file, got {named}" in found.stderr


INSTALLED = """Package: hello
Status: install ok installed
Maintainer: nobody
Architecture: amd64
Version: 99.0
Description: a later one than any suite has
"""
PINNED = """Package: hello
Pin: release *
Pin-Priority: -1
"""


@pytest.mark.skipif(not shutil.which("apt-get"), reason="the machine has no apt-get")
def test_a_package_is_of_the_suite_that_is_asked_for_whatever_is_installed_or_pinned(tmp_path: Path) -> None:
    status, pins, config = (tmp_path / name for name in ("status", "preferences", "apt.conf"))
    status.write_text(INSTALLED)
    pins.write_text(PINNED)
    config.write_text(
        f'Dir::State::status "{status}";\nDir::Etc::preferences "{pins}";\nAPT::Default-Release "bookworm";\n'
    )
    done = ran("fetch-deb", "bullseye", "hello", str(tmp_path / "hello"), APT_CONFIG=str(config))
    assert done.returncode == 0, done.stderr
    (changes,) = (tmp_path / "hello" / "usr" / "share" / "doc" / "hello").glob("changelog.Debian.gz")
    first = subprocess.run(["zcat", changes], capture_output=True, text=True, check=True).stdout.partition("\n")[0]
    assert first.startswith("hello (2.10-2)")


NO_VENV = """#!/bin/sh
[ "$1" = -c ] && echo "$0"
"""


@pytest.mark.parametrize(
    ("stamp", "why"),
    [
        (None, "deploy/venv did not make it, or was interrupted"),
        ("root /elsewhere\npython /usr/bin/python3.9\n", "it was made in /elsewhere"),
        ("root {root}\npython /usr/bin/python3.9\n", "it was made with /usr/bin/python3.9"),
    ],
)
def test_it_is_said_why_a_venv_is_replaced(stamp: str | None, why: str, tmp_path: Path) -> None:
    for folder in ("deploy", ".venv"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / "deploy/venv", tmp_path / "deploy")
    python = tmp_path / "python"
    python.write_text(NO_VENV)
    python.chmod(0o755)
    if stamp:
        (tmp_path / ".venv/made-from").write_text(stamp.format(root=tmp_path))
    command = [str(tmp_path / "deploy/venv"), "requirements.txt"]
    environ = os.environ | {"PYTHON": str(python)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"venv: replacing {tmp_path}/.venv: {why}\n")
