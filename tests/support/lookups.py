"""A resolver with a clock of the test, and the name server that it asks."""

import queue
from dataclasses import dataclass, field

from controller.probes.resolver import RETRY, TTL, Answer, Resolver
from tests.support.net import until
from tests.support.recorders import FakeClock

HERE = Answer(("127.0.0.1",))
ELSEWHERE = Answer(("127.0.0.2",))
UNKNOWN = Answer((), "web1 cannot be resolved: no such name")
TROUBLE = Answer((), "web1 cannot be resolved: no name server answers", temporary=True)


@dataclass
class NameServer:
    """Gives the answers that the test sets, and hangs for names without an answer."""

    asked: list[str] = field(default_factory=list)
    _answers: dict[str, "queue.SimpleQueue[Answer]"] = field(default_factory=dict)
    _always: dict[str, Answer] = field(default_factory=dict)

    def __call__(self, name: str) -> Answer:
        self.asked.append(name)
        if always := self._always.get(name):
            return always
        return self._queue(name).get()

    def says(self, answer: Answer, name: str = "web1") -> None:
        """Give this answer to one question about `name`, also to one that hangs already."""
        self._queue(name).put(answer)

    def always_says(self, answer: Answer, name: str = "web1") -> None:
        self._always[name] = answer

    def _queue(self, name: str) -> "queue.SimpleQueue[Answer]":
        return self._answers.setdefault(name, queue.SimpleQueue())


class Lookups:
    """A resolver with a clock of the test."""

    def __init__(self) -> None:
        self.server = NameServer()
        self.clock = FakeClock()
        self.told = 0
        self.ttls: queue.SimpleQueue[float | None] = queue.SimpleQueue()
        """The answers to the questions for a TTL. Without one the question hangs."""
        self.ttls_asked: list[tuple[str, str]] = []
        self.ttls_told = 0
        self.resolver = Resolver(self._on_answer, self.server, self.clock, ttl=self._ttl)
        self.resolver.start()

    def lookup(self, name: str = "web1") -> Answer | None:
        return self.resolver.lookup(name)

    def learn(self, answer: Answer, name: str = "web1") -> Answer | None:
        """Look the name up, let the name server answer, and return the result of another lookup."""
        told, asked = self.told, len(self.server.asked)
        self.lookup(name)
        until(lambda: len(self.server.asked) > asked, what=f"{name} to be asked for")
        self.server.says(answer, name)
        until(lambda: self.told > told, what=f"an answer for {name}")
        return self.lookup(name)

    def learn_with_ttl(self, answer: Answer, ttl: float | None) -> None:
        """Look up, and learn the answer and its TTL."""
        self.learn(answer)
        self.ttls.put(ttl)
        until(lambda: self.resolver._entries["web1"].ttl == (TTL if ttl is None else min(max(ttl, RETRY), TTL)))

    def _on_answer(self) -> None:
        self.told += 1

    def _ttl(self, name: str, address: str) -> float | None:
        self.ttls_asked.append((name, address))
        return self.ttls.get()
