"""Observes Consul, the controllers and the machine from outside, and records what it sees.

It shares no code with `controller` and `reconcilers`. It has its own HTTP client and its own parsers.
"""

import base64
import http.client
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from tests.faults.controller_observer import ANSWER, NOTABLE, ControllerObserver, Subject
from tests.faults.history import CatalogLook, Look, Record, Recorder, Stall

LOOKS = 0.15
NAP = 0.02


class Surroundings(Protocol):
    """Tells the observer where to look, at any moment."""

    def servers(self) -> Sequence[int]:
        """The HTTP ports of Consul's servers on loopback. Some servers may not run."""
        ...

    def token(self) -> str: ...

    def subjects(self) -> Sequence[Subject]:
        """The controllers."""
        ...

    def target_ports(self) -> frozenset[int]: ...


@dataclass
class Observer:
    """Runs in its own threads from `start` to `stop`. `nodes` are those of the pods."""

    recorder: Recorder
    around: Surroundings
    nodes: frozenset[str]
    _stopped: threading.Event = field(default_factory=threading.Event, init=False)
    _threads: list[threading.Thread] = field(default_factory=list, init=False)
    _known: dict[str, Record] = field(default_factory=dict, init=False)
    _services: dict[str, Record] = field(default_factory=dict, init=False)
    _sessions: tuple[str, ...] | None = field(default=None, init=False)
    _server: int = field(default=0, init=False)
    _looked: float = field(default=0.0, init=False)

    def start(self) -> None:
        for name, turn, gap in self._turns():
            thread = threading.Thread(
                target=self._again_and_again, args=(turn, gap), name=f"observe-{name}", daemon=True
            )
            self._threads.append(thread)
        self._threads.append(threading.Thread(target=self._naps, name="observe-naps", daemon=True))
        for thread in self._threads:
            thread.start()

    def _turns(self) -> Iterator[tuple[str, Callable[[], None], float]]:
        """Yields each turn with its name and the seconds between two turns. A fleet publishes no services."""
        yield "look", self._look, LOOKS
        if len(self.nodes) == 1:
            yield "catalog", self._look_into_catalog, LOOKS
        for subject in self.around.subjects():
            yield from ControllerObserver(self.recorder, subject, self.around.target_ports).turns()

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
            (node,) = self.nodes
            checks = self._ask(ports[self._server % len(ports)], f"health/node/{node}?consistent") or ()
            prefix = f"podpulse:{node}:"
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
        if len(parts) != 3 or parts[2] not in self.nodes:
            return []
        return [(parts[1], record_of(entry))]

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
        flags=int(entry.get("Flags", 0)),
    )


def _seconds(text: object) -> float:
    with suppress(ValueError):
        if isinstance(text, str):
            return datetime.fromisoformat(_FRACTION.sub(r".\1", text)).timestamp()
    return 0.0
