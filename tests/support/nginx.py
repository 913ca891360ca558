"""A real nginx, as a proxy of a real Consul with its own limits and as a target. The benchmarks use it too."""

import socket
import subprocess
import tempfile
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.bench import programs
from tests.support.authority import Authority
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
    {servers}
}}
"""
PROXY = """
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size {limit};
        client_body_buffer_size 1m;
        location / {{ proxy_pass http://127.0.0.1:{upstream}; }}
    }}
"""
SITE = """
    server {{
        listen 127.0.0.1:{plain} http2;
        listen 127.0.0.1:{secure} ssl http2;
        {site}
    }}
    server {{
        listen 127.0.0.1:{old} ssl;
        {site}
    }}
"""
PAGES = """
        ssl_certificate {cert};
        ssl_certificate_key {key};
        keepalive_requests {requests};
        root {folder};
        location = /ok {{ return 200 "ok of $server_protocol to $host by $request_method, team $http_x_team\\n"; }}
        location = /no {{ return 503 "no\\n"; }}
        location = /none {{ return 204; }}
        location = /moved {{ return 302 /ok; }}
"""


class NginxProcess(AbstractContextManager["NginxProcess"]):
    """nginx with these `servers`, which wait for connections at `port`."""

    def __init__(self, port: int) -> None:
        self._temp = tempfile.TemporaryDirectory(prefix="nginx-test-", ignore_cleanup_errors=True)
        self.folder = Path(self._temp.name)
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, servers: str) -> None:
        """Write the configuration with these `server` blocks."""
        (self.folder / "nginx.conf").write_text(CONFIG.format(folder=self.folder, servers=servers))

    def __enter__(self) -> Self:
        folder = self.folder
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


class Nginx(NginxProcess):
    """Passes requests of up to `limit` (nginx' `client_max_body_size`) on to 127.0.0.1:`upstream`. Larger requests get
    413."""

    def __init__(self, upstream: int, limit: str) -> None:
        super().__init__(free_ports(1)[0])
        self.configure(PROXY.format(port=self._port, upstream=upstream, limit=limit))

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def statuses(self) -> list[int]:
        """Returns the status of each answer so far."""
        log = self.folder / "access.log"
        return [int(line.split('" ')[1].split()[0]) for line in log.read_text().splitlines()] if log.exists() else []


class NginxSite(NginxProcess):
    """A target that speaks HTTP/2 at the ports `plain` and `secure` (TLS), and HTTP/1.1 alone at `old` (TLS).

    It ends a connection after `requests` requests. `/ok` names what was asked; `/no` is 503, `/none` 204; `large` is a
    file of 200,000 bytes.
    """

    def __init__(self, authority: Authority, requests: int = 1000) -> None:
        self.plain, self.secure, self.old = free_ports(3)
        super().__init__(self.secure)
        cert, key = authority.files()
        site = PAGES.format(cert=cert, key=key, requests=requests, folder=self.folder)
        self.configure(SITE.format(plain=self.plain, secure=self.secure, old=self.old, site=site))
        self.folder.chmod(0o755)
        (self.folder / "large").write_bytes(b"x" * 65_535 + b"y" + b"z" * 134_464)
