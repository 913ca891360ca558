"""isup, the small server with which p2's documentation demonstrates health checks.

It answers each request for `/_status` with its arguments and its environment, one item per line. A controller publishes
the answer. So the values of variables that look like secrets are masked, unless the caller asks for them.
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
