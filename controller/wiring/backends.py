"""What differs between Consul, folders and a list of URLs. No module outside of this package knows the difference."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from controller.config import Config
from controller.consul.addresses import AddressWatch, CatalogAddress, CatalogAddresses, FixedAddress
from controller.consul.client import ConsulClient
from controller.consul.holders import Holders
from controller.consul.operations import Observe
from controller.consul.registration import RegistrationKeeper
from controller.consul.silence import Silence
from controller.health.restart_state import RestartState
from controller.intent.manifest_store import ManifestStore
from controller.intent.reality import RealityTree
from controller.intent.source import Sources
from controller.members.current_share import CurrentShare
from controller.members.fleet_reader import FleetReader
from controller.members.membership_watch import MembershipWatch
from controller.runtime.heartbeat import Heartbeats
from controller.runtime.metrics import Metrics
from controller.web.readiness import LeaseStatus
from reconcilers.ports import HealthSink
from reconcilers.share import FleetView, Share
from reconcilers.spec import PodKey


@dataclass(frozen=True, slots=True)
class Parts:
    """What the backends need of the rest of the controller.

    `observe` is called after each request to Consul. `publish_again` is called with the place in which records were
    lost and their pods; None stands for all pods. If that was not noticed at once, `void` is called before, because
    earlier results are no evidence any more. `expect` is called with the pods that are published already, and `moved`
    when the address of a node changes. `restart_state` has the session of an earlier run, and gets each new one.
    """

    config: Config
    environ: Mapping[str, str]
    manifests: ManifestStore
    heartbeats: Heartbeats
    observe: Observe
    publish_again: Callable[[str, Collection[PodKey] | None], None]
    void: Callable[[], None]
    expect: Callable[[Collection[PodKey]], None]
    moved: Callable[[], None]
    restart_state: RestartState
    share: CurrentShare


class Keeper(Protocol):
    """A thread that keeps published records alive."""

    def start(self) -> None: ...

    def stop(self, timeout: float, *, destroy: bool) -> None:
        """Ends the thread. With `destroy`, removes the records; else they stay for the next run, or expire."""


class LeaseKeeper(Keeper, LeaseStatus, Protocol):
    """Shows readers of the published health that its publisher is alive."""

    def expires_at(self) -> float:
        """Returns when the lease expires unless it is renewed, in seconds since the epoch; 0 if there is none."""

    def failure(self) -> str:
        """Returns why the lease cannot be renewed, as a label; "" while it can."""


@dataclass(frozen=True, slots=True)
class Backends:
    """What differs between Consul and folders.

    `sinks` are the places where health is published, by name; each has its own thread. `clients` are closed at the end.
    `reality` reads which pods run, if a startup grace needs that. `watches` keep addresses up to date. `apply` puts the
    live part of a configuration in force. `holders` are other controllers of this node. `membership` follows the
    members of the fleet, if there is one, and `fleet` reads what people want to know about it. `read_at_scrape` adds
    its metrics. With `asks`, reads and writes wait for Consul, which may be slow. `silence` knows whether it answers.
    """

    source: Sources
    sinks: Mapping[str, HealthSink]
    addresses: FixedAddress | CatalogAddress | CatalogAddresses
    lease: LeaseKeeper | None
    keepers: Sequence[Keeper]
    clients: Sequence[ConsulClient] = ()
    reality: RealityTree | None = None
    watches: Sequence[AddressWatch | MembershipWatch] = ()
    apply: Callable[[Config], None] = lambda _: None
    holders: Holders = field(default_factory=Holders)
    membership: MembershipWatch | None = None
    fleet: FleetReader | None = None
    read_at_scrape: Callable[[Metrics], None] = lambda _: None
    asks: bool = True
    silence: Silence = field(default_factory=lambda: Silence(lambda *_: None))

    def has_heirs(self) -> bool:
        """Whether the fleet has other members, who take the keys of this controller over."""
        return self.membership is not None and self.membership.has_others()

    def leave(self, registrations: Sequence[RegistrationKeeper], step: Callable[[], float]) -> None:
        """Ends the membership. Waits until the other members can see that, because they must take over in time. `step`
        returns how many seconds each part may take."""
        if self.membership and self.has_heirs():
            for keeper in registrations:
                keeper.stop(step())
            self.membership.wait_until_left(step())


def share_of(config: Config) -> Share:
    """Returns the nodes that are checked at the start: one, or all of a list of URLs. A member of a fleet has none
    before it knows the members."""
    if config.has_urls:
        return Share(config.node_name, FleetView(0, (config.node_name,)))
    return Share(config.node_name) if config.fleet else Share.of_node(config.node_name)


def fixed(address: str) -> FixedAddress:
    """Returns the address of all nodes; with `name`, each node's name is resolved."""
    return FixedAddress(None if address == "name" else address)
