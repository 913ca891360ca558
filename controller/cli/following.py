"""Pods as they change, for `podpulse watch`: by blocking queries on Consul's trees, or by polling folders.

A listing is shown as it is, because nothing is decided by it. After the first successful read, an error is shown and
not raised, so that the watch goes on.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from controller.cli import inspection
from controller.cli.accounts import BEING_ASKED, NO_ACCOUNTS, Accounts, Nodes
from controller.cli.inspection import InspectedPod
from controller.consul.client import ConsulClient, ConsulError, ConsulRefused, KvPair
from controller.intent.source import SourceError
from controller.intent.watch import BURST, GAP_PER_POD, MIN_GAP
from controller.runtime.background_thread import BackgroundThread
from controller.runtime.heartbeat import Heartbeat
from controller.runtime.retry import until_stopped
from reconcilers.keys import HEALTH, parse_health_key
from reconcilers.labels import NO_SELECTOR, Selector
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey
from reconcilers.token_bucket import TokenBucket

POLL = 0.25
STOP_WITHIN = 2.0
ASK_AGAIN = 10.0
"""Seconds until controllers are asked again."""


@dataclass(frozen=True, slots=True)
class View:
    """The known pods. `sights` is None before the first answer. `trouble` says why the last read failed, or is "".
    `known` is what controllers said about them."""

    sights: Sequence[InspectedPod] | None = None
    trouble: str = ""
    known: Accounts = NO_ACCOUNTS


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
        """Reads one listing. After an error, or when the index went backwards, the next query does not block."""
        stopped = self._thread.stopped
        while not self._bucket.take(time.monotonic()) and not stopped.wait(self._bucket.wait(time.monotonic())):
            pass
        since, self._index = self._index, 0
        index, listed = self._client.next_pairs(self._prefix, since, self._wait)
        if index >= since:
            self._index = index
        self._bucket.refill = MIN_GAP + GAP_PER_POD * len(listed)
        pairs = {pair.key: pair for pair in listed}
        if pairs != self.pairs or self.trouble:  # a blocking query also returns without a change
            self._publish(pairs, None)

    def _on_error(self, error: ConsulError) -> None:
        if self.trouble is None:
            self._publish(self.pairs, error)

    def _publish(self, pairs: Mapping[str, KvPair] | None, trouble: ConsulError | None) -> None:
        with self._news:
            self.pairs, self.trouble = pairs, trouble
            self.version += 1
            self._news.notify_all()


class Asker:
    """Asks the controllers of the nodes of the last view, in a thread of its own. `version` counts the changes of
    `known`, which is BEING_ASKED before the first answer, and `news` guards both."""

    def __init__(self, ask: Callable[[Nodes], Accounts], news: threading.Condition) -> None:
        self.known = BEING_ASKED
        self.version = 0
        self._ask = ask
        self._news = news
        self._nodes = Nodes()
        self._is_asked = False
        self._thread = BackgroundThread(self._turn, Heartbeat("ask", ASK_AGAIN, time.monotonic, asks=True))

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._thread.stop(0.0)

    def want(self, nodes: Nodes) -> None:
        """Ask about these nodes, at once if others are doubtful than before, and from time to time."""
        is_news, self._nodes = not self._nodes.doubtful >= nodes.doubtful, nodes
        if is_news or not self._is_asked:
            self._is_asked = True
            self._thread.wake()

    def _turn(self) -> float:
        if not any(self._nodes):
            return ASK_AGAIN
        known = Accounts(trouble="controllers could not be asked")
        try:
            known = self._ask(self._nodes)
        finally:
            self._tell(known)
        return ASK_AGAIN

    def _tell(self, known: Accounts) -> None:
        if known != self.known:
            with self._news:
                self.known = known
                self.version += 1
                self._news.notify_all()


class ConsulPods:
    """The pods of the fleet or of one node, or the records of one pod. It follows them while it is entered. With
    conditions for labels, it also follows the manifests of one pod. `ask` asks the controllers of nodes."""

    def __init__(
        self,
        client: Callable[[], ConsulClient],
        node: str | None,
        pod: str | None,
        wait: float,
        selector: Selector = NO_SELECTOR,
        ask: Callable[[Nodes], Accounts] = lambda _: NO_ACCOUNTS,
    ) -> None:
        self._selector = selector
        self._node = node
        self._pod = pod
        self._news = threading.Condition()
        self._asker = Asker(ask, self._news)
        self._health = Follower(client(), f"{HEALTH}{pod}/" if pod else HEALTH, wait, self._news)
        below = f"intent/{node}/" if node else "intent/"
        self._intent = Follower(client(), below, wait, self._news) if selector or not pod else None
        self._followers = [follower for follower in (self._health, self._intent) if follower]
        self._threads: list[Follower | Asker] = [*self._followers, self._asker]
        self._records: dict[str, tuple[KvPair, HealthRecord | None]] = {}
        self._seen: list[int] = []
        self._view = View()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.stop()

    def next(self, within: float) -> View:
        """Returns the view after the next change or `within` seconds. Raises ConsulRefused before the first answer."""
        with self._news:
            self._news.wait_for(lambda: self._versions() != self._seen, within)
            if self._versions() != self._seen:
                self._seen = self._versions()
                self._view = self._look()
        return self._view

    def _versions(self) -> list[int]:
        return [thread.version for thread in self._threads]

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
        pods = inspection.joined(intents, {}, self._decoded(), self._node, self._pod)
        chosen, known = inspection.selected(pods, self._selector), self._asker.known
        if self._intent and chosen:
            self._asker.want(Nodes.of_pods(chosen))
        return View(known.applied(chosen), trouble, known)

    def _decoded(self) -> dict[PodKey, HealthRecord | None]:
        """Returns every record. Only changed records are decoded again."""
        before, self._records = self._records, {}
        for name, pair in (self._health.pairs or {}).items():
            known = before.get(name)
            self._records[name] = known if known and known[0] == pair else (pair, inspection.decoded(pair.value))
        return {key: record for name, (_, record) in self._records.items() if (key := parse_health_key(name))}


class FolderPods(AbstractContextManager["FolderPods"]):
    """The pods of a folder of manifests, with their health from another folder."""

    def __init__(
        self,
        intents: Path,
        healths: Path | None,
        node: str | None,
        pod: str | None,
        selector: Selector = NO_SELECTOR,
    ) -> None:
        self._read = partial(inspection.from_folders, intents, healths, node, pod)
        self._selector = selector
        self._view = View()

    def __exit__(self, *_: object) -> None:
        """Nothing is to be released."""

    def next(self, within: float) -> View:
        """See `ConsulPods`. Raises SourceError or OSError if nothing could be read yet."""
        deadline = time.monotonic() + within
        while (view := self._look()) == self._view and time.monotonic() < deadline:
            time.sleep(POLL)
        self._view = view
        return view

    def _look(self) -> View:
        try:
            return View(inspection.selected(self._read(), self._selector))
        except (SourceError, OSError) as error:
            if self._view.sights is None:
                raise
            return View(self._view.sights, str(error))
