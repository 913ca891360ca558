"""`podpulse isup`: a pod to try things on."""

import signal
import sys
from pathlib import Path

import click

from controller import isup
from controller.cli.options import FILE, explained


@click.command("isup")
@click.option("--host", default="0.0.0.0", show_default=True, help="Address to listen on.")  # noqa: S104 - it is to be probed
@click.option("--port", type=click.IntRange(0, 65_535), default=8000, show_default=True, help="Port to listen on.")
@click.option("--cert", type=FILE, help="Certificate, PEM: answer over HTTPS.")
@click.option("--key", type=FILE, help="Its key, unless it stands in the same file.")
@click.argument("words", nargs=-1)
def isup_command(host: str, port: int, cert: Path | None, key: Path | None, words: tuple[str, ...]) -> None:
    """Be a pod to try things on: always healthy.

    Every request on /_status is answered with WORDS and the environment, one a line. Whoever asks sees it: do not
    start this where the environment holds secrets.

    \b
    Examples:
      podpulse isup --port 8000 I am healthy
      podpulse isup --host 127.0.0.1 --cert web1.pem --key web1-key.pem

    \b
    Exit codes:
      0  ended by SIGTERM or Ctrl-C
      1  the port is taken, or the certificate cannot be used
      2  wrong use
    """
    for end in (signal.SIGTERM, signal.SIGINT):
        signal.signal(end, lambda *_: sys.exit(0))
    with explained():
        isup.serve(host, port, words, cert, key)
