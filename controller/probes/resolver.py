"""Names looked up beside the probe thread: it never waits for one, and asks again for the answer.

libcurl's own resolver starts a thread for each lookup in flight, and keeps answers per name *and port*: with thousands
of pods on one node it would ask for the same name thousands of times.
"""

import os
import queue
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

TTL = 30.0
STALE = 300.0
RETRY = 1.0
THREADS = 4
OURS = frozenset({socket.EAI_AGAIN, socket.EAI_MEMORY, socket.EAI_SYSTEM, socket.EAI_FAIL})
"""Errors that say something of our resolver and nothing of the name."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a name stands for: addresses, or why there are none. `temporary` when the resolver itself is in trouble."""

    addresses: tuple[str, ...]
    error: str = ""
    temporary: bool = False


def ask_system(name: str) -> Answer:
    """Ask the C library, which takes names as bytes: Python's own encoding of names refuses some that it knows."""
    try:
        found = socket.getaddrinfo(name.encode(), None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        ours = error.errno in OURS or _descriptors_are_exhausted()
        return Answer((), f"{name} cannot be resolved: {error.strerror}", temporary=ours)
    except OSError as error:
        return Answer((), f"{name} cannot be resolved: {error}", temporary=True)
    return Answer(tuple(dict.fromkeys(str(address[0]) for *_, address in found)))


def _descriptors_are_exhausted() -> bool:
    """Asked when a lookup failed: without descriptors the resolver cannot ask, and says that there is no such name."""
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


class Resolver:
    """Answers from its memory at once, and looks up in a few threads what it does not know or knows for too long.

    `ask` looks one name up, and may take its time; `on_answer` is called after each lookup. Both in these threads.
    """

    def __init__(
        self,
        on_answer: Callable[[], None],
        ask: Callable[[str], Answer] = ask_system,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_answer = on_answer
        self._ask = ask
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._wanted: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.answers = 0
        """How many lookups have ended."""
        self._threads = [threading.Thread(target=self._run, name="dns", daemon=True) for _ in range(THREADS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let the threads end; one that hangs in a lookup ends with the process."""
        for _ in self._threads:
            self._wanted.put(None)

    def lookup(self, name: str) -> Answer | None:
        """What `name` stands for, or None while that is not known yet.

        An answer serves half a minute, and five minutes more while a new one cannot be had.
        """
        now = self._clock()
        with self._lock:
            entry = self._entries.setdefault(name, _Entry())
            age = now - entry.answered
            good = entry.answer is not None and bool(entry.answer.addresses)
            if not entry.pending and age > (TTL if good else RETRY) and now - entry.asked > RETRY:
                entry.pending, entry.asked = True, now
                self._wanted.put(name)
            serves = good and age <= TTL + STALE
            return entry.answer if serves or not entry.pending else None

    def _run(self) -> None:
        while (name := self._wanted.get()) is not None:
            answer = self._ask(name)
            with self._lock:
                self._keep(self._entries[name], answer)
                self.answers += 1
            self._on_answer()

    def _keep(self, entry: _Entry, answer: Answer) -> None:
        """A resolver in trouble does not make us forget so soon what it said before."""
        now = self._clock()
        entry.pending = False
        serves = entry.answer is not None and entry.answer.addresses and now - entry.answered <= TTL + STALE
        if not (answer.temporary and serves):
            entry.answer, entry.answered = answer, now
