"""`podpulse check-manifest`: reports what is wrong with manifests."""

import sys
from pathlib import Path
from typing import Any

import click

from controller.cli.manifest_file import LENIENT, ManifestFile, read
from controller.cli.names import node_names
from controller.cli.options import FILE, check_names, explained, load
from controller.cli.terminal import say, say_json
from reconcilers.checktext import describe
from reconcilers.spec import Manifest


@click.command("check-manifest")
@click.argument("files", type=FILE, nargs=-1, required=True)
@click.option(
    "--node", metavar="NAME", shell_complete=node_names, help="The node that runs the pods [the host's name]."
)
@click.option(
    "--config",
    "config_file",
    type=FILE,
    help="Apply this configuration, as a controller on this host does [files and permissions are not checked].",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check_manifest(files: tuple[Path, ...], node: str | None, config_file: Path | None, as_json: bool) -> None:
    """Report the checks that manifests define, and their errors.

    Standard output has one line per valid manifest, with its SHA as p2 computes it, and warnings about unknown fields,
    about files of certificates and keys on this host that cannot be used, and about what p2 itself would not read.
    Standard error has one line per wrong field, with the expected value.
    Contradictions between fields are reported only if each single field is valid.

    With --json, standard output has a list in the order of FILES: file, id, sha, check (as in `plan --json`; null if
    there is none), error (null, or one line per wrong field) and warnings.

    \b
    Examples:
      podpulse check-manifest isup.yaml
      podpulse check-manifest pods/*.yaml --node web1 --config /etc/podpulse/config.yaml
      podpulse check-manifest pods/*.yaml --json | jq -r '.[] | select(.error) | .file'

    \b
    Exit codes:
      0  all manifests are valid
      1  a manifest or the configuration is invalid
      2  wrong usage
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
        "check": describe(check, file.manifest.labels) if file.manifest and check else None,
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
    return "paused" if manifest.paused else "no check"
