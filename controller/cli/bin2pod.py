"""`podpulse bin2pod`: makes a pod of one executable."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from controller.cli.options import FILE, explained, key_of
from controller.cli.pod_archive import PackError, Pod, pack
from controller.cli.terminal import console, say, say_json

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
