"""Builds an image with buildah in its own storage, without a daemon or a registry.

The base comes from the Debian archive by mmdebstrap, with the mirrors and the index that this machine uses.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

CA_FILE = "/run/host-ca.pem"
BUILD_WITHIN = 900
CACHE = ROOT / ".cache" / "image"
FRESH = 7 * 86_400
"""Seconds for which the files of a minimal Debian are used."""
RETRIES = ("--aptopt=Acquire::Retries 5",)


@dataclass(frozen=True, slots=True)
class Builder:
    """buildah on a storage in `folder`."""

    folder: Path

    def command(self, *arguments: object) -> list[str]:
        storage = ("--storage-driver", "vfs", "--root", self.folder / "root", "--runroot", self.folder / "run")
        return ["buildah", *map(str, (*storage, *arguments))]

    def run(self, *arguments: object) -> str:
        """Returns its output. If it fails, an AssertionError has its whole output."""
        return _run(self.command(*arguments))

    def debian(self, name: str) -> None:
        """Make a minimal Debian the image `name`. Its files come from the Debian archive, at most once a week."""
        archive = CACHE / f"debian-{_codename()}.tar"
        if not archive.exists() or time.time() - archive.stat().st_mtime > FRESH:
            new = self.folder / "base.tar"
            _run(["mmdebstrap", "--variant=minbase", *RETRIES, _codename(), str(new), *_mirrors()])
            archive.parent.mkdir(exist_ok=True)
            shutil.move(new, f"{archive}.{os.getpid()}")
            Path(f"{archive}.{os.getpid()}").replace(archive)
        container = self.run("from", "scratch")
        self.run("add", "--quiet", container, archive, "/")
        self.run("commit", "--quiet", "--rm", container, name)

    def build(self, dockerfile: Path, name: str, **arguments: str) -> None:
        """Build `name` from the project's folder, with build arguments."""
        given = [f"--build-arg={key}={text}" for key, text in arguments.items()]
        secret, volumes = self.folder / "pip.conf", []
        settings = _pip_settings()
        if bundle := settings.get("cert"):
            volumes, settings["cert"] = [f"--volume={bundle}:{CA_FILE}:ro"], CA_FILE
        secret.write_text("[global]\n" + "".join(f"{key} = {text}\n" for key, text in settings.items()))
        how = ("--isolation=chroot", "--format=docker", "--pull-never", f"--secret=id=pip.conf,src={secret}")
        self.run("build", *how, *volumes, *given, "-f", dockerfile, "-t", name, ROOT)

    def settings(self, image: str) -> dict[str, Any]:
        """Returns the configuration of the image, with Docker's field names."""
        said: dict[str, Any] = json.loads(self.run("inspect", "--type=image", image))["Docker"]["config"]
        return said


def _run(command: Sequence[str]) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_WITHIN, check=False)
    assert ended.returncode == 0, f"{' '.join(command)}\n{ended.stdout[-4000:]}\n{ended.stderr[-4000:]}"
    return ended.stdout.strip()


def _codename() -> str:
    lines = Path("/etc/os-release").read_text("utf-8").splitlines()
    return next(line.partition("=")[2] for line in lines if line.startswith("VERSION_CODENAME="))


def _mirrors() -> list[str]:
    """Returns the Debian mirrors of this machine; empty if they are Debian's own."""
    form = "deb $(REPO_URI) $(RELEASE) $(COMPONENT)"
    lines = _run(["apt-get", "indextargets", "--format", form, "Created-By: Packages"]).splitlines()
    return sorted({line for line in lines if line.startswith("deb http")})


def _pip_settings() -> dict[str, str]:
    """Returns pip's settings on this machine: the index and the trusted hosts. Folders of this machine are left out."""
    settings: dict[str, str] = {}
    pip = shutil.which("pip") or shutil.which("pip3")
    for line in _run([pip, "config", "list"]).splitlines() if pip else ():
        name, _, text = line.partition("=")
        key = name.rpartition(".")[2]
        if key in {"index-url", "extra-index-url", "trusted-host", "proxy", "cert", "timeout", "default-timeout"}:
            settings[key.removeprefix("default-")] = text.strip("'\"")
    return settings
