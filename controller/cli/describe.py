"""`podpulse describe`: shows one pod in full, from its controller where that can be reached, else from Consul alone."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import msgspec
from rich.console import Console
from rich.text import Text

from controller.cli import inspection, nothing_found, table, terminal
from controller.cli.condition import STATES, WITHOUT_CHECK, Conditions
from controller.cli.description import Description, decoded, lines_of, of_record, since
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
    load,
    usual_file,
)
from controller.cli.page_request import CONNECT_WITHIN, NoController, get, without_user
from controller.config import Config, ConfigError
from controller.consul.client import ConsulClient, ConsulError
from controller.intent.source import SourceError
from controller.members.instances import Prober, read_probers
from reconcilers.escaping import safe_line, safe_words
from reconcilers.keys import health_key
from reconcilers.spec import PodKey

TIMEOUT = 2
"""Seconds for the answer of one controller."""
MOST_CONTROLLERS = 2
"""The registered controllers that are asked, beside the one of this machine."""
MAX_BODY = 8 * 1024 * 1024
WIDTH = 12
"""Columns of the names of sections."""


class _Listed(msgspec.Struct, frozen=True):
    """A pod in a list of the API."""

    node: str
    pod: str
    state: str = ""


class _List(msgspec.Struct, frozen=True):
    pods: list[_Listed]


class _Problem(msgspec.Struct, frozen=True):
    """An answer that is not about a pod. `page` is that of another controller, which checks it."""

    detail: str = ""
    page: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """What is known of a pod, where that is from, and who probes it."""

    pod: Description
    source: str
    probed_by: Sequence[str]


@click.command()
@click.argument("pod", shell_complete=pod_names)
@click.option("--node", metavar="NAME", shell_complete=node_names, help="The pod's node [the only one that has it].")
@click.option("--config", "config_file", type=FILE, envvar="CONFIG_PATH", help="The controller's configuration.")
@click.option("--controller", metavar="URL", help="Ask the controller with this page, and no other.")
@click.option("--controller-ca", type=FILE, help="CA bundle to verify the controller's certificate [libcurl's].")
@click.option("--intent-dir", type=FOLDER, help="Read manifests from this folder instead of Consul.")
@click.option("--health-dir", type=FOLDER, help="Read health from this folder instead of Consul.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the fields of the API, source and probed_by.")
@consul_options
def describe(
    pod: str,
    node: str | None,
    config_file: Path | None,
    controller: str | None,
    controller_ca: Path | None,
    intent_dir: Path | None,
    health_dir: Path | None,
    as_json: bool,
    consul: Mapping[str, Any],
) -> None:
    """Show one pod in full.

    It shows the state and why, the check, the last probe with its phases, the last transitions, the certificate, the
    manifest and what is wrong with it, what is published, and who probes the pod.

    The controller of this machine is asked first, at the address of its configuration: --config, CONFIG_PATH, else
    /etc/podpulse/config.yaml, else the defaults. With options for Consul, it is not asked. Then the controllers that
    Consul has for the node are asked. If none answers within 2 s, the pod is shown from Consul alone, without its last
    probe, transitions and certificate. The last line says where the answer is from.

    \b
    Examples:
      podpulse describe isup
      podpulse describe isup --node web1.example.com
      podpulse describe isup --controller http://web1.example.com:9815
      podpulse describe isup --json | jq -r .why

    \b
    Exit codes:
      0  the pod was shown, whatever its health
      1  there is no such pod, or several nodes have it, which are listed; or Consul did not answer or refused
      2  wrong usage
    """
    check_names({"POD": pod, "--node": node})
    with explained(ConfigError, SourceError, NoController):
        config = load(usual_file(config_file), consul, {})
        ask = _Asking(controller_ca)
        if intent_dir and not controller:
            node = node or inspection.node_of(health_dir)  # the controller of this machine may be that of other pods
        page = controller or ("" if consul["address"] else config.page_url)
        account = ask.controller(page, pod, node) if page else None
        if account is None and controller:
            missing = ask.missing or "it has no such pod"
            raise NoController(ask.trouble or f"the controller at {without_user(controller)} says: {missing}")
        if account is None and (folder := intent_dir or config.intent_dir):
            account = _from_folders(config, folder, health_dir or config.health_dir, pod, node, ask)
        if account is None:
            with client_of(config) as client:
                account = _from_consul(client, config, pod, node, ask)
    if as_json:
        fields = msgspec.to_builtins(account.pod)
        terminal.say_json({**fields, "source": account.source, "probed_by": account.probed_by})
    else:
        _show(account, terminal.console(soft_wrap=True))


class _Asking:
    """Asks controllers. `trouble` says why the last one did not answer; "" if it does not know the pod. `missing` is
    what it said then: in a fleet, who checks the pod."""

    def __init__(self, ca_file: Path | None) -> None:
        self.trouble = ""
        self.missing = ""
        self._ca_file = ca_file

    def controller(self, page: str, pod: str, node: str | None) -> Account | None:
        """Asks the controller of this machine, or a given one. Without `node`, it is asked which nodes have the pod."""
        if node is None:
            body = self._get(page, f"/api/v1/pods?per_page=500&sort=pod&q={quote(pod)}")
            found = [each for each in _listed(body) if each.pod == pod]
            if len(found) > 1:
                _choose(pod, [(each.node, each.state) for each in found])
            if not found:
                return None
            node = found[0].node
        return self.account(page, PodKey(node, pod), f"the controller at {without_user(page)}")

    def account(self, page: str, key: PodKey, name: str) -> Account | None:
        """Asks the controller with this page about a pod."""
        body = self._get(page, f"/api/v1/pods/{quote(key.node)}/{quote(key.pod)}")
        pod = decoded(body) if body else None
        where = f"{name}, {without_user(page)}" if without_user(page) not in name else name
        return Account(pod, where, [where]) if pod else None

    def _get(self, page: str, path: str) -> bytes:
        self.trouble = ""
        try:
            status, body = get(
                page, path, timeout=TIMEOUT, limit=MAX_BODY, connect=CONNECT_WITHIN, ca_file=self._ca_file
            )
        except NoController as error:
            self.trouble = str(error)
            return b""
        if status == 404:
            self.missing = _said(body)
        elif status != 200:
            self.trouble = f"{without_user(page)} answered with status {status}"
        return body if status == 200 else b""


def _said(body: bytes) -> str:
    """Returns the detail of a problem, and the page to which it leads."""
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except (msgspec.MsgspecError, RecursionError):
        return ""
    return safe_words(f"{problem.detail}{f': {problem.page}' if problem.page else ''}")


def _listed(body: bytes) -> list[_Listed]:
    try:
        return msgspec.json.decode(body, type=_List).pods
    except (msgspec.MsgspecError, RecursionError):
        return []


def _from_folders(
    config: Config, intents: Path, healths: Path | None, pod: str, node: str | None, ask: _Asking
) -> Account:
    every = inspection.from_folders(intents, healths, node, None)
    found = [each for each in every if each.key.pod == pod]
    absence = nothing_found.in_folder([each.key for each in every], intents, node, pod)
    return _alone(
        _only(found, pod, absence), Conditions(config.rules()), f"{healths}/{pod}.json", "the folders", ask, []
    )


def _from_consul(client: ConsulClient, config: Config, pod: str, node: str | None, ask: _Asking) -> Account:
    found = inspection.from_consul(client, config.tree, node, pod)
    absence = Absence("") if found else nothing_found.in_consul(client, config, node, pod)
    one = _only(found, pod, absence)
    probers = _probers(client, one.key.node)
    for each in [each for each in probers if each.page][:MOST_CONTROLLERS]:
        if account := ask.account(each.page, one.key, each.name):
            return account
    record = client.get(health_key(one.key))
    held = f", held by session {record.session}" if record and record.session else ", held by no session"
    place = f"Consul's key {health_key(one.key)}{held}"
    names = [f"{each.name}, {each.page or 'without a page'}, {each.status}" for each in probers]
    return _alone(one, Conditions(config.rules()), place, "Consul", ask, names)


def _probers(client: ConsulClient, node: str) -> Sequence[Prober]:
    """Returns the controllers that Consul has for a node; none if the token may not read them."""
    try:
        return read_probers(client, node)
    except ConsulError:
        return ()


def _alone(
    pod: InspectedPod, conditions: Conditions, place: str, source: str, ask: _Asking, names: Sequence[str]
) -> Account:
    why = ask.trouble or "no controller of its node is registered"
    return Account(of_record(pod, conditions, place, time.time()), f"{source} alone, because {why}", names)


def _only(found: Sequence[InspectedPod], pod: str, absence: Absence) -> InspectedPod:
    if not found:
        raise click.ClickException(absence.text)
    if len(found) > 1:
        _choose(pod, [(each.key.node, each.condition.state) for each in found])
    return found[0]


def _choose(pod: str, nodes: Sequence[tuple[str, str]]) -> None:
    """Lists the nodes of a pod, the worst first, and exits."""
    rows = sorted(nodes, key=lambda each: (STATES.index(each[1]) if each[1] in STATES else len(STATES), each[0]))
    terminal.say(table.plain(("NODE", "STATE"), [[safe_line(word) for word in row] for row in rows]))
    raise click.ClickException(f"{len(nodes)} nodes have pod {pod}; choose one with --node")


def _show(account: Account, console: Console) -> None:
    pod, now = account.pod, time.time()
    style = table.STYLES.get(pod.state, "bold")
    head = Text.assemble((safe_line(pod.pod), "bold"), f" on {safe_line(pod.node)} is ", (safe_words(pod.state), style))
    console.print(head.append(f" {when}" if (when := since(pod, now)) else ""))
    console.print(safe_words(pod.why))
    console.print()
    for section, line in _lines(account, now):
        console.print(Text.assemble((f"{section:{WIDTH}}", "bold"), f" {safe_line(line)}"))


def _lines(account: Account, now: float) -> Iterator[tuple[str, str]]:
    yield from lines_of(account.pod, now)
    section = "Probed by"
    unchecked = ["nobody, because nothing is checked"] if account.pod.state in WITHOUT_CHECK else []
    for name in unchecked or account.probed_by or ["no registered controller"]:
        yield section, name
        section = ""
    yield "Source", account.source
