"""isup: the small server that p2's documentation demonstrates health checks with.

It answers every request on `/_status` with its arguments and its environment, one a line. A controller publishes what
it answers, so values of variables that look like secrets are masked unless the caller asks for them.
"""

import os
import re
import ssl
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MASK = "********"
SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASS|(?<!^)(?<!OLD)PWD|PIN$|(?<![A-Z])PAT$|KEY|CRED|AUTH|COOKIE|SESSION|PRIVATE|SIGNATURE|SALT|DSN"
    r"|WEBHOOK|JWT|BEARER|CONN(ECTION)?_?STR",
    re.IGNORECASE,
)
"""Names of variables that may hold a secret; not PWD and OLDPWD, which are folders."""
URL_WITH_USER = re.compile(r"://[^/\s@]+@")
"""A URL with a user, and so perhaps a password, in it."""


def answer(words: Sequence[str], environ: Mapping[str, str], *, show_secrets: bool) -> bytes:
    """The body of isup's answer: `words`, then the variables of `environ`, sorted by name."""
    variables = {name: value if show_secrets else masked(name, value) for name, value in environ.items()}
    lines = [*words, *(f"{name}={value}" for name, value in sorted(variables.items()))]
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def masked(name: str, value: str) -> str:
    """`value`, or a mask where the variable's name or the value looks like a secret."""
    return MASK if SECRET_NAME.search(name) or URL_WITH_USER.search(value) else value


def serve(
    host: str, port: int, words: Sequence[str], cert: Path | None, key: Path | None, *, show_secrets: bool
) -> None:
    """Answer until the process ends; over TLS when there is a certificate."""
    body = answer(words, os.environ, show_secrets=show_secrets)

    class Handler(BaseHTTPRequestHandler):
        server_version = "isup"
        timeout = 10

        def do_GET(self) -> None:
            known = self.path == "/_status"
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body) if known else 0))
            self.end_headers()
            if known and self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - http.server's own name

        def log_message(self, *_: object) -> None:
            """isup is asked every few seconds; it says nothing about it."""

    with ThreadingHTTPServer((host, port), Handler) as server:
        if cert:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(cert, key)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.serve_forever()
