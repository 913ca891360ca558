"""A real nginx as a proxy of a real Consul, with its own limits. It is the program of the benchmarks."""

import socket
import subprocess
import tempfile
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.bench import programs
from tests.support.net import free_ports, until

CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size {limit};
        client_body_buffer_size 1m;
        location / {{ proxy_pass http://127.0.0.1:{upstream}; }}
    }}
}}
"""


class Nginx(AbstractContextManager["Nginx"]):
    """Passes requests of up to `limit` (nginx' `client_max_body_size`) on to 127.0.0.1:`upstream`; others are answered
    by 413."""

    def __init__(self, upstream: int, limit: str) -> None:
        self._temp = tempfile.TemporaryDirectory(prefix="nginx-test-", ignore_cleanup_errors=True)
        self._folder = Path(self._temp.name)
        self._port = free_ports(1)[0]
        config = CONFIG.format(folder=self._folder, port=self._port, upstream=upstream, limit=limit)
        (self._folder / "nginx.conf").write_text(config)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        folder = self._folder
        command: list[str | Path] = [
            programs.nginx(),
            "-e",
            folder / "error.log",
            "-p",
            folder,
            "-c",
            folder / "nginx.conf",
        ]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        until(self._listens, what="nginx to listen")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait()
        self._temp.cleanup()

    def _listens(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1.0):
            return True
        return False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def statuses(self) -> list[int]:
        """What it answered so far: the status of each request."""
        log = self._folder / "access.log"
        return [int(line.split('" ')[1].split()[0]) for line in log.read_text().splitlines()] if log.exists() else []
