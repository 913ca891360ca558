"""`podpulse inspect`: shows scheduled pods and their health."""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from controller.cli import accounts, inspection, nothing_found
from controller.cli.accounts import NO_ACCOUNTS, Accounts, Nodes
from controller.cli.inspection import InspectedPod
from controller.cli.names import node_names, pod_names
from controller.cli.nothing_found import Absence
from controller.cli.options import (
    FILE,
    FOLDER,
    check_names,
    client_of,
    consul_options,
    explained,
    label_option,
    load,
    state_option,
)
from controller.cli.terminal import console, say, say_json
from controller.intent.source import SourceError
from reconcilers.labels import Selector


@click.command()
@click.option("--pod", metavar="POD", shell_complete=pod_names, help="Only pods of this name [all].")
@click.option("--node", metavar="NAME", shell_complete=node_names, help="Only pods of this node [all].")
@label_option
@state_option
@click.option(
    "--sort",
    type=click.Choice(["state", "pod", "node", "since"]),
    help="Order of table and list [table: the worst state first].",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["tree", "list", "table"]),
    default="tree",
    show_default=True,
    help="tree: JSON {pod: {node: {...}}}; list: JSON [{node, pod, ...}]; table: text.",
)
@click.option("--controller", metavar="URL", help="Ask this controller, `none`: no controller [those of the nodes].")
@click.option("--controller-ca", type=FILE, help="CA bundle to verify the controllers' certificates [libcurl's].")
@click.option("--intent-dir", type=FOLDER, help="Read manifests from this folder instead of Consul.")
@click.option("--health-dir", type=FOLDER, help="Read health from this folder instead of Consul.")
@consul_options
def inspect(
    pod: str | None,
    node: str | None,
    selector: Selector,
    states: frozenset[str],
    sort: str | None,
    form: str,
    controller: str | None,
    controller_ca: Path | None,
    intent_dir: Path | None,
    health_dir: Path | None,
    consul: Mapping[str, Any],
) -> None:
    """Show scheduled pods and their health.

    The JSON has the fields of p2-inspect (health_check, health, intent_manifest_sha, intent_locations, intent_versions,
    and the same of reality), and in addition scheduled, state, note, labels, reason, detail, since, last_probe and
    probed_manifest_sha. `state` is also paused or unchecked, if the manifest asks for no check, and `note` says so, or
    that an older manifest is in force; last_probe is the probe of the last publication. A pod without published health
    is unknown.

    Without any pod, the tree is {} and the list is null, as with p2-inspect, and standard error has the likely reason.
    Labels are read from the manifests, whether or not a controller declares them. With --intent-dir, the node is that
    of the published health, else the host's name.

    Consul alone does not tell whether a removal is held, or whether and why a pod is checked by an older manifest. The
    registered controllers of the nodes are asked, at most 16, or the one at --controller. `told_by` is the controller
    that gave the note; without it the note is from Consul. The table says it in a sentence, on standard error unless on
    a terminal. With folders, nobody is asked.

    In a fleet, or with `publish_uptime` in the configuration, a pod has its uptime: by window (1h, 24h, 7d, 30d) the
    seconds up and down, and the share of time up. The table shows that of 24 hours.

    The table has colours on a terminal (unless NO_COLOR is set) and plain columns elsewhere.

    \b
    Examples:
      podpulse inspect --pod isup
      podpulse inspect --node web1.example.com | jq '.[][].health_check.status'
      podpulse inspect --format list | jq -r '.[]? | select(.health == "critical") | .node + " " + .pod'
      podpulse inspect --format table --label team=shop
      podpulse inspect --format table --state critical,warning --sort since

    \b
    Exit codes:
      0  the pods were shown, whatever their health
      1  --pod or --node names nothing that exists; Consul did not answer or refused; or a folder cannot be read
      2  wrong usage
    """
    check_names({"--node": node, "--pod": pod})
    if health_dir and not intent_dir:
        raise click.UsageError("--health-dir: expected --intent-dir too")
    with explained(SourceError):
        known = NO_ACCOUNTS
        if intent_dir:
            found, absence = _in_folders(intent_dir, health_dir, node, pod)
        else:
            found, absence, known = _in_consul(consul, node, pod, controller, controller_ca)
        pods = [each for each in inspection.selected(found, selector) if not states or each.condition.state in states]
        if form == "table":
            _show(pods, sort or "state", known)
        else:
            say_json(inspection.as_tree(pods) if form == "tree" else _listed(pods, sort))
    if found and not pods:
        absence = Absence(f"none of the {len(found)} pods {' and '.join(_conditions(selector, states))}")
    if not pods:
        say(absence.text, err=True)
    sys.exit(1 if absence.is_wrong and not pods else 0)


def _conditions(selector: Selector, states: frozenset[str]) -> list[str]:
    """Returns which of the options that select pods are given."""
    return [*(["has these labels"] if selector else []), *(["is in these states"] if states else [])]


def _in_folders(
    intent_dir: Path, health_dir: Path | None, node: str | None, pod: str | None
) -> tuple[Sequence[InspectedPod], Absence]:
    every = inspection.from_folders(intent_dir, health_dir, node, None)
    pods = [each for each in every if pod in {None, each.key.pod}]
    return pods, nothing_found.in_folder((each.key for each in every), intent_dir, node, pod)


def _in_consul(
    consul: Mapping[str, Any], node: str | None, pod: str | None, controller: str | None, ca_file: Path | None
) -> tuple[Sequence[InspectedPod], Absence, Accounts]:
    config = load(None, consul, {})
    with client_of(config) as client:
        pods = inspection.from_consul(client, config.tree, node, pod)
        absence = Absence("") if pods else nothing_found.in_consul(client, config, node, pod)
        known = accounts.ask(Nodes.of_pods(pods), client, controller, ca_file)
        return known.applied(pods), absence, known


def _listed(pods: Sequence[InspectedPod], sort: str | None) -> list[dict[str, Any]] | None:
    if sort:
        from controller.cli import table  # noqa: PLC0415 - imports rich

        pods = table.ordered(pods, sort)
    return inspection.as_list(pods) or None


def _show(pods: Sequence[InspectedPod], sort: str, known: Accounts) -> None:
    from controller.cli import table  # noqa: PLC0415 - rich is imported only for a table

    now = time.time()
    rows = [table.row(pod, now) for pod in table.ordered(pods, sort)]
    terminal = console()
    if terminal.is_terminal and not terminal.is_dumb_terminal:
        terminal.print(table.drawn(rows, terminal.width))
        say("\n".join(["", table.totals(pods), *filter(None, [known.sentence(pods)])]))
    else:
        say(table.columns(rows))
        if sentence := known.sentence(pods):
            say(sentence, err=True)
