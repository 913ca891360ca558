"""Server-sent events at `/api/v1/events`: an event says that something changed, and has the totals.

A client then fetches the pods that it needs. A stream compares a version number four times a second, so a change costs
the probe thread nothing, and many changes are one event per second. Each stream holds a connection of the server, and
scrapes need free connections. So the number of streams is small, and a stream ends after some minutes. If all are
taken, the client with the most streams loses one to a client with fewer.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import json
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from starlette.datastructures import QueryParams
from starlette.responses import StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from controller.web.pod_views import PodViews
from controller.web.query import EventQuery
from controller.web.responses import NO_STORE, problem
from reconcilers.labels import selector

STREAMS = 16
LOOK = 0.25
GAP = 1.0
HEARTBEAT = 15.0
LIFE = 300.0
RECONNECT_MS = 2_000
RETRY_AFTER = {"Retry-After": "30"}
HEADERS = NO_STORE | {"X-Accel-Buffering": "no"}
"""nginx and compatible proxies then forward each event at once."""


@dataclass(slots=True, eq=False)
class Stream:
    """An open stream, the address of its client, the labels of the pods that it counts, and whether it may continue."""

    client: str
    labels: tuple[str, ...] = ()
    goes_on: bool = True


class Events:
    """The open streams. `complaints` are the problems of the controller itself, whose changes are events too."""

    def __init__(
        self,
        views: PodViews,
        complaints: Callable[[], Sequence[str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._views = views
        self._complaints = complaints
        self._clock = clock
        self._open: list[Stream] = []
        self._ending = False
        self._mark = ""
        self._totals: dict[tuple[str, ...], str] = {}
        """The totals as of `_mark`, by the labels of the streams."""
        self._looked = -math.inf

    def route(self) -> Route:
        return Route("/api/v1/events", self, methods=["GET"])

    def close(self) -> None:
        """Ends all streams soon, and refuses new ones. For any thread."""
        self._ending = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        labels = EventQuery.parse(QueryParams(scope["query_string"])).label
        stream = Stream((scope["client"] or ("",))[0], labels)
        if self._ending or not self._has_room(stream.client):
            refusal = problem(503, f"{len(self._open)} streams are open, of {STREAMS} that may be", RETRY_AFTER)
            await refusal(scope, receive, send)
            return
        self._open.append(stream)
        try:
            answer = StreamingResponse(self._messages(stream), headers=HEADERS, media_type="text/event-stream")
            await answer(scope, receive, send)
        finally:
            if stream in self._open:
                self._open.remove(stream)

    def _has_room(self, client: str) -> bool:
        """Returns whether `client` may open a stream. Ends the oldest stream of the client with the most if needed."""
        if len(self._open) < STREAMS:
            return True
        held = Counter(stream.client for stream in self._open)
        greedy, most = held.most_common(1)[0]
        if most <= held[client] + 1:
            return False
        oldest = next(stream for stream in self._open if stream.client == greedy)
        oldest.goes_on = False
        self._open.remove(oldest)
        return True

    async def _messages(self, stream: Stream) -> AsyncIterator[bytes]:
        """Yields an event at the start and at each change, and a comment now and then, which detects a lost client."""
        yield f"retry: {RECONNECT_MS}\n\n".encode()
        began = spoke = self._clock()
        seen = mark = totals = ""
        while stream.goes_on and not self._ending and (now := self._clock()) < began + LIFE:
            if not seen or now >= spoke + GAP:
                mark, totals = self._look(stream.labels)
            if mark != seen:
                seen, spoke = mark, now
                yield f"event: change\nid: {mark}\ndata: {totals}\n\n".encode()
            elif now >= spoke + HEARTBEAT:
                spoke = now
                yield b": still here\n\n"
            await asyncio.sleep(LOOK)

    def _look(self, labels: tuple[str, ...]) -> tuple[str, str]:
        """Returns id and data of an event now. The totals are counted once for all streams with the same labels."""
        if (now := time.monotonic()) >= self._looked + LOOK:
            self._looked = now
            mark = current(self._views, self._complaints())
            if mark != self._mark:
                self._mark, self._totals = mark, {}
        if labels not in self._totals:
            if len(self._totals) == STREAMS:
                self._totals.clear()
            totals = self._views.totals(selector(labels))
            self._totals[labels] = json.dumps({state.value: count for state, count in totals.items()})
        return self._mark, self._totals[labels]


def current(views: PodViews, complaints: Sequence[str]) -> str:
    """Returns the id of an event, which a page has too. It differs when a page would show something new.

    The duration of a complaint is not a change.
    """
    return f"{views.mark()}-{len(set(complaints))}"
