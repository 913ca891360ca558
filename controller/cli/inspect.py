"""`podpulse inspect`: what is scheduled, and how it is."""

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from controller import inspection
from controller.cli.options import FOLDER, client, explained, tool_options


@click.command()
@click.option("--pod", metavar="POD", help="Only pods of this name.")
@click.option("--node", metavar="NAME", help="Only pods of this node.")
@click.option("--intent-dir", type=FOLDER, help="Read manifests from this folder instead of Consul.")
@click.option("--health-dir", type=FOLDER, help="Read health from this folder instead of Consul.")
@tool_options
def inspect(
    pod: str | None, node: str | None, intent_dir: Path | None, health_dir: Path | None, consul: Mapping[str, Any]
) -> None:
    """Show what is scheduled and how healthy it is, as JSON: pod, then node.

    \b
    podpulse inspect --pod isup
    podpulse inspect --node web1.example.com | jq '.[][].health_check.status'
    """
    with explained():
        if intent_dir:
            sights = inspection.from_folders(intent_dir, health_dir, node or socket.gethostname(), pod)
        else:
            with client(consul) as consul_client:
                sights = inspection.from_consul(consul_client, "intent", node, pod)
        click.echo(json.dumps(inspection.as_tree(sights), indent=2, ensure_ascii=False))
