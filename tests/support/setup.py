"""Sets up a tool when the first test needs it. So the pure tests need only Python packages."""

import os
import subprocess
from functools import cache
from pathlib import Path

import pytest

SETUP = Path(__file__).resolve().parents[1] / "setup"
NOT_SET_UP = "not set up: "


def require(tool: str) -> None:
    """Set up a tool of `tests/setup`. Without it a test is skipped for people, and fails in CI."""
    if reason := _failure(tool):
        end = pytest.fail if os.environ.get("CI") else pytest.skip
        end(f"{NOT_SET_UP}{tool}: {reason}")


@cache
def _failure(tool: str) -> str:
    """Why the tool cannot be set up; "" if it is there."""
    done = subprocess.run([SETUP, tool], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no reason was given"])[-1]
