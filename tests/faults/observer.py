"""Observes Consul, the controller's web server, its process and the machine from outside, and records what it sees.

It shares no code with `controller` and `reconcilers`. It has its own HTTP client and its own parsers.
"""

import base64
import http.client
import json
import re
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from tests.faults.history import CatalogLook, Look, Record, Recorder, Signs, Stall, Usage
from tests.faults.procfs import resident, run_delay, sockets, threads
from tests.faults.scraping import scrape_of

LOOKS = 0.15
SIGNS = 0.5
SCRAPES = 1.0
NAP = 0.02
DELAYS = 0.1
"""Seconds between two readings of how long the controller waited for a processor."""
NOTABLE = 0.01
"""A stall is recorded if it took more than so many seconds."""
ANSWER = 5.0


@dataclass(frozen=True, slots=True)
class Watched:
    """The current process of the controller."""

    pid: int
    port: int
    log_lines: int


class Surroundings(Protocol):
    """Tells the observer where to look, at any moment."""

    def servers(self) -> Sequence[int]:
        """The HTTP ports of Consul's servers on loopback. Some servers may not run."""
        ...

    def token(self) -> str: ...

    def watched(self) -> Watched | None:
        """Returns None while no controller listens."""
        ...

    def target_ports(self) -> frozenset[int]: ...
    def consul_port(self) -> int:
        """The port at which the controller reaches Consul."""
        ...


@dataclass
class Observer:
    """Runs in its own threads from `start` to `stop`."""

    recorder: Recorder
    around: Surroundings
    node: str
    _stopped: threading.Event = field(default_factory=threading.Event, init=False)
    _threads: list[threading.Thread] = field(default_factory=list, init=False)
    _known: dict[str, Record] = field(default_factory=dict, init=False)
    _services: dict[str, Record] = field(default_factory=dict, init=False)
    _sessions: tuple[str, ...] | None = field(default=None, init=False)
    _server: int = field(default=0, init=False)
    _looked: float = field(default=0.0, init=False)
    _delay: tuple[int, float, float] = field(default=(0, 0.0, 0.0), init=False)

    def start(self) -> None:
        for name, turn, gap in (
            ("look", self._look, LOOKS),
            ("catalog", self._look_into_catalog, LOOKS),
            ("signs", self._signs, SIGNS),
            ("scrape", self._scrape, SCRAPES),
            ("delays", self._delays, DELAYS),
        ):
            thread = threading.Thread(
                target=self._again_and_again, args=(turn, gap), name=f"observe-{name}", daemon=True
            )
            self._threads.append(thread)
        self._threads.append(threading.Thread(target=self._naps, name="observe-naps", daemon=True))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(ANSWER * 3)

    def known(self) -> dict[str, Record]:
        """Returns the records of the last look."""
        return self._known

    def services(self) -> dict[str, str]:
        """Returns the status of each pod's service in the catalog at the last look."""
        return {pod: record.status for pod, record in self._services.items()}

    def looked(self) -> float:
        """Returns the monotonic time at which the last look was sent; 0 for never. Without a leader a look fails."""
        return self._looked

    def sessions(self) -> frozenset[str]:
        """Returns the sessions of the last look."""
        return frozenset(self._sessions or ())

    def _again_and_again(self, turn: Callable[[], None], gap: float) -> None:
        due = time.monotonic()
        while not self._stopped.is_set():
            turn()
            due = max(due + gap, time.monotonic())
            self._stopped.wait(due - time.monotonic())

    # Consul

    def _look(self) -> None:
        """Asks one server, which answers for the leader. After an error the next turn asks the next server."""
        ports = self.around.servers()
        port = ports[self._server % len(ports)]
        sent = time.monotonic()
        try:
            sessions = tuple(sorted(each["ID"] for each in self._ask(port, "session/list?consistent") or ()))
            entries = self._ask(port, "kv/health/?recurse&consistent") or ()
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
            self._server += 1
            return
        found = {pod: record for entry in entries for pod, record in self._records(entry)}
        changed = {pod: record for pod, record in found.items() if self._known.get(pod) != record}
        gone = tuple(sorted(self._known.keys() - found.keys()))
        news = sessions if sessions != self._sessions else None
        self._known, self._sessions, self._looked = found, sessions, sent
        self.recorder.note(Look(sent, time.monotonic(), changed, gone, news))

    def _look_into_catalog(self) -> None:
        """Records nothing if the server does not answer."""
        ports = self.around.servers()
        sent = time.monotonic()
        try:
            checks = self._ask(ports[self._server % len(ports)], f"health/node/{self.node}?consistent") or ()
            prefix = f"podpulse:{self.node}:"
            found = {
                check["ServiceID"].removeprefix(prefix): Record(check["Status"])
                for check in checks
                if check["ServiceID"].startswith(prefix)
            }
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
            return
        changed = {pod: record for pod, record in found.items() if self._services.get(pod) != record}
        gone = tuple(sorted(self._services.keys() - found.keys()))
        self._services = found
        self.recorder.note(CatalogLook(sent, time.monotonic(), changed, gone))

    def _ask(self, port: int, path: str) -> Any:
        """Returns None for 404."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER)
        try:
            token = self.around.token()
            connection.request("GET", f"/v1/{path}", headers={"X-Consul-Token": token} if token else {})
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise ValueError(f"{answer.status} {body[:100]!r}")
        return json.loads(body)

    def _records(self, entry: dict[str, Any]) -> list[tuple[str, Record]]:
        parts = entry["Key"].split("/")
        if len(parts) != 3 or parts[2] != self.node:
            return []
        return [(parts[1], record_of(entry))]

    # the controller

    def _signs(self) -> None:
        watched = self.around.watched()
        if not watched:
            return
        sent = time.monotonic()
        ready, healthy = self._sign(watched.port, "/-/ready"), self._sign(watched.port, "/-/healthy")
        if self._still(watched):
            words = "; ".join(word for ok, word in (ready, healthy) if not ok)
            self.recorder.note(Signs(sent, time.monotonic(), watched.pid, ready[0], healthy[0], words))

    @staticmethod
    def _sign(port: int, path: str) -> tuple[bool | None, str]:
        try:
            status, body = fetch(port, path)
        except (OSError, http.client.HTTPException) as error:
            return None, repr(error)
        return status == 200, body.decode(errors="replace").strip()

    def _scrape(self) -> None:
        """Reads the usage first, so that the connection of this scrape does not count as one of the controller's."""
        watched = self.around.watched()
        if not watched:
            return
        with suppress(OSError):
            self._use(watched)
        with suppress(OSError, http.client.HTTPException):
            sent = time.monotonic()
            status, body = fetch(watched.port, "/metrics")
            at = time.monotonic()
            if status == 200 and self._still(watched):
                self.recorder.note(scrape_of(body.decode(), sent, at, watched.pid))

    def _use(self, watched: Watched) -> None:
        ends = sockets(watched.pid)
        targets, consul = self.around.target_ports(), self.around.consul_port()
        usage = Usage(
            at=time.monotonic(),
            pid=watched.pid,
            descriptors=ends.descriptors,
            probing=sum(port in targets for port in ends.peers),
            consul=sum(port == consul for port in ends.peers),
            clients=sum(port == watched.port for port in ends.own),
            threads=threads(watched.pid),
            resident=resident(watched.pid),
            log_lines=watched.log_lines,
        )
        if self._still(watched):
            self.recorder.note(usage)

    def _still(self, watched: Watched) -> bool:
        now = self.around.watched()
        return now is not None and now.pid == watched.pid

    # the machine

    def _naps(self) -> None:
        """Records how much longer a short sleep takes than asked for: the machine took that time."""
        last = time.monotonic()
        while not self._stopped.is_set():
            time.sleep(NAP)
            now = time.monotonic()
            if now - last - NAP > NOTABLE:
                self.recorder.note(Stall(now, now - last - NAP, "harness"))
            last = now

    def _delays(self) -> None:
        """Records how long the controller's threads waited for a processor, as the kernel reports it."""
        watched, now = self.around.watched(), time.monotonic()
        if not watched:
            return
        total = run_delay(watched.pid)
        pid, before, since = self._delay
        if watched.pid == pid and total - before > NOTABLE:
            self.recorder.note(Stall(now, min(total - before, now - since), "controller"))
        self._delay = (watched.pid, total, now)


def fetch(port: int, path: str) -> tuple[int, bytes]:
    """Sends a GET to a server on loopback. Returns the status and the body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


_FRACTION = re.compile(r"\.(\d{1,6})\d*")


def record_of(entry: dict[str, Any]) -> Record:
    """Parses a health key as Consul lists it. The status is `?` if the value is not a record."""
    fields: dict[str, Any] = {}
    with suppress(ValueError, TypeError):
        read = json.loads(base64.b64decode(entry["Value"] or ""))
        fields = read if isinstance(read, dict) else {}
    return Record(
        status=str(fields.get("Status", "?")),
        reason=str(fields.get("Reason", "")),
        session=str(entry.get("Session") or ""),
        modified=int(entry["ModifyIndex"]),
        created=int(entry["CreateIndex"]),
        last_probe=_seconds(fields.get("LastProbe")),
    )


def _seconds(text: object) -> float:
    with suppress(ValueError):
        if isinstance(text, str):
            return datetime.fromisoformat(_FRACTION.sub(r".\1", text)).timestamp()
    return 0.0
