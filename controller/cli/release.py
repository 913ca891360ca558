"""`podpulse release-removals`: what the removal gate holds without a doubt may go."""

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from controller.cli.options import FILE, explained, load
from controller.cli.terminal import say
from controller.config import Config
from controller.health.node_lock import HolderUnseen, holder

INSTALLED = Path("/var/lib/podpulse")
"""Where the unit of deploy/systemd has its state; only the service itself is told so by systemd."""


@click.command("release-removals")
@click.option(
    "--config", "file", type=FILE, envvar="CONFIG_PATH", help="The controller's configuration [env CONFIG_PATH]."
)
@click.option("--node", metavar="NAME", help="The controller's node [the host's name].")
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help=f"The controller's state_dir [as run finds it, then {INSTALLED}].",
)
def release_removals(file: Path | None, node: str | None, state_dir: Path | None) -> None:
    """Let the pods go whose removal the fuse holds.

    It is the controller of this node that holds it, because very many went at once, or because they were missing when
    Consul came back empty or as it once was. They are removed with the next listing that confirms it: the former within
    some two seconds instead of after a minute, the latter within ten. What is held for another reason (no leader, a key
    that the token may not read) stays held, and the log says so. It is told by a signal, SIGUSR1: so this runs on the
    controller's own host, or in its container, as its user or as root.

    \b
    Examples:
      podpulse release-removals --config /etc/podpulse/config.yaml      under systemd, as root
      docker exec CONTAINER podpulse release-removals --node NODE       where `run` was told a --node
      nomad alloc exec -task podpulse ALLOCATION podpulse release-removals --config /local/config.yaml

    \b
    Exit codes:
      0  the controller was told; its log and podpulse_removals_held say what came of it
      1  no controller of this node runs here, or it may not be told
      2  wrong use
    """
    with explained():
        config = load(file, {}, {"node": node, "state_dir": state_dir})
        process = _controller(_folders(config, os.environ), config.node_name)
        os.kill(process, signal.SIGUSR1)
    say(f"told process {process}: what the fuse holds may go")


def _folders(config: Config, environ: Mapping[str, str]) -> Sequence[Path]:
    """Where its state may be: where it was said to be, else in the user's own folder or the unit's."""
    own = config.state_folder(environ)
    said = config.state_dir or config.health_dir or environ.get("STATE_DIRECTORY")
    return (own,) if said or own == INSTALLED else (own, INSTALLED)


def _controller(folders: Sequence[Path], node: str) -> int:
    """The process of the controller, by the first of `folders` in which it holds its lock."""
    for folder in folders:
        try:
            if process := holder(folder, node):
                return process
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            raise click.ClickException(f"{error}: expected the controller's user, or root") from error
        except HolderUnseen as error:
            raise click.ClickException(str(error)) from error
    places = " or ".join(map(str, folders))
    raise click.ClickException(
        f"no controller of node {node} runs here with its state in {places}; are these its --node and --state-dir?"
    )
