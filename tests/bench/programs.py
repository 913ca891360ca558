"""Where the programs that a benchmark needs come from: PATH, else Debian's package, unpacked below .cache without root.

A program that cannot be had is said by name, with the package that has it; whoever asked decides what that means.
"""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Missing(Exception):
    """A program is not there; the message says which, and how to get it."""


def nginx() -> Path:
    """The targets' server."""
    return _program("nginx", "nginx", "-", "-v")


def consul() -> Path:
    """Beside podpulse, and as a peer with its own checks: the one that the variable CONSUL names, if any."""
    return _program(os.environ.get("CONSUL") or "consul", "consul", "bullseye", "version")


def blackbox_exporter() -> Path:
    """The peer from the house of Prometheus."""
    return _program("prometheus-blackbox-exporter", "prometheus-blackbox-exporter", "-", "--version")


def _program(name: str, package: str, suite: str, ask_version: str) -> Path:
    folder = ROOT / ".cache" / package
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", f"{folder}/usr/bin", f"{folder}/usr/sbin"))
    found = shutil.which(name, path=path)
    if not found and _fetched(package, suite, folder):
        found = shutil.which(name, path=path)
    if not found or subprocess.run([found, ask_version], capture_output=True, check=False).returncode:
        raise Missing(f"no {name} here; on Debian, as root: apt-get install {package}")
    return Path(found)


def _fetched(package: str, suite: str, folder: Path) -> bool:
    command: list[str | Path] = [ROOT / "deploy" / "fetch-deb", suite, package, folder]
    folder.parent.mkdir(exist_ok=True)
    return subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0
