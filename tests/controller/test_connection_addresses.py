"""A name with several addresses, some of which this controller cannot even try."""

import json
import subprocess
import sys
from pathlib import Path

from tests.support import sandbox
from tests.support.targets import BlackHole, Target

MODULE = "tests.support.two_addresses"
FULL = "Too many open files"


def found(free: int, *ports: int) -> list[tuple[str, str, str]]:
    """Returns the result for each port of 127.0.0.1 and ::1, with this number of free descriptors."""
    command = [sys.executable, "-m", MODULE, f"{free}", "127.0.0.1", *map(str, ports)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def test_an_address_that_could_not_be_tried_for_lack_of_descriptors_makes_it_our_fault() -> None:
    """The first address does not answer, and its connection uses the last descriptor."""
    with BlackHole() as hole, Target() as target:
        local = ("local", "local", f"no connection to web1:{hole.port}: {FULL}")
        success = ("success", "", "")
        assert found(1, hole.port, target.port) == [local, success]
        assert found(0, hole.port, target.port) == [
            local,
            ("local", "local", f"no connection to web1:{target.port}: {FULL}"),
        ]
        timeout = ("failure", "timeout", f"no connection to web1:{hole.port} for 1 s")
        assert found(2, hole.port) == [timeout]


@sandbox.needs_a_namespace
def test_that_this_machine_has_no_ipv6_does_not_excuse_a_pod_that_refuses(tmp_path: Path) -> None:
    script = f"""
    echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6
    cd {Path(__file__).parents[2]}
    python -m {MODULE} all 127.0.0.1 9
    """
    refused = ["failure", "refused", "connection to web1:9 refused"]
    assert json.loads(sandbox.run(script, tmp_path, [])) == refused
