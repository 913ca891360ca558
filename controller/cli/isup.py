"""`podpulse isup`: a small HTTP server to try checks with."""

from pathlib import Path

import click

from controller.cli import isup_server as isup
from controller.cli.options import FILE, explained


@click.command("isup")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8000, show_default=True, help="Port to listen on.")
@click.option("--cert", type=FILE, help="Certificate (PEM) to answer over HTTPS [HTTP].")
@click.option("--key", type=FILE, help="Key of the certificate [in the same file].")
@click.option("--env", "show_secrets", is_flag=True, help="Show variables that look like secrets [masked].")
@click.argument("words", nargs=-1)
def isup_command(
    host: str, port: int, cert: Path | None, key: Path | None, show_secrets: bool, words: tuple[str, ...]
) -> None:
    """Serve as an always healthy pod, to try checks with.

    It answers requests for /_status with WORDS and its environment, one item per line. A controller that probes it
    publishes the answer in Consul, so start it with an empty environment as in the examples. The values of variables
    with names that suggest a secret (TOKEN, PASSWORD, KEY, ...) and URLs that contain a user are masked.

    \b
    Examples:
      env -i PATH="$PATH" podpulse isup --port 8000 I am healthy
      env -i PATH="$PATH" podpulse isup --host 0.0.0.0 --cert web1.pem --key web1-key.pem

    \b
    Exit codes:
      0  ended by SIGTERM or Ctrl-C
      1  the port is in use, or the certificate is unusable
      2  wrong usage
    """
    with explained():
        isup.serve(host, port, words, cert, key, show_secrets=show_secrets)
