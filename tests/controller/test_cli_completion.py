"""Shell completion, as a real shell does it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cli import complaint, good, run
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


def completed(words: str) -> list[str]:
    """What bash offers for the last of these words."""
    places = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", BASH.format(words=words)],
        env=environment() | places,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "-F _podpulse_completion podpulse" in done.stderr
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes_verbs_options_and_choices() -> None:
    assert completed("podpulse ins") == ["inspect"]
    assert completed("podpulse inspect --form") == ["--format"]
    assert completed("podpulse inspect --format t") == ["tree", "table"]


@pytest.mark.parametrize(
    ("shell", "mark"), [("zsh", "#compdef podpulse"), ("fish", "complete --no-files --command podpulse")]
)
def test_other_shells_get_their_own_script(shell: str, mark: str) -> None:
    assert mark in good(run("completion", shell))


def test_an_unknown_shell_is_a_usage_error() -> None:
    assert "is not one of" in complaint(run("completion", "cmd.exe"))
