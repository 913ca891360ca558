"""`podpulse schedule` and `podpulse unschedule`: add manifests to the intent tree, and remove them."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from uuid import uuid4

import click

from controller.cli import nothing_found
from controller.cli.inspection import from_folders
from controller.cli.manifest_file import usable
from controller.cli.names import node_names, pod_names
from controller.cli.options import FILE, FOLDER, client, consul_options, explained, key_of
from controller.cli.terminal import say, say_json
from controller.consul.client import ConsulClient, Operation
from controller.intent.folder import manifest_path
from controller.intent.source import SourceError
from reconcilers.keys import hook_key, intent_key, parse_intent_key
from reconcilers.p2 import uuid_pods as uuidpods
from reconcilers.spec import PodKey


@click.command()
@click.argument("manifests", type=FILE, nargs=-1, required=True)
@click.option(
    "--node", metavar="NAME", shell_complete=node_names, help="The node that runs the pods [the host's name]."
)
@click.option("--hook", is_flag=True, help="Write p2 hooks, which every node runs: hooks/<id>. Ignores --node.")
@click.option("--uuid-pod", is_flag=True, help="Write p2 pods with a UUID: intent/<node>/<uuid> and pods/<uuid>.")
@click.option("--intent-dir", type=FOLDER, help="Write to this folder instead of Consul.")
@consul_options
def schedule(
    manifests: Sequence[Path],
    node: str | None,
    hook: bool,
    uuid_pod: bool,
    intent_dir: Path | None,
    consul: Mapping[str, Any],
) -> None:
    """Write MANIFESTS to the intent tree.

    Each manifest is written to the key intent/<node>/<id>. If one manifest is invalid, none is written. Standard error
    lists unknown fields, and what p2 itself would not read. Standard output has one line of JSON per manifest, in the
    format of p2-schedule. With --uuid-pod, one node can run several pods of the same id. Podpulse does not probe hooks
    and pods with a UUID: only p2's preparer uses them.

    \b
    Examples:
      podpulse schedule isup.yaml --node web1.example.com
      podpulse schedule pods/*.yaml
      podpulse schedule before-install.yaml --hook
      podpulse schedule batch.yaml --uuid-pod | jq -r .pod_unique_key
      podpulse schedule isup.yaml --intent-dir pods

    \b
    Exit codes:
      0  all manifests are written
      1  a manifest is invalid and none is written; or Consul refused one, and only those before it are written
      2  wrong usage
    """
    _refuse_contradictions(hook, uuid_pod, intent_dir)
    with explained():
        files = usable(manifests, node)
        for _, file in files:
            for warning in file.warnings:
                say(f"{file.path}: warning: {warning}", err=True)
        with nullcontext() if intent_dir else client(consul) as consul_client:
            for key, file in files:
                uuid = str(uuid4()) if uuid_pod else ""
                if consul_client:
                    _put(consul_client, key, file.data, hook, uuid)
                elif intent_dir:
                    _write(intent_dir, key, file.data)
                say_json({"pod_id": key.pod, "pod_unique_key": uuid}, compact=True)


@click.command()
@click.argument("pod", shell_complete=pod_names)
@click.option("--node", metavar="NAME", shell_complete=node_names, help="The node of the pod [the host's name].")
@click.option("--hook", is_flag=True, help="Remove the p2 hook hooks/<pod>. Ignores --node.")
@click.option("--uuid-pod", is_flag=True, help="POD is a UUID that `schedule --uuid-pod` printed.")
@click.option("--intent-dir", type=FOLDER, help="Remove from this folder instead of Consul.")
@consul_options
def unschedule(
    pod: str, node: str | None, hook: bool, uuid_pod: bool, intent_dir: Path | None, consul: Mapping[str, Any]
) -> None:
    """Remove POD's manifest from the intent tree.

    The controller then stops the checks of the pod and removes its health. If the manifest does not exist, this is
    said on standard error and is not an error. With --uuid-pod it is one, because the node of an unknown UUID is
    unknown.

    \b
    Examples:
      podpulse unschedule isup --node web1.example.com
      podpulse unschedule before-install --hook
      podpulse unschedule 0b1ad2d1-6ed5-4c5c-8e46-6a4b2fd1a1d7 --uuid-pod

    \b
    Exit codes:
      0  the manifest does not exist any more
      1  Consul did not answer or refused, or no pod has this UUID
      2  wrong usage
    """
    _refuse_contradictions(hook, uuid_pod, intent_dir)
    with explained(SourceError):
        key = key_of(pod, node)
        if intent_dir:
            if not manifest_path(intent_dir, key).exists():
                _say_missing(key, (each.key for each in from_folders(intent_dir, None, key.node, None)), intent_dir)
            manifest_path(intent_dir, key).unlink(missing_ok=True)
        else:
            with client(consul) as consul_client:
                if not hook and not uuid_pod and consul_client.get(intent_key("intent", key)) is None:
                    names = (parse_intent_key("intent", name) for name in consul_client.list_keys("intent/"))
                    _say_missing(key, filter(None, names), "intent/")
                _delete(consul_client, key, hook, _keys(consul_client, pod, node) if uuid_pod else ())


def _refuse_contradictions(hook: bool, uuid_pod: bool, intent_dir: Path | None) -> None:
    if hook and uuid_pod:
        raise click.UsageError("--hook and --uuid-pod: expected at most one of them")
    if intent_dir and (hook or uuid_pod):
        raise click.UsageError(
            f"{'--hook' if hook else '--uuid-pod'} and --intent-dir: a folder has ordinary pods only"
        )


def _say_missing(key: PodKey, known: Iterable[PodKey], place: object) -> None:
    """Says that there is no manifest to remove, with the nearest names: the name may be wrong."""
    why = nothing_found.absence(set(known), f"{place} has no manifests", key.node, key.pod, is_node=True).text
    say(f"nothing was removed: {why}", err=True)


def _write(folder: Path, key: PodKey, data: bytes) -> None:
    """Writes the file atomically: a reader sees the old content or the new content."""
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".{key.pod}.new"
    unfinished.write_bytes(data)
    unfinished.replace(manifest_path(folder, key))


def _put(consul: ConsulClient, key: PodKey, data: bytes, hook: bool, uuid: str) -> None:
    if not uuid:
        consul.put(hook_key(key.pod) if hook else intent_key("intent", key), data)
        return
    try:
        entries = uuidpods.entries(uuid, key.node, data)
    except UnicodeDecodeError:
        raise click.ClickException(
            "--uuid-pod: expected a manifest in UTF-8, also outside of the signed text"
        ) from None
    _commit(consul, [Operation("set", name, value) for name, value in entries.items()])


def _delete(consul: ConsulClient, key: PodKey, hook: bool, uuid_keys: Sequence[str]) -> None:
    if uuid_keys:
        _commit(consul, [Operation("delete", name) for name in uuid_keys])
    else:
        consul.delete(hook_key(key.pod) if hook else intent_key("intent", key))


def _keys(consul: ConsulClient, uuid: str, node: str | None) -> Sequence[str]:
    """Returns the keys of a pod with a UUID. Consul knows its node; `node` is used if only the pointer is left."""
    if not uuidpods.UUID.fullmatch(uuid):
        raise click.UsageError(f"--uuid-pod: expected a UUID, got {uuid[:60]!r}")
    pod = consul.get(uuidpods.pod_key(uuid))
    node = (uuidpods.node_of(pod.value) if pod else None) or node
    if not node:
        raise click.ClickException(f"no pod has the UUID {uuid}; with --node, a pointer to it is removed")
    return uuidpods.keys(uuid, node)


def _commit(consul: ConsulClient, operations: Sequence[Operation]) -> None:
    """Writes both keys, or none."""
    for problem in consul.transaction(operations).failed.values():
        raise click.ClickException(f"Consul refused: {problem}")
