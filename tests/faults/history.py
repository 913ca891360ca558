"""The events of one run: one JSON line for each event, in the order in which they were recorded.

Neither this module nor those that write or judge a history use `controller` or `reconcilers`. Times are seconds of
`time.monotonic()`, which all processes of a machine share. For an answer to a request, `sent` is a moment before the
request and `at` one after the answer: what the answer shows was true at some moment between them.
"""

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

Effect = Literal[
    "cut",
    "blind",
    "slow",
    "leader",
    "headless",
    "local",
    "foreign",
    "clock",
    "busy",
    "two",
    "stuck",
    "limited",
    "files",
    "late",
    "behind",
]
"""What a fault may do to the controller, and so what it excuses: `cut` it has no good answers from Consul, `blind` only
none about manifests, `slow` they come late, `leader` Consul's leader died and sessions begin anew, `headless` nobody
can lead, `local` its own means are short, `foreign` others had their hands on our keys, `clock` the wall clock was set,
`busy` the processor is taken, `two` a second controller runs, `stuck` one of its threads stands still, `limited` what
it may ask of Consul is limited, which excuses nothing, `files` those that it reads are
replaced, which it may see some seconds later, `late` Consul's leader stops, and executes requests when it continues,
`behind` a member of a fleet does not hear who the other members are."""


@dataclass(frozen=True, slots=True)
class Setup:
    """The settings of the run. Times are in seconds, and the thresholds are those of every check. `services`: the pods
    are also services of the agent. `nodes` has the node of each pod, if there are several nodes."""

    at: float
    seed: int
    interval: float
    timeout: float
    failure_threshold: int = 1
    success_threshold: int = 1
    ttl: float = 10.0
    wait: float = 10.0
    services: bool = False
    nodes: Mapping[str, str] = field(default_factory=dict)
    kind: Literal["setup"] = "setup"


@dataclass(frozen=True, slots=True)
class Intent:
    """A manifest was written. `asks`: it has a check, of `/<pod>/<version>`. `valid`: the manifest is valid."""

    sent: float
    at: float
    pod: str
    version: int
    asks: bool = True
    valid: bool = True
    kind: Literal["intent"] = "intent"


@dataclass(frozen=True, slots=True)
class Removal:
    """A manifest was deleted."""

    sent: float
    at: float
    pod: str
    kind: Literal["removal"] = "removal"


@dataclass(frozen=True, slots=True)
class Turn:
    """The pod's target changes its behaviour. `good`: it is healthy. `warns`: it is healthy, with a warning. `heard`:
    requests reach its log, which they do not if the port is closed."""

    at: float
    pod: str
    behaviour: str
    good: bool
    heard: bool = True
    warns: bool = False
    kind: Literal["turn"] = "turn"


@dataclass(frozen=True, slots=True)
class Request:
    """An entry of the target's log: a connection was accepted at `at`, and requested this version of the pod's check.
    `member` is the member of the fleet that sent the request."""

    at: float
    pod: str
    version: int
    good: bool
    member: str = ""
    kind: Literal["request"] = "request"


@dataclass(frozen=True, slots=True)
class Record:
    """One health key in Consul. `last_probe` is the time in the record, in seconds since the epoch. `flags` are
    Consul's Flags of the key."""

    status: str
    reason: str = ""
    session: str = ""
    modified: int = 0
    created: int = 0
    last_probe: float = 0.0
    flags: int = 0


@dataclass(frozen=True, slots=True)
class Look:
    """The changes in Consul since the look before. `sessions` are all live sessions, or None if they are the same as
    before.

    The sessions were read before the keys, both with `consistent`.
    """

    sent: float
    at: float
    changed: Mapping[str, Record] = Field(default_factory=dict)
    gone: tuple[str, ...] = ()
    sessions: tuple[str, ...] | None = None
    kind: Literal["look"] = "look"


@dataclass(frozen=True, slots=True)
class CatalogLook:
    """The changes of the pods' services in Consul's catalog since the look before, read with `consistent`. Their
    records have only the status of the check."""

    sent: float
    at: float
    changed: Mapping[str, Record] = Field(default_factory=dict)
    gone: tuple[str, ...] = ()
    kind: Literal["catalog"] = "catalog"


@dataclass(frozen=True, slots=True)
class PodSeries:
    """What one scrape shows of a checked pod: its probes by result, and its state. A success may be a warning."""

    success: int = 0
    failure: int = 0
    local: int = 0
    state: str = ""


@dataclass(frozen=True, slots=True)
class Scrape:
    """One answer of `/metrics`. `pods` are the checked pods, `invalid` the pods whose newest manifest is
    invalid. `values` are sums over all samples of a name; `strange` are labels outside of the bounded sets, `series`
    counts all samples."""

    sent: float
    at: float
    pid: int
    pods: Mapping[str, PodSeries]
    values: Mapping[str, float] = Field(default_factory=dict)
    invalid: tuple[str, ...] = ()
    strange: tuple[str, ...] = ()
    series: int = 0
    kind: Literal["scrape"] = "scrape"


@dataclass(frozen=True, slots=True)
class Signs:
    """The answers of `/-/ready` and `/-/healthy`; None without an answer."""

    sent: float
    at: float
    pid: int
    ready: bool | None
    healthy: bool | None
    words: str = ""
    kind: Literal["signs"] = "signs"


@dataclass(frozen=True, slots=True)
class Usage:
    """What the controller's process uses: its descriptors, and how many of them are sockets to targets, to Consul and
    to clients of its page, and sockets without another end (`nowhere`). Also its threads, its resident bytes, and the
    lines that it has logged since its start."""

    at: float
    pid: int
    descriptors: int
    probing: int
    consul: int
    threads: int
    resident: int
    log_lines: int = 0
    clients: int = 0
    nowhere: int = 0
    kind: Literal["usage"] = "usage"


@dataclass(frozen=True, slots=True)
class Stall:
    """The machine kept the test (`harness`) or the controller `pid` from running for `seconds`, which ended at `at`."""

    at: float
    seconds: float
    whose: Literal["harness", "controller"]
    pid: int = 0
    kind: Literal["stall"] = "stall"


@dataclass(frozen=True, slots=True)
class Process:
    """The life of a controller's process: it was `spawned`, `listens` on its port, was sent a signal, or `ended`.
    `member` is its id in the fleet."""

    at: float
    pid: int
    what: Literal["spawned", "listens", "STOP", "CONT", "TERM", "KILL", "HUP", "ended"]
    code: int | None = None
    member: str = ""
    kind: Literal["process"] = "process"


@dataclass(frozen=True, slots=True)
class FaultBegan:
    """`member` is the only member of the fleet that has these effects; "" if all have them."""

    at: float
    name: str
    effects: tuple[Effect, ...]
    member: str = ""
    kind: Literal["fault-began"] = "fault-began"


@dataclass(frozen=True, slots=True)
class FaultStood:
    """The fault was completely in force from `at` to `until`. Its injection and its healing may take a while."""

    at: float
    until: float
    name: str
    kind: Literal["fault-stood"] = "fault-stood"


@dataclass(frozen=True, slots=True)
class FaultEnded:
    at: float
    name: str
    kind: Literal["fault-ended"] = "fault-ended"


@dataclass(frozen=True, slots=True)
class Finished:
    """The observer has stopped."""

    at: float
    kind: Literal["finished"] = "finished"


Event = (
    Setup
    | Intent
    | Removal
    | Turn
    | Request
    | Look
    | CatalogLook
    | Scrape
    | Signs
    | Usage
    | Stall
    | Process
    | FaultBegan
    | FaultStood
    | FaultEnded
    | Finished
)

_LINE: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


class Recorder:
    """Records events from any thread, in a file and in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._file = path.open("wb")

    def note(self, event: Event) -> None:
        line = _LINE.dump_json(event, exclude_defaults=False) + b"\n"
        with self._lock:
            self._events.append(event)
            if not self._file.closed:
                self._file.write(line)

    def events(self) -> list[Event]:
        with self._lock:
            return self._events.copy()

    def close(self) -> None:
        with self._lock:
            self._file.close()

    @staticmethod
    def now() -> float:
        return time.monotonic()


def read(path: Path) -> list[Event]:
    """Returns the events of a file.

    Raises:
        ValueError: a line is not an event. The message names the line.
    """
    events: list[Event] = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                events.append(_LINE.validate_json(line))
            except ValueError as error:
                raise ValueError(f"{path}:{number}: not an event of a history: {str(error)[:200]}") from None
    return events


def write(path: Path, events: Iterable[Event]) -> None:
    with path.open("wb") as file:
        file.writelines(_LINE.dump_json(event) + b"\n" for event in events)
