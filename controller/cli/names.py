"""The names of nodes and pods for shell completion, as Consul or a folder has them.

Nothing is written to the terminal, whatever happens: the person is typing.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from controller.cli.options import CONSUL_OPTIONS, consul_fields, load

if TYPE_CHECKING:
    from reconcilers.spec import PodKey

WITHIN = 0.8
"""Seconds until a request ends without names. With the start of Python, the person waits about a second."""
MOST_NAMES = 1000
"""Names that a shell gets. More of them help nobody."""


def node_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Returns the nodes that have manifests; those with the pod, if one is given."""
    pod = _pod(context)
    return _beginning(incomplete, (key.node for key in _known(context, incomplete) if pod in {None, key.pod}))


def pod_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Returns the scheduled pods; those of the node, if one is given."""
    node = context.params.get("node")
    known = _known(context, f"{node}/{incomplete}" if node else "")
    return _beginning(incomplete, (key.pod for key in known if node in {None, key.node}))


def _pod(context: click.Context) -> str | None:
    """Returns the pod on the line. click leaves arguments in `args` if the last option has no value yet."""
    given = context.params.get("pod")
    if given is None and any(
        isinstance(each, click.Argument) and each.name == "pod" for each in context.command.params
    ):
        return next(iter(context.args), None)
    return None if given is None else str(given)


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return sorted({name for name in names if name.startswith(incomplete)})[:MOST_NAMES]


def _known(context: click.Context, prefix: str) -> "list[PodKey]":
    """Returns the pods whose key below `intent/` begins with `prefix`; none if they cannot be read."""
    from controller.consul.client import ConsulError  # noqa: PLC0415 - only completion needs them
    from controller.intent.source import SourceError  # noqa: PLC0415

    try:
        intent_dir = context.params.get("intent_dir")
        return _in_folders(context, Path(intent_dir)) if intent_dir else _in_consul(context, prefix)
    except (click.ClickException, ConsulError, OSError, SourceError):
        return []


def _in_folders(context: click.Context, intent_dir: Path) -> "list[PodKey]":
    from controller.cli import inspection  # noqa: PLC0415 - see above

    health_dir = context.params.get("health_dir")
    node = context.params.get("node")
    pods = inspection.from_folders(intent_dir, Path(health_dir) if health_dir else None, node, None)
    return [pod.key for pod in pods]


def _in_consul(context: click.Context, prefix: str) -> "list[PodKey]":
    from controller.consul.client import ConsulClient  # noqa: PLC0415 - see above
    from reconcilers.keys import parse_intent_key  # noqa: PLC0415
    from reconcilers.p2.uuid_pods import UUID  # noqa: PLC0415

    consul = consul_fields({name: context.params.get(name) for name in CONSUL_OPTIONS})
    config = load(_configuration(context), consul, {})
    with ConsulClient(config.consul_settings(os.environ), timeout=WITHIN) as client:
        keys = (parse_intent_key(config.tree, name) for name in client.list_keys(f"{config.tree}/{prefix}"))
        return [key for key in keys if key and not UUID.fullmatch(key.pod)]


def _configuration(context: click.Context) -> Path | None:
    """Returns the file of the option `--config`, if the verb has this option and it is given."""
    names = (parameter.name for parameter in context.command.params if "--config" in parameter.opts)
    file = next((context.params.get(name) for name in names if name), None)
    return Path(file) if file else None
