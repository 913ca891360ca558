"""`podpulse bin2pod`: makes a pod of one executable: a tar.gz that p2 installs and starts, and its manifest.

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
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from controller.cli.options import FILE, explained, key_of
from controller.cli.terminal import console, say, say_json
from reconcilers.p2 import manifest as p2manifest

BIG = 16 * 1024 * 1024
"""Bytes. A smaller file is packed too fast for a progress bar."""


def _config(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    for name, equals, _ in pairs:
        if not (name and equals):
            raise click.BadParameter(f"expected NAME=VALUE, got {(name + equals)[:60]!r}")
    config = {name: value for name, _, value in pairs}
    if len(config) < len(pairs):
        raise click.BadParameter("expected each name once")
    return config


@click.command()
@click.argument("executable", type=FILE)
@click.option("--id", "pod", metavar="ID", help="The pod's id [the name of EXECUTABLE].")
@click.option("--location", metavar="URL", default="", help="URL of the tar; {} is its name [its path].")
@click.option(
    "--work-dir",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    default=".",
    help="The folder for tar and manifest [the current one].",
)
@click.option(
    "--config",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_config,
    help="Add to `config` of the manifest; repeatable.",
)
@click.option("--status-port", type=click.IntRange(1, 65_535), help="The port of the pod's status page [no check].")
@click.option("--status-http", is_flag=True, help="Check over HTTP instead of HTTPS.")
def bin2pod(
    executable: Path,
    pod: str | None,
    location: str,
    work_dir: Path,
    config: dict[str, str],
    status_port: int | None,
    status_http: bool,
) -> None:
    """Make a pod of EXECUTABLE: a tar.gz and a manifest.

    The tar contains the executable as bin/launch. The manifest is <id>.yaml. Existing files of these names are
    overwritten. Standard output has JSON with tar_path, manifest_path and final_location, the location of the tar in
    the manifest. Equal executables give identical tars. The tar is named <id>_<40 digits>.tar.gz. Keep this form where
    you upload it, because p2 reads the version from it. A terminal shows the progress for a large file.

    \b
    Examples:
      podpulse bin2pod isup --status-port 8000 --status-http
      podpulse bin2pod --location 'https://artifacts.example.com/{}' --config ENVIRONMENT=staging build/shop
      podpulse schedule "$(podpulse bin2pod isup | jq -r .manifest_path)" --node web1.example.com

    \b
    Exit codes:
      0  both files are written
      1  the executable cannot be read, or a file cannot be written
      2  wrong usage
    """
    key = key_of(executable.name if pod is None else pod, None)
    wanted = Pod(key.pod, location, config, status_port or 0, status_http)
    with explained(PackError), _progress(executable) as progress:
        packed = pack(executable, wanted, work_dir, progress)
    if not packed.has_version:
        say(f"Warning: p2 cannot read a version from {packed.location!r}; expected {packed.tar.name!r}", err=True)
    paths = {"tar_path": packed.tar, "manifest_path": packed.manifest, "final_location": packed.location}
    say_json({name: str(path) for name, path in paths.items()})


@contextmanager
def _progress(executable: Path) -> Iterator[Callable[[int], object]]:
    size = executable.stat().st_size
    if size < BIG or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import (  # noqa: PLC0415 - imported only to show a bar
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        task = progress.add_task("packing", total=size)
        yield lambda count: progress.advance(task, count)


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
        """Returns the manifest as p2 would write it. Raises PackError if p2 could not read it."""
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

    Raises PackError if the executable changes meanwhile, or would be overwritten.
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
