"""The pods of a run: their manifests in Consul and their targets. All of it is recorded.

Each pod keeps its own port. The history has every request to a target, with the kind of its answer.
"""

import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypeVar

import yaml

from tests.faults.behaviours import BEHAVIOURS
from tests.faults.history import Intent, Recorder, Removal, Request, Turn
from tests.support.net import until
from tests.support.targets import Connection, Target, close

T = TypeVar("T")


EVERY_ADDRESS = "0.0.0.0"
"""Each member of a fleet asks at a loopback address of its own."""
Asking = Callable[[str], str]
"""Returns the member of the fleet that asks at this address; "" if there is no fleet."""


def nobody(address: str) -> str:
    """See `Asking`."""
    return ""


class Store(Protocol):
    """Consul's KV store. Each method raises OSError if it cannot do its work."""

    def put(self, key: str, value: bytes) -> None: ...
    def delete(self, key: str) -> None: ...
    def manifests(self) -> Mapping[str, bytes]:
        """Returns the manifests of all pods, by name."""
        ...


SEEN_WITHIN = 60.0
FILES = Path(__file__).resolve().parents[1] / "data" / "manifests"
BROKEN = (
    *(file.read_bytes() for file in sorted(FILES.glob("invalid-*.yaml"))),
    b"[" * 60_000,
    b"{a: " * 15_000,
    b"id: isup\nstatus_port: 80\n#" + b"x" * 380_000,
)
"""What is wrong with each says its name; the last ones are too deep and too long for a file. Consul takes a
transaction of 512 KiB, in which a value is a third longer."""


def broken(pod: str, number: int) -> bytes:
    """Returns a manifest of `pod` with this fault. Any number is accepted."""
    return BROKEN[number % len(BROKEN)].replace(b"isup", pod.encode())


class Pod:
    """One pod: its target, and the state of its manifest in Consul. Each version of its check has its own path."""

    def __init__(self, name: str, recorder: Recorder, node: str, asking: Asking = nobody) -> None:
        self.name = name
        self.node = node
        self.target = Target(host=EVERY_ADDRESS)
        self._asking = asking
        self.version = 0
        self.wanted = False
        self.spoiled = False
        """The newest manifest is invalid. A controller that has seen an older version still checks the pod."""
        self.standing: bytes | None = None
        self.written: dict[bytes, Intent] = {}
        self.does = "ok"
        self.trusted = True
        """Over TLS: whether those whom its check trusts vouch for its certificate."""
        self._authorities = ""
        self._recorder = recorder
        self.turn("ok")

    @property
    def key(self) -> str:
        """The key of its manifest."""
        return f"intent/{self.node}/{self.name}"

    @property
    def health_key(self) -> str:
        """The key of its health."""
        return f"health/{self.name}/{self.node}"

    def turn(self, behaviour: str) -> None:
        """Changes the behaviour of the target."""
        does = BEHAVIOURS[behaviour]
        self.does = behaviour
        if does.act:
            self.target.listen()
        self._note_turn()
        if not does.act:
            self.target.refuse()

    def speak_tls(self, context: ssl.SSLContext, authorities: Path) -> None:
        """Lets its check trust the certificates in this file, from the next manifest on."""
        self.target.tls = context
        self._authorities = str(authorities)

    def distrust(self) -> None:
        """From now on its check must not trust the target's certificate any more. No request reaches the target's
        log."""
        self.trusted = False
        self._note_turn()

    def _note_turn(self) -> None:
        heard = self.trusted and BEHAVIOURS[self.does].act is not None
        self._recorder.note(Turn(time.monotonic(), self.name, self.does, self.good, heard, self.warns))

    @property
    def good(self) -> bool:
        return self.trusted and BEHAVIOURS[self.does].good

    @property
    def warns(self) -> bool:
        return self.good and BEHAVIOURS[self.does].warns

    @property
    def status(self) -> str:
        """The status that must be published."""
        return "warning" if self.warns else "passing" if self.good else "critical"

    def next_version(self) -> int:
        """Returns the number of the next manifest. From now on requests for its path belong to this version."""
        self.version += 1
        self.target.behave(partial(self._asked, self.version), f"/{self.name}/{self.version}")
        return self.version

    def manifest(self, *, asks: bool = True) -> bytes:
        """Returns a manifest with a check of `/<pod>/<version>` on its port. With `asks` false, it has no port and so
        no check."""
        tls = {"tls": {"ca_file": self._authorities}} if self._authorities else {}
        status = {"path": f"/{self.name}/{self.version}", "warn_status": 429, **tls}
        document = {"id": self.name, "status_http": not tls, "status": status}
        return yaml.safe_dump(document | ({"status_port": self.target.port} if asks else {})).encode()

    def _asked(self, version: int, connection: Connection) -> None:
        does = BEHAVIOURS[self.does]
        member = self._asking(connection.sock.getsockname()[0])
        self._recorder.note(Request(connection.accepted, self.name, version, does.good, member))
        self.target.clear()
        (does.act or close)(connection)


class Pods(AbstractContextManager["Pods"]):
    """All pods of a run, with their nodes."""

    def __init__(self, nodes: Mapping[str, str], recorder: Recorder, store: Store, asking: Asking = nobody) -> None:
        self._recorder = recorder
        self._store = store
        self._lock = threading.Lock()
        self.all = {name: Pod(name, recorder, node, asking) for name, node in nodes.items()}

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pod in self.all.values():
            pod.target.close()

    def one_more(self) -> Pod:
        """Returns a new pod, in addition to those of the plan."""
        node = next(iter(self.all.values())).node
        pod = Pod(f"more-{len(self.all)}", self._recorder, node)
        self.all = {**self.all, pod.name: pod}
        return pod

    def wanted(self) -> list[str]:
        """Returns the pods whose newest valid manifest has a check."""
        return [name for name, pod in self.all.items() if pod.wanted]

    def ports(self) -> frozenset[int]:
        return frozenset(pod.target.port for pod in self.all.values())

    def schedule(self, name: str) -> None:
        """Writes a manifest with a check that is new or differs from the one before."""
        with self._lock:
            pod = self.all[name]
            version = pod.next_version()
            self._write(pod, pod.manifest(), Intent(0, 0, name, version))

    def silence(self, name: str) -> None:
        """Writes a manifest without a check."""
        with self._lock:
            pod = self.all[name]
            version = pod.next_version()
            self._write(pod, pod.manifest(asks=False), Intent(0, 0, name, version, asks=False))

    def spoil(self, name: str, number: int) -> None:
        """Writes an invalid manifest."""
        with self._lock:
            pod = self.all[name]
            version = pod.next_version()
            data = broken(name, number) + b"\n#" + str(version).encode()
            self._write(pod, data, Intent(0, 0, name, version, valid=False))

    def remove(self, name: str) -> None:
        with self._lock:
            sent, pod = time.monotonic(), self.all[name]
            _insist(lambda: self._store.delete(pod.key))
            self._take(pod, None, sent)

    def turn_back(self, restore: Callable[[], object]) -> None:
        """Restores earlier manifests, and records which manifests this has changed."""
        with self._lock:
            sent = time.monotonic()
            _insist(restore)
            standing = _insist(self._store.manifests)
            for pod in self.all.values():
                if standing.get(pod.name) != pod.standing:
                    self._take(pod, standing.get(pod.name), sent)

    @contextmanager
    def lost(self, is_seen: Callable[[float], bool]) -> Iterator[None]:
        """Consul loses all manifests inside the context, and no manifest is changed meanwhile. At the end they are
        written again. The context ends when the controllers have seen all of them. If a pod were removed before, its
        removal would be held until Consul's index has passed the old one: it looks like a pod whose manifest was
        lost."""
        with self._lock:
            yield
            for pod in self.all.values():
                if pod.standing is not None:
                    _insist(partial(self._store.put, pod.key, pod.standing))
            since = time.time()
            until(lambda: is_seen(since), SEEN_WITHIN, "the controller to see all manifests again")

    def _write(self, pod: Pod, data: bytes, intent: Intent) -> None:
        pod.written[data] = intent
        sent = time.monotonic()
        _insist(lambda: self._store.put(pod.key, data))
        self._take(pod, data, sent)

    def _take(self, pod: Pod, data: bytes | None, sent: float) -> None:
        """Records the manifest that is in Consul now."""
        pod.standing = data
        at = time.monotonic()
        if data is None:
            self._recorder.note(Removal(sent, at, pod.name))
            pod.wanted = pod.spoiled = False
            return
        intent = replace(pod.written[data], sent=sent, at=at)
        self._recorder.note(intent)
        pod.spoiled = not intent.valid
        pod.wanted = intent.asks if intent.valid else pod.wanted


def _insist(ask: Callable[[], T], within: float = 60.0) -> T:
    """Repeats a request until Consul has executed it, because there may be no leader for a while."""
    deadline = time.monotonic() + within
    while True:
        try:
            return ask()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
