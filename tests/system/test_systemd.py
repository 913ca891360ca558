"""The process under systemd: what it is told over its socket, and what it thinks of the unit."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.consul import Agent
from tests.support.controller import Controller, manifest
from tests.support.net import until
from tests.support.setup import require
from tests.support.systemd import NotifySocket
from tests.support.targets import Target
from tests.system.conftest import Launch

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "podpulse.service"
EXPOSURE = 20
"""Tenths, as `--threshold` counts."""


@pytest.fixture(scope="module")
def systemd_analyze() -> None:
    require("systemd-analyze")


def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--no-pager", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.usefixtures("systemd_analyze")
def test_systemd_has_nothing_to_say_against_the_unit(tmp_path: Path) -> None:
    """With the program of this environment, as the other is not installed here."""
    here = Path(sys.executable).with_name("podpulse")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/podpulse/bin/podpulse", str(here)))
    assert str(here) in unit.read_text()
    ended = analyze("verify", unit)
    assert (ended.returncode, ended.stdout + ended.stderr) == (0, "")


@pytest.mark.usefixtures("systemd_analyze")
def test_the_unit_leaves_little_exposed() -> None:
    ended = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", UNIT)
    assert ended.returncode == 0, ended.stdout


def test_started_fed_and_stopped(consul: Agent, launch: Launch, tmp_path: Path) -> None:
    with NotifySocket(tmp_path / "notify") as systemd:
        controller = launch(consul, environ=systemd.environ(watchdog=0.4))
        systemd.wait("WATCHDOG", times=3)
        assert [*systemd.told()[0]] == ["READY", "STATUS"]
        until(lambda: systemd.latest("STATUS") == "ready; 0 pods of web1", what="the status for people")
        assert controller.terminate() == 0
        assert systemd.count("STOPPING") == 1


def test_started_although_consul_is_away_and_the_status_says_so(consul: Agent, launch: Launch, tmp_path: Path) -> None:
    consul.stop()
    with NotifySocket(tmp_path / "notify") as systemd:
        launch(consul, ready=False, environ=systemd.environ(watchdog=0.4))
        systemd.wait("WATCHDOG", times=2)
        assert "the manifests have not been read yet" in systemd.latest("STATUS")


@pytest.mark.slow
def test_a_thread_that_hangs_starves_the_watchdog_until_it_turns_again(tmp_path: Path, target: Target) -> None:
    """Whoever writes into a pipe waits for a reader: so the thread hangs that publishes into the folder."""
    pods, healths = tmp_path / "pods", tmp_path / "health"
    pods.mkdir()
    folders: dict[str, Any] = {"intent_dir": str(pods), "health_dir": str(healths)}
    with (
        NotifySocket(tmp_path / "notify") as systemd,
        Controller(**folders, environ=systemd.environ(watchdog=0.4)) as controller,
    ):
        pipe = healths / ".a.new"
        os.mkfifo(pipe)
        (pods / "a.yaml").write_bytes(manifest("a", target.port))
        until(lambda: "thread publish-folder has stood still" in systemd.latest("STATUS"), 60, "the complaint")
        assert controller.get("/-/healthy").status == 503
        fed = systemd.count("WATCHDOG")
        systemd.wait("STATUS", times=10)
        assert systemd.count("WATCHDOG") == fed
        pipe.read_bytes()
        systemd.wait("WATCHDOG")
