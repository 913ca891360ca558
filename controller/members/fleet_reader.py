"""Reads a fleet from Consul for people who ask about it: its controllers, its nodes, and what is published of its pods.

Nothing is read unless somebody asks, and then at most every few seconds. Most of it costs little, because only the
names of keys are listed. Records are read for the pods that are shown. The state of every pod is read in small fleets
only, for a limited time, and the rest of the states at the next request.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from controller.consul import parts
from controller.consul.client import MAX_OPERATIONS, ConsulClient, ConsulError
from controller.members.instances import read_controllers
from reconcilers.fleet_overview import Counts, FleetOverview, RegisteredController, has_words, overview
from reconcilers.health import HealthState
from reconcilers.keys import HEALTH, health_key, parse_health_key
from reconcilers.record import HealthRecord, RecordError, decode
from reconcilers.share import FleetView
from reconcilers.spec import PodKey, is_name

KEPT_FOR = 5.0
"""Seconds for which an answer is used again."""
RESTS_PER_READ = 10
"""An answer is used again for at least this multiple of the time that it took to read, to spare Consul."""
READ_FOR = 2.0
"""Seconds after which no more states of pods are read for one answer."""
MOST_STATES = 20_000
"""In a fleet with more pods, no states are read."""


@dataclass(frozen=True, slots=True)
class FoundPod:
    """A pod of the fleet: its record (None if it cannot be read) and the member that checks it, if there is one."""

    key: PodKey
    record: HealthRecord | None
    member: str
    page: str

    @property
    def pod_page(self) -> str:
        """The URL of the pod's page at the member that checks it; "" if it has none."""
        return f"{self.page}/pods/{self.key}" if self.page else ""


@dataclass(frozen=True, slots=True)
class FoundPods:
    """Some of the pods that were searched for, and how many there are."""

    pods: Sequence[FoundPod]
    matching: int


@dataclass(frozen=True, slots=True)
class _Published:
    """The keys of the published pods, and their number by node. There may be very many keys, so each is a string only:
    an object for each would take 30 MB for 100,000 pods."""

    keys: Sequence[str] = ()
    by_node: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Listed:
    """What an overview is made of, except for the view and the controllers."""

    nodes: Sequence[str]
    pods: Mapping[str, int]
    states: Mapping[str, Counts]


@dataclass(frozen=True, slots=True)
class _State:
    """The state of a pod as of the `modify_index` of its key."""

    modify_index: int
    state: HealthState


class FleetUnreadable(Exception):
    """Consul did not answer, or refused a request. The message says why."""


class FleetReader:
    """Reads `fleet`, whose manifests are in `tree`. One thread calls it.

    `view` returns the view in force. Without it, the controllers that are passing are the members. All methods raise
    FleetUnreadable if Consul did not answer, or refused a request.
    """

    def __init__(
        self,
        client: ConsulClient,
        tree: str,
        fleet: str,
        view: Callable[[], FleetView] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._tree = tree
        self._fleet = fleet
        self._view = view
        self._clock = clock
        self._controllers: Sequence[RegisteredController] = ()
        self._controllers_until = 0.0
        self._published = _Published()
        self._published_until = 0.0
        self._listed: _Listed | None = None
        self._listed_until = 0.0
        self._states: dict[str, _State] = {}
        """By key, those that were read last at the end."""
        self._made_of: tuple[object, ...] = ()
        self._overview: FleetOverview | None = None

    def overview(self) -> FleetOverview:
        """Returns the members, and who checks which node."""
        with _explained():
            listed = self._read_listed()
            controllers = self._read_controllers()
        view = self._current_view()
        if self._overview is None or self._made_of != (view, controllers, listed):
            self._overview = overview(self._fleet, view, controllers, listed.nodes, listed.pods, listed.states)
            self._made_of = (view, controllers, listed)
        return self._overview

    def _read_listed(self) -> _Listed:
        if self._listed and self._clock() < self._listed_until:
            return self._listed
        began = self._clock()
        below = f"{self._tree}/"
        names = (key[len(below) : -1] for key in self._client.list_keys(below, "/") if key.endswith("/"))
        nodes = list(filter(is_name, names))
        published = self._read_published()
        self._listed = _Listed(nodes, published.by_node, self._read_states(published.keys))
        self._listed_until = self._kept_until(began)
        return self._listed

    def _kept_until(self, began: float) -> float:
        """Returns until when an answer is used again that was read from `began` until now."""
        now = self._clock()
        return now + max(KEPT_FOR, RESTS_PER_READ * (now - began))

    def search(self, words: Sequence[str], start: int, count: int) -> FoundPods:
        """Returns `count` pods from position `start` on, or the last ones before it, of those in whose name, or whose
        node's name, each word is. Words are in lower case."""
        with _explained():
            keys = [key for key in self._read_published().keys if has_words(key[len(HEALTH) :], words)]
            first = min(start, max(0, len(keys) - 1) // count * count)
            pods = [pod for key in keys[first : first + count] if (pod := parse_health_key(key))]
            return FoundPods(self._found(pods), len(keys))

    def pod(self, key: PodKey) -> FoundPod:
        """Returns one pod. Its record is None if nothing is published."""
        with _explained():
            (found,) = self._found([key])
            return found

    def _found(self, pods: Iterable[PodKey]) -> Sequence[FoundPod]:
        names = {health_key(pod): pod for pod in pods}
        read = {pair.key: _record(pair.value) for pair in parts.read(self._client, list(names)).pairs}
        pages = {each.id: each.page for each in self._read_controllers()}
        view = self._current_view()
        return [
            FoundPod(pod, read.get(name), member, pages.get(member, ""))
            for name, pod in names.items()
            for member in [view.owner(pod.node) or ""]
        ]

    def _current_view(self) -> FleetView:
        if self._view:
            return self._view()
        passing = (each.id for each in self._controllers if each.status is HealthState.PASSING)
        return FleetView(0, tuple(sorted(set(passing))))

    def _read_controllers(self) -> Sequence[RegisteredController]:
        if self._clock() >= self._controllers_until:
            self._controllers = read_controllers(self._client).get(self._fleet, ())
            self._controllers_until = self._clock() + KEPT_FOR
        return self._controllers

    def _read_published(self) -> _Published:
        """Returns the keys of all published pods. The last ones are dropped first, to save memory."""
        if (began := self._clock()) >= self._published_until:
            self._published, self._published_until = _Published(), 0.0
            by_node = Counter[str]()
            keys = self._client.list_keys(HEALTH)
            for key in keys:
                if pod := parse_health_key(key):
                    by_node[pod.node] += 1
            keys = keys if by_node.total() == len(keys) else [key for key in keys if parse_health_key(key)]
            self._published, self._published_until = _Published(keys, by_node), self._kept_until(began)
        return self._published

    def _read_states(self, keys: Sequence[str]) -> Mapping[str, Counts]:
        """Reads states for a limited time: first those that are not known, then those that were read longest ago.
        Returns how many pods of each node have which state."""
        if len(keys) > MOST_STATES:
            self._states = {}
            return {}
        wanted, until = set(keys), self._clock() + READ_FOR
        self._states = {key: state for key, state in self._states.items() if key in wanted}
        order = [*(key for key in keys if key not in self._states), *self._states]
        for start in range(0, len(order), MAX_OPERATIONS):
            if self._clock() >= until:
                break
            self._read_some(order[start : start + MAX_OPERATIONS])
        states = defaultdict[str, Counter[HealthState]](Counter)
        for key, each in self._states.items():
            states[key.rpartition("/")[2]][each.state] += 1
        return states

    def _read_some(self, keys: Sequence[str]) -> None:
        before = {key: self._states.pop(key, None) for key in keys}
        for pair in parts.read(self._client, keys).pairs:
            known = before.get(pair.key)
            if known is None or known.modify_index != pair.modify_index:
                record = _record(pair.value)
                known = _State(pair.modify_index, record.status if record else HealthState.UNKNOWN)
            self._states[pair.key] = known


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except ConsulError as error:
        raise FleetUnreadable(str(error)) from error


def _record(value: bytes) -> HealthRecord | None:
    try:
        return decode(value)
    except RecordError:
        return None
