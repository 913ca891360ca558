"""`podpulse completion`: prints the completion script of a shell."""

import click
from click.shell_completion import get_completion_class

from controller.cli.terminal import say

PROGRAM = "podpulse"
VARIABLE = "_PODPULSE_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for SHELL.

    It completes verbs, options, files, the values of options, and the names of nodes and pods. The names are those of
    Consul or of --intent-dir, with the options on the line and Consul's environment variables. If Consul does not
    answer within a second, there are none.

    \b
    Examples:
      eval "$(podpulse completion bash)"                                         # this shell; or in ~/.bashrc
      podpulse completion bash > /etc/bash_completion.d/podpulse                 # all users
      podpulse completion zsh > "${fpath[1]}/_podpulse"
      podpulse completion fish > ~/.config/fish/completions/podpulse.fish

    \b
    Exit codes:
      0  the script was printed
      2  wrong usage
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"this version of click has no completion for {shell}")
    say(kind(context.find_root().command, {}, PROGRAM, VARIABLE).source())
