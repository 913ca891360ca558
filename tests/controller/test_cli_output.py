"""The output of verbs: with a closed reader, in ASCII, and with text of other programs."""

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from reconcilers.escaping import safe_lines
from reconcilers.health import HealthState, Reason
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey
from tests.support.cli import run
from tests.support.controller import COMMAND, environment
from tests.support.fake_http import FakeServer, Reply
from tests.support.targets import Target, answer

NODE = "web1"
HOSTILE = "\x1b]0;owned\x07\u009b2J\u009b31m\x7f\u202egnp\u2028\U000e0041 grün █"
"""C0, C1, U+007F, Cf and Zl; and what stays as it is."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A pod that answers with `HOSTILE`, its manifest and its record."""
    for name in ("pods", "health"):
        (tmp_path / name).mkdir()
    record = HealthRecord(PodKey(NODE, "isup"), HealthState.CRITICAL, Reason.BODY, HOSTILE, HOSTILE)
    (tmp_path / "health" / "isup.json").write_bytes(record.encode(1_790_000_000.0))
    (tmp_path / "health" / ".podpulse.lease").touch()
    with Target() as target:
        target.behave(answer(status=503, body=HOSTILE.encode()))
        (tmp_path / "pods" / "isup.yaml").write_text(f"id: isup\nstatus_port: {target.port}\nstatus_http: true\n")
        yield tmp_path


@pytest.fixture
def controller() -> Iterator[str]:
    """A controller that names a pod as no real controller would."""
    body = json.dumps({"node": NODE, "checks": {HOSTILE: {"url": HOSTILE}}}).encode()
    with FakeServer(lambda _: Reply(200, body)) as fake:
        yield fake.address


PROBE = ["probe", "isup", "--node", NODE, "--address", "127.0.0.1", "--intent-dir", "pods"]
PLAN = ["plan", "--node", NODE, "--intent-dir", "pods"]
INSPECT = ["inspect", "--node", NODE, "--intent-dir", "pods", "--health-dir", "health"]
VERBS = [
    ["--help"],
    PROBE,
    [*PROBE, "--json"],
    [*PLAN, "--controller", "none"],
    [*INSPECT, "--format", "table"],
    INSPECT,
    ["watch", *INSPECT[1:]],
    ["check-manifest", "pods/isup.yaml"],
    ["schedule", "pods/isup.yaml", "--intent-dir", "other"],
    ["bin2pod", "pods/isup.yaml"],
    ["acl-policy", "--node", NODE],
    ["completion", "bash"],
]


def renewed(folder: Path) -> None:
    """Renews the lease, as a live controller does, so the records are fresh."""
    (folder / "health" / ".podpulse.lease").touch()


def in_process(folder: Path, arguments: Sequence[object], monkeypatch: pytest.MonkeyPatch) -> str:
    """Returns the standard output of a verb that runs in this process, where all characters can be written."""
    monkeypatch.chdir(folder)
    renewed(folder)
    done = run(*arguments)
    assert done.exit_code in {0, 1}, done.output
    return done.stdout


def verb(
    folder: Path, arguments: list[str], output: str = "", environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run the real program, with a shell's redirection of its `output`."""
    renewed(folder)
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {output}', "sh", *COMMAND, *arguments],
        cwd=folder,
        env=environment() | (environ or {}),
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("arguments", VERBS, ids=" ".join)
def test_a_full_standard_output_is_reported_in_one_sentence(folder: Path, arguments: list[str]) -> None:
    done = verb(folder, arguments, ">/dev/full")
    assert done.stderr == b"Error: standard output cannot be written: No space left on device\n"
    assert done.returncode in {1, 3}


@pytest.mark.parametrize("output", [">&-", "<&- >&- 2>&-", "2>/dev/full >/dev/full"])
def test_a_closed_standard_output_is_not_reported(folder: Path, output: str) -> None:
    done = verb(folder, INSPECT, output)
    assert done.stderr == b""
    assert done.returncode in {0, 1}


@pytest.mark.parametrize("arguments", [PROBE, INSPECT, ["--help"]], ids=lambda each: each[0])
def test_a_reader_that_closes_the_pipe_causes_no_error_message(folder: Path, arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [*COMMAND, *arguments], cwd=folder, env=environment(), stdout=writer, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(writer)
    assert done.stderr == b""


@pytest.mark.parametrize(
    "environ", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}, {"LC_ALL": "C"}], ids=str
)
def test_only_ascii_is_written_in_an_ascii_locale(folder: Path, environ: dict[str, str]) -> None:
    done = verb(folder, PROBE, environ=environ)
    assert done.stderr == b""
    assert "gr\\xfcn #" in done.stdout.decode("ascii")
    done = verb(folder, INSPECT, environ=environ)
    assert json.loads(done.stdout.decode("ascii"))["isup"][NODE]["detail"] == HOSTILE


def test_utf8_is_written_in_a_utf8_locale(folder: Path) -> None:
    said = verb(folder, INSPECT, environ={"LC_ALL": "C.UTF-8"}).stdout.decode()
    assert "grün █" in said


@pytest.mark.parametrize(
    "arguments",
    [PROBE, [*PROBE, "--json"], INSPECT, [*INSPECT, "--format", "list"], [*INSPECT, "--format", "table"]],
    ids=" ".join,
)
def test_the_answer_of_a_pod_cannot_control_the_terminal(
    folder: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = in_process(folder, arguments, monkeypatch)
    assert "grün" in said
    assert safe_lines(said) == said


def test_json_has_the_value_that_the_pod_answered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads(in_process(folder, [*PROBE, "--json"], monkeypatch))["output"] == HOSTILE
    assert json.loads(in_process(folder, INSPECT, monkeypatch))["isup"][NODE]["detail"] == HOSTILE


@pytest.mark.parametrize("more", [[], ["--json"]], ids=str)
def test_the_answer_of_a_controller_cannot_control_the_terminal(
    folder: Path, controller: str, more: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = in_process(folder, [*PLAN, "--controller", controller, *more], monkeypatch)
    assert "grün" in said
    assert safe_lines(said) == said


@pytest.mark.parametrize("content", ["id: isup\n", "id: [\n"])
def test_the_name_of_a_file_cannot_control_the_terminal(folder: Path, content: str) -> None:
    file = folder / "\x1b[2J\u009b31m.yaml"
    file.write_text(content)
    for arguments in (["check-manifest", file], ["check-config", file], ["probe", "--manifest", f"{file}.gone"]):
        said = run(*arguments).output
        assert "\\x1b[2J\\x9b31m.yaml" in said
        assert safe_lines(said) == said


def test_an_address_is_written_without_emoji_replacement(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    said = run(*PROBE, "--address", "fd00:ab:100:cd::1").stdout
    assert "at fd00:ab:100:cd::1, within" in said


@pytest.mark.parametrize(
    ("listen", "shown"),
    [("[::1]:1", "http://[::1]:1"), ("[::]:1", "http://127.0.0.1:1"), ("0.0.0.0:1", "http://127.0.0.1:1")],
)
def test_the_url_of_the_controllers_page_is_usable(folder: Path, listen: str, shown: str) -> None:
    config = folder / "config.yaml"
    config.write_text(f"listen: '{listen}'\n")
    said = run("plan", "--node", NODE, "--intent-dir", folder / "pods", "--config", config)
    assert f"no controller answers at {shown}: " in said.stderr


def test_compared_values_are_written_unchanged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeServer(lambda _: Reply(200, json.dumps({"node": NODE, "checks": {}}).encode())) as fake:
        url = f"{fake.address}/:ab:/[red]"
        said = in_process(folder, [*PLAN, "--controller", url], monkeypatch)
    assert f"the 0 checks of {url}:" in said
