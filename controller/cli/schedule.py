"""`podpulse schedule` and `unschedule`: what shall run where."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from controller.cli.options import FILE, FOLDER, LENIENT, client, explained, key_of, tool_options
from controller.intent.directory import manifest_path
from reconcilers.keys import intent_key
from reconcilers.manifest import ManifestError, parse, pod_id


@click.command()
@click.argument("manifest", type=FILE)
@click.option("--node", metavar="NAME", help="The node that is to run the pod [the host's name].")
@click.option("--intent-dir", type=FOLDER, help="Write to this folder instead of Consul.")
@tool_options
def schedule(manifest: Path, node: str | None, intent_dir: Path | None, consul: Mapping[str, Any]) -> None:
    """Write MANIFEST to the intent tree: intent/<node>/<id of the manifest>.

    \b
    podpulse schedule isup.yaml --node web1.example.com
    """
    with explained():
        data = manifest.read_bytes()
        try:
            key = key_of(pod_id(data), node)
            parse(key, data, LENIENT)
        except ManifestError as error:
            raise click.ClickException(f"{manifest}: {error}") from error
        if intent_dir:
            intent_dir.mkdir(parents=True, exist_ok=True)
            unfinished = intent_dir / f".{key.pod}.new"
            unfinished.write_bytes(data)
            unfinished.replace(manifest_path(intent_dir, key))
        else:
            with client(consul) as consul_client:
                consul_client.put(intent_key("intent", key), data)
        click.echo(json.dumps({"pod_id": key.pod, "pod_unique_key": ""}))


@click.command()
@click.argument("pod")
@click.option("--node", metavar="NAME", help="The node it was scheduled on [the host's name].")
@click.option("--intent-dir", type=FOLDER, help="Remove from this folder instead of Consul.")
@tool_options
def unschedule(pod: str, node: str | None, intent_dir: Path | None, consul: Mapping[str, Any]) -> None:
    """Remove POD's manifest from the intent tree: its checks stop and its health is withdrawn."""
    with explained():
        key = key_of(pod, node)
        if intent_dir:
            manifest_path(intent_dir, key).unlink(missing_ok=True)
        else:
            with client(consul) as consul_client:
                consul_client.delete(intent_key("intent", key))
