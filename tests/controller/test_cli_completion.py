"""Shell completion, as a real shell does it."""

import os
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.cli import complaint, good, run
from tests.support.consul import Agent
from tests.support.controller import environment

BASH = """
set -e
eval "$(podpulse completion bash)"
complete -p podpulse >&2
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_podpulse_completion podpulse
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def completed(words: str, **variables: str) -> list[str]:
    """Returns what bash offers for the last of these words. Nothing else is written to the terminal."""
    places = variables | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", BASH.format(words=words)],
        env=environment() | places,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == "complete -o nosort -F _podpulse_completion podpulse\n"
    return done.stdout.split()


def names(words: str, **variables: str) -> list[str]:
    """Returns what is offered for the last of these words. Nothing is written to standard error."""
    words = f"podpulse {words}"
    given = {"_MAIN_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(shlex.split(words)) - 1)}
    result = run(**given, **variables)
    assert result.stderr == ""
    return [line.removeprefix("plain,") for line in result.stdout.splitlines() if line]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes_verbs_options_and_choices() -> None:
    assert completed("podpulse ins") == ["inspect"]
    assert completed("podpulse inspect --form") == ["--format"]
    assert completed("podpulse inspect --format t") == ["tree", "table"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes_the_names_of_nodes_and_pods(consul: Agent) -> None:
    for key in (
        "web1/shop",
        "web1/search",
        "web2/shop",
        "db1/postgres",
        f"web1/{uuid4()}",
        "web1/s/b",
        "web%20w/pod",
    ):
        consul.put(f"intent/{key}", b"id: pod")
    here = {"CONSUL_HTTP_ADDR": f"127.0.0.1:{consul.http_port}"}
    assert completed("podpulse inspect --node w", **here) == ["web1", "web2"]
    assert completed("podpulse inspect --pod ''", CONSUL_HTTP_ADDR="127.0.0.1:1") == []
    assert names(f"probe --consul {here['CONSUL_HTTP_ADDR']} s") == ["search", "shop"]
    assert names("probe --node web2 ''", **here) == ["shop"]
    assert names("unschedule shop --node ''", **here) == ["web1", "web2"]
    assert names("probe search --node ''", **here) == ["web1"]
    assert names("inspect --pod postgres --node ''", **here) == ["db1"]
    assert names("watch --health po", **here) == ["postgres"]
    assert names("schedule some.yaml --node d", **here) == ["db1"]


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no.such.host.example", "http://[", "https://127.0.0.1:1"])
def test_a_consul_that_does_not_answer_gives_no_names_and_no_error(address: str) -> None:
    assert names("inspect --node w", CONSUL_HTTP_ADDR=address) == []


def test_a_consul_that_hangs_gives_no_names() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert names("probe s", CONSUL_HTTP_ADDR=f"127.0.0.1:{silent.getsockname()[1]}") == []


def test_a_token_that_may_not_read_gives_no_names(acl_consul: Agent) -> None:
    assert names("inspect --pod s", CONSUL_HTTP_ADDR=f"127.0.0.1:{acl_consul.http_port}", CONSUL_HTTP_TOKEN="x") == []


def test_folders_have_names_too(tmp_path: Path) -> None:
    for name in ("shop", "search", "other"):
        (tmp_path / f"{name}.yaml").write_text(f"id: {name}\n")
    assert names(f"inspect --intent-dir {tmp_path} --pod s") == ["search", "shop"]
    assert names(f"probe --node web1 --intent-dir {tmp_path} o") == ["other"]
    assert names(f"inspect --intent-dir {tmp_path} --node ''") == [socket.gethostname()]
    assert names(f"inspect --intent-dir {tmp_path}/missing --pod s") == []


def test_the_options_and_the_configuration_are_used(consul: Agent, tmp_path: Path) -> None:
    for name in ("web1/shop", "web2/shop", "web2/search"):
        consul.put(f"reality/{name}", b"id: pod")
    file = tmp_path / "config.yaml"
    file.write_text(f"tree: reality\nconsul: {{address: '127.0.0.1:{consul.http_port}'}}\n")
    assert names(f"probe --config {file} s") == ["search", "shop"]
    assert names(f"probe --config {file} --node web1 s") == ["shop"]
    assert names(f"plan --config {file} --without search --node w") == ["web1", "web2"]
    assert names("acl-policy --node w", CONFIG_PATH=str(file)) == ["web1", "web2"]
    file.write_text("no: [such option")
    assert names(f"probe --config {file} s") == []
    assert names(f"probe --consul 127.0.0.1:{consul.http_port} --token-file {file}/missing s") == []


@pytest.mark.parametrize(
    ("shell", "mark"), [("zsh", "#compdef podpulse"), ("fish", "complete --no-files --command podpulse")]
)
def test_other_shells_get_their_own_script(shell: str, mark: str) -> None:
    assert mark in good(run("completion", shell))


def test_an_unknown_shell_is_a_usage_error() -> None:
    assert "is not one of" in complaint(run("completion", "cmd.exe"))
