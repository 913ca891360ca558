"""The targets of a benchmark: one nginx on thousands of ports of a loopback address, and targets that never answer.

Every benchmark takes the probes from nginx's log: how many there were, when, and whether any of them reused a
connection or a TLS session. nginx keeps connections open and issues session tickets as any server does. So the log
shows it if a prober reuses them. The address is a random one of 127.0.0.0/8, so that parallel runs do not collide.
"""

import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, get_args

from tests.bench import process, programs
from tests.bench.hits import FLUSH, FORMAT, HitLog
from tests.support.net import Certificates

Scheme = Literal["http", "https", "grpc", "grpcs"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
GRPC, TLS = frozenset({"grpc", "grpcs"}), frozenset({"https", "grpcs"})
SERVING = bytes([0, 0, 0, 0, 2, 8, 1])
"""A message of gRPC's health protocol: status 1, SERVING."""

NODE = "bench1"
PATH = "/_status"
FIRST_PORT, EPHEMERAL = 10_000, 32_768
ATTEMPTS = 5

CONFIG = """\
daemon off;
worker_processes 1;
worker_rlimit_nofile {descriptors};
error_log {folder}/error.log warn;
pid {folder}/pid;
events {{ worker_connections {connections}; multi_accept on; }}
http {{
    log_format hit '{log_format}';
    access_log {log};
    default_type text/plain;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {address}:{first}-{last}{listen};
        ssl_certificate {cert};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        location / {{ {answer} }}
    }}
}}
"""


LOG = "{folder}/hits hit buffer=256k flush={flush}ms"
OK = 'return 200 "ok\\n";'
HEALTH = """\
root {folder}; default_type application/grpc; add_trailer grpc-status 0;
            error_page 404 =200 /serving; log_not_found off;"""
"""nginx answers POST with a file only as the page of an error."""
ASK = "proxy_pass http://unix:{upstream}; proxy_set_header X-Port $server_port;"


class CannotListen(Exception):
    """Targets did not start; the message says why."""


class Targets(AbstractContextManager["Targets"]):
    """`count` ports that answer 200, or as the server at the socket `upstream` says, and `silent` ports that accept and
    never answer. They run inside the context. Without `logged`, requests are not in the log. The file of the CA also
    has the certificates of `bundle`."""

    def __init__(
        self,
        count: int,
        scheme: Scheme = "http",
        silent: int = 0,
        upstream: Path | None = None,
        *,
        logged: bool = True,
        bundle: Path | None = None,
    ) -> None:
        self.scheme = scheme
        self._logged = logged
        self._bundle = bundle
        self._count, self._silent = count, silent
        self._answer = ASK.format(upstream=upstream) if upstream else OK
        self._program = programs.nginx()
        self._temp = tempfile.TemporaryDirectory(prefix="podpulse-bench-", ignore_cleanup_errors=True)
        self.folder = Path(self._temp.name)
        self.log = HitLog(self.folder / "hits")
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        for left in reversed(range(ATTEMPTS)):
            try:
                self._start()
                return self
            except CannotListen:
                self._stop()
                if not left:
                    self._temp.cleanup()
                    raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        self._temp.cleanup()

    @property
    def ports(self) -> Sequence[int]:
        """The ports that answer."""
        return range(self._first, self._first + self._count)

    @property
    def silent_ports(self) -> Sequence[int]:
        return range(self._first + self._count, self._first + self._count + self._silent)

    @property
    def last_port(self) -> int:
        return self._first + self._count + self._silent - 1

    @property
    def address(self) -> str:
        return self._address

    @property
    def ca_file(self) -> Path:
        return self._certificates.ca

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every process of the targets that answer."""
        for pid in process.tree(self._processes[0].pid):
            os.kill(pid, number)

    def urls(self) -> list[str]:
        return [f"{self.scheme}://{self.address}:{port}{PATH}" for port in self.ports]

    def _start(self) -> None:
        self._address = f"127.{random.randint(1, 254)}.{random.randint(0, 255)}.{random.randint(1, 254)}"
        self._first = random.randint(FIRST_PORT, EPHEMERAL - 1 - self._count - self._silent)
        self._certificates = Certificates.issue(self.folder / "tls", NODE, self._address)
        if self._bundle:
            self.ca_file.write_bytes(self.ca_file.read_bytes() + self._bundle.read_bytes())
        (self.folder / "nginx.conf").write_text(self._config())
        (self.folder / "serving").write_bytes(SERVING)
        self.folder.chmod(0o711)  # nginx reads this file as another user if it was started by root
        (self.folder / "hits").unlink(missing_ok=True)
        self._run(self._program, "-e", self.folder / "error.log", "-p", self.folder, "-c", self.folder / "nginx.conf")
        self._until_listening(self.ports)
        if self._silent:
            arguments = (self._address, self.silent_ports[0], self._silent)
            self._run(sys.executable, Path(__file__).with_name("silent.py"), *arguments)
            self._until_listening(self.silent_ports)

    def _run(self, *command: object) -> None:
        self._processes.append(subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL))

    def _stop(self) -> None:
        for each in self._processes:
            each.terminate()
            each.wait()
        self._processes.clear()

    def _config(self) -> str:
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if descriptors != resource.RLIM_INFINITY and descriptors < self._count + 1024:
            raise CannotListen(
                f"{self._count} targets need {self._count + 1024} descriptors; `ulimit -Hn` is {descriptors}"
            )
        wanted = 3 * self._count + 4096
        return CONFIG.format(
            descriptors=wanted if descriptors == resource.RLIM_INFINITY else min(wanted, descriptors),
            connections=wanted if descriptors == resource.RLIM_INFINITY else min(wanted, descriptors),
            folder=self.folder,
            log_format=FORMAT,
            log=LOG.format(folder=self.folder, flush=int(FLUSH * 1000)) if self._logged else "off",
            address=self._address,
            first=self._first,
            last=self._first + self._count - 1,
            listen=(" ssl" if self.scheme in TLS else "") + (" http2" if self.scheme in GRPC else ""),
            cert=self._certificates.cert,
            key=self._certificates.key,
            answer=HEALTH.format(folder=self.folder) if self.scheme in GRPC else self._answer,
        )

    def _until_listening(self, ports: Sequence[int]) -> None:
        """Waits for the last port. nginx opens all its ports before it serves the first one, and `silent.py` opens its
        ports in order."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection((self._address, ports[-1]), 1.0):
                return
            if self._processes[-1].poll() is not None:
                break
            time.sleep(0.02)
        log = self.folder / "error.log"
        raise CannotListen(
            f"the targets did not start: {log.read_text()[-500:] if log.exists() else 'no reason given'}"
        )


def raise_descriptor_limit() -> None:
    """Raises the limit to the hard limit, for this process and those that it starts."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
