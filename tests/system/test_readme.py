"""The README's walk-through is run as it stands there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(r"^```bash walk-through\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands() -> str:
    """Its lines, which a person types one after the other: each waits for what it says, and none may fail."""
    return "\n".join(BLOCK.findall(README.read_text("utf-8")))


@pytest.mark.skipif(
    shutil.which("unshare") is None, reason="no unshare(1) here: the ports of the walk-through may be taken"
)
def test_the_walk_through_works_as_it_stands(consul_binary: Path, tmp_path: Path) -> None:
    """In a network namespace of its own, because it uses the ports that people use."""
    script = f"set -euo pipefail\nip link set lo up\ntrap 'kill $(jobs -p)' EXIT\n{commands()}"
    places = [str(Path(sys.executable).parent), str(consul_binary.parent), os.environ["PATH"]]
    ended = subprocess.run(
        ["unshare", *(() if os.geteuid() == 0 else ("--map-root-user",)), "--net", "bash", "-c", script],
        cwd=tmp_path,
        env={"PATH": ":".join(places), "HOME": str(tmp_path), "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}\n{(tmp_path / 'podpulse.log').read_text()}"
    assert '"status": "passing"' in ended.stdout
    assert '"Status":' in ended.stdout
    assert 'probe_success{node="web1",pod="isup"} 1' in ended.stdout
    assert '"reason": "refused"' in ended.stdout
