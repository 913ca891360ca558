"""`podpulse inspect` where people and scripts read it."""

import json
import threading
from pathlib import Path

import pytest

from tests.support.cli import good, run
from tests.support.controller import podpulse
from tests.support.fake_http import FakeServer, Reply
from tests.support.net import until
from tests.support.terminal import OnTerminal

YELLOW = "\x1b[33munknown"


@pytest.fixture
def pods(tmp_path: Path) -> Path:
    folder = tmp_path / "pods"
    folder.mkdir()
    (folder / "isup.yaml").write_text("id: isup\nstatus_port: 8000\n")
    return folder


def test_a_terminal_gets_colours_unless_they_are_disabled(pods: Path) -> None:
    command = ("inspect", "--format", "table", "--intent-dir", pods, "--node", "web1.example.com")
    with OnTerminal(*command) as terminal:
        assert terminal.wait() == 0
        assert YELLOW in terminal.shown
        assert "1 pod: 1 unknown" in terminal.shown
    with OnTerminal(*command, NO_COLOR="1") as terminal:
        assert terminal.wait() == 0
        assert "unknown" in terminal.shown
        assert YELLOW not in terminal.shown


def test_a_terminal_shows_what_the_program_waits_for() -> None:
    release = threading.Event()
    with FakeServer(lambda _: Reply(503, b"no leader", wait=release)) as slow:
        with OnTerminal("inspect", "--consul", slow.address) as terminal:
            until(lambda: f"waiting for Consul at {slow.address}" in terminal.shown, 20.0)
            release.set()
            assert terminal.wait() == 1
            assert "Error: reading keys: Consul at" in terminal.shown
        done = podpulse("inspect", "--consul", slow.address, check=False)
        assert "waiting" not in done.stderr


def test_piped_output_is_plain_and_not_truncated(pods: Path) -> None:
    node = "a-node-with-a-very-long-name." * 4 + "example.com"
    said = podpulse("inspect", "--format", "table", "--intent-dir", pods, "--node", node).stdout
    assert said.isascii()
    assert "\x1b" not in said
    assert said.splitlines()[1].split(maxsplit=6) == ["isup", node, "unknown", "-", "-", "-", "no health is published"]


def test_without_any_pod_the_tree_is_empty_and_the_list_null_as_with_p2_inspect(tmp_path: Path) -> None:
    assert json.loads(good(run("inspect", "--intent-dir", tmp_path))) == {}
    assert json.loads(good(run("inspect", "--intent-dir", tmp_path, "--format", "list"))) is None
