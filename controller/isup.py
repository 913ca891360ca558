"""isup: the small server that p2's documentation demonstrates health checks with.

It answers every request on `/_status` with its arguments and its environment, one a line.
"""

import os
import ssl
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def answer(words: Sequence[str]) -> bytes:
    """The body of isup's answer."""
    lines = [*words, *(f"{name}={value}" for name, value in sorted(os.environ.items()))]
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def serve(host: str, port: int, words: Sequence[str], cert: Path | None, key: Path | None) -> None:
    """Answer until the process ends; over TLS when there is a certificate."""
    body = answer(words)

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
