"""Decides which controller of a fleet checks which node.

The unit is the node, because manifests are listed and addresses are resolved by node. Rendezvous hashing gives each
node to one member: the member whose hash with the node's name is highest. So a member that joins takes nodes only for
itself, and the nodes of a member that leaves are spread over the other members. All members that see the same view
agree, without talking to each other.

No other module answers the question whether a node is checked here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b


@dataclass(frozen=True, slots=True)
class FleetView:
    """The members of a fleet as of one index of Consul, sorted by id. An older view has a lower index. `joining` are
    controllers that may become members soon."""

    index: int = 0
    members: tuple[str, ...] = ()
    joining: tuple[str, ...] = ()

    def owner(self, node: str) -> str | None:
        """Returns the member that checks `node`; None if there is no member."""
        return max(self.members, key=lambda member: (_weight(member, node), member), default=None)


@dataclass(frozen=True, slots=True)
class Share:
    """The nodes that one controller checks.

    `fenced` are nodes that another member has written with a newer view, and the index of that view. Until this
    controller's view is as new, they are not its nodes. `only` is the one node of a controller without a fleet.
    A controller that `is_leaving` will soon have no share.
    """

    member: str
    view: FleetView = FleetView()
    fenced: Mapping[str, int] = field(default_factory=dict)
    only: str = ""
    is_leaving: bool = False

    @classmethod
    def of_node(cls, node: str) -> "Share":
        """Returns the share of a controller without a fleet: this one node."""
        return cls(node, FleetView(0, (node,)), only=node)

    @property
    def index(self) -> int:
        """The index of the view; 0 without a fleet."""
        return self.view.index

    def owns(self, node: str) -> bool:
        """Whether this controller checks `node`."""
        if self.only:
            return node == self.only
        return self.fenced.get(node, 0) <= self.index and self.view.owner(node) == self.member

    def may_lose(self, node: str) -> bool:
        """Whether another controller may check `node` soon, because this one leaves or another one joins."""
        if self.is_leaving or not self.view.joining:
            return self.is_leaving
        later = FleetView(self.index, (*self.view.members, *self.view.joining))
        return later.owner(node) != self.member

    def seeing(self, view: FleetView) -> "Share":
        """Returns the share with another view. Fences that the view has reached end."""
        fenced = {node: index for node, index in self.fenced.items() if index > view.index}
        return replace(self, view=view, fenced=fenced)

    def fencing(self, node: str, index: int) -> "Share":
        """Returns the share in which `node` is another member's until the view has reached `index`."""
        return replace(self, fenced={**self.fenced, node: index})

    def unfencing(self, node: str) -> "Share":
        """Returns the share without the fence of `node`."""
        return replace(self, fenced={other: index for other, index in self.fenced.items() if other != node})


def _weight(member: str, node: str) -> bytes:
    return blake2b(f"{member}\0{node}".encode(), digest_size=8).digest()
