"""The process under systemd: its notifications, and systemd's analysis of the unit."""

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
DROP_IN = UNIT.parent / "podpulse.service.d" / "fleet.conf"
EXPOSURE = 20
"""In tenths, the unit of `--threshold`."""


@pytest.fixture(scope="module")
def systemd_analyze() -> None:
    require("systemd-analyze")


def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--no-pager", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def with_this_program(file: Path, folder: Path) -> Path:
    """A copy of a unit or a drop-in with the program of this environment, because /opt/podpulse does not exist here."""
    here = Path(sys.executable).with_name("podpulse")
    folder.mkdir(exist_ok=True)
    copy = folder / file.name
    copy.write_text(file.read_text().replace("/opt/podpulse/bin/podpulse", str(here)))
    assert str(here) in copy.read_text()
    return copy


@pytest.mark.usefixtures("systemd_analyze")
def test_systemd_analyze_accepts_the_unit(tmp_path: Path) -> None:
    ended = analyze("verify", with_this_program(UNIT, tmp_path))
    assert (ended.returncode, ended.stdout + ended.stderr) == (0, "")


@pytest.mark.usefixtures("systemd_analyze")
def test_systemd_analyze_accepts_the_unit_of_a_member_of_a_fleet(tmp_path: Path) -> None:
    unit, drop_in = with_this_program(UNIT, tmp_path), with_this_program(DROP_IN, tmp_path / DROP_IN.parent.name)
    ended = analyze("verify", unit)
    assert (ended.returncode, ended.stdout + ended.stderr) == (0, "")
    drop_in.write_text(drop_in.read_text().replace("ExecStart=\n", ""))
    assert "more than one ExecStart" in analyze("verify", unit).stderr, "the drop-in is read"


@pytest.mark.usefixtures("systemd_analyze")
def test_the_unit_leaves_little_exposed() -> None:
    ended = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", UNIT)
    assert ended.returncode == 0, ended.stdout


def test_systemd_is_notified_of_start_watchdog_and_stop(consul: Agent, launch: Launch, tmp_path: Path) -> None:
    with NotifySocket(tmp_path / "notify") as systemd:
        controller = launch(consul, environ=systemd.environ(watchdog=0.4))
        systemd.wait("WATCHDOG", times=3)
        assert [*systemd.told()[0]] == ["READY", "STATUS"]
        until(lambda: systemd.latest("STATUS") == "ready; 0 pods of web1", what="the status for people")
        assert controller.terminate() == 0
        assert systemd.count("STOPPING") == 1


def test_it_starts_without_consul_and_the_status_says_so(consul: Agent, launch: Launch, tmp_path: Path) -> None:
    consul.stop()
    with NotifySocket(tmp_path / "notify") as systemd:
        launch(consul, ready=False, environ=systemd.environ(watchdog=0.4))
        systemd.wait("WATCHDOG", times=2)
        until(lambda: "Consul has not answered since" in systemd.latest("STATUS"), what="the status to say why")


@pytest.mark.slow
def test_the_watchdog_is_not_notified_while_a_thread_hangs(tmp_path: Path, target: Target) -> None:
    """Opening a pipe blocks until there is a reader, so the thread that publishes into the folder hangs."""
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
