"""`podpulse check-manifest`: what is wrong with a manifest, before it is used."""

import sys
from pathlib import Path
from typing import Any

import click

from controller.cli.manifest_file import LENIENT, ManifestFile, read
from controller.cli.options import FILE, check_names, explained, load
from controller.cli.terminal import say, say_json
from reconcilers.checktext import describe
from reconcilers.spec import Manifest


@click.command("check-manifest")
@click.argument("files", type=FILE, nargs=-1, required=True)
@click.option("--node", metavar="NAME", help="The node that is to run the pods [the host's name].")
@click.option(
    "--config",
    "config_file",
    type=FILE,
    help="Check as a controller on this host would with this configuration [headers and files are not checked].",
)
@click.option("--json", "as_json", is_flag=True, help="Say it as JSON.")
def check_manifest(files: tuple[Path, ...], node: str | None, config_file: Path | None, as_json: bool) -> None:
    """Say what manifests ask for, or what is wrong with them.

    On standard output a line for each good one, with its SHA as p2 computes it, and a warning for every field that is
    not known, and of what p2 itself would not read. On standard error a line for every wrong field, with what was
    expected. Fields that do not fit together are looked for when each of them is good.

    With --json there is a list on standard output, in the order of the files: file, id, sha, check (as `plan --json`
    has it; null where nothing is to be probed), error (null, or a line for every wrong field) and warnings.

    \b
    Examples:
      podpulse check-manifest isup.yaml
      podpulse check-manifest pods/*.yaml --node web1 --config /etc/podpulse/config.yaml
      podpulse check-manifest pods/*.yaml --json | jq -r '.[] | select(.error) | .file'

    \b
    Exit codes:
      0  every one can be used
      1  one of them cannot, or the configuration cannot
      2  wrong use
    """
    check_names({"--node": node})
    with explained():
        config = load(config_file, {}, {"node": node}) if config_file else None
        rules = config.rules() if config else LENIENT
        manifests = [read(file, config.node_name if config else node, rules) for file in files]
    if as_json:
        say_json([_fields(each) for each in manifests])
    else:
        for each in manifests:
            _show(each)
    sys.exit(1 if any(each.errors for each in manifests) else 0)


def _fields(file: ManifestFile) -> dict[str, Any]:
    check = file.manifest.check if file.manifest else None
    return {
        "file": str(file.path),
        "id": file.pod or None,
        "sha": file.sha or None,
        "check": describe(check) if check else None,
        "error": "\n".join(file.errors) or None,
        "warnings": file.warnings,
    }


def _show(file: ManifestFile) -> None:
    for error in file.errors:
        say(f"{file.path}: {error}", err=True)
    if file.manifest:
        sha = f"SHA {file.sha}" if file.sha else "no SHA, because p2 would not read it"
        say(f"{file.path}: {_summary(file.manifest)}; {sha}")
    for warning in file.warnings:
        say(f"{file.path}: warning: {warning}")


def _summary(manifest: Manifest) -> str:
    if manifest.check:
        return f"{manifest.check.probe.url or 'passing without a probe'} every {manifest.check.interval:g} s"
    return "paused" if manifest.paused else "asks for no check"
