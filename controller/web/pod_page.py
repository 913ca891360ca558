"""One page of the list of pods: filtered, sorted and counted.

Sorting 10,000 pods at once would delay probes by milliseconds. So short runs are sorted, and merged as far as needed.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from controller.web.pod_views import PodState, PodView
from controller.web.query import Paging, PodQuery
from reconcilers.labels import matches

RUN = 500
LAST = "\U0010ffff"
SEVERITY = {state: place for place, state in enumerate(PodState)}


@dataclass(frozen=True, slots=True)
class PodPage:
    """`pods` are those of one page. `matching` counts those of all pages, and `totals` all pods without the filter."""

    pods: Sequence[PodView]
    matching: int
    totals: Mapping[PodState, int]
    paging: Paging

    @property
    def total(self) -> int:
        return sum(self.totals.values())

    @property
    def pages(self) -> int:
        return self.paging.pages(self.matching)

    @property
    def worst(self) -> PodState | None:
        """The worst state of any pod; None without pods."""
        return next((state for state in PodState if self.totals[state]), None)


def listing(pods: Sequence[PodView], query: PodQuery) -> PodPage:
    """Returns the page that `query` asks for."""
    counts = Counter(pod.state for pod in pods)
    chosen = [pod for pod in pods if pod.state in query.state] if query.state else pods
    if wanted := query.selector:
        chosen = [pod for pod in chosen if matches(pod.labels, wanted)]
    if query.noted:
        chosen = [pod for pod in chosen if pod.note]
    if words := list(dict.fromkeys(query.q.lower().split())):
        chosen = [pod for pod in chosen if _has(pod, words)]
    paging = query.within(len(chosen))
    shown = in_order(chosen, KEYS[query.column], paging.start, paging.per_page, reverse=query.descending)
    return PodPage(shown, len(chosen), {state: counts[state] for state in PodState}, paging)


def in_order(
    pods: Sequence[PodView], key: Callable[[PodView], Any], start: int, count: int, *, reverse: bool = False
) -> list[PodView]:
    """Returns `count` pods from position `start` on, in the order of `key`."""
    runs = [sorted(pods[at : at + RUN], key=key, reverse=reverse) for at in range(0, len(pods), RUN)]
    return list(islice(heapq.merge(*runs, key=key, reverse=reverse), start, start + count))


def _has(pod: PodView, words: Sequence[str]) -> bool:
    """Returns whether the pod's name, node or reason contains each word; words are in lower case."""
    texts = f"{pod.key.pod}\n{pod.key.node}\n{pod.reason}".lower()
    return all(word in texts for word in words)


KEYS: Mapping[str, Callable[[PodView], Any]] = {
    "state": lambda pod: (SEVERITY[pod.state], pod.key.pod, pod.key.node),
    "pod": lambda pod: (pod.key.pod, pod.key.node),
    "node": lambda pod: (pod.key.node, pod.key.pod),
    "since": lambda pod: (pod.since, pod.key.pod, pod.key.node),
    "probed": lambda pod: (pod.probed, pod.key.pod, pod.key.node),
    "took": lambda pod: (pod.took, pod.key.pod, pod.key.node),
    "reason": lambda pod: (pod.reason or LAST, pod.key.pod, pod.key.node),
}
