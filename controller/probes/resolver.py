"""Resolves names in separate threads. The probe thread never waits for a lookup; it calls `lookup` again.

A lookup blocks, and may block for seconds. Answers are cached per name, because thousands of pods of a node share one.
"""

import math
import os
import queue
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from controller.runtime.faults import Faults

TTL = 30.0
"""Seconds for which an answer is valid, unless DNS has a shorter TTL; also the time between two requests for a TTL."""
STALE = 300.0
RETRY = 1.0
THREADS = 4
MAX_QUEUED = 64
MAX_TTLS_QUEUED = 1024
OURS = frozenset({socket.EAI_AGAIN, socket.EAI_MEMORY, socket.EAI_SYSTEM, socket.EAI_FAIL})
"""Errors of the local resolver. They are no evidence about the name."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The addresses of a name, or the error. `temporary` means that the resolver failed, not the name."""

    addresses: tuple[str, ...]
    error: str = ""
    temporary: bool = False


def ask_system(name: str) -> Answer:
    """Look a name up with the C library. The name is given as bytes, because Python's IDNA refuses some valid names."""
    try:
        found = socket.getaddrinfo(name.encode(), None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        ours = error.errno in OURS or _descriptors_are_exhausted()
        return Answer((), f"{name} cannot be resolved: {error.strerror}", temporary=ours)
    except OSError as error:
        return Answer((), f"{name} cannot be resolved: {error}", temporary=True)
    return Answer(tuple(dict.fromkeys(str(address[0]) for *_, address in found)))


def _descriptors_are_exhausted() -> bool:
    """Without a free descriptor the C library cannot ask a server, and reports that the name does not exist."""
    try:
        os.close(os.dup(2))
    except OSError:
        return True
    return False


@dataclass(slots=True)
class _Entry:
    answer: Answer | None = None
    asked: float = 0.0
    answered: float = 0.0
    pending: bool = False
    ttl: float = TTL
    ttl_asked: float = -math.inf


class Resolver:
    """Answers from its cache at once, and resolves unknown and expired names in a few threads.

    `ask` resolves one name and may block. `on_answer` is called after each lookup. Both run in these threads.
    `ttl` returns for how many seconds an address of a name may be cached, or None if that is not known. It may block,
    and runs in another thread, so that it delays no lookup.
    """

    def __init__(
        self,
        on_answer: Callable[[], None],
        ask: Callable[[str], Answer] = ask_system,
        clock: Callable[[], float] = time.monotonic,
        faults: Faults | None = None,
        ttl: Callable[[str, str], float | None] | None = None,
    ) -> None:
        self._faults = faults or Faults()
        self._on_answer = on_answer
        self._ask = ask
        self._ttl = ttl
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._wanted: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._ttls_wanted: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()
        self.answers = 0
        """The number of finished lookups."""
        self._threads = [threading.Thread(target=self._run, name="dns", daemon=True) for _ in range(THREADS)]
        if ttl:
            self._threads.append(threading.Thread(target=self._run_ttls, args=(ttl,), name="dns", daemon=True))

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask the threads to end. A thread that hangs in a lookup ends with the process."""
        for _ in self._threads:
            self._wanted.put(None)
        self._ttls_wanted.put(None)

    def lookup(self, name: str) -> Answer | None:
        """Returns the answer for `name`, or None while the first lookup is running.

        An answer is valid for its TTL, at least `RETRY` and at most `TTL` seconds. It is also returned after that while
        no new answer is available, until it is older than `TTL + STALE` seconds.
        """
        now = self._clock()
        with self._lock:
            entry = self._entries.setdefault(name, _Entry())
            age = now - entry.answered
            good = entry.answer is not None and bool(entry.answer.addresses)
            if not entry.pending and age > (entry.ttl if good else RETRY) and now - entry.asked > RETRY:
                entry.pending, entry.asked = True, now
                self._wanted.put(name)
            serves = good and age <= TTL + STALE
            return entry.answer if serves or not entry.pending else None

    def doubt(self, name: str) -> None:
        """Look a known name up again now: its address did not answer. At most once in `RETRY` seconds, and not while
        `MAX_QUEUED` names wait, so that names that are needed first are not delayed."""
        now = self._clock()
        with self._lock:
            entry = self._entries.get(name)
            is_new = entry is None or entry.pending or now - max(entry.asked, entry.answered) <= RETRY
            if entry and not is_new and self._wanted.qsize() < MAX_QUEUED:
                entry.pending, entry.asked = True, now
                self._wanted.put(name)

    def _run(self) -> None:
        while (name := self._wanted.get()) is not None:
            answer = Answer((), f"{name} cannot be resolved: unexpected exception, see the log", temporary=True)
            with self._faults.contain(f"lookup of {name}"):
                answer = self._ask(name)
            with self._lock:
                entry = self._entries[name]
                self._keep(entry, answer)
                self._want_ttl(name, entry)
                self.answers += 1
            self._on_answer()

    def _keep(self, entry: _Entry, answer: Answer) -> None:
        """A temporary error does not replace an answer that is still valid."""
        now = self._clock()
        entry.pending = False
        serves = entry.answer is not None and entry.answer.addresses and now - entry.answered <= TTL + STALE
        if not (answer.temporary and serves):
            entry.answer, entry.answered = answer, now

    def _want_ttl(self, name: str, entry: _Entry) -> None:
        """A TTL is a setting of the owner of the name, so it need not be asked for as often as the addresses."""
        now = self._clock()
        is_due = now - entry.ttl_asked >= TTL and self._ttls_wanted.qsize() < MAX_TTLS_QUEUED
        if self._ttl and is_due and entry.answer and entry.answer.addresses:
            entry.ttl_asked = now
            self._ttls_wanted.put((name, entry.answer.addresses[0]))

    def _run_ttls(self, ask: Callable[[str, str], float | None]) -> None:
        while (wanted := self._ttls_wanted.get()) is not None:
            name, address = wanted
            ttl = None
            with self._faults.contain(f"TTL of {name}"):
                ttl = ask(name, address)
            with self._lock:
                self._entries[name].ttl = TTL if ttl is None else min(max(ttl, RETRY), TTL)
