"""`podpulse plan`: which checks a controller would start, replace and stop."""

import os
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import msgspec
import pycurl
from rich.console import Console
from rich.text import Text

from controller.cli import terminal
from controller.cli.effective_manifests import known_addresses, list_manifests, unconfirmed_removals
from controller.cli.manifest_file import usable
from controller.cli.options import FILE, FOLDER, consul_options, explained, key_of, load
from controller.config import Config, ConfigError
from controller.intent.source import SourceError
from controller.runtime.bounded import BoundedBody
from reconcilers.checks import located
from reconcilers.checktext import changes, describe
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


class NoController(Exception):
    """The controller to compare with did not answer as expected. The message says why."""


class _Checks(msgspec.Struct, frozen=True):
    """The answer of `/api/v1/checks`."""

    node: str
    checks: dict[str, dict[str, str]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What would happen to each pod. Checks of `invalid` pods go on. `warnings` name ignored fields of manifests."""

    start: Mapping[str, Check]
    replace: Mapping[str, Sequence[tuple[str, str, str]]]
    stop: Mapping[str, str]
    same: Sequence[str]
    invalid: Mapping[str, str]
    warnings: Mapping[str, Sequence[str]]

    def __bool__(self) -> bool:
        return bool(self.start or self.replace or self.stop or self.invalid)


@click.command()
@click.argument("files", type=FILE, nargs=-1)
@click.option("--without", metavar="POD", multiple=True, help="As if this pod were not scheduled; may be given again.")
@click.option(
    "--config", "config_file", type=FILE, envvar="CONFIG_PATH", help="The configuration to plan with [env CONFIG_PATH]."
)
@click.option("--node", metavar="NAME", help="The node whose pods are looked at [the host's name].")
@click.option("--address", "node_address", metavar="WHERE", help="Where the pods are: name, catalog or an IP address.")
@click.option("--intent-dir", type=FOLDER, help="Read manifests from this folder instead of Consul.")
@click.option("--controller", metavar="URL", help="Compare with this controller, or with none [the page of `listen`].")
@click.option("--controller-ca", type=FILE, help="Authorities that the controller's certificate is checked with.")
@click.option("--json", "as_json", is_flag=True, help="Say it as JSON.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 when there is anything to do, as git diff does.")
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
    """Say what would start, be replaced and stop.

    What manifests ask for, under a configuration, is compared with the checks of the controller that runs; nothing is
    touched. FILES are manifests that are taken for scheduled. The token is to read what the controller's does: where
    a check runs whose manifest it may not read, there is no plan.

    \b
    Examples:
      podpulse plan isup.yaml                 what scheduling this would change
      podpulse plan --without isup            what unscheduling would
      podpulse plan --config new.yaml         what another configuration would
      podpulse plan --controller none         all that is asked for

    \b
    Exit codes:
      0  the plan was made
      1  it could not be made, or --exit-code was given and there is something to do
      2  wrong use
    """
    with explained(ConfigError, SourceError):
        config = load(config_file, consul, {"node": node, "node_address": node_address})
        listing = list_manifests(config, intent_dir)
        wanted = _overlaid(listing, config.node_name, files, without)
        where = controller or config.page_url
        try:
            running = {} if where == NOTHING else _running(where, config.node_name, controller_ca)
        except NoController as error:
            if controller:
                raise click.ClickException(str(error)) from None
            terminal.say(f"{error}; compared with nothing", err=True)
            running, where = {}, NOTHING
        if not (intent_dir or config.intent_dir):
            _confirm(config, listing, {PodKey(config.node_name, pod) for pod in running})
        planned = _plan(config, wanted, running)
    if as_json:
        terminal.say_json(_fields(planned))
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
    """Checks that the manifest of each running check without one is gone, and not only hidden from the token.

    Raises:
        SourceError: that is not confirmed.
    """
    if listing.filtered:
        terminal.say(FILTERED.format(intent_prefix(config.tree, config.node_name)), err=True)
    missing = running - listing.entries.keys()
    if missing and (unread := unconfirmed_removals(config, missing)):
        key = intent_key(config.tree, min(unread))
        raise SourceError(f"no plan: a check runs for {key}, and a single read does not say that it is gone")


def _running(url: str, node: str, ca_file: Path | None) -> Mapping[str, Check]:
    """Returns the checks of a running controller, by pod.

    Raises:
        NoController: it did not answer, its answer is unknown, or it is the controller of another node.
    """
    answer = BoundedBody(MAX_BODY)
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, f"{url.rstrip('/')}/api/v1/checks")
    curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    curl.setopt(pycurl.NOPROXY, "*")
    curl.setopt(pycurl.TIMEOUT, TIMEOUT)
    curl.setopt(pycurl.WRITEFUNCTION, answer.write)
    if ca_file:
        curl.setopt(pycurl.CAINFO, str(ca_file))
    try:
        curl.perform()
        status = curl.getinfo(pycurl.RESPONSE_CODE)
    except pycurl.error as error:
        if answer.overflow:
            raise NoController(f"{_shown_url(url)} answered with more than {MAX_BODY} bytes") from None
        raise NoController(f"no controller answers at {_shown_url(url)}: {error.args[-1]}") from None
    finally:
        curl.close()
    try:
        answered = msgspec.json.decode(bytes(answer.data) if status == 200 else b"", type=_Checks)
    except (msgspec.MsgspecError, RecursionError):
        raise NoController(f"{_shown_url(url)} answered with status {status}, and names no checks") from None
    if answered.node != node:
        raise NoController(f"the controller at {_shown_url(url)} is that of node {answered.node!r}, not of {node!r}")
    return answered.checks


def _shown_url(url: str) -> str:
    """Returns the URL without the part before an @, which may be a password."""
    scheme, _, rest = url.rpartition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if scheme else rest.rpartition("@")[2]


def _plan(config: Config, wanted: Listing, running: Mapping[str, Check]) -> Plan:
    manifests, invalid = _parsed(config, wanted)
    checks = _effective_checks(config, manifests)
    return Plan(
        start={pod: check for pod, check in checks.items() if pod not in running},
        replace={
            pod: differences
            for pod, check in checks.items()
            if pod in running and (differences := changes(running[pod], check))
        },
        stop={
            pod: _stop_reason(manifests.get(pod)) for pod in sorted(running) if pod not in checks and pod not in invalid
        },
        same=[pod for pod, check in checks.items() if running.get(pod) == check],
        invalid=invalid,
        warnings={pod: [str(each) for each in found.warnings] for pod, found in manifests.items() if found.warnings},
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


def _effective_checks(config: Config, manifests: Mapping[str, Manifest]) -> dict[str, Check]:
    checks: dict[str, Check] = {}
    with known_addresses(config) as addresses:
        for pod, manifest in manifests.items():
            if manifest.check:
                try:
                    checks[pod] = describe(located(manifest.check, addresses))
                except LookupError as error:
                    raise click.ClickException(str(error)) from None
    return checks


def _stop_reason(manifest: Manifest | None) -> str:
    if manifest is None:
        return "no manifest asks for it any more"
    return "paused" if manifest.paused else "its manifest asks for no check any more"


def _fields(planned: Plan) -> dict[str, Any]:
    return {
        "start": planned.start,
        "replace": {
            pod: {name: {"before": old, "after": new} for name, old, new in differences}
            for pod, differences in planned.replace.items()
        },
        "stop": planned.stop,
        "unchanged": planned.same,
        "invalid": planned.invalid,
        "warnings": planned.warnings,
    }


def _place(config: Config) -> str:
    """Returns the node, with its namespace and partition in Consul Enterprise."""
    settings = config.consul_settings(os.environ)
    namespace = f", namespace {settings.namespace}" if settings.namespace else ""
    return f"{config.node_name}{namespace}" + (f", partition {settings.partition}" if settings.partition else "")


def _show(planned: Plan, node: str, where: str, running: Collection[str], console: Console) -> None:
    compared = f"the {len(running)} checks that run at {_shown_url(where)}" if where != NOTHING else "nothing that runs"
    console.print(f"Node {node}, compared with {compared}:\n")
    pods = (*planned.start, *planned.replace, *planned.stop, *planned.invalid, *planned.warnings)
    width = max((len(safe_line(pod)) for pod in pods), default=0)

    def line(mark: str, colour: str, pod: str, text: str) -> None:
        console.print(Text.assemble("  ", (f"{mark} {safe_line(pod):{width}}", colour), f"  {safe_words(text)}"))

    for pod, check in planned.start.items():
        line("+", "green", pod, f"{check.get('url', 'passing without a probe')} every {check['interval']}")
    for pod, differences in planned.replace.items():
        for number, (name, old, new) in enumerate(differences):
            text = f"{name}: {old or '(none)'} -> {new or '(none)'}"
            line("~" if not number else " ", "yellow", pod if not number else "", text)
    for pod, why in planned.stop.items():
        line("-", "red", pod, why)
    for pod, error in planned.invalid.items():
        line(
            "!", "bold red", pod, f"{error}; {'what runs for it goes on' if pod in running else 'nothing runs for it'}"
        )
    for pod, warnings in planned.warnings.items():
        for warning in warnings:
            line("?", "yellow", pod, warning)
    if planned or planned.warnings:
        console.print()
    counts = (
        f"{len(planned.start)} to start, {len(planned.replace)} to replace, {len(planned.stop)} to stop, "
        f"{len(planned.same)} unchanged, {len(planned.invalid)} invalid"
    )
    console.print(counts, style="bold")
