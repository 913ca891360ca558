"""For tests with real sockets: free ports, certificates, and waiting for a condition."""

import random
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import trustme

LONGEST_LOOK = 0.1
"""Seconds that one look of `until` usually takes at most, with the pause before it."""
MOST_TIMES = 4
SHORTEST_PAUSE, LONGEST_PAUSE = 0.01, 0.08
"""Seconds between two looks of `until`. The pause grows with the wait, because looks cost others the processor."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files of one test CA: the server's pair for 127.0.0.1 and localhost, and a client's pair."""

    ca: Path
    cert: Path
    key: Path
    client_cert: Path
    client_key: Path

    @classmethod
    def issue(cls, folder: Path, *names: str) -> "Certificates":
        """Write a new CA and what it signed into `folder`; `names` are the server's (default 127.0.0.1, localhost)."""
        folder.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        server = authority.issue_cert(*(names or ("127.0.0.1", "localhost")))
        client = authority.issue_cert("client.example")
        files = cls(*(folder / name for name in ("ca.pem", "cert.pem", "key.pem", "client.pem", "client-key.pem")))
        authority.cert_pem.write_to_path(str(files.ca))
        for leaf, cert, key in ((server, files.cert, files.key), (client, files.client_cert, files.client_key)):
            cert.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
            leaf.private_key_pem.write_to_path(str(key))
        return files


def free_ports(count: int) -> tuple[int, ...]:
    """Returns ports of 127.0.0.1 that are free for TCP and UDP. They are below the ports that the kernel uses for
    outgoing connections."""
    with ExitStack() as held:
        return tuple(held.enter_context(sock).getsockname()[1] for sock in reserve_free(count))


def reserve_free(count: int) -> tuple[socket.socket, ...]:
    """Reserves ports as those of `free_ports`. Nobody else gets a port until its socket is closed. A program that sets
    SO_REUSEADDR, as those in Go do, can listen on it."""
    found: list[socket.socket] = []
    while len(found) < count:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            at = ("127.0.0.1", random.randint(10_000, 32_000))
            sock.bind(at)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # later, because the port must not be reserved
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
                datagrams.bind(at)
        except OSError:
            sock.close()
        else:
            found.append(sock)
    return tuple(found)


def reserve(host: str, port: int = 0) -> socket.socket:
    """Returns a TCP socket that is bound and does not listen, so that connections to its port are refused and nobody
    else gets the port. Another socket that is reserved at the same port may listen."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def stands_still(pid: int) -> bool:
    """Whether every thread of a process is stopped. A signal takes effect some time after it was sent."""
    states = (path.read_text().rpartition(")")[2].split()[0] for path in Path(f"/proc/{pid}/task").glob("*/stat"))
    return all(state == "T" for state in states)


def until(condition: Callable[[], object], within: float = 10.0, what: str = "") -> None:
    """Wait until `condition()` is true. An AssertionError names `what` after `within` seconds.

    A long pause between two looks mostly means that the machine stood still or was busy with other processes. At most
    `LONGEST_LOOK` of each pause counts. So a slow machine gets more time, up to `MOST_TIMES` as much.
    """
    began = looked = time.monotonic()
    left, latest = within, began + MOST_TIMES * within
    while not condition():
        before, looked = looked, time.monotonic()
        left -= min(looked - before, LONGEST_LOOK)
        if left < 0 or looked > latest:
            raise AssertionError(f"not within {within:g} s: {what or condition}")
        time.sleep(min(max(SHORTEST_PAUSE, (looked - began) / 20), LONGEST_PAUSE))
