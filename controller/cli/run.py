"""`podpulse run`: the controller."""

import faulthandler
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.cli.options import FILE, FOLDER, explained, overrides
from controller.cli.run_options import run_options
from controller.cli.terminal import say
from controller.runtime.standard_streams import STANDARD_ERROR, keep_standard_streams
from controller.runtime.start_error import StartError

if TYPE_CHECKING:
    from controller.app import App
    from controller.config import Config

logger = logging.getLogger(__name__)

GC_THRESHOLDS = (1_000, 5, 3_200)
"""Almost no object is cyclic, so all objects are searched for cycles after 20 million new ones only. The two frequent
searches look at 1,000 and 6,000 objects, for 2 ms at most: no thread runs meanwhile."""

SWITCH_INTERVAL = 0.0001
"""Seconds that a thread may keep the interpreter while another thread waits for it: a fiftieth of the default."""


@click.command()
@click.option("--config", "file", type=FILE, envvar="CONFIG_PATH", help="Configuration file, YAML [env CONFIG_PATH].")
@run_options
@click.option("--save", type=FOLDER, help="Write the manifests of the URLs into this folder, as NODE/POD.yaml.")
def run(file: Path | None, save: Path | None, consul: Mapping[str, Any], **options: Any) -> None:
    """Run the controller of one node, or a member of a fleet.

    It probes the pods of the node, or with --fleet its share of the pods of all nodes, publishes their health to
    Consul, and serves a page and metrics. It logs to standard error. SIGHUP makes it read the configuration again.
    Options override the configuration file, and the file overrides Consul's environment variables.

    With --url or --urls it checks URLs (http, https, tcp, tls, grpc, grpcs), without Consul and manifests. The host of
    a URL is the node. --save writes the manifests that they amount to, which `podpulse schedule` puts into Consul.

    \b
    Examples:
      podpulse run --node web1.example.com
      podpulse run --config /etc/podpulse.yaml
      podpulse run --fleet production --node checker1 --address catalog
      podpulse run --intent-dir pods --health-dir health
      podpulse run --url https://shop.example/health --url tcp://db.example:5432
      podpulse run --urls urls.txt --save manifests

    \b
    Exit codes:
      0  ended by SIGTERM or Ctrl-C; the published health is kept or removed, see on_stop
      1  it cannot start: the configuration is invalid, or another process uses its port or its folder
      2  wrong usage
    """
    from controller import config as configuration  # noqa: PLC0415 - `healthy` imports only the options of this verb
    from controller.app import App  # noqa: PLC0415
    from controller.cli.introduction import has_terminal  # noqa: PLC0415
    from controller.runtime import log  # noqa: PLC0415

    keep_standard_streams()
    faulthandler.enable(STANDARD_ERROR)
    load = partial(configuration.load, file, overrides(consul, options))
    with explained(configuration.ConfigError, StartError):
        reloads: list[object] = []
        signal.signal(signal.SIGHUP, lambda *_: reloads.append(None))  # the file may change after it was read
        config = load()
        log.configure(config.log_level, config.log_format)
        for note in config.notes:
            logger.warning("%s: %s", file, note)
        if save:
            _save(save, config)
        app = App(config, os.environ, load)
        signal.signal(signal.SIGHUP, on_hangup(app, has_terminal=has_terminal()))
        signal.signal(signal.SIGUSR1, lambda *_: app.request_release())
        signal.signal(signal.SIGTERM, lambda *_: app.request_stop())
        signal.signal(signal.SIGINT, lambda *_: app.request_stop())
        if reloads:
            app.request_reload()
        app.start(partial(_introduce, app, config))
        gc.freeze()  # no search visits what the imports and the start have made
        gc.set_threshold(*GC_THRESHOLDS)
        sys.setswitchinterval(SWITCH_INTERVAL)
        app.wait()
        app.stop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)  # the interpreter removes handlers at its end, but keeps this


def on_hangup(app: "App", *, has_terminal: bool) -> Callable[..., None]:
    """Returns the handler of SIGHUP: a reload. If this process had a terminal, and it was closed, the end."""
    from controller.cli import introduction  # noqa: PLC0415 - see `run`

    def handle(*_: object) -> None:
        if has_terminal and not introduction.has_terminal():
            app.request_stop()
        else:
            app.request_reload()

    return handle


def _introduce(app: "App", config: "Config") -> None:
    """Says on a terminal what is checked, and where the page is."""
    from controller.cli.introduction import introduction  # noqa: PLC0415 - see `run`

    if sys.stderr.isatty() and config.log_format == "text":
        say(introduction(config, os.environ, config.page_url_at(app.port)), err=True)


def _save(folder: Path, config: "Config") -> None:
    from controller.cli.saved_manifests import save  # noqa: PLC0415 - see `run`
    from controller.config.url_list import read_urls  # noqa: PLC0415

    if not config.has_urls:
        raise click.UsageError("--save: expected --url or --urls, whose manifests it writes")
    checks = read_urls(config.urls, config.urls_file)
    for file in save(folder, checks.values()):
        logger.warning("%s is kept, because it is not the manifest of its URL; remove it to have it written", file)
    logger.info("the manifests of %d URLs are in %s; podpulse schedule puts one into Consul", len(checks), folder)
