"""Word of changes as server-sent events at `/api/v1/events`: that there is something new to see, and the totals.

What is new is fetched by whoever cares. A stream looks at a version number some times a second, so changes cost the
probe thread nothing, and a storm of them is one event a second. Streams are few, and live for some minutes only: each
holds one of the server's connections, of which scrapes must find some free. When all are taken, whoever holds most of
them gives one up for whoever has fewer.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import json
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from starlette.responses import StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from controller.web.answers import NO_STORE, problem
from controller.web.pod_views import PodViews

STREAMS = 16
LOOK = 0.25
GAP = 1.0
HEARTBEAT = 15.0
LIFE = 300.0
RECONNECT_MS = 2_000
RETRY_AFTER = {"Retry-After": "30"}
HEADERS = NO_STORE | {"X-Accel-Buffering": "no"}
"""nginx and what follows it pass each event on at once."""


@dataclass(slots=True, eq=False)
class Stream:
    """An open stream, for whom it is, and whether it may go on."""

    client: str
    goes_on: bool = True


class Events:
    """The streams that are open. `complaints` are what is wrong with the controller itself, which is news too."""

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
        self._news: tuple[str, str] = ("", "")
        self._looked = -math.inf

    def route(self) -> Route:
        return Route("/api/v1/events", self, methods=["GET"])

    def close(self) -> None:
        """End all streams soon, and begin no other. Any thread may call it."""
        self._ending = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        stream = Stream((scope["client"] or ("",))[0])
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
        """Whether `client` may have one more stream. If need be the oldest of whoever has most of them ends for it."""
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
        """An event at the beginning and with each change, and something every while, so that one who is gone is
        noticed."""
        yield f"retry: {RECONNECT_MS}\n\n".encode()
        began = spoke = self._clock()
        seen = mark = totals = ""
        while stream.goes_on and not self._ending and (now := self._clock()) < began + LIFE:
            if not seen or now >= spoke + GAP:
                mark, totals = self._look()
            if mark != seen:
                seen, spoke = mark, now
                yield f"event: change\nid: {mark}\ndata: {totals}\n\n".encode()
            elif now >= spoke + HEARTBEAT:
                spoke = now
                yield b": still here\n\n"
            await asyncio.sleep(LOOK)

    def _look(self) -> tuple[str, str]:
        """What an event says now: its id and the totals, which are counted once for all streams that look at a time."""
        if (now := time.monotonic()) >= self._looked + LOOK:
            self._looked = now
            mark = current(self._views, self._complaints())
            if mark != self._news[0]:
                self._news = (mark, json.dumps({state.value: count for state, count in self._views.totals().items()}))
        return self._news


def current(views: PodViews, complaints: Sequence[str]) -> str:
    """The id of an event, and what a page says of itself: another one whenever a page would show something new. How
    long a complaint has lasted is no news."""
    return f"{views.mark()}-{len(set(complaints))}"
