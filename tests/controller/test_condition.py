"""What a manifest and a record show of a pod's state, and which pods `inspect` and `watch` show."""

import json
import re
from pathlib import Path

import pytest

from controller.cli.condition import NO_HEALTH, OLDER, REMAINS, STATES, Condition, Conditions
from reconcilers.health import HealthState
from reconcilers.options import Rules
from reconcilers.p2 import manifest as p2manifest
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey
from tests.support.cli import complaint, good, on, run
from tests.support.consul import Agent
from tests.support.net import until
from tests.support.terminal import OnTerminal, Running

KEY = PodKey("web1", "a")
GOOD = b"id: a\nstatus_port: 1\n"
FREE = b"""id: a
status_port: 1
status: {method: POST, body: x, headers: {X-A: b}, localhost_only: true, bearer_token_file: /run/x, labels: {a: b}}
"""
WRONG = b"id: a\nstatus: {timeout: 9x}\n"
INVALID = "status.timeout: expected a duration from 100ms to 1h, such as 500ms, 5s or 1m30s, got '9x'"


def record(manifest: bytes = b"") -> HealthRecord:
    sha = p2manifest.sha(manifest) if manifest else ""
    return HealthRecord(KEY, HealthState.PASSING, manifest_sha=sha)


@pytest.mark.parametrize(
    ("intent", "published", "expected"),
    [
        (GOOD, None, ("unknown", NO_HEALTH)),
        (GOOD, record(), ("passing", "")),
        (GOOD, record(GOOD), ("passing", "")),
        (GOOD, record(FREE), ("passing", OLDER)),
        (FREE, record(FREE), ("passing", "")),
        (None, None, ("unknown", "not scheduled")),
        (None, record(), ("passing", REMAINS)),
        (b"id: a\n", None, ("unchecked", "its manifest has no status_port")),
        (b"id: a\n", record(), ("passing", "its manifest has no status_port")),
        (b"id: a\nstatus: {paused: true}\n", record(), ("paused", "its manifest has status.paused")),
        (WRONG, None, ("unchecked", f"its manifest is invalid: {INVALID}")),
        (WRONG, record(), ("passing", f"an older manifest is in force, this one is invalid: {INVALID}")),
    ],
)
def test_manifest_and_record_say_the_state(
    intent: bytes | None, published: HealthRecord | None, expected: tuple[str, str]
) -> None:
    assert Conditions(Rules()).of(KEY, intent, published) == Condition(*expected)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {"a": GOOD, "b": b"id: b\nstatus: {paused: true}\n", "c": b"id: c\n"}.items():
        (tmp_path / f"{name}.yaml").write_bytes(text)
    return tmp_path


def test_pods_are_shown_by_state_and_sorted(folder: Path) -> None:
    arguments = ("inspect", "--intent-dir", folder, "--node", "web1")
    rows = good(run(*arguments, "--format", "table")).splitlines()[1:]
    assert [row.split()[2] for row in rows] == ["unknown", "paused", "unchecked"]
    shown = json.loads(good(run(*arguments, "--state", "paused,Unchecked", "--format", "list", "--sort", "state")))
    assert [(pod["pod"], pod["state"], pod["health"]) for pod in shown] == [
        ("b", "paused", "unknown"),
        ("c", "unchecked", "unknown"),
    ]
    none = run(*arguments, "--state", "critical")
    assert (none.exit_code, none.stderr) == (0, "none of the 3 pods is in these states\n")
    assert f"expected some of {', '.join(STATES)}, got 'bad'" in complaint(run(*arguments, "--state", "bad"))


def test_watch_shows_the_chosen_states(consul: Agent, folder: Path) -> None:
    for name in ("a", "b", "c"):
        consul.put(f"intent/web1/{name}", (folder / f"{name}.yaml").read_text())
    with Running("watch", "--consul", consul.address, "--state", "paused,passing") as watching:
        until(lambda: " web1 b paused: its manifest has status.paused\n" in watching.out, 20.0)
        consul.put("health/a/web1", record(GOOD).encode(1.7e9))
        until(lambda: watching.out.endswith(" web1 a passing\n"))
        assert len(watching.out.splitlines()) == 2
        assert watching.interrupt() == 0
    with OnTerminal("watch", "--consul", consul.address, "--state", "unchecked", columns=60) as terminal:
        until(lambda: "3 pods: 1 passing, 1 paused, 1 unchecked" in terminal.shown, 20.0)
        assert re.search(r"^\S*unchecked\S*  c ", terminal.shown, re.MULTILINE)
        assert terminal.interrupt() == 0


def test_describe_lists_nodes_with_their_conditions(consul: Agent) -> None:
    consul.put("intent/web1/a", "id: a\nstatus: {paused: true}\n")
    consul.put("intent/web2/a", GOOD)
    assert on(consul, "describe", "a").stdout == "NODE  STATE\nweb2  unknown\nweb1  paused\n"
