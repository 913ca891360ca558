"""`podpulse completion`: the script that has a shell complete verbs, options and files."""

import click
from click.shell_completion import get_completion_class

from controller.cli.terminal import say

PROGRAM = "podpulse"
VARIABLE = "_PODPULSE_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that has SHELL complete podpulse.

    It completes verbs, options, files, and what an option may be.

    \b
    Examples:
      eval "$(podpulse completion bash)"                                         # this session, or ~/.bashrc
      podpulse completion bash > /etc/bash_completion.d/podpulse                 # everybody
      podpulse completion zsh > "${fpath[1]}/_podpulse"
      podpulse completion fish > ~/.config/fish/completions/podpulse.fish

    \b
    Exit codes:
      0  printed
      2  wrong use
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"this version of click knows no completion for {shell}")
    say(kind(context.find_root().command, {}, PROGRAM, VARIABLE).source())
