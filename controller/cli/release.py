"""`podpulse release-removals`: releases the removals that the controller's fuse holds."""

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from controller.cli.names import node_names
from controller.cli.options import FILE, explained, load
from controller.cli.terminal import say
from controller.config import Config
from controller.health.node_lock import HolderUnseen, holder

INSTALLED = Path("/var/lib/podpulse")
"""The state folder of the unit in deploy/systemd. systemd sets STATE_DIRECTORY for the service alone."""


@click.command("release-removals")
@click.option(
    "--config", "file", type=FILE, envvar="CONFIG_PATH", help="The controller's configuration [env CONFIG_PATH]."
)
@click.option("--node", metavar="NAME", shell_complete=node_names, help="The controller's node [the host's name].")
@click.option("--fleet", metavar="NAME", help="The controller's fleet, if it is in one.")
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help=f"The controller's state_dir [the default of `run`, then {INSTALLED}].",
)
def release_removals(file: Path | None, node: str | None, fleet: str | None, state_dir: Path | None) -> None:
    """Release the removals that the fuse holds.

    The fuse of this node's controller holds removals if very many pods disappeared at once, or if pods were missing
    after Consul lost its data or was restored from an old snapshot. Use this verb if the removals are intended. The
    controller then removes the pods when the next listing confirms it: in the first case within about 2 s instead of
    after a minute, in the second within 10 s. Removals that are held for another reason (no leader, or a key that the
    token may not read) stay held, and the log says so. The verb sends SIGUSR1 to the controller. So it must run on the
    controller's host or in its container, as the same user or as root.

    \b
    Examples:
      podpulse release-removals --config /etc/podpulse/config.yaml      # under systemd, as root
      docker exec CONTAINER podpulse release-removals --node NODE       # if `run` has --node
      nomad alloc exec -task podpulse ALLOCATION podpulse release-removals --config /local/config.yaml

    \b
    Exit codes:
      0  the signal was sent; the controller's log and podpulse_removals_held show the result
      1  no controller of this node runs here, or the permission to signal it is missing
      2  wrong usage
    """
    with explained(HolderUnseen):
        config = load(file, {}, {"node": node, "fleet": fleet, "state_dir": state_dir})
        process = _controller(_folders(config, os.environ), config.state_name)
        os.kill(process, signal.SIGUSR1)
    say(f"sent SIGUSR1 to process {process}: it releases the removals that the fuse holds")


def _folders(config: Config, environ: Mapping[str, str]) -> Sequence[Path]:
    """Returns the folders that may have the state: the configured one, else that of the user and that of the unit."""
    folder = config.state_folder(environ)
    is_configured = config.state_dir or config.health_dir or environ.get("STATE_DIRECTORY")
    return (folder,) if is_configured or folder == INSTALLED else (folder, INSTALLED)


def _controller(folders: Sequence[Path], node: str) -> int:
    """Returns the process id of the controller, from the first of `folders` in which it holds its lock."""
    for folder in folders:
        try:
            if process := holder(folder, node):
                return process
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            raise click.ClickException(f"{error}: run this as the controller's user or as root") from error
    places = " or ".join(map(str, folders))
    raise click.ClickException(
        f"no controller of node {node} runs here with its state in {places}; check --node and --state-dir"
    )
