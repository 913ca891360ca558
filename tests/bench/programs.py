"""Where the programs that a benchmark needs come from: PATH, else Debian's package, unpacked below .cache without root.

If a program is not available, the error names it and its package. The caller decides what that means.
"""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Missing(Exception):
    """A program is not available. The message has its name, and how to get it."""


def nginx() -> Path:
    """The server of the targets."""
    return _program("nginx", "nginx", "-", "-v")


def consul() -> Path:
    """Consul, which stores manifests and health, and is a peer with its own checks. The variable CONSUL can name
    another one."""
    return _program(os.environ.get("CONSUL") or "consul", "consul", "bullseye", "version")


def blackbox_exporter() -> Path:
    """blackbox_exporter, the peer from the Prometheus project."""
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
