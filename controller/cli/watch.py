"""`podpulse watch`: how pods are, as it changes."""

import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.live import Live

from controller.cli import terminal
from controller.cli.following import ConsulPods, FolderPods, View
from controller.cli.options import FOLDER, check_names, consul_options, explained, load
from controller.cli.screens import ChangeLines, LiveTable, Screen, StatusLines
from controller.config import ConfigError
from controller.consul.client import ConsulClient, ConsulError
from controller.intent.source import SourceError

REFRESH = 1.0
"""Seconds after which the ages in the table are told anew."""


@click.command()
@click.option("--node", metavar="NAME", help="Only pods of this node.")
@click.option("--health", "pod", metavar="POD", help="Only this pod, in p2-watch's form: `<node> <status>` lines.")
@click.option("--intent-dir", type=FOLDER, help="Read manifests from this folder instead of Consul.")
@click.option("--health-dir", type=FOLDER, help="Read health from this folder instead of Consul.")
@consul_options
def watch(
    node: str | None, pod: str | None, intent_dir: Path | None, health_dir: Path | None, consul: Mapping[str, Any]
) -> None:
    """Show how healthy pods are, as it changes.

    It goes on until Ctrl-C. On a terminal it is a table, the worst first; PROBED is the probe after which the health
    was last published. Elsewhere each change is a line: time, node, pod, status, reason and detail; `gone` for a pod
    that is not known any more. With --health, the nodes of one pod and their status are printed sorted, a blank line
    behind them, again at every change. When Consul does not answer this is said once, and it is asked again until it
    does.

    \b
    Examples:
      podpulse watch
      podpulse watch --node web1.example.com | grep --line-buffered critical
      podpulse watch --health isup
      podpulse watch --intent-dir pods --health-dir health

    \b
    Exit codes:
      0  ended by Ctrl-C or SIGTERM
      1  Consul refused at the start, or a folder cannot be read
      2  wrong use
    """
    check_names({"--node": node, "--health": pod})
    if health_dir and not intent_dir:
        raise click.UsageError("--health-dir: expected --intent-dir too")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with explained(ConfigError, ConsulError, SourceError):
        config = load(None, consul, {})
        pods = (
            FolderPods(intent_dir, health_dir, node or socket.gethostname(), pod)
            if intent_dir
            else ConsulPods(partial(ConsulClient, config.consul_settings(os.environ)), node, pod, config.consul.wait)
        )
        with suppress(KeyboardInterrupt), pods, _screen(pod) as screen:
            screen.show(View())
            while True:
                screen.show(pods.next(REFRESH))


@contextmanager
def _screen(pod: str | None) -> Iterator[Screen]:
    console = terminal.console()
    if pod:
        yield StatusLines()
    elif sys.stdout.isatty() and not console.is_dumb_terminal:
        with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
            yield LiveTable(live, console)
    else:
        yield ChangeLines()
