"""`podpulse watch`: shows the health of pods as it changes."""

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
"""Seconds between updates of the ages in the table."""


@click.command()
@click.option("--node", metavar="NAME", help="Only pods of this node [all; with --intent-dir the host's name].")
@click.option("--health", "pod", metavar="POD", help="Only this pod, in p2-watch's format: lines of `<node> <status>`.")
@click.option("--intent-dir", type=FOLDER, help="Read manifests from this folder instead of Consul.")
@click.option("--health-dir", type=FOLDER, help="Read health from this folder instead of Consul.")
@consul_options
def watch(
    node: str | None, pod: str | None, intent_dir: Path | None, health_dir: Path | None, consul: Mapping[str, Any]
) -> None:
    """Show the health of pods as it changes, until Ctrl-C.

    A terminal shows a live table with the worst pods first. PROBED is the time since the probe after which the health
    was last published. Elsewhere each change is one line: time, node, pod, status, reason and detail. The status is
    `gone` if the pod does not exist any more. With --health, each change prints all nodes of the pod with their status,
    sorted and followed by a blank line. If Consul does not answer, watch reports it once and retries.

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
