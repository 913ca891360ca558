"""Pods as they change, for `podpulse watch`: by blocking queries on Consul's trees, or by looking into folders.

It reads for a person or a script and decides nothing, so a listing is believed as it is. Trouble is told, never raised,
once anything was read: who watches wants to go on watching.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from tenacity import RetryCallState

from controller.cli import inspection
from controller.cli.inspection import InspectedPod
from controller.consul.client import ConsulClient, ConsulError, ConsulRefused, KvPair
from controller.intent.source import SourceError
from controller.intent.watch import BURST, GAP_PER_POD, MIN_GAP
from controller.runtime.background_thread import BackgroundThread
from controller.runtime.heartbeat import Heartbeat
from controller.runtime.retry import until_stopped
from reconcilers.bucket import TokenBucket
from reconcilers.keys import HEALTH, parse_health_key
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey

POLL = 0.25
STOP_WITHIN = 2.0


@dataclass(frozen=True, slots=True)
class View:
    """What is known: `sights` is None before the first answer, `trouble` why nothing newer can be read, or empty."""

    sights: Sequence[InspectedPod] | None = None
    trouble: str = ""


class Follower:
    """Follows all keys below one prefix, in a thread of its own.

    `news` guards `pairs` (None before the first answer), `trouble` and `version`, which counts their changes.
    """

    def __init__(self, client: ConsulClient, prefix: str, wait: float, news: threading.Condition) -> None:
        self.pairs: Mapping[str, KvPair] | None = None
        self.trouble: ConsulError | None = None
        self.version = 0
        self._client = client
        self._prefix = prefix
        self._wait = wait
        self._news = news
        self._index = 0
        self._bucket = TokenBucket(BURST, MIN_GAP)
        heartbeat = Heartbeat(f"follow {prefix}", wait, time.monotonic, asks=True)
        self._thread = BackgroundThread(self._turn, heartbeat, interrupt=client.cancel)
        self._retrying = until_stopped(ConsulError, self._thread.stopped, self._on_error)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._thread.stop(STOP_WITHIN)
        self._client.close()

    def _turn(self) -> float:
        self._retrying(self._read)
        return 0.0

    def _read(self) -> None:
        """Read one listing. After an error, or when the index went backwards, the next one does not wait."""
        stopped = self._thread.stopped
        while not self._bucket.take(time.monotonic()) and not stopped.wait(self._bucket.wait(time.monotonic())):
            pass
        since, self._index = self._index, 0
        index, listed = self._client.next_pairs(self._prefix, since, self._wait)
        if index >= since:
            self._index = index
        self._bucket.refill = MIN_GAP + GAP_PER_POD * len(listed)
        self._take({pair.key: pair for pair in listed})

    def _take(self, pairs: Mapping[str, KvPair]) -> None:
        """A return is no proof of a change: the contents are compared."""
        if pairs != self.pairs or self.trouble:
            self._tell(pairs, None)

    def _on_error(self, state: RetryCallState) -> None:
        problem = state.outcome.exception() if state.outcome else None
        if self.trouble is None and isinstance(problem, ConsulError):
            self._tell(self.pairs, problem)

    def _tell(self, pairs: Mapping[str, KvPair] | None, trouble: ConsulError | None) -> None:
        with self._news:
            self.pairs, self.trouble = pairs, trouble
            self.version += 1
            self._news.notify_all()


class ConsulPods:
    """The pods of the fleet, or those of one node; or what is published of the pods of one name, scheduled or not.

    A context manager: inside, it follows them.
    """

    def __init__(self, client: Callable[[], ConsulClient], node: str | None, pod: str | None, wait: float) -> None:
        self._node = node
        self._pod = pod
        self._news = threading.Condition()
        self._health = Follower(client(), f"{HEALTH}{pod}/" if pod else HEALTH, wait, self._news)
        self._intent = None if pod else Follower(client(), f"intent/{node}/" if node else "intent/", wait, self._news)
        self._followers = [follower for follower in (self._health, self._intent) if follower]
        self._records: dict[str, tuple[KvPair, HealthRecord | None]] = {}
        self._seen: list[int] = []
        self._view = View()

    def __enter__(self) -> Self:
        for follower in self._followers:
            follower.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for follower in self._followers:
            follower.stop()

    def next(self, within: float) -> View:
        """What is known after the next change, or when `within` seconds are over.

        Raises:
            ConsulRefused: before everything was read once; somebody must mend something first.
        """
        with self._news:
            self._news.wait_for(lambda: self._versions() != self._seen, within)
            if self._versions() != self._seen:
                self._seen = self._versions()
                self._view = self._look()
        return self._view

    def _versions(self) -> list[int]:
        return [follower.version for follower in self._followers]

    def _look(self) -> View:
        troubles = [follower.trouble for follower in self._followers if follower.trouble]
        trouble = str(troubles[0]) if troubles else ""
        if any(follower.pairs is None for follower in self._followers):
            for refusal in troubles:
                if isinstance(refusal, ConsulRefused):
                    raise refusal
            return View(None, trouble)
        scheduled = self._intent.pairs if self._intent else None
        intents = inspection.manifests("intent", (scheduled or {}).values())
        return View(inspection.joined(intents, {}, self._decoded(), self._node, self._pod), trouble)

    def _decoded(self) -> dict[PodKey, HealthRecord | None]:
        """Every record, of which only those are decoded that changed."""
        before, self._records = self._records, {}
        for name, pair in (self._health.pairs or {}).items():
            known = before.get(name)
            self._records[name] = known if known and known[0] == pair else (pair, inspection.decoded(pair.value))
        return {key: record for name, (_, record) in self._records.items() if (key := parse_health_key(name))}


class FolderPods:
    """The pods of a folder of manifests, with what is published into another one."""

    def __init__(self, intents: Path, healths: Path | None, node: str, pod: str | None) -> None:
        self._read = partial(inspection.from_folders, intents, healths, node, pod)
        self._view = View()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held."""

    def next(self, within: float) -> View:
        """See `ConsulPods`.

        Raises:
            SourceError, OSError: before anything could be read.
        """
        deadline = time.monotonic() + within
        while (view := self._look()) == self._view and time.monotonic() < deadline:
            time.sleep(POLL)
        self._view = view
        return view

    def _look(self) -> View:
        try:
            return View(self._read())
        except (SourceError, OSError) as error:
            if self._view.sights is None:
                raise
            return View(self._view.sights, str(error))
