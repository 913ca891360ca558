"""`podpulse healthy`: asks the controller of this machine whether it is healthy, for a supervisor."""

import os
from itertools import pairwise
from pathlib import Path

import click
import pycurl

from controller.cli.options import FILE, explained, load
from controller.cli.run import run
from controller.cli.terminal import say
from controller.config import Config
from controller.runtime.bounded import BoundedBody
from reconcilers.escaping import safe_line

TIMEOUT = 2
"""Seconds for the answer."""
MAX_BODY = 64 * 1024
FIRST = Path("/proc/1/cmdline")
RUN = frozenset({("podpulse", "run"), ("controller", "run")})
"""A program and its verb in a command line."""
PAGE_OPTIONS = ("node", "listen", "intent_dir", "health_dir")
"""The options of `run` that the address of the page depends on, or without which its configuration may be invalid."""


@click.command()
@click.option("--config", "file", type=FILE, help="The controller's configuration [as the controller of a container].")
@click.option("--client-cert", type=FILE, help="A certificate to show, where the page asks clients for one.")
@click.option("--client-key", type=FILE, help="Its key.")
def healthy(file: Path | None, client_cert: Path | None, client_key: Path | None) -> None:
    """Ask the controller of this machine whether it is healthy.

    It is asked at the address of its page, over TLS where it speaks that, for /-/healthy: whether every thread turns.
    This machine itself needs no password for it. The server's certificate is not checked, as nothing secret is sent.
    Without --config the configuration is that of process 1 where this is `podpulse run`, as in a container, with its
    options; else that of CONFIG_PATH, or the defaults. One line says what came of it.

    \b
    Examples:
      podpulse healthy
      podpulse healthy --config /etc/podpulse/config.yaml

    \b
    Exit codes:
      0  healthy
      1  not healthy, or no answer within 2 s, or the configuration cannot be used
      2  wrong use
    """
    with explained():
        config = load(file, {}, {}) if file else _of_process_1()
        if config.web_access.needs_client and not client_cert:
            raise click.ClickException("the page asks clients for a certificate: expected --client-cert, --client-key")
        status, text = _get(f"{config.page_url}/-/healthy", client_cert, client_key)
    if status != 200:
        raise click.ClickException(f"{config.page_url} answered {status}: {'; '.join(text.splitlines())[:1000]}")
    say("healthy")


def _of_process_1() -> Config:
    """The configuration of the `podpulse run` of process 1, perhaps below an init; else that of a start here."""
    try:
        words = [os.fsdecode(word) for word in FIRST.read_bytes().split(b"\0")[:-1]]
    except OSError:
        words = []
    pairs = [(Path(program).name, verb) for program, verb in pairwise(words)]
    started = next((number for number, pair in enumerate(pairs, 2) if pair in RUN), len(words))
    options = run.make_context("run", words[started:]).params
    return load(options["file"], {}, {name: options[name] for name in PAGE_OPTIONS})


def _get(url: str, cert: Path | None, key: Path | None) -> tuple[int, str]:
    """Returns the status and the text of the answer.

    Raises:
        ClickException: there is no answer.
    """
    answer = BoundedBody(MAX_BODY)
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, url)
    curl.setopt(pycurl.NOPROXY, "*")
    curl.setopt(pycurl.TIMEOUT, TIMEOUT)
    curl.setopt(pycurl.WRITEFUNCTION, answer.write)
    curl.setopt(pycurl.SSL_VERIFYPEER, 0)
    curl.setopt(pycurl.SSL_VERIFYHOST, 0)
    if cert:
        curl.setopt(pycurl.SSLCERT, str(cert))
        curl.setopt(pycurl.SSLKEY, str(key or cert))
    try:
        curl.perform()
        return curl.getinfo(pycurl.RESPONSE_CODE), answer.data.decode(errors="replace")
    except pycurl.error as error:
        if answer.overflow:
            raise click.ClickException(f"{url} answered with more than {MAX_BODY} bytes") from None
        raise click.ClickException(f"no controller answers at {url}: {safe_line(str(error.args[-1]))}") from None
    finally:
        curl.close()
