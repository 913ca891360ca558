"""Real servers from Debian that a TCP check can ask: Redis, OpenSSH, OpenLDAP, PostgreSQL, and nginx as a mail server.

nginx speaks SMTP, IMAP and POP3 with STARTTLS up to the login, which is what a check sees. They run in one folder, on
ports of loopback, and never as root: PostgreSQL refuses that, and OpenSSH then needs a user of its own.
"""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from tests.support.authority import Authority
from tests.support.net import free_ports, until
from tests.support.setup import require

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65_534
NAMES = ("redis", "rediss", "mutual", "ssh", "ldap", "postgres", "smtp", "imap", "pop3")

NGINX = """
load_module {root}/usr/lib/nginx/modules/ngx_mail_module.so;
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
events {{ worker_connections 64; }}
mail {{
    server_name mail.example.com;
    auth_http 127.0.0.1:1/;
    starttls on;
    ssl_certificate {folder}/cert.pem;
    ssl_certificate_key {folder}/key.pem;
    server {{ listen 127.0.0.1:{smtp}; protocol smtp; }}
    server {{ listen 127.0.0.1:{imap}; protocol imap; }}
    server {{ listen 127.0.0.1:{pop3}; protocol pop3; }}
}}
"""
SLAPD = "TLSCertificateFile {folder}/cert.pem\nTLSCertificateKeyFile {folder}/key.pem\n"


class DebianServers(AbstractContextManager["DebianServers"]):
    """`ports` has the port of each server of `NAMES`. `mutual` is a Redis that demands a client certificate."""

    def __init__(self, authority: Authority) -> None:
        require("servers")
        require("postgres")
        self.ports: Mapping[str, int] = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
        self._folder = Path(tempfile.mkdtemp(prefix="servers-test-"))
        self._identity: dict[str, Any] = {}
        self._processes: list[subprocess.Popen[bytes]] = []
        cert, key = authority.files()
        shutil.copy(cert, self._folder / "cert.pem")
        shutil.copy(key, self._folder / "key.pem")
        shutil.copy(authority.file, self._folder / "ca.pem")
        host_key = ed25519.Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        (self._folder / "host_key").write_bytes(host_key)
        values = {"folder": self._folder, "root": self._folder / "servers", **self.ports}
        (self._folder / "nginx.conf").write_text(NGINX.format(**values))
        (self._folder / "slapd.conf").write_text(SLAPD.format(**values))
        for name in ("key.pem", "host_key"):
            (self._folder / name).chmod(0o600)
        for name in ("servers", "postgres"):
            if (cached := ROOT / ".cache" / name).is_dir():
                shutil.copytree(cached, self._folder / name, symlinks=True)
        if os.getuid() == 0:
            self._identity = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            for path in (self._folder, *self._folder.iterdir()):
                os.chown(path, NOBODY, NOBODY)

    def __enter__(self) -> Self:
        folder, ports, programs = self._folder, self.ports, self._folder / "servers" / "usr"
        loopback = ("--bind", "127.0.0.1", "--save", "", "--dir", folder)
        files = {"cert-file": "cert.pem", "key-file": "key.pem", "ca-cert-file": "ca.pem"}
        tls = [word for name, file in files.items() for word in (f"--tls-{name}", folder / file)]
        pair = (*tls, "--port")
        redis = programs / "bin" / "redis-server"
        self._start(redis, *loopback, *pair, ports["redis"], "--tls-port", ports["rediss"], "--tls-auth-clients", "no")
        self._start(redis, *loopback, *pair, 0, "--tls-port", ports["mutual"], "--tls-auth-clients", "yes")
        where = ("-o", f"ListenAddress=127.0.0.1:{ports['ssh']}", "-o", "PidFile=none")
        self._start(programs / "sbin" / "sshd", "-D", "-e", "-f", "/dev/null", "-h", folder / "host_key", *where)
        self._start(
            programs / "sbin" / "slapd",
            *("-d", 0, "-f", folder / "slapd.conf", "-h", f"ldap://127.0.0.1:{ports['ldap']}"),
        )
        self._start(programs / "sbin" / "nginx", "-p", folder, "-e", folder / "log", "-c", folder / "nginx.conf")
        self._start_postgres()
        until(lambda: all(map(self._listens, NAMES)), within=60, what="all servers to listen")
        return self

    def _start_postgres(self) -> None:
        folder, programs = self._folder, self._postgres()
        data = folder / "data"
        subprocess.run(
            [programs / "initdb", "-D", data, "-A", "trust", "-U", "podpulse", "--no-sync", "--no-locale"],
            env=self._environment(programs / "initdb"),
            cwd=folder,
            stdout=subprocess.DEVNULL,
            check=True,
            **self._identity,
        )
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": folder,
            "ssl": "on",
            "ssl_cert_file": folder / "cert.pem",
            "ssl_key_file": folder / "key.pem",
            "fsync": "off",
            "max_connections": 10,
            "shared_buffers": "1MB",
        }
        flags = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        self._start(programs / "postgres", "-D", data, "-p", self.ports["postgres"], *flags)

    def _postgres(self) -> Path:
        """Returns the folder with the programs of PostgreSQL."""
        for base in (self._folder / "postgres", Path("/")):
            for found in sorted(base.glob("usr/lib/postgresql/*/bin/initdb")):
                return found.parent
        return Path(shutil.which("initdb") or "initdb").resolve().parent

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, *command: object) -> None:
        words: Sequence[str] = [str(word) for word in command]
        self._processes.append(
            subprocess.Popen(
                words,
                env=self._environment(Path(words[0])),
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                **self._identity,
            )
        )

    def _environment(self, program: Path) -> Mapping[str, str]:
        """A program that was unpacked here uses the libraries that were unpacked with it."""
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
        for folder in (self._folder / "servers", self._folder / "postgres"):
            if program.is_relative_to(folder):
                libraries = [folder / below / f"{os.uname().machine}-linux-gnu" for below in ("usr/lib", "lib")]
                return {**environment, "LD_LIBRARY_PATH": ":".join(map(str, libraries))}
        return environment

    def _listens(self, name: str) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.ports[name]), 1.0):
            return True
        return False
