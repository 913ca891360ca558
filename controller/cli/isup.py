"""`podpulse isup`: a pod to try things on."""

from pathlib import Path

import click

from controller.cli import isup_server as isup
from controller.cli.options import FILE, explained


@click.command("isup")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8000, show_default=True, help="Port to listen on.")
@click.option("--cert", type=FILE, help="Certificate, PEM: answer over HTTPS.")
@click.option("--key", type=FILE, help="Its key, unless it stands in the same file.")
@click.option("--env", "show_secrets", is_flag=True, help="Do not mask variables that look like secrets.")
@click.argument("words", nargs=-1)
def isup_command(
    host: str, port: int, cert: Path | None, key: Path | None, show_secrets: bool, words: tuple[str, ...]
) -> None:
    """Be a pod to try things on: always healthy.

    Every request on /_status is answered with WORDS and the environment, one a line. A controller that probes it
    publishes the answer in Consul, so start it with an empty environment, as below. Values of variables whose names
    look like secrets (TOKEN, PASSWORD, KEY, ...) are masked, and so are URLs with a user in them.

    \b
    Examples:
      env -i PATH="$PATH" podpulse isup --port 8000 I am healthy
      env -i PATH="$PATH" podpulse isup --host 0.0.0.0 --cert web1.pem --key web1-key.pem

    \b
    Exit codes:
      0  ended by SIGTERM or Ctrl-C
      1  the port is taken, or the certificate cannot be used
      2  wrong use
    """
    with explained():
        isup.serve(host, port, words, cert, key, show_secrets=show_secrets)
