"""A pod made of one executable: a tar.gz that p2 installs and starts, and the manifest that names it.

The same executable always gives the same tar.gz, byte for byte. The tar is named after a hash of its content.

Source: bin/p2-bin2pod, and pkg/launch of square/p2, which takes the version from the tar's name: 40 hexadecimal digits
behind a name of lower-case letters, digits, `-` and `_`.
"""

import gzip
import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconcilers.p2 import manifest as p2manifest

LAUNCH = "bin/launch"
DIGITS = 40
OTHER_LETTERS = re.compile(r"[^a-z0-9_-]")
VERSIONED = re.compile(r"[a-z0-9_-]+_[a-f0-9]{40}(-[a-z0-9]+)?\.tar\.gz")


class PackError(Exception):
    """No pod can be made of the file. The message says why."""


@dataclass(frozen=True, slots=True)
class Pod:
    """The content of the manifest. `{}` in `location` stands for the tar's name; an empty one for the tar's path."""

    id: str
    location: str = ""
    config: Mapping[str, str] = field(default_factory=dict)
    status_port: int = 0
    status_http: bool = False

    def manifest(self, location: str) -> bytes:
        """Returns the manifest as p2 would write it.

        Raises:
            PackError: p2 could not read it.
        """
        launchable = {"launchable_type": "hoist", "location": location}
        fields: dict[str, Any] = {
            "id": self.id,
            "launchables": {self.id: launchable},
            "config": dict(self.config),
            "status_port": self.status_port,
            "status_http": self.status_http,
        }
        try:
            return p2manifest.canonical(json.dumps(fields, ensure_ascii=False).encode())
        except (p2manifest.P2ManifestError, UnicodeEncodeError) as error:
            raise PackError(f"the manifest would not be readable: {error}") from None


@dataclass(frozen=True, slots=True)
class Packed:
    """The written files, as absolute paths, and the location of the tar in the manifest."""

    tar: Path
    manifest: Path
    location: str

    @property
    def has_version(self) -> bool:
        """Whether p2 can take a version from the location."""
        return VERSIONED.fullmatch(self.location.rpartition("/")[2]) is not None


def pack(executable: Path, pod: Pod, folder: Path, progress: Callable[[int], object]) -> Packed:
    """Writes `<id>_<digits>.tar.gz` and `<id>.yaml` into `folder`. `progress` is called with the bytes of each read.

    Raises:
        PackError: the executable changes during the packing, or would be overwritten.
        OSError: it cannot be read, or the folder not be written.
    """
    if not executable.is_file():
        raise PackError(f"{executable} is no ordinary file")
    folder = folder.absolute()
    manifest = folder / f"{pod.id}.yaml"
    if manifest.exists() and manifest.samefile(executable):
        raise PackError(f"{manifest} is the executable itself, and the manifest would replace it; expected another id")
    unfinished = folder / f".{pod.id}.{os.getpid()}.new"
    try:
        digits = _write_tar(executable, unfinished, progress)
        tar = folder / f"{OTHER_LETTERS.sub('-', pod.id.lower())}_{digits}.tar.gz"
        location = pod.location.replace("{}", tar.name) or str(tar)
        data = pod.manifest(location)
        unfinished.replace(tar)
        unfinished.write_bytes(data)
        unfinished.replace(manifest)
    finally:
        unfinished.unlink(missing_ok=True)
    return Packed(tar, manifest, location)


class _Reader(io.RawIOBase):
    """Reads a file, hashes the content and reports the progress."""

    def __init__(self, file: io.BufferedReader, progress: Callable[[int], object]) -> None:
        self._file = file
        self._progress = progress
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        self._progress(len(data))
        return data


def _write_tar(executable: Path, path: Path, progress: Callable[[int], object]) -> str:
    """Writes the tar.gz. Returns the first digits of the SHA-256 of the executable."""
    with executable.open("rb") as file, path.open("wb") as out:
        size = os.fstat(file.fileno()).st_size
        reader = _Reader(file, progress)
        with (
            gzip.GzipFile("", "wb", 6, out, mtime=0) as zipped,
            tarfile.open(fileobj=zipped, mode="w", format=tarfile.GNU_FORMAT) as tar,
        ):
            tar.addfile(_entry(str(Path(LAUNCH).parent), kind=tarfile.DIRTYPE))
            try:
                tar.addfile(_entry(LAUNCH, size), reader)
            except OSError as error:
                if os.fstat(file.fileno()).st_size < size:
                    raise PackError(f"{executable} became shorter while it was read") from error
                raise
        if file.read(1):
            raise PackError(f"{executable} became longer while it was read")
    return reader.digest.hexdigest()[:DIGITS]


def _entry(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    """Returns an entry without owner and time, because these would change the tar."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.size, entry.mode = kind, size, 0o755
    return entry
