"""`podpulse healthy`: asks the controller of this machine for /-/healthy, for a supervisor."""

import os
from itertools import pairwise
from pathlib import Path

import click
import pycurl

from controller.cli.options import FILE, explained, load
from controller.cli.page_request import NoController, get
from controller.cli.run import run
from controller.cli.terminal import say
from controller.config import Config

TIMEOUT = 2
"""Seconds for the answer."""
MAX_BODY = 64 * 1024
FIRST = Path("/proc/1/cmdline")
RUN = frozenset({("podpulse", "run"), ("controller", "run")})
"""A program and its verb in a command line."""
PAGE_OPTIONS = ("node", "listen", "intent_dir", "health_dir")
"""The options of `run` that the address of the page depends on, or without which its configuration may be invalid."""


@click.command()
@click.option("--config", "file", type=FILE, help="The controller's configuration [that of process 1, as below].")
@click.option("--client-cert", type=FILE, help="Client certificate, if the page demands one.")
@click.option("--client-key", type=FILE, help="Key of --client-cert [in the same file].")
def healthy(file: Path | None, client_cert: Path | None, client_key: Path | None) -> None:
    """Ask the controller of this machine whether it is healthy.

    The verb requests /-/healthy from the address of the controller's page, with TLS if the page has it. The answer says
    whether all threads make progress. A request from this machine needs no password. The server's certificate is not
    verified, because the request has no secrets. Without --config, the verb uses the configuration and the options of
    process 1 if that is `podpulse run`, as in a container; else the configuration of CONFIG_PATH, else the defaults.

    \b
    Examples:
      podpulse healthy
      podpulse healthy --config /etc/podpulse/config.yaml

    \b
    Exit codes:
      0  healthy
      1  not healthy, no answer within 2 s, or an invalid configuration
      2  wrong usage
    """
    with explained(NoController):
        config = load(file, {}, {}) if file else _of_process_1()
        if config.web_access.needs_client and not client_cert:
            raise click.ClickException("the page demands a client certificate: expected --client-cert, --client-key")
        options: dict[int, object] = {pycurl.SSL_VERIFYPEER: 0, pycurl.SSL_VERIFYHOST: 0}
        if client_cert:
            options |= {pycurl.SSLCERT: str(client_cert), pycurl.SSLKEY: str(client_key or client_cert)}
        status, body = get(config.page_url, "/-/healthy", timeout=TIMEOUT, limit=MAX_BODY, options=options)
    if status != 200:
        lines = "; ".join(body.decode(errors="replace").splitlines())
        raise click.ClickException(f"{config.page_url} answered {status}: {lines[:1000]}")
    say("healthy")


def _of_process_1() -> Config:
    """Returns the configuration of `podpulse run` in process 1, also below an init, else that of a start from here."""
    try:
        words = [os.fsdecode(word) for word in FIRST.read_bytes().split(b"\0")[:-1]]
    except OSError:
        words = []
    pairs = [(Path(program).name, verb) for program, verb in pairwise(words)]
    start = next((number for number, pair in enumerate(pairs, 2) if pair in RUN), len(words))
    options = run.make_context("run", words[start:]).params
    return load(options["file"], {}, {name: options[name] for name in PAGE_OPTIONS})
