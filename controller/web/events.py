"""Word of changes as server-sent events at `/api/v1/events`: that there is something new to see, and the totals.

What is new is fetched by whoever cares. A stream looks at a version number some times a second, so changes cost the
probe thread nothing, and a storm of them is one event a second. Streams are few, and live for some minutes only: each
holds one of the server's connections, of which scrapes must find some free.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence

from starlette.responses import StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from controller.web.answers import NO_STORE, problem
from controller.web.fleet import Fleet

STREAMS = 16
LOOK = 0.25
GAP = 1.0
HEARTBEAT = 15.0
LIFE = 300.0
RECONNECT_MS = 2_000
RETRY_AFTER = {"Retry-After": "30"}


class Events:
    """The streams that are open. `complaints` are what is wrong with the controller itself, which is news too."""

    def __init__(
        self,
        fleet: Fleet,
        complaints: Callable[[], Sequence[str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fleet = fleet
        self._complaints = complaints
        self._clock = clock
        self._open = 0
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
        if self._ending or self._open >= STREAMS:
            refusal = problem(503, f"{self._open} streams are open, of {STREAMS} that may be", RETRY_AFTER)
            await refusal(scope, receive, send)
            return
        self._open += 1
        try:
            stream = StreamingResponse(self._messages(), headers=NO_STORE, media_type="text/event-stream")
            await stream(scope, receive, send)
        finally:
            self._open -= 1

    async def _messages(self) -> AsyncIterator[bytes]:
        """An event at the beginning and with each change, and something every while, so that one who is gone is
        noticed."""
        yield f"retry: {RECONNECT_MS}\n\n".encode()
        began = spoke = self._clock()
        seen = mark = totals = ""
        while not self._ending and (now := self._clock()) < began + LIFE:
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
            mark = current(self._fleet, self._complaints())
            if mark != self._news[0]:
                self._news = (mark, json.dumps({state.value: count for state, count in self._fleet.totals().items()}))
        return self._news


def current(fleet: Fleet, complaints: Sequence[str]) -> str:
    """The id of an event, and what a page says of itself: another one whenever a page would show something new. How
    long a complaint has lasted is no news."""
    return f"{fleet.mark()}-{len(set(complaints))}"
