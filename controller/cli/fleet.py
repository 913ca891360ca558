"""`podpulse fleet`: shows the members of a fleet, and which of them checks which node."""

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from controller.cli.options import FILE, check_names, client_of, consul_options, explained, load
from controller.cli.page_request import NoController, get, without_user
from controller.cli.terminal import console, say, say_json
from reconcilers.fleet_overview import FleetOverview, MemberState, has_words
from reconcilers.health import HealthState
from reconcilers.record import timestamp

if TYPE_CHECKING:
    from controller.config import Config

TIMEOUT = 10
MAX_BODY = 16 * 1024 * 1024
PER_PAGE = 500
NO_MEMBER = 3
MOST_NODES = 100
"""The nodes in the table, unless all are wanted."""
HEADS = ("STATE", "MEMBER", "NODES", "PODS", "NOT PASSING", "UP", "PAGE")
NODE_HEADS = ("NODE", "MEMBER", "PODS", "NOT PASSING")
STATES = ("critical", "unknown", "warning", "passing")
STYLES = {MemberState.GONE.value: "bold red", MemberState.JOINING.value: "yellow", MemberState.MEMBER.value: "green"}
Row = Sequence[str]


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """What a member or a node has in published pods."""

    pods: int
    critical: int
    unknown: int
    warning: int
    passing: int

    @property
    def troubles(self) -> str:
        """`1 critical, 2 unknown`; "-" if all pods are passing."""
        counts = {state: getattr(self, state) for state in STATES[:-1]}
        return ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "-"


class Member(Share, frozen=True, kw_only=True):
    """A controller of the fleet. `started` is a time as in RFC 3339."""

    id: str
    state: str
    page: str
    detail: str
    version: str
    started: str | None
    nodes: int


class Node(Share, frozen=True, kw_only=True):
    """A node and the member that checks it; "" if there is none."""

    node: str
    member: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A fleet, in the fields of the API. `pages` are those of the API."""

    fleet: str
    view_index: int
    pods: int
    pods_read: int
    members: list[Member]
    nodes: list[Node]
    pages: int = 1


@click.command()
@click.option("--fleet", "name", metavar="NAME", help="The fleet [that of the configuration, else the only one].")
@click.option(
    "--url", "--controller", "url", metavar="URL", help="Ask the controller with this page [Consul is read instead]."
)
@click.option("--controller-ca", type=FILE, help="CA bundle to verify its certificate [libcurl's].")
@click.option("--node", metavar="TEXT", default="", help="List only nodes with TEXT in their name or their member's.")
@click.option("--all", "every", is_flag=True, help=f"List all nodes in the table [the first {MOST_NODES}].")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="table: members, then nodes, the worst first; json: the fields of the API, with all nodes.",
)
@click.option("--config", "file", type=FILE, envvar="CONFIG_PATH", help="Configuration file, YAML [env CONFIG_PATH].")
@consul_options
def fleet(
    name: str | None,
    url: str | None,
    controller_ca: Path | None,
    node: str,
    every: bool,
    form: str,
    file: Path | None,
    consul: Mapping[str, Any],
) -> None:
    """Show the members of a fleet and their shares.

    The controllers of a fleet (`podpulse run --fleet NAME`) share all nodes below intent/. Each node is checked by one
    member. The verb reads who is registered in Consul, which nodes there are and what is published of their pods, and
    computes who checks which node, as the members do. With --url it asks a member instead, and shows the fleet as that
    member sees it. A controller is `joining` until it is a member, and `gone` when it has died or hangs; other members
    then check its nodes. NOT PASSING counts pods by their published status.

    \b
    Examples:
      podpulse fleet
      podpulse fleet --node web1                    # who checks web1?
      podpulse fleet --fleet production --format json | jq -r '.nodes[] | .node + " " + .member'
      podpulse fleet --url http://m1.example.com:9815

    \b
    Exit codes:
      0  the fleet was shown
      1  Consul or the controller did not answer or refused, or there is no such fleet
      2  wrong usage
      3  the fleet was shown, and has no member: nobody checks its nodes
    """
    check_names({"--fleet": name})
    with explained(NoController):
        answer = _of_controller(url, name, controller_ca) if url else _of_consul(load(file, consul, {"fleet": name}))
    words = node.lower().split()
    nodes = [each for each in answer.nodes if has_words(f"{each.node}\n{each.member}", words)]
    if form == "json":
        fields = msgspec.to_builtins(msgspec.structs.replace(answer, nodes=nodes))
        say_json({name: value for name, value in fields.items() if name != "pages"})
    else:
        _show(answer, nodes, nodes if every else nodes[:MOST_NODES])
    sys.exit(0 if any(member.state == MemberState.MEMBER for member in answer.members) else NO_MEMBER)


def _of_controller(url: str, name: str | None, controller_ca: Path | None) -> Answer:
    """Returns what the controller at `url` answers, from all pages of its nodes."""
    answer = _page(url, controller_ca, 1)
    if name not in {None, answer.fleet}:
        raise click.ClickException(f"the controller at {without_user(url)} is of fleet {answer.fleet}, not of {name}")
    for page in range(2, answer.pages + 1):
        answer.nodes.extend(_page(url, controller_ca, page).nodes)
    return answer


def _page(url: str, controller_ca: Path | None, page: int) -> Answer:
    path = f"/api/v1/fleet?per_page={PER_PAGE}&page={page}"
    status, body = get(url, path, timeout=TIMEOUT, limit=MAX_BODY, ca_file=controller_ca)
    try:
        return msgspec.json.decode(body if status == 200 else b"", type=Answer)
    except (msgspec.MsgspecError, RecursionError):
        raise NoController(f"{without_user(url)} answered {status} and no fleet{_why(body)}") from None


def _why(body: bytes) -> str:
    try:
        return f": {msgspec.json.decode(body, type=dict[str, Any]).get('detail', '')}"
    except (msgspec.MsgspecError, RecursionError):
        return ""


def _of_consul(config: "Config") -> Answer:
    """Reads the fleet from Consul alone. Its passing controllers are its members."""
    from controller.members.fleet_reader import FleetReader, FleetUnreadable  # noqa: PLC0415 - the help needs no Consul
    from controller.members.instances import read_controllers  # noqa: PLC0415

    with client_of(config) as client, explained(FleetUnreadable):
        fleets = read_controllers(client)
        chosen = config.fleet or (next(iter(fleets)) if len(fleets) == 1 else "")
        if chosen not in fleets:
            raise click.ClickException(_no_such(config.fleet, fleets))
        return _answer(FleetReader(client, config.tree, chosen).overview())


def _no_such(fleet: str | None, fleets: Iterable[str]) -> str:
    others = ", ".join(sorted(fleets))
    if fleet:
        rest = f"there are controllers of {others}" if others else "no controller of any fleet is"
        return f"no controller of fleet {fleet} is registered in Consul; {rest}"
    return f"--fleet: expected one of {others}" if others else "no controller of a fleet is registered in Consul"


def _answer(found: FleetOverview) -> Answer:
    members = [
        Member(
            id=each.id,
            state=each.state.value,
            page=each.page,
            detail=each.detail,
            version=each.version,
            started=timestamp(each.started) if each.started else None,
            nodes=each.nodes,
            pods=each.pods,
            **_states(each.states),
        )
        for each in found.members
    ]
    nodes = [Node(node=each.node, member=each.member, pods=each.pods, **_states(each.states)) for each in found.nodes]
    return Answer(
        fleet=found.fleet, view_index=found.index, pods=found.pods, pods_read=found.read, members=members, nodes=nodes
    )


def _states(states: Mapping[HealthState, int]) -> dict[str, int]:
    return {state: states[HealthState(state)] for state in STATES}


def _show(answer: Answer, nodes: Sequence[Node], shown: Sequence[Node]) -> None:
    """Shows the members, the nodes in `shown` and the totals of `nodes`, which were chosen."""
    from rich.table import Table  # noqa: PLC0415 - rich is imported only for a table
    from rich.text import Text  # noqa: PLC0415

    from controller.cli.table import age, plain  # noqa: PLC0415
    from reconcilers.escaping import safe_words  # noqa: PLC0415

    now = time.time()
    members = [
        (
            each.state,
            each.id,
            str(each.nodes),
            str(each.pods),
            each.troubles,
            age(now - _seconds(each.started)) if each.started and each.state != "gone" else "-",
            "  ".join(filter(None, (safe_words(each.page) or "-", safe_words(each.detail)))),
        )
        for each in answer.members
    ]
    rows = [(each.node, each.member or "no member", str(each.pods), each.troubles) for each in shown]
    terminal = console()
    for heads, lines in ((HEADS, members), (NODE_HEADS, rows)):
        if terminal.is_terminal and not terminal.is_dumb_terminal:
            table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
            for head in heads:
                table.add_column(head, overflow="fold")
            for line in lines:
                table.add_row(*(Text(word, style=_style(word)) for word in line))
            terminal.print(table)
        else:
            say(plain(heads, lines))
        say("")
    say(_totals(answer, nodes))
    if len(shown) < len(nodes):
        say(f"the first {len(shown)} of {len(nodes)} nodes are shown; --all shows all of them", err=True)
    if answer.pods_read < answer.pods:
        say(f"the states of {answer.pods_read} of {answer.pods} pods were read, only these are counted", err=True)


def _style(word: str) -> str:
    if word in STYLES:
        return STYLES[word]
    troubles = {"critical": "bold red", "no member": "bold red", "unknown": "yellow", "warning": "magenta"}
    return next((style for name, style in troubles.items() if word == name or f" {name}" in f" {word},"), "")


def _totals(answer: Answer, nodes: Sequence[Node]) -> str:
    """`fleet web: 3 members, 400 nodes, 8000 pods`."""
    members = sum(1 for member in answer.members if member.state == MemberState.MEMBER)
    shown = f"{len(nodes)} of " if len(nodes) < len(answer.nodes) else ""
    parts = (_count(members, "member"), shown + _count(len(answer.nodes), "node"), _count(answer.pods, "pod"))
    return f"fleet {answer.fleet}: {', '.join(parts)}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _seconds(moment: str | None) -> float:
    from datetime import datetime  # noqa: PLC0415

    return datetime.fromisoformat(moment or "").timestamp()
