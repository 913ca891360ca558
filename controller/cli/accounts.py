"""What controllers say about pods whose manifest is not what is checked, because Consul alone does not tell enough.

Consul has the manifest and the published record. Only the controller knows whether a removal is held, a new version is
being deployed, or the newest manifest is refused. A few controllers are asked, for a few seconds: first those of pods
that Consul shows to be in doubt.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import msgspec

from controller.cli.condition import NO_HEALTH, STATES, Condition
from controller.cli.inspection import InspectedPod
from controller.cli.page_request import CONNECT_WITHIN, NOBODY, NoController, get, without_user
from controller.consul.client import ConsulClient, ConsulError
from controller.members.instances import read_pages
from reconcilers.spec import PodKey

WITHIN = 4.0
"""Seconds after which no further controller is asked."""
TIMEOUT = 2
"""Seconds for the answer of one controller."""
MOST_CONTROLLERS = 16
MAX_BODY = 8 * 1024 * 1024
PATH = "/api/v1/pods?noted=true&per_page=500"


class _Pod(msgspec.Struct, frozen=True):
    node: str
    pod: str
    state: str
    note: str


class _Pods(msgspec.Struct, frozen=True):
    pods: list[_Pod]


class Accounts(NamedTuple):
    """What controllers said. `trouble` says why some pods may be missing."""

    told: Mapping[PodKey, Condition] = {}
    trouble: str = ""

    def applied(self, pods: Iterable[InspectedPod]) -> list[InspectedPod]:
        """Returns the pods with what their controllers said."""
        return [replace(pod, told=self.told[pod.key]) if pod.key in self.told else pod for pod in pods]

    def sentence(self, pods: Iterable[InspectedPod]) -> str:
        """Returns where the notes of doubtful pods are from; "" if there are no such pods."""
        conditions = [pod.condition for pod in pods]
        told = [each.source for each in conditions if each.source]
        by_consul = sum(each.is_doubtful and each.note != NO_HEALTH for each in conditions)
        parts = []
        if told:
            first, *others = sorted(set(told))
            more = f" and {len(others)} more" if others else ""
            parts.append(f"{_pods(len(told))} as {first}{more} says")
        if by_consul:
            why = self.trouble or "its controller knows no more"
            parts.append(f"{_pods(by_consul)} by Consul alone: {why}")
        return "; ".join(parts)


def _pods(number: int) -> str:
    return f"{number} pod{'' if number == 1 else 's'}"


NO_ACCOUNTS = Accounts()
BEING_ASKED = Accounts(trouble="controllers are being asked")
"""What is known before the first answer."""


class Nodes(NamedTuple):
    """The nodes whose controllers are to be asked: those with a doubtful pod, and the others."""

    doubtful: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()

    @classmethod
    def of_pods(cls, pods: Iterable[InspectedPod]) -> "Nodes":
        every = {pod.key.node: False for pod in pods}
        every |= {pod.key.node: True for pod in pods if pod.is_doubtful}
        return cls(
            *(
                frozenset(node for node, is_doubtful in every.items() if is_doubtful is wanted)
                for wanted in (True, False)
            )
        )


def ask(nodes: Nodes, client: ConsulClient, controller: str | None = None, ca_file: Path | None = None) -> Accounts:
    """Asks the controller at this URL (`none`: nobody), else those that Consul has for these nodes.

    A controller that does not answer ends the questions about nodes without a doubtful pod.
    """
    if controller == NOBODY:
        return Accounts(trouble="no controller was asked")
    try:
        pages = [controller] if controller else read_pages(client, nodes.doubtful)
        others = [] if controller else read_pages(client, nodes.others)
    except ConsulError as error:
        return Accounts(trouble=str(error))
    told, trouble = dict[PodKey, Condition](), "" if pages else "no controller of their nodes is registered"
    deadline = time.monotonic() + WITHIN
    for page in list(dict.fromkeys([*pages, *others]))[:MOST_CONTROLLERS]:
        if time.monotonic() > deadline:
            return Accounts(told, trouble or "the controllers answer slowly")
        try:
            told |= _told_by(page, ca_file)
        except NoController as error:
            if page not in pages:
                break
            trouble = str(error)
    return Accounts(told, trouble)


def _told_by(page: str, ca_file: Path | None) -> dict[PodKey, Condition]:
    status, body = get(page, PATH, timeout=TIMEOUT, limit=MAX_BODY, connect=CONNECT_WITHIN, ca_file=ca_file)
    name = without_user(page)
    try:
        listed: Sequence[_Pod] = msgspec.json.decode(body if status == 200 else b"", type=_Pods).pods
    except (msgspec.MsgspecError, RecursionError):
        raise NoController(f"{name} answered with status {status} and without notes") from None
    return {
        PodKey(each.node, each.pod): Condition(each.state, each.note, source=name)
        for each in listed
        if each.state in STATES
    }
