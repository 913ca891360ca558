"""`podpulse run`: the controller itself."""

import faulthandler
import gc
import logging
import os
import signal
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from controller.cli.options import FILE, FOLDER, consul_options, explained, overrides
from controller.runtime.standard_streams import STANDARD_ERROR, keep_standard_streams
from controller.runtime.start_error import StartError

logger = logging.getLogger(__name__)

GC_THRESHOLDS = (20_000, 20, 50)
"""Nearly nothing here is cyclic: looking for cycles every 700 new objects, as is the default, finds none."""

SWITCH_INTERVAL = 0.0001
"""Seconds for which a thread may keep the interpreter when another wants it: a fiftieth of the default."""


@click.command()
@click.option("--config", "file", type=FILE, envvar="CONFIG_PATH", help="Configuration file, YAML [env CONFIG_PATH].")
@click.option("--node", metavar="NAME", help="This node's name [the host's name].")
@click.option(
    "--address", "node_address", metavar="WHERE", help="Where pods are probed: name, catalog or an IP address [name]."
)
@click.option(
    "--listen", metavar="HOST:PORT", help="Where page and metrics are served; :PORT is every address [127.0.0.1:9815]."
)
@click.option("--intent-dir", type=FOLDER, help="Take manifests from this folder instead of Consul.")
@click.option("--health-dir", type=FOLDER, help="Publish health into this folder instead of Consul.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="What to log [info].")
@click.option("--log-format", type=click.Choice(["text", "json"]), help="How to log it, to standard error [text].")
@consul_options
def run(file: Path | None, consul: Mapping[str, Any], **options: Any) -> None:
    """Run the controller of one node, until SIGTERM. SIGHUP reads the configuration again.

    It probes the node's pods, publishes their health to Consul, and serves page and metrics. What it does is logged to
    standard error. An option here wins over the configuration file, and the file over Consul's usual variables.

    \b
    Examples:
      podpulse run --node web1.example.com
      podpulse run --config /etc/podpulse.yaml
      podpulse run --intent-dir pods --health-dir health

    \b
    Exit codes:
      0  ended by SIGTERM or Ctrl-C; its health is left to a successor, or withdrawn (on_stop)
      1  it cannot start: the configuration, its port, or a folder that another controller has
      2  wrong use
    """
    from controller import config as configuration  # noqa: PLC0415 - `healthy` needs the options of this verb alone
    from controller.app import App  # noqa: PLC0415
    from controller.runtime import log  # noqa: PLC0415

    keep_standard_streams()
    faulthandler.enable(STANDARD_ERROR)
    load = partial(configuration.load, file, overrides(consul, options))
    with explained(configuration.ConfigError, StartError):
        reloads: list[object] = []
        signal.signal(signal.SIGHUP, lambda *_: reloads.append(None))  # what is read below may be the file before
        config = load()
        log.configure(config.log_level, config.log_format)
        for note in config.notes:
            logger.warning("%s: %s", file, note)
        app = App(config, os.environ, load)
        signal.signal(signal.SIGHUP, lambda *_: app.request_reload())
        signal.signal(signal.SIGUSR1, lambda *_: app.request_release())
        signal.signal(signal.SIGTERM, lambda *_: app.request_stop())
        signal.signal(signal.SIGINT, lambda *_: app.request_stop())
        if reloads:
            app.request_reload()
        app.start()
        gc.set_threshold(*GC_THRESHOLDS)
        sys.setswitchinterval(SWITCH_INTERVAL)
        app.wait()
        app.stop()
        for number in (
            signal.SIGTERM,
            signal.SIGINT,
            signal.SIGHUP,
            signal.SIGUSR1,
        ):  # Python's own end takes handlers away, but not this
            signal.signal(number, signal.SIG_IGN)
