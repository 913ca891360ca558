"""Other sessions that hold health keys of this node. Usually they belong to another controller.

Two controllers of one node may run on machines, or as users, that do not see each other's lock file. Consul lets only
one session hold each key, and lists the controller that is registered as a service.
"""

from collections.abc import Callable, Collection, Mapping

from controller.consul.client import AgentService, ConsulClient, ConsulError, KvPair
from reconcilers.spec import PodKey

NAME = "podpulse"
HELD = "lock is already held"
"""Consul's error for a key that another session holds."""


def controller_id(node: str) -> str:
    """The id of the service of a node's controller."""
    return f"{NAME}-{node}"


def page_of(service: AgentService, node: str) -> str:
    """The URL of the page of a registered controller. Without an address, the name of its node is the host."""
    host = service.address or node
    return f"{service.meta.get('scheme', 'http')}://{f'[{host}]' if ':' in host else host}:{service.port}"


class Holders:
    """The sessions that hold keys of this node. `elsewhere` describes another registered controller that runs, "" if
    there is none. `page` is the URL of this controller's page. `RegistrationKeeper` sets both. `holds_some` is True if
    this controller's session holds any key of this node.

    `of_fleet` describes the member of a fleet that has a session.

    For any thread, but only the thread that writes health uses `note`, `forget` and `holds_some`.
    """

    def __init__(self, of_fleet: Callable[[ConsulClient, str], str] = lambda *_: "a member of a fleet") -> None:
        self._of_fleet = of_fleet
        self.elsewhere = ""
        self.page = ""
        self.holds_some = False
        self._why: dict[PodKey, str] = {}

    def rival(self) -> str:
        """Returns which other session holds a key that could not be written, or ""."""
        return next(iter(self._why.copy().values()), "")

    def owner(self) -> str:
        """Returns the rival, or "" if this controller holds a key: then the rival may not be a controller."""
        return "" if self.holds_some else self.rival()

    def complaint(self) -> str:
        """Returns why another controller of this node seems to run, or ""."""
        return self.rival() or self.elsewhere

    def note(self, client: ConsulClient, held: Mapping[PodKey, KvPair]) -> Mapping[PodKey, str]:
        """Record the other sessions that hold these keys. Returns a description of the holder for each key."""
        for session in {pair.session for pair in held.values()}:
            keys = [key for key, pair in held.items() if pair.session == session]
            owner = self._owner(client, keys[0].node, held[keys[0]])
            self._why |= dict.fromkeys(keys, f"{HELD} by session {session}{owner}")
        return {key: self._why[key] for key in held}

    def forget(self, keys: Collection[PodKey]) -> None:
        """Record that no other session holds these keys."""
        for key in keys:
            self._why.pop(key, None)

    def forget_all_but(self, keys: Collection[PodKey]) -> None:
        """Record that no other session holds any keys except these."""
        self.forget(self._why.keys() - set(keys))

    def _owner(self, client: ConsulClient, node: str, pair: KvPair) -> str:
        """Describes the owner of a session. Only members of a fleet write Flags."""
        if not pair.flags:
            return self._possible_owner(client, node)
        who = self._of_fleet(client, pair.session)
        return f" of {who}: the fleet checks node {node}, so stop this controller, or all members of the fleet"

    def _possible_owner(self, client: ConsulClient, node: str) -> str:
        """Describes the possible owner of a session, with the page of another registered controller of the node."""
        try:
            found = client.agent_services(controller_id(node))
        except ConsulError:
            found = []
        pages = [page_of(each, node) for each in found if each.id == controller_id(node)]
        owner = f", possibly of another controller of node {node}"
        return f"{owner}: one is registered as {pages[0]}" if pages and pages[0] != self.page else owner
