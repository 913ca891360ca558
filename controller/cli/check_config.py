"""`podpulse check-config`: reports what is wrong with a configuration file, or prints the configuration in force."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from controller import config as configuration
from controller.cli.options import FILE, explained, overrides
from controller.cli.run_options import run_options
from controller.cli.terminal import say
from controller.config.certificate_files import ignored_authorities, wrong_files
from controller.config.effective import Setting, effective
from controller.config.model import ConfigError


@click.command("check-config")
@click.argument("file", type=FILE, required=False, envvar="CONFIG_PATH")
@click.option("--effective", "shows", is_flag=True, help="Print every option, its value, and where it comes from.")
@run_options
def check_config(file: Path | None, consul: Mapping[str, Any], *, shows: bool, **options: Any) -> None:
    """Report whether the configuration FILE is valid.

    If it is, standard output says so and lists notes about options without effect and about certificates of authorities
    that cannot be parsed and are ignored. If it is not, standard error has one line per wrong field, with the expected
    value. The certificates and keys that the file names are checked too.

    With --effective, standard output is the configuration that `podpulse run` would have with the same FILE, options
    and environment, as YAML. A comment says where each value comes from. FILE may be missing then. Secrets are hidden.

    \b
    Examples:
      podpulse check-config /etc/podpulse.yaml
      podpulse check-config --effective /etc/podpulse.yaml --node web1

    \b
    Exit codes:
      0  the configuration is valid
      1  the configuration is invalid
      2  wrong usage
    """
    if file is None and not shows:
        raise click.UsageError("expected FILE, or --effective")
    flags = overrides(consul, options)
    with explained(ConfigError):
        config = configuration.load(file, flags)
        problem = wrong_files(config, os.environ)
        settings = effective(file, flags, os.environ) if shows else []
    if problem:
        raise click.ClickException(f"{file or 'the configuration'}: {problem}")
    if shows:
        for line in _yaml(settings):
            say(line)
        return
    say(f"{file}: good")
    ignored = (
        ignored_authorities("ca_file", str(config.ca_file)),
        ignored_authorities("defaults.tls.ca_file", config.defaults.tls.ca_file or ""),
    )
    for note in (*config.notes, *filter(None, ignored)):
        say(f"{file}: {note}")


def _yaml(settings: Iterable[Setting]) -> list[str]:
    """Returns the lines of a document in which each option has a comment with its origin."""
    lines: list[tuple[str, str]] = []
    sections: list[str] = []
    for setting in settings:
        *above, name = setting.name.split(".")
        new = [depth for depth in range(len(above)) if above[: depth + 1] != sections[: depth + 1]]
        lines += [(f"{'  ' * depth}{above[depth]}:", "") for depth in new]
        sections = above
        lines.append((f"{'  ' * len(above)}{name}: {setting.text}", setting.origin))
    width = min(48, max((len(text) for text, _ in lines), default=0))
    return [f"{text:{width}}  # {origin}" if origin else text for text, origin in lines]
