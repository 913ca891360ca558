"""Other sessions that hold health keys of our node. Usually they belong to another controller of the node.

Two controllers of one node may run on machines, or as users, that do not see each other's lock file. Consul lets only
one of them hold each key, and knows where the one is that has registered itself.
"""

from collections.abc import Collection, Mapping

from controller.consul.client import AgentService, ConsulClient, ConsulError
from reconcilers.spec import PodKey

NAME = "podpulse"
HELD = "lock is already held"
"""Consul's error for a key that another session holds."""


def controller_id(node: str) -> str:
    """The id of the service that a node's controller is registered as."""
    return f"{NAME}-{node}"


def page_of(service: AgentService, node: str) -> str:
    """The URL of the page of a registered controller; one without address of its own is reached at its node's."""
    host = service.address or node
    return f"{service.meta.get('scheme', 'http')}://{f'[{host}]' if ':' in host else host}:{service.port}"


class Holders:
    """What is known of them. `elsewhere` is the one that is registered with Consul and lives, "" for none, and `page`
    our own page; whoever registers us says both. `holds_some` says whether our session holds any key of this node.

    For any thread, but `note`, `forget` and `holds_some` are for the one that writes.
    """

    def __init__(self) -> None:
        self.elsewhere = ""
        self.page = ""
        self.holds_some = False
        self._why: dict[PodKey, str] = {}

    def rival(self) -> str:
        """Who holds a key that we could not write, or ""."""
        return next(iter(self._why.copy().values()), "")

    def owner(self) -> str:
        """Who has this node instead of us: a rival, and we hold no key. A single key that somebody else locked does not
        make its session another controller."""
        return "" if self.holds_some else self.rival()

    def complaint(self) -> str:
        """Why another controller of this node seems to run, or ""."""
        return self.rival() or self.elsewhere

    def note(self, client: ConsulClient, sessions: Mapping[PodKey, str]) -> Mapping[PodKey, str]:
        """These keys are held by these sessions, and not by ours; the answer says of each who that is."""
        for session in set(sessions.values()):
            keys = [key for key, holder in sessions.items() if holder == session]
            self._why |= dict.fromkeys(keys, f"{HELD} by session {session}{self._registered(client, keys[0].node)}")
        return {key: self._why[key] for key in sessions}

    def forget(self, keys: Collection[PodKey]) -> None:
        """No other session holds these keys."""
        for key in keys:
            self._why.pop(key, None)

    def forget_all_but(self, keys: Collection[PodKey]) -> None:
        """No other session holds any keys but these."""
        self.forget(self._why.keys() - set(keys))

    def _registered(self, client: ConsulClient, node: str) -> str:
        """Whose session that may be, with the page of the controller that is registered, unless it is ours."""
        try:
            found = client.agent_services(controller_id(node))
        except ConsulError:
            found = []
        pages = [page_of(one, node) for one in found if one.id == controller_id(node)]
        whose = f", which another controller of node {node} may have"
        return f"{whose}: one is registered as {pages[0]}" if pages and pages[0] != self.page else whose
