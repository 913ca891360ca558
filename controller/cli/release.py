"""`podpulse release-removals`: what the removal gate holds without a doubt may go."""

import os
import signal
from pathlib import Path

import click

from controller.cli.options import FILE, explained, load
from controller.succession.lock import holder


@click.command("release-removals")
@click.option(
    "--config", "file", type=FILE, envvar="CONFIG_PATH", help="The controller's configuration [env CONFIG_PATH]."
)
@click.option("--node", metavar="NAME", help="The controller's node [the host's name].")
@click.option(
    "--state-dir", type=click.Path(file_okay=False, path_type=Path), help="The controller's state_dir, if it has one."
)
def release_removals(file: Path | None, node: str | None, state_dir: Path | None) -> None:
    """Let the pods go whose removal the fuse holds.

    It is the controller of this node that holds it, because very many went at once, or because they were missing when
    Consul came back empty or as it once was. They are removed with the next listing that confirms it: the former within
    some two seconds instead of after a minute, the latter within ten. What is held for another reason (no leader,
    rights that hide keys) stays held. It is told by a signal, SIGUSR1: so this runs on the controller's own host, as
    its user or as root.

    \b
    Examples:
      podpulse release-removals
      podpulse release-removals --config /etc/podpulse.yaml

    \b
    Exit codes:
      0  the controller was told; its log and podpulse_removals_held say what came of it
      1  no controller of this node runs here, or it may not be told
      2  wrong use
    """
    with explained():
        config = load(file, {}, {"node": node, "state_dir": state_dir})
        folder = config.state_folder(os.environ)
        try:
            process = holder(folder, config.node_name)
        except FileNotFoundError:
            process = None
        if process is None:
            raise click.ClickException(
                f"no controller of node {config.node_name} runs with its state in {folder}; is that its state_dir?"
            )
        os.kill(process, signal.SIGUSR1)
    click.echo(f"told process {process}: what the fuse holds may go")
