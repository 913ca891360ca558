"""`podpulse check-manifest` and `check-config`: what is wrong with a file, before it is used."""

import os
import sys
from pathlib import Path

import click

from controller import config as configuration
from controller.cli.options import FILE, LENIENT, explained, key_of
from controller.rotation import wrong_authorities, wrong_for_consul
from controller.table import printable
from reconcilers.manifest import ManifestError, parse, pod_id
from reconcilers.spec import Manifest


@click.command("check-manifest")
@click.argument("files", type=FILE, nargs=-1, required=True)
def check_manifest(files: tuple[Path, ...]) -> None:
    """Say what manifests ask for, or what is wrong with them.

    A line for each good one, and one for every field that is not known, on standard output; the wrong ones on standard
    error, with the field and what was expected.

    \b
    Examples:
      podpulse check-manifest isup.yaml
      podpulse check-manifest pods/*.yaml

    \b
    Exit codes:
      0  every one can be used
      1  one of them cannot
      2  wrong use
    """
    wrong = 0
    for file in files:
        try:
            data = file.read_bytes()
            manifest = parse(key_of(pod_id(data), None), data, LENIENT)
        except ManifestError as error:
            wrong += 1
            click.echo(f"{file}: {error}", err=True)
            continue
        click.echo(f"{file}: {_asked(manifest)}")
        for field in manifest.unknown_fields:
            click.echo(f"{file}: {printable(field)}: not known here, passed over")
    sys.exit(1 if wrong else 0)


def _asked(manifest: Manifest) -> str:
    if manifest.check:
        return f"{manifest.check.probe.url} every {manifest.check.interval:g} s"
    return "paused" if manifest.paused else "asks for no check"


@click.command("check-config")
@click.argument("file", type=FILE)
def check_config(file: Path) -> None:
    """Say whether the configuration FILE can be used.

    That it is good is said on standard output; else every field that is wrong, on standard error.

    \b
    Examples:
      podpulse check-config /etc/podpulse.yaml

    \b
    Exit codes:
      0  it can
      1  it cannot
      2  wrong use
    """
    with explained():
        config = configuration.load(file, {})
        consul = config.consul_settings(os.environ)
    if problem := wrong_for_consul(consul) or wrong_authorities("ca_file", str(config.ca_file)):
        raise click.ClickException(f"{file}: {problem}")
    click.echo(f"{file}: good")
    for note in config.notes:
        click.echo(f"{file}: {note}")
