"""`podpulse check-config`: reports what is wrong with a configuration file."""

import os
from pathlib import Path

import click

from controller import config as configuration
from controller.cli.options import FILE, explained
from controller.cli.terminal import say
from controller.config.certificate_files import ignored_authorities, wrong_files
from controller.config.model import ConfigError


@click.command("check-config")
@click.argument("file", type=FILE)
def check_config(file: Path) -> None:
    """Report whether the configuration FILE is valid.

    If it is, standard output says so and lists notes about options without effect and about certificates of authorities
    that cannot be parsed and are ignored. If it is not, standard error has one line per wrong field, with the expected
    value. The certificates and keys that the file names are checked too.

    \b
    Examples:
      podpulse check-config /etc/podpulse.yaml

    \b
    Exit codes:
      0  the configuration is valid
      1  the configuration is invalid
      2  wrong usage
    """
    with explained(ConfigError):
        config = configuration.load(file, {})
        problem = wrong_files(config, os.environ)
    if problem:
        raise click.ClickException(f"{file}: {problem}")
    say(f"{file}: good")
    ignored = (
        ignored_authorities("ca_file", str(config.ca_file)),
        ignored_authorities("defaults.tls.ca_file", config.defaults.tls.ca_file or ""),
    )
    for note in (*config.notes, *filter(None, ignored)):
        say(f"{file}: {note}")
