"""`deploy/demo --fleet`: what it proves with --once, what it shows on a terminal, and that nothing is left behind."""

import json
import os
import pty
import signal
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from deploy import fleet_demo
from tests.conftest import ROOT
from tests.support import program
from tests.support.net import until

DEMO = ROOT / "deploy" / "demo"
COLOUR = "\x1b["


def environment(consul: Path, folder: Path) -> Mapping[str, str]:
    return os.environ | {"CONSUL": str(consul), "TMPDIR": str(folder), "TERM": "xterm"}


def left_over(folder: Path) -> list[str]:
    """The processes that use a folder, and its files."""
    found = [str(path) for path in folder.iterdir()]
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            with suppress(OSError):
                if f"TMPDIR={folder}\0".encode() in (process / "environ").read_bytes():
                    found.append((process / "cmdline").read_bytes().decode())
    return found


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_member_is_killed_and_the_demo_proves_that_nobody_noticed(consul_binary: Path, tmp_path: Path) -> None:
    done = program.run([DEMO, "--fleet", "--once"], env=environment(consul_binary, tmp_path), within=200.0)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["killed"] == "controller1"
    assert {pod["heir"] for pod in seen["pods"].values()} == {"controller2", "controller3"}
    assert all(pod["first_probe_after_s"] <= 12.0 for pod in seen["pods"].values())
    assert seen["statuses"] == ["passing"]
    assert seen["reads"] > 50
    assert "Nobody noticed." in done.stderr
    assert COLOUR not in done.stderr
    assert left_over(tmp_path) == []


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_on_a_terminal_it_has_colours_and_stays_until_ctrl_c(consul_binary: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    said = bytearray()

    def read() -> None:
        with suppress(OSError):
            while data := os.read(ours, 4096):
                said.extend(data)

    environ = environment(consul_binary, tmp_path)
    with subprocess.Popen([DEMO, "--fleet"], stdin=theirs, stdout=theirs, stderr=theirs, env=environ) as demo:
        os.close(theirs)
        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        until(lambda: b"Ctrl-C ends the demo" in said or demo.poll() is not None, 150.0, "the end of the story")
        demo.send_signal(signal.SIGINT)
        assert demo.wait(30.0) == 0, said.decode()
    reader.join(10.0)
    os.close(ours)
    shown = said.decode()
    assert f"{COLOUR}31mkill -9" in shown
    assert f"{COLOUR}32mNobody noticed." in shown
    assert "Killed" not in shown, "a message of the shell"
    assert left_over(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "code", "problem"),
    [(["--fleet", "--once"], 1, "--fleet needs a Consul"), (["--fleet", "--embedded"], 2, "expected no --embedded")],
)
def test_a_fleet_needs_a_consul(tmp_path: Path, options: list[str], code: int, problem: str) -> None:
    done = program.run([DEMO, *options], env=environment(tmp_path / "none", tmp_path), within=100.0)
    assert done.returncode == code
    assert problem in done.stderr
    assert done.stdout == ""
    assert left_over(tmp_path) == []


HEIRS = {"health/shop/a": "m2", "health/shop/b": "m3"}
IN_TIME = dict.fromkeys(HEIRS, 5.0)


@pytest.mark.parametrize(
    ("seen", "problem"),
    [
        (
            fleet_demo.Seen("m1", heirs=HEIRS, probed=IN_TIME, taken=IN_TIME, faults=["after 5 s, x was None"]),
            "x was None",
        ),
        (fleet_demo.Seen("m1", heirs=HEIRS, probed={"health/shop/a": 5.0}, taken=IN_TIME), "nobody probes shop on b"),
        (fleet_demo.Seen("m1", heirs=HEIRS, probed=IN_TIME | {"health/shop/b": 12.5}, taken=IN_TIME), "after 12.5 s"),
        (fleet_demo.Seen("m1", heirs=HEIRS, probed=IN_TIME, taken={}), "nobody has taken over health/shop/a and"),
    ],
    ids=["a fault", "no probe", "late", "no holder"],
)
def test_what_a_reader_notices_is_a_failure(seen: fleet_demo.Seen, problem: str) -> None:
    with pytest.raises(fleet_demo.NotShown, match=problem):
        fleet_demo.judge(seen)


def test_a_takeover_that_nobody_notices_is_a_success() -> None:
    fleet_demo.judge(fleet_demo.Seen("m1", heirs=HEIRS, probed=IN_TIME, taken=IN_TIME))
