"""Descriptors are divided up before they are used: first for transfers, and the rest for kept connections."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support.faults import KeptConnections
from tests.support.targets import Target

GIVEN = """
import resource, sys
from controller.runtime.descriptors import affordable, keepable
soft, hard, *call = map(int, sys.argv[2:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print({"affordable": affordable, "keepable": keepable}[sys.argv[1]](*call), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def given(soft: int, hard: int, function: str, *arguments: int) -> list[int]:
    """Returns the result of `function` under these limits, and the limits afterwards."""
    return [int(word) for word in run("-c", GIVEN, function, soft, hard, *arguments).split()]


def run(*command: object) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_as_many_transfers_are_afforded_as_the_limit_allows_when_it_is_raised() -> None:
    assert given(100, 1000, "affordable", 500) == [500, 628, 1000]
    assert given(100, 300, "affordable", 500) == [172, 300, 300]
    assert given(900, 1000, "affordable", 500) == [500, 900, 1000]
    assert given(50, 60, "affordable", 500) == [1, 60, 60]


@pytest.mark.parametrize(
    ("limits", "checks", "in_flight", "kept", "raised"),
    [
        ((1000, 1000), 50, 8192, 100, 1000),
        ((100, 1000), 50, 8192, 100, 278),
        ((1000, 1000), 600, 100, 700, 1000),
        ((1000, 1000), 2000, 100, 772, 1000),
        ((184, 184), 150, 40, 16, 184),
        ((100, 100), 150, 40, 1, 100),
    ],
    ids=["few checks", "raised for it", "all", "some", "few", "none but one"],
)
def test_of_connections_as_many_are_kept_as_leave_one_descriptor_to_each_transfer(
    limits: tuple[int, int], checks: int, in_flight: int, kept: int, raised: int
) -> None:
    assert given(*limits, "keepable", checks, in_flight) == [kept, raised, limits[1]]


def test_kept_connections_leave_descriptors_to_the_probes() -> None:
    with Target(host="0.0.0.0") as target:
        target.behave(KeptConnections())
        found: dict[str, Any] = json.loads(run("-m", "tests.support.tight", 184, target.port, 150))
    assert found["outcomes"].keys() == {"success"}, found
    assert found["in_flight"] == 40
    assert 0 < found["standing"] <= 184


def test_with_enough_descriptors_every_check_keeps_its_connection() -> None:
    with Target(host="0.0.0.0") as target:
        target.behave(KeptConnections())
        found: dict[str, Any] = json.loads(run("-m", "tests.support.tight", 400, target.port, 100))
        assert found["outcomes"].keys() == {"success"}, found
        assert len(target.accepted()) == 100
