"""A controller does not start with a libcurl that lacks what it needs."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.controller import environment

ROOT = Path(__file__).parents[2]
EXPECTED = "Error: libcurl: expected 7.87.0 or later with OpenSSL, got "


def run(folder: Path, version: str, tls: str) -> subprocess.CompletedProcess[str]:
    """`podpulse run` in a process that finds this libcurl. A good start ends at an address of another host."""
    (folder / "pods").mkdir()
    places = ("--intent-dir", folder / "pods", "--health-dir", folder / "health", "--listen", "192.0.2.1:1")
    return subprocess.run(
        [sys.executable, "-m", "tests.support.other_libcurl", version, tls, "run", *map(str, places)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("version", "tls", "found"),
    [
        ("7.74.0", "OpenSSL/1.1.1w", "7.74.0 with OpenSSL/1.1.1w"),
        ("7.86.0-DEV", "OpenSSL/3.0.1", "7.86.0-DEV with OpenSSL/3.0.1"),
        ("8.5.0", "GnuTLS/3.7.9", "8.5.0 with GnuTLS/3.7.9"),
        ("8.5.0", "", "8.5.0 with no TLS"),
    ],
)
def test_an_unsuitable_libcurl_is_an_error_that_names_what_is_needed(
    tmp_path: Path, version: str, tls: str, found: str
) -> None:
    done = run(tmp_path, version, tls)
    assert done.stderr.splitlines()[-1] == EXPECTED + found
    assert done.returncode == 1
    assert not (tmp_path / "health").exists(), "nothing is touched before the check"


@pytest.mark.parametrize("version", ["7.87.0", "8.0.0", "10.1.2-DEV"])
def test_a_suitable_libcurl_is_accepted(tmp_path: Path, version: str) -> None:
    done = run(tmp_path, version, "OpenSSL/3.0.1")
    assert "libcurl" not in done.stderr
    assert "cannot listen on 192.0.2.1 port 1" in done.stderr
    assert done.returncode == 1
