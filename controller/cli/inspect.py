"""`podpulse inspect`: what is scheduled, and how it is."""

import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from controller.cli import inspection
from controller.cli.inspection import InspectedPod
from controller.cli.options import FOLDER, check_names, client, consul_options, explained
from controller.cli.terminal import console, say, say_json
from controller.intent.source import SourceError


@click.command()
@click.option("--pod", metavar="POD", help="Only pods of this name.")
@click.option("--node", metavar="NAME", help="Only pods of this node.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["tree", "list", "table"]),
    default="tree",
    show_default=True,
    help="tree: JSON, {pod: {node: {...}}}; list: JSON, [{node, pod, ...}]; table: for people.",
)
@click.option("--intent-dir", type=FOLDER, help="Read manifests from this folder instead of Consul.")
@click.option("--health-dir", type=FOLDER, help="Read health from this folder instead of Consul.")
@consul_options
def inspect(
    pod: str | None,
    node: str | None,
    form: str,
    intent_dir: Path | None,
    health_dir: Path | None,
    consul: Mapping[str, Any],
) -> None:
    """Show what is scheduled and how healthy it is.

    The fields are those of p2-inspect (health_check, health, intent_manifest_sha, intent_locations, intent_versions,
    and the same of reality), and more: scheduled, reason, detail, since, last_probe, probed_manifest_sha. A pod without
    published health is unknown. Without any pod the tree is {} and the list null, as with p2-inspect. The table is in
    colour on a terminal (unless NO_COLOR is set), and in plain columns elsewhere.

    \b
    Examples:
      podpulse inspect --pod isup
      podpulse inspect --node web1.example.com | jq '.[][].health_check.status'
      podpulse inspect --format list | jq -r '.[]? | select(.health == "critical") | .node + " " + .pod'
      podpulse inspect --format table

    \b
    Exit codes:
      0  shown, whatever the health
      1  Consul did not answer, or refused; a folder cannot be read
      2  wrong use
    """
    check_names({"--node": node, "--pod": pod})
    if health_dir and not intent_dir:
        raise click.UsageError("--health-dir: expected --intent-dir too")
    with explained(SourceError):
        if intent_dir:
            sights = inspection.from_folders(intent_dir, health_dir, node or socket.gethostname(), pod)
        else:
            with client(consul) as consul_client:
                sights = inspection.from_consul(consul_client, "intent", node, pod)
        if form == "table":
            _show(sights)
        else:
            shown = inspection.as_tree(sights) if form == "tree" else inspection.as_list(sights) or None
            say_json(shown)


def _show(sights: Sequence[InspectedPod]) -> None:
    from controller.cli import table  # noqa: PLC0415 - rich is imported only for a table

    now = time.time()
    rows = sorted(table.row(sight, now) for sight in sights)
    terminal = console()
    if terminal.is_terminal and not terminal.is_dumb_terminal:
        terminal.print(table.drawn(rows))
        say(f"\n{table.totals(sights)}")
    else:
        say(table.columns(rows))
