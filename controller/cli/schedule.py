"""`podpulse schedule` and `unschedule`: what shall run where."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from uuid import uuid4

import click

from controller.cli.manifest_file import ManifestFile, usable
from controller.cli.options import FILE, FOLDER, client, consul_options, explained, key_of
from controller.cli.terminal import say, say_json
from controller.consul.client import ConsulClient, Operation
from controller.intent.folder import manifest_path
from reconcilers.keys import hook_key, intent_key
from reconcilers.p2 import uuid_pods as uuidpods
from reconcilers.spec import PodKey


@click.command()
@click.argument("manifests", type=FILE, nargs=-1, required=True)
@click.option("--node", metavar="NAME", help="The node that is to run the pods [the host's name].")
@click.option(
    "--hook", is_flag=True, help="Write them as hooks of p2's, which every node runs: hooks/<id>. --node is ignored."
)
@click.option(
    "--uuid-pod",
    is_flag=True,
    help="Write them as pods with a UUID, of which one node may have several: intent/<node>/<uuid> and pods/<uuid>.",
)
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

    The key of each is intent/<node>/<id of the manifest>. If a controller could not use one of them, none is written.
    Fields that are not known, and what p2 itself would not read, are named on standard error. What was written is said
    as JSON, a line for each, in p2-schedule's form. Neither hooks nor pods with a UUID are checked, as with p2: they
    are for its preparer.

    \b
    Examples:
      podpulse schedule isup.yaml --node web1.example.com
      podpulse schedule pods/*.yaml
      podpulse schedule before-install.yaml --hook
      podpulse schedule batch.yaml --uuid-pod | jq -r .pod_unique_key
      podpulse schedule isup.yaml --intent-dir pods

    \b
    Exit codes:
      0  all are written
      1  one cannot be used, and none is written; or Consul did not take one, and those before it are written
      2  wrong use
    """
    _refuse_contradictions(hook, uuid_pod, intent_dir)
    with explained():
        found = _usable(manifests, node)
        with nullcontext() if intent_dir else client(consul) as consul_client:
            for key, file in found:
                uuid = str(uuid4()) if uuid_pod else ""
                if consul_client:
                    _put(consul_client, key, file.data, hook, uuid)
                elif intent_dir:
                    _write(intent_dir, key, file.data)
                say_json({"pod_id": key.pod, "pod_unique_key": uuid}, compact=True)


@click.command()
@click.argument("pod")
@click.option("--node", metavar="NAME", help="The node it was scheduled on [the host's name].")
@click.option("--hook", is_flag=True, help="Remove the hook POD: hooks/<pod>. --node is ignored.")
@click.option("--uuid-pod", is_flag=True, help="POD is the UUID that `schedule --uuid-pod` said; the node is known.")
@click.option("--intent-dir", type=FOLDER, help="Remove from this folder instead of Consul.")
@consul_options
def unschedule(
    pod: str, node: str | None, hook: bool, uuid_pod: bool, intent_dir: Path | None, consul: Mapping[str, Any]
) -> None:
    """Remove POD's manifest from the intent tree.

    Its checks stop and its health is withdrawn. Nothing is printed. A pod that is not there is no error, except for a
    UUID, whose node nobody could know.

    \b
    Examples:
      podpulse unschedule isup --node web1.example.com
      podpulse unschedule before-install --hook
      podpulse unschedule 0b1ad2d1-6ed5-4c5c-8e46-6a4b2fd1a1d7 --uuid-pod

    \b
    Exit codes:
      0  not there any more
      1  Consul did not answer, or refused; no pod has that UUID
      2  wrong use
    """
    _refuse_contradictions(hook, uuid_pod, intent_dir)
    with explained():
        key = key_of(pod, node)
        if intent_dir:
            manifest_path(intent_dir, key).unlink(missing_ok=True)
        else:
            with client(consul) as consul_client:
                _delete(consul_client, key, hook, _keys(consul_client, pod, node) if uuid_pod else ())


def _usable(manifests: Sequence[Path], node: str | None) -> list[tuple[PodKey, ManifestFile]]:
    """All of them, after what is to be warned of."""
    found = usable(manifests, node)
    for _, file in found:
        for warning in file.warnings:
            say(f"{file.path}: warning: {warning}", err=True)
    return found


def _refuse_contradictions(hook: bool, uuid_pod: bool, intent_dir: Path | None) -> None:
    if hook and uuid_pod:
        raise click.UsageError("--hook and --uuid-pod: expected one of them")
    if intent_dir and (hook or uuid_pod):
        given = "--hook" if hook else "--uuid-pod"
        raise click.UsageError(f"{given} and --intent-dir: in a folder there are ordinary pods only")


def _write(folder: Path, key: PodKey, data: bytes) -> None:
    """A reader sees the old file or the new one, never a part of one."""
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
        raise click.ClickException("--uuid-pod: expected a manifest in UTF-8 also outside of what is signed") from None
    _commit(consul, [Operation("set", name, value) for name, value in entries.items()])


def _delete(consul: ConsulClient, key: PodKey, hook: bool, uuid_keys: Sequence[str]) -> None:
    if uuid_keys:
        _commit(consul, [Operation("delete", name) for name in uuid_keys])
    else:
        consul.delete(hook_key(key.pod) if hook else intent_key("intent", key))


def _keys(consul: ConsulClient, uuid: str, node: str | None) -> Sequence[str]:
    """What stands in Consul for a UUID; its node is known there, unless only the pointer is left."""
    if not uuidpods.UUID.fullmatch(uuid):
        raise click.UsageError(f"--uuid-pod: expected a UUID, got {uuid[:60]!r}")
    pod = consul.get(uuidpods.pod_key(uuid))
    node = (uuidpods.node_of(pod.value) if pod else None) or node
    if not node:
        raise click.ClickException(f"no pod has the UUID {uuid}; with --node what points at it would be removed")
    return uuidpods.keys(uuid, node)


def _commit(consul: ConsulClient, operations: Sequence[Operation]) -> None:
    """Both keys, or none."""
    for problem in consul.transaction(operations).failed.values():
        raise click.ClickException(f"Consul refused: {problem}")
