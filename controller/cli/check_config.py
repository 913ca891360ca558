"""`podpulse check-config`: what is wrong with a configuration file, before it is used."""

import os
from pathlib import Path

import click

from controller import config as configuration
from controller.cli.options import FILE, explained
from controller.cli.terminal import say
from controller.config.certificate_files import wrong_authorities, wrong_for_checks, wrong_for_consul
from controller.config.model import ConfigError


@click.command("check-config")
@click.argument("file", type=FILE)
def check_config(file: Path) -> None:
    """Say whether the configuration FILE can be used.

    That it is good is said on standard output; else every field that is wrong, on standard error.

    \b
    Examples:
      podpulse check-config /etc/podpulse.yaml

    \b
    Exit codes:
      0  it can
      1  it cannot
      2  wrong use
    """
    with explained(ConfigError):
        config = configuration.load(file, {})
        consul = config.consul_settings(os.environ)
    wrong = (
        wrong_for_consul(consul),
        wrong_authorities("ca_file", str(config.ca_file)),
        wrong_for_checks(config.defaults.tls),
    )
    if problem := next(filter(None, wrong), ""):
        raise click.ClickException(f"{file}: {problem}")
    say(f"{file}: good")
    for note in config.notes:
        say(f"{file}: {note}")
