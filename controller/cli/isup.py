"""`podpulse isup`: the small server with which p2's documentation demonstrates health checks."""

import os
import re
import ssl
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click

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
        serve(host, port, words, cert, key, show_secrets=show_secrets)


MASK = "********"
SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASS|(?<!^)(?<!OLD)PWD|PIN$|(?<![A-Z])PAT$|KEY|CRED|AUTH|COOKIE|SESSION|PRIVATE|SIGNATURE|SALT|DSN"
    r"|WEBHOOK|JWT|BEARER|CONN(ECTION)?_?STR",
    re.IGNORECASE,
)
"""Names of variables that may be secrets. PWD and OLDPWD do not match: they are folders."""
URL_WITH_USER = re.compile(r"://[^/\s@]+@")
"""A URL with a user, and so perhaps with a password."""


def answer(words: Sequence[str], environ: Mapping[str, str], *, show_secrets: bool) -> bytes:
    """Returns the body of the answer: `words`, then the variables of `environ`, sorted by name."""
    variables = {name: value if show_secrets else masked(name, value) for name, value in environ.items()}
    lines = [*words, *(f"{name}={value}" for name, value in sorted(variables.items()))]
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def masked(name: str, value: str) -> str:
    """Returns `value`, or a mask if the variable's name or the value looks like a secret."""
    return MASK if SECRET_NAME.search(name) or URL_WITH_USER.search(value) else value


def serve(
    host: str, port: int, words: Sequence[str], cert: Path | None, key: Path | None, *, show_secrets: bool
) -> None:
    """Answers until the process ends; over TLS if there is a certificate."""
    body = answer(words, os.environ, show_secrets=show_secrets)

    class Handler(BaseHTTPRequestHandler):
        server_version = "isup"
        timeout = 10

        def do_GET(self) -> None:
            is_status = self.path == "/_status"
            self.send_response(200 if is_status else 404)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body) if is_status else 0))
            self.end_headers()
            if is_status and self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - the name that http.server expects

        def log_message(self, *_: object) -> None:
            """Logs nothing: probes come every few seconds."""

    with ThreadingHTTPServer((host, port), Handler) as server:
        if cert:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(cert, key)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.serve_forever()
