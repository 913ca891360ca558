"""A shell in its own network namespace, which runs commands as a person types them.

Every port is free there, also the usual ones, and only loopback can be reached.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

SETTING = """
set -euo pipefail
ip link set lo up
trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT
"""

NAMESPACE = (
    *("unshare", "--net", "--pid", "--fork", "--kill-child"),
    *(() if os.geteuid() == 0 else ("--map-root-user",)),
)
"""Its processes are a namespace of their own too: whatever becomes of the shell, nothing that it started is left."""

TOO_LATE = 137
"""Killed, as timeout(1) says it."""

needs_a_namespace = pytest.mark.skipif(
    shutil.which("unshare") is None, reason="no unshare(1) here: the ports that people use may be taken"
)


def run(script: str, folder: Path, programs: Sequence[Path], within: float = 90.0) -> str:
    """Run `script` in `folder`, with `programs` before others on PATH. Returns its standard output.

    A command that fails ends the script and is an error. More than `within` seconds are an error too.
    """
    place = [str(Path(sys.executable).parent), *(str(program.parent) for program in programs), os.environ["PATH"]]
    environment = {"PATH": ":".join(place), "HOME": str(folder), "PYTHONWARNINGS": "error"}
    command = ["timeout", "--signal=KILL", f"{within}", *NAMESPACE, "bash", "-c", SETTING + script]
    ended = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    print(ended.stdout)
    if ended.returncode:
        logs = "\n".join(f"--- {log.name} ---\n{log.read_text(errors='replace')}" for log in folder.glob("*.log"))
        raise AssertionError(f"exit code {ended.returncode} ({TOO_LATE}: too late)\n{ended.stderr}\n{logs}")
    return ended.stdout
