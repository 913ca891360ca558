"""`podpulse watch` as a process: lines for scripts, p2's lines, a table on a terminal, and its end."""

import re
import signal
from pathlib import Path

from reconcilers.health import CheckHealth, HealthState, Reason
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey
from tests.support.cli import complaint, on, run
from tests.support.consul import Agent
from tests.support.net import until
from tests.support.terminal import OnTerminal, Running

MANIFEST = "id: isup\nstatus_port: 8000\n"
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z ", re.MULTILINE)


def record(state: HealthState, node: str = "web1", reason: Reason = Reason.NONE, detail: str = "") -> bytes:
    return HealthRecord.of(PodKey(node, "isup"), CheckHealth(state, reason, 1.7e9, detail), 1.7e9).encode(1.7e9)


def test_piped_output_has_a_line_for_each_change(consul: Agent) -> None:
    consul.put("intent/web1/isup", MANIFEST)
    with Running("watch", "--consul", consul.address) as watching:
        until(lambda: "web1 isup unknown\n" in watching.out, 20.0)
        consul.put("health/isup/web1", record(HealthState.CRITICAL, reason=Reason.BODY, detail="\x1b[2Jgone\nmad"))
        until(lambda: "critical" in watching.out)
        consul.put("health/isup/web1", record(HealthState.PASSING))
        until(lambda: "passing" in watching.out)
        consul.delete("health/isup/web1")
        consul.delete("intent/web1/isup")
        until(lambda: "gone\n" in watching.out.splitlines(keepends=True)[-1])
        assert watching.interrupt() == 0
        assert watching.err == ""
        lines = TIME.sub("", watching.out).splitlines()
    assert lines[:3] == ["web1 isup unknown", "web1 isup critical body: \\x1b[2Jgone mad", "web1 isup passing"]
    assert lines[-1] == "web1 isup gone"
    assert set(lines[3:-1]) <= {"web1 isup unknown"}


def test_with_health_the_lines_are_p2s(consul: Agent) -> None:
    consul.put("health/isup/web2", record(HealthState.PASSING, "web2"))
    consul.put("health/isup/web1", record(HealthState.CRITICAL))
    consul.put("health/isup-too/web1", record(HealthState.PASSING))
    with Running("watch", "--health", "isup", "--consul", consul.address, "--wait", "30s") as watching:
        first = "web1 critical\nweb2 passing\n\n"
        until(lambda: watching.out == first, 20.0)
        consul.put("health/isup/web1", record(HealthState.CRITICAL, detail="another story"))
        consul.put("health/isup/web1", record(HealthState.PASSING))
        until(lambda: watching.out == first + "web1 passing\nweb2 passing\n\n")
        consul.delete("health/", recurse=True)
        until(lambda: watching.out.endswith("\n\n\n"))
        assert watching.terminate() == 0


def test_a_problem_and_its_end_are_each_reported_once(persistent_consul: Agent) -> None:
    persistent_consul.put("health/isup/web1", record(HealthState.PASSING))
    with Running("watch", "--health", "isup", "--consul", persistent_consul.address) as watching:
        until(lambda: watching.out == "web1 passing\n\n", 20.0)
        persistent_consul.kill()
        until(lambda: "waiting: reading keys: Consul at" in watching.err)
        persistent_consul.start()
        until(lambda: "it can be read again\n" in watching.err, 30.0)
        assert len(watching.err.splitlines()) == 2, watching.err
        assert watching.interrupt() == 0


def test_on_a_terminal_it_is_a_table_that_changes_in_place(consul: Agent) -> None:
    consul.put("intent/web1/isup", MANIFEST)
    with OnTerminal("watch", "--consul", consul.address) as terminal:
        until(lambda: "no health is published" in terminal.shown, 20.0)
        assert "1 pod: 1 unknown" in terminal.shown
        consul.put("health/isup/web1", record(HealthState.CRITICAL, reason=Reason.STATUS, detail="status 500"))
        until(lambda: "\x1b[1;31mcritical" in terminal.shown)
        assert "status 500" in terminal.shown
        assert terminal.interrupt() == 0
        assert terminal.shown.rstrip().endswith("\x1b[?25h"), "the cursor is shown again"
        assert "Traceback" not in terminal.shown


def test_the_worst_pods_come_first_on_a_small_terminal(consul: Agent) -> None:
    for number in range(40):
        consul.put(f"intent/web1/p{number:02}", f"id: p{number:02}\nstatus_port: 1\n")
    consul.put("health/isup/web9", record(HealthState.CRITICAL, "web9"))
    with OnTerminal("watch", "--consul", consul.address, lines=12) as terminal:
        until(lambda: "41 pods: 1 critical, 40 unknown; 34 of them have no room here" in terminal.shown, 20.0)
        assert "web9" in terminal.shown
        assert "p30" not in terminal.shown
        assert terminal.interrupt() == 0


def test_a_terminal_gets_no_colours_if_they_are_disabled(consul: Agent) -> None:
    consul.put("health/isup/web1", record(HealthState.CRITICAL))
    with OnTerminal("watch", "--consul", consul.address, NO_COLOR="1") as terminal:
        until(lambda: "critical" in terminal.shown, 20.0)
        assert "\x1b[1;31m" not in terminal.shown
        assert "\x1b[31m" not in terminal.shown
        assert terminal.interrupt() == 0


def test_a_terminal_shows_that_the_program_waits_for_consul(consul: Agent) -> None:
    consul.kill()
    with OnTerminal("watch", "--consul", consul.address) as terminal:
        until(lambda: "waiting for Consul: reading keys: Consul at" in terminal.shown, 20.0)
        assert terminal.interrupt() == 0


def test_a_dumb_terminal_gets_lines(consul: Agent) -> None:
    consul.put("intent/web1/isup", MANIFEST)
    with OnTerminal("watch", "--consul", consul.address, TERM="dumb") as terminal:
        until(lambda: "web1 isup unknown\r\n" in terminal.shown, 20.0)
        assert "\x1b" not in terminal.shown
        assert terminal.interrupt() == 0


def test_a_tree_that_cannot_be_watched_is_an_error(acl_consul: Agent, tmp_path: Path) -> None:
    for option in ("--health", "--node"):
        assert f"{option}: expected a name, got '../b'" in complaint(run("watch", option, "../b"))
    for option in ("--pod", "--node"):
        assert f"{option}: expected a name, got ''" in complaint(run("inspect", option, ""))
    for verb in ("watch", "inspect"):
        assert "--health-dir: expected --intent-dir too" in complaint(run(verb, "--health-dir", tmp_path))
    assert "No such file" in complaint(run("watch", "--intent-dir", tmp_path / "missing"))
    said = complaint(on(acl_consul, "watch", "--token", "11111111-2222-3333-4444-555555555555"))
    assert said.startswith("Error: ")
    assert len(said.splitlines()) == 1


def test_one_that_was_run_in_our_own_process_leaves_it_its_way_to_end(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    complaint(run("watch", "--intent-dir", tmp_path / "missing"))
    assert signal.getsignal(signal.SIGTERM) is before
