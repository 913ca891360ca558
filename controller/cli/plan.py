"""`podpulse plan`: shows which checks a controller would start, change and stop."""

import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.text import Text

from controller.cli import terminal
from controller.cli.effective_manifests import known_addresses, list_manifests, unconfirmed_removals
from controller.cli.manifest_file import usable
from controller.cli.names import node_names, pod_names
from controller.cli.options import FILE, FOLDER, consul_options, explained, key_of, load
from controller.cli.page_request import NoController, get, without_user
from controller.config import Config, ConfigError
from controller.intent.source import SourceError
from reconcilers.checks import located
from reconcilers.checktext import LABEL, changes, describe
from reconcilers.escaping import safe_line, safe_words
from reconcilers.gate import Entry, Listing
from reconcilers.keys import intent_key, intent_prefix
from reconcilers.manifest import ManifestError, parse
from reconcilers.spec import Manifest, PodKey

TIMEOUT = 10
MAX_BODY = 16 * 1024 * 1024
NOTHING = "none"
FILTERED = "warning: the token may not read everything below {}: manifests that it may not read are not in this plan"
Check = Mapping[str, str]
"""A check as `reconcilers.checktext.describe` describes it."""
Changes = Mapping[str, Mapping[str, str]]
"""By field, the text before and after."""


class _Checks(msgspec.Struct, frozen=True):
    """The answer of `/api/v1/checks`."""

    node: str
    checks: dict[str, dict[str, str]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What would happen to each pod. Checks of `invalid` pods go on, and so do those of `relabel`, of which only labels
    change. `warnings` name ignored fields of manifests."""

    start: Mapping[str, Check]
    replace: Mapping[str, Changes]
    relabel: Mapping[str, Changes]
    stop: Mapping[str, str]
    unchanged: Sequence[str]
    invalid: Mapping[str, str]
    warnings: Mapping[str, Sequence[str]]

    def __bool__(self) -> bool:
        return bool(self.start or self.replace or self.relabel or self.stop or self.invalid)


@click.command()
@click.argument("files", type=FILE, nargs=-1)
@click.option(
    "--without",
    metavar="POD",
    multiple=True,
    shell_complete=pod_names,
    help="Plan as if POD were not scheduled; repeatable.",
)
@click.option(
    "--config", "config_file", type=FILE, envvar="CONFIG_PATH", help="The planned configuration [env CONFIG_PATH]."
)
@click.option("--node", metavar="NAME", shell_complete=node_names, help="The node of the pods [the host's name].")
@click.option("--address", "node_address", metavar="WHERE", help="Address of the pods: name, catalog or an IP address.")
@click.option("--intent-dir", type=FOLDER, help="Read manifests from this folder instead of Consul.")
@click.option("--controller", metavar="URL", help="Compare with this controller, or with `none` [the one at `listen`].")
@click.option("--controller-ca", type=FILE, help="CA bundle to verify the controller's certificate [libcurl's].")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if the plan has changes, as git diff does.")
@consul_options
def plan(
    files: tuple[Path, ...],
    without: tuple[str, ...],
    config_file: Path | None,
    node: str | None,
    node_address: str | None,
    intent_dir: Path | None,
    controller: str | None,
    controller_ca: Path | None,
    as_json: bool,
    exit_code: bool,
    consul: Mapping[str, Any],
) -> None:
    """Show which checks would start, change and stop.

    It compares the checks that the scheduled manifests define with the checks of the running controller. It changes
    nothing. FILES are manifests that are added to the scheduled ones. The ACL token needs the rights of the
    controller's token: there is no plan if it may not read the manifest of a running check.

    \b
    Examples:
      podpulse plan isup.yaml                 # what `schedule isup.yaml` would change
      podpulse plan --without isup            # what `unschedule isup` would change
      podpulse plan --config new.yaml         # what another configuration would change
      podpulse plan --controller none         # all checks that the manifests define

    \b
    Exit codes:
      0  the plan was made
      1  the plan could not be made, or with --exit-code: it has changes
      2  wrong usage
    """
    with explained(ConfigError, SourceError):
        config = load(config_file, consul, {"node": node, "node_address": node_address})
        listing = list_manifests(config, intent_dir)
        wanted = _overlaid(listing, config.node_name, files, without)
        where = controller or config.page_url
        try:
            running = {} if where == NOTHING else running_checks(where, config.node_name, controller_ca)
        except NoController as error:
            if controller:
                raise click.ClickException(str(error)) from None
            terminal.say(f"{error}; the plan starts from no running checks", err=True)
            running, where = {}, NOTHING
        if not (intent_dir or config.intent_dir):
            _confirm(config, listing, {PodKey(config.node_name, pod) for pod in running})
        planned = _plan(config, wanted, running)
    if as_json:
        terminal.say_json(asdict(planned))
    else:
        _show(planned, _place(config), where, running, terminal.console(soft_wrap=True))
    sys.exit(1 if exit_code and planned else 0)


def _overlaid(listing: Listing, node: str, files: Sequence[Path], without: Sequence[str]) -> Listing:
    entries = dict(listing.entries)
    for number, (key, file) in enumerate(usable(files, node)):
        entries[key] = Entry((0, number), file.data)
    for pod in without:
        entries.pop(key_of(pod, node), None)
    return replace(listing, entries=entries)


def _confirm(config: Config, listing: Listing, running: Collection[PodKey]) -> None:
    """Raises SourceError if the manifest of a running check is missing, and its removal is not confirmed."""
    if listing.filtered:
        terminal.say(FILTERED.format(intent_prefix(config.tree, config.node_name)), err=True)
    missing = running - listing.entries.keys()
    if missing and (unread := unconfirmed_removals(config, missing)):
        key = intent_key(config.tree, min(unread))
        raise SourceError(
            f"no plan: a check runs for {key}, and a single read does not confirm that the key was deleted"
        )


def running_checks(url: str, node: str, ca_file: Path | None) -> Mapping[str, Check]:
    """Returns the checks of the controller of `node` at `url`, by pod. Raises NoController."""
    status, body = get(url, "/api/v1/checks", timeout=TIMEOUT, limit=MAX_BODY, ca_file=ca_file)
    try:
        answered = msgspec.json.decode(body if status == 200 else b"", type=_Checks)
    except (msgspec.MsgspecError, RecursionError):
        raise NoController(f"{without_user(url)} answered with status {status} and without checks") from None
    if answered.node != node:
        raise NoController(f"the controller at {without_user(url)} is that of node {answered.node!r}, not of {node!r}")
    return answered.checks


def _plan(config: Config, wanted: Listing, running: Mapping[str, Check]) -> Plan:
    manifests, invalid = _parsed(config, wanted)
    with known_addresses(config) as addresses:
        checks = {
            pod: describe(located(each.check, addresses), each.labels) for pod, each in manifests.items() if each.check
        }
    changed = {
        pod: {name: {"before": old, "after": new} for name, old, new in differences}
        for pod, check in checks.items()
        if pod in running and (differences := changes(running[pod], check))
    }
    relabel = {pod: fields for pod, fields in changed.items() if all(name.startswith(LABEL) for name in fields)}
    return Plan(
        start={pod: check for pod, check in checks.items() if pod not in running},
        replace={pod: fields for pod, fields in changed.items() if pod not in relabel},
        relabel=relabel,
        stop={
            pod: _stop_reason(manifests.get(pod)) for pod in sorted(running) if pod not in checks and pod not in invalid
        },
        unchanged=[pod for pod, check in checks.items() if running.get(pod) == check],
        invalid=invalid,
        warnings={pod: [*map(str, each.warnings)] for pod, each in manifests.items() if each.warnings},
    )


def _parsed(config: Config, wanted: Listing) -> tuple[dict[str, Manifest], dict[str, str]]:
    """Returns the manifests by pod, and the errors of those that cannot be used."""
    manifests, invalid, rules = {}, {}, config.rules()
    for key, entry in sorted(wanted.entries.items()):
        try:
            manifests[key.pod] = parse(key, entry.data, rules)
        except ManifestError as error:
            invalid[key.pod] = str(error)
    return manifests, invalid


def _differences(fields: Mapping[str, Mapping[str, str]]) -> list[str]:
    return [f"{name}: {each['before'] or '(none)'} -> {each['after'] or '(none)'}" for name, each in fields.items()]


def _stop_reason(manifest: Manifest | None) -> str:
    if manifest is None:
        return "its manifest is gone"
    return "paused" if manifest.paused else "its manifest has no check any more"


def _place(config: Config) -> str:
    """Returns the node, with its namespace and partition in Consul Enterprise."""
    settings = config.consul_settings(os.environ)
    places = (("namespace", settings.namespace), ("partition", settings.partition))
    return ", ".join([config.node_name, *(f"{kind} {name}" for kind, name in places if name)])


def _lines(planned: Plan, running: Collection[str]) -> Iterator[tuple[str, str, str, str]]:
    """Yields a mark, its colour, the pod and the text of each line."""
    for pod, check in planned.start.items():
        yield "+", "green", pod, f"{check.get('url', 'passing without a probe')} every {check['interval']}"
    for mark, colour, changed in (("~", "yellow", planned.replace), ("=", "cyan", planned.relabel)):
        for pod, fields in changed.items():
            for number, text in enumerate(_differences(fields)):
                yield mark if not number else " ", colour, pod if not number else "", text
    for pod, reason in planned.stop.items():
        yield "-", "red", pod, reason
    for pod, error in planned.invalid.items():
        kept = "its old check keeps running" if pod in running else "it has no check"
        yield "!", "bold red", pod, f"{error}; {kept}"
    for pod, warnings in planned.warnings.items():
        yield from (("?", "yellow", pod, warning) for warning in warnings)


def _show(planned: Plan, node: str, where: str, running: Collection[str], console: Console) -> None:
    compared = "no running checks" if where == NOTHING else f"the {len(running)} checks of {without_user(where)}"
    console.print(f"Node {node}, compared with {compared}:\n")
    pods = (*planned.start, *planned.replace, *planned.relabel, *planned.stop, *planned.invalid, *planned.warnings)
    width = max((len(safe_line(pod)) for pod in pods), default=0)

    for mark, colour, pod, text in _lines(planned, running):
        console.print(Text.assemble("  ", (f"{mark} {safe_line(pod):{width}}", colour), f"  {safe_words(text)}"))
    if planned or planned.warnings:
        console.print()
    counts = (
        f"{len(planned.start)} to start, {len(planned.replace)} to replace, {len(planned.stop)} to stop, "
        f"{len(planned.unchanged)} unchanged, {len(planned.invalid)} invalid"
        + (f", {len(planned.relabel)} with other labels only" if planned.relabel else "")
    )
    console.print(counts, style="bold")
