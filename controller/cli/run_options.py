"""The options of `run`, which `check-config` accepts too."""

from pathlib import Path

import click

from controller.cli.names import node_names
from controller.cli.options import FILE, FOLDER, F, consul_options

RUN_OPTIONS = (
    click.option(
        "--node", metavar="NAME", shell_complete=node_names, help="The node whose pods are checked [the host's name]."
    ),
    click.option(
        "--fleet",
        metavar="NAME",
        help="Share the pods of all nodes with the members of this fleet. --node is then the id of this member.",
    ),
    click.option(
        "--address", "node_address", metavar="WHERE", help="Address of the pods: name, catalog or an IP address [name]."
    ),
    click.option(
        "--listen", metavar="HOST:PORT", help="Address of page and metrics; :PORT is every address [127.0.0.1:9815]."
    ),
    click.option(
        "--url",
        "urls",
        metavar="URL",
        multiple=True,
        callback=lambda _context, _option, given: given or None,
        help="Check this URL, without Consul and manifests; repeatable: https://shop.example/health, tcp://db:5432.",
    ),
    click.option(
        "--urls", "urls_file", type=FILE, help="Check the URLs in this file, one on each line. It may change any time."
    ),
    click.option(
        "--intent-dir",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Read manifests from this folder instead of Consul.",
    ),
    click.option("--health-dir", type=FOLDER, help="Publish health into this folder instead of Consul."),
    click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Log level [info]."),
    click.option("--log-format", type=click.Choice(["text", "json"]), help="Format of the log [text]."),
)


def run_options(function: F) -> F:
    """Adds the options that override the configuration file. The function gets those for Consul as one mapping."""
    wrapper = consul_options(function)
    for option in reversed(RUN_OPTIONS):
        wrapper = option(wrapper)
    return wrapper
