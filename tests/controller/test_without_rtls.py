"""The program on a platform for which rtls has no wheel: OpenSSL makes every TLS connection."""

import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def without_rtls(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.support.without_rtls", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def test_the_version_names_openssl_alone() -> None:
    done = without_rtls("controller", "--version")
    assert done.stdout == f"podpulse, version {version('podpulse')} (TLS: pyOpenSSL {version('pyopenssl')})\n", (
        done.stderr
    )


@pytest.mark.parametrize(
    "file", [pytest.param("test_answers_tls.py", marks=pytest.mark.slow), "test_certificate_sentences.py"]
)
def test_every_verdict_is_the_same(file: str) -> None:
    done = without_rtls("pytest", "-q", "-p", "no:cacheprovider", f"tests/controller/{file}")
    assert done.returncode == 0, done.stdout[-3000:]


def test_rtls_is_required_only_where_it_has_wheels() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [each for each in project["dependencies"] if each.startswith("rtls")]
    assert len(wanted) == 1
    assert "platform_machine == 'aarch64'" in wanted[0].replace('"', "'")
    assert "platform_machine == 'x86_64'" in wanted[0].replace('"', "'")
