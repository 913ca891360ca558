"""The fleet on the pages and in the API: members, shares, and the pods of all nodes.

What is shown is read from Consul when somebody asks. That is done by one separate thread, so that neither probes nor
other requests wait for Consul.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import TypeVar

from pydantic import Field
from starlette.exceptions import HTTPException

from controller.members.fleet_reader import FleetReader, FleetUnreadable, FoundPod
from controller.web.query import Paging
from reconcilers.fleet_overview import FleetNode, FleetOverview, has_words
from reconcilers.spec import PodKey, is_name

MOST_WAITING = 16
"""Requests that wait for Consul at a time."""

T = TypeVar("T")


class FleetError(Exception):
    """The fleet cannot be shown now. The message says why."""


class _WordQuery(Paging):
    q: str = ""

    @property
    def words(self) -> Sequence[str]:
        """The words in lower case, each once."""
        return list(dict.fromkeys(self.q.lower().split()))


class FleetQuery(_WordQuery):
    """Filter and page of the list of nodes."""

    q: str = Field("", max_length=200, description="Only nodes of which, or of whose member, each word is a part.")


class PodSearch(_WordQuery):
    """A search of pods in the whole fleet."""

    q: str = Field("", max_length=200, description="Only pods of whose pod or node each of these words is a part.")


@dataclass(frozen=True, slots=True)
class FleetPage:
    """One page of the nodes of a fleet. `matching` counts those of all pages."""

    overview: FleetOverview
    nodes: Sequence[FleetNode]
    matching: int
    paging: Paging

    @property
    def pages(self) -> int:
        return self.paging.pages(self.matching)


@dataclass(frozen=True, slots=True)
class FoundPage:
    """One page of the pods that were searched for. `matching` counts those of all pages."""

    pods: Sequence[FoundPod]
    matching: int
    paging: Paging

    @property
    def pages(self) -> int:
        return self.paging.pages(self.matching)


class Fleet:
    """Answers questions about the fleet of this controller. All methods raise FleetError."""

    def __init__(self, reader: FleetReader) -> None:
        self._reader = reader
        self._pool = ThreadPoolExecutor(1, "fleet")
        self._free = BoundedSemaphore(MOST_WAITING)

    async def page(self, query: FleetQuery) -> FleetPage:
        """Returns the page of nodes that `query` asks for."""
        overview = await self._ask(self._reader.overview)
        words = query.words
        chosen = [each for each in overview.nodes if has_words(f"{each.node}\n{each.member}", words)]
        paging = query.within(len(chosen))
        return FleetPage(overview, chosen[paging.entries], len(chosen), paging)

    async def search(self, query: PodSearch) -> FoundPage:
        """Returns the page of pods that `query` asks for."""
        found = await self._ask(lambda: self._reader.search(query.words, query.start, query.per_page))
        return FoundPage(found.pods, found.matching, query.within(found.matching))

    async def pod(self, key: PodKey) -> FoundPod | None:
        """Returns what is published of a pod, and who checks it; None if no pod can have this name."""
        is_valid = is_name(key.node) and is_name(key.pod)
        return await self._ask(lambda: self._reader.pod(key)) if is_valid else None

    async def _ask(self, call: Callable[[], T]) -> T:
        """Returns the result of `call`. A call counts as waiting until it ends, also if its client has gone."""
        if not self._free.acquire(blocking=False):
            raise FleetError(f"{MOST_WAITING} other requests wait for Consul; try again later")
        asked = self._pool.submit(call)
        asked.add_done_callback(lambda _: self._free.release())
        try:
            return await asyncio.wrap_future(asked)
        except FleetUnreadable as error:
            raise FleetError(str(error)) from error


def required(fleet: Fleet | None, node: str) -> Fleet:
    """Returns the fleet. Raises an HTTPException for a controller without one."""
    if fleet is None:
        raise HTTPException(404, f"This controller checks the pods of one node, {node}, and has no fleet")
    return fleet
