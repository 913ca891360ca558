"""`podpulse watch`: shows the health of pods as it changes."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from controller.cli import accounts, inspection, nothing_found, table, terminal
from controller.cli.accounts import BEING_ASKED, Accounts, Nodes
from controller.cli.condition import NO_HEALTH
from controller.cli.following import ConsulPods, FolderPods, View
from controller.cli.inspection import InspectedPod
from controller.cli.names import node_names, pod_names
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
from controller.cli.terminal import say
from controller.config import Config, ConfigError
from controller.consul.client import ConsulClient, ConsulError
from controller.intent.source import SourceError
from reconcilers.escaping import safe_words
from reconcilers.labels import Selector
from reconcilers.record import timestamp
from reconcilers.spec import PodKey

REFRESH = 1.0
"""Seconds between updates of the ages in the table."""
OTHER_LINES = 5
"""The lines of the screen that are not rows: the head, a blank line, the totals, trouble, and the cursor's line."""


class Screen(Protocol):
    """Shows views."""

    def show(self, view: View, hint: str = "") -> None:
        """Shows the current view, whether or not it changed. `hint` says why it has no pods."""


class Lines:
    """Writes what `changes` returns for each new view, and reports once when reading fails and when it works."""

    def __init__(self, changes: Callable[[View], str | None]) -> None:
        self._changes = changes
        self._reported = ""
        self._hinted = ""
        self._view = View()

    def show(self, view: View, hint: str = "") -> None:
        if hint != self._hinted:
            say(f"waiting: {hint}", err=True)
            self._hinted = hint
        if view.trouble and not self._reported:
            say(f"waiting: {view.trouble}", err=True)
        elif self._reported and not view.trouble:
            say("it can be read again", err=True)
        self._reported = view.trouble
        if view is not self._view and view.sights is not None:
            self._view = view
            if (text := self._changes(view)) is not None:
                say(text)


class StatusLines:
    """The form of p2-watch: each change prints all nodes of the pod, as its records name them, with their status, and
    a blank line."""

    def __init__(self) -> None:
        self._last: list[str] | None = None

    def __call__(self, view: View) -> str | None:
        records = [sight.record for sight in view.sights or () if sight.record]
        lines = sorted(f"{record.key.node} {record.status}" for record in records)
        if lines == self._last:
            return None
        self._last = lines
        return "".join(f"{line}\n" for line in lines)


class ChangeLines:
    """A line for every pod whose status or reason changed; at the start, a line for every pod.

    The first lines wait for what the controllers say. Otherwise a pod about which they say more would have two lines.
    """

    def __init__(self, states: frozenset[str] = frozenset()) -> None:
        self._states = states
        self._last: dict[PodKey, str] = {}

    def __call__(self, view: View) -> str | None:
        if view.known is BEING_ASKED:
            return None
        sights = view.sights or ()
        now = timestamp(time.time())
        known = {sight.key: _written(sight) for sight in sights}
        lines = [
            f"{now} {sight.key.node} {sight.key.pod} {_state(sight)}{_detail(sight)}"
            for sight in sights
            if self._last.get(sight.key) != known[sight.key] and is_chosen(sight, self._states)
        ]
        lines += [f"{now} {key.node} {key.pod} gone" for key in sorted(self._last.keys() - known.keys())]
        self._last = known
        return "\n".join(lines) or None


def is_chosen(pod: InspectedPod, states: frozenset[str]) -> bool:
    """Whether a pod is in one of these states; an empty set is all of them."""
    return not states or pod.condition.state in states


def _state(sight: InspectedPod) -> str:
    """The status, and the reason if there is one."""
    return f"{sight.condition.state} {sight.record.reason if sight.record else ''}".rstrip()


def _written(sight: InspectedPod) -> str:
    """A line is written when this changes: the status, the reason, and what the controller says."""
    return f"{_state(sight)} {sight.told.note if sight.told else ''}"


def _detail(sight: InspectedPod) -> str:
    detail = safe_words(table.said(sight.record)) if sight.record else ""
    if sight.condition.note not in {"", NO_HEALTH}:
        detail = "; ".join(filter(None, (safe_words(sight.condition.note), detail)))
    return f": {detail}" if detail else ""


class LiveTable:
    """A table that is drawn at every change and every second. Pods that do not fit on the screen are only counted."""

    def __init__(self, live: Live, console: Console, states: frozenset[str], sort: str) -> None:
        self._states = states
        self._sort = sort
        self._live = live
        self._console = console

    def show(self, view: View, hint: str = "") -> None:
        if view.sights is None:
            trouble = f": {safe_words(view.trouble)}" if view.trouble else " …"
            self._live.update(Text(f"waiting for Consul{trouble}"), refresh=True)
        else:
            trouble = view.trouble or ("" if view.sights else hint)
            self._live.update(self._drawn(view.sights, trouble, view.known.sentence(view.sights)), refresh=True)

    def _drawn(self, sights: Sequence[InspectedPod], trouble: str, source: str) -> Group:
        now, room = time.time(), max(1, self._console.height - OTHER_LINES)
        worst = table.ordered([sight for sight in sights if is_chosen(sight, self._states)], self._sort)
        totals = table.totals(sights)
        if len(worst) > room:
            totals += f"; {len(worst) - room} of them have no room here"
        waiting = f"waiting: {safe_words(trouble)}" if trouble else safe_words(source)
        rows = table.drawn([table.row(sight, now) for sight in worst[:room]], self._console.width, one_line=True)
        return Group(rows, Text(f"\n{totals}\n{waiting}", no_wrap=True, overflow="ellipsis"))


@click.command()
@click.option("--node", metavar="NAME", shell_complete=node_names, help="Only pods of this node [all].")
@click.option(
    "--health",
    "pod",
    metavar="POD",
    shell_complete=pod_names,
    help="Only this pod, in p2-watch's format: lines of `<node> <status>`.",
)
@label_option
@state_option
@click.option(
    "--sort",
    type=click.Choice(table.SORTS),
    default="state",
    show_default=True,
    help="Order of the table; state: the worst first, since: the last change first.",
)
@click.option("--controller", metavar="URL", help="Ask this controller, `none`: no controller [those of the nodes].")
@click.option("--controller-ca", type=FILE, help="CA bundle to verify the controllers' certificates [libcurl's].")
@click.option("--intent-dir", type=FOLDER, help="Read manifests from this folder instead of Consul.")
@click.option("--health-dir", type=FOLDER, help="Read health from this folder instead of Consul.")
@consul_options
def watch(
    node: str | None,
    pod: str | None,
    selector: Selector,
    states: frozenset[str],
    sort: str,
    controller: str | None,
    controller_ca: Path | None,
    intent_dir: Path | None,
    health_dir: Path | None,
    consul: Mapping[str, Any],
) -> None:
    """Show the health of pods as it changes, until Ctrl-C.

    A terminal shows a live table with the worst pods first. PUBLISHED is the time since the probe after which the
    health was last published, which happens only if it changes. Pods without a check are `paused` or `unchecked`.
    Elsewhere each change is one line: time, node, pod, status, reason and detail. The status is `gone` if the pod does
    not exist any more. With --health, each change prints all nodes of the pod with their status, sorted and followed by
    a blank line. If Consul does not answer, watch reports it once and retries; if there are no pods, it says the likely
    reason and waits. With --intent-dir, the node is that of the published health, else the host's name.

    Consul alone does not tell whether a removal is held, or whether and why a pod is checked by an older manifest. The
    registered controllers of the nodes are asked every ten seconds, at most 16, or the one at --controller. The table
    says so below; elsewhere the first lines wait for the answers. With folders or --health, nobody is asked.

    \b
    Examples:
      podpulse watch
      podpulse watch --node web1.example.com | grep --line-buffered critical
      podpulse watch --label team=shop --label tier=web
      podpulse watch --health isup
      podpulse watch --intent-dir pods --health-dir health

    \b
    Exit codes:
      0  ended by Ctrl-C or SIGTERM
      1  Consul refused at the start, or a folder cannot be read
      2  wrong usage
    """
    check_names({"--node": node, "--health": pod})
    if health_dir and not intent_dir:
        raise click.UsageError("--health-dir: expected --intent-dir too")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with explained(ConfigError, ConsulError, SourceError):
        config = load(None, consul, {})
        pods = (
            FolderPods(intent_dir, health_dir, node, pod, selector)
            if intent_dir
            else ConsulPods(
                partial(ConsulClient, config.consul_settings(os.environ)),
                node,
                pod,
                config.consul.wait,
                selector,
                partial(_ask, config, controller, controller_ca),
            )
        )
        with suppress(KeyboardInterrupt), pods, _screen(pod, states, sort) as screen:
            screen.show(View())
            hint: str | None = None
            while True:
                view = pods.next(REFRESH)
                if view.sights is not None and hint is None:
                    hint = "" if view.sights else _hint(config, intent_dir, health_dir, node, pod)
                screen.show(view, hint or "")


def _ask(config: Config, controller: str | None, ca_file: Path | None, nodes: Nodes) -> Accounts:
    with ConsulClient(config.consul_settings(os.environ)) as client:
        return accounts.ask(nodes, client, controller, ca_file)


def _hint(config: Config, intent_dir: Path | None, health_dir: Path | None, node: str | None, pod: str | None) -> str:
    """Returns why there are no pods at the start; "" if that cannot be read now."""
    with suppress(click.ClickException, SourceError, OSError):
        if intent_dir:
            keys = [each.key for each in inspection.from_folders(intent_dir, health_dir, node, None)]
            return nothing_found.in_folder(keys, intent_dir, node, pod).text
        with client_of(config) as client:
            return nothing_found.in_consul(client, config, node, pod).text
    return ""


@contextmanager
def _screen(pod: str | None, states: frozenset[str], sort: str) -> Iterator[Screen]:
    console = terminal.console()
    if pod:
        yield Lines(StatusLines())
    elif sys.stdout.isatty() and not console.is_dumb_terminal:
        with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
            yield LiveTable(live, console, states, sort)
    else:
        yield Lines(ChangeLines(states))
