"""Manifests from Consul, and health to Consul: for one node, and for the members of a fleet."""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from importlib.metadata import version

from controller.config import Config
from controller.consul.addresses import AddressWatch, CatalogAddress, CatalogAddresses, FixedAddress
from controller.consul.client import AgentService, ConsulClient
from controller.consul.holders import Holders
from controller.consul.registration import CheckStatus, Complaints, ReadyStatus, RegistrationKeeper, controller_service
from controller.consul.session import SessionKeeper
from controller.consul.silence import Outlook, Silence
from controller.intent.consul import ConsulSource
from controller.intent.fleet_source import FleetSource
from controller.intent.manifest_store import ManifestStore
from controller.intent.reality import FLEET_GAP, RealityTree
from controller.intent.source import OneSource
from controller.members.current_share import CurrentShare
from controller.members.fleet_reader import FleetReader
from controller.members.instances import FLEET, MEMBER, STARTED, describe_member
from controller.members.member_status import MemberStatus
from controller.members.membership_watch import MembershipWatch
from controller.publish.agent import AgentSink
from controller.publish.agent_keeper import TtlKeeper
from controller.publish.catalog import CatalogSink
from controller.publish.catalog_keeper import CatalogKeeper
from controller.publish.fences import Fences
from controller.publish.given_up import LastKeys
from controller.publish.handover import Handover
from controller.publish.kv import KvSink
from controller.publish.kv_keeper import KeyKeeper, glance_period
from controller.publish.orphans import OrphanKeeper
from controller.publish.services import ManifestServices, ServiceNaming
from controller.runtime.heartbeat import Heartbeats
from controller.runtime.metrics import Metrics
from controller.wiring.backends import Backends, Keeper, Parts, fixed
from reconcilers.ports import HealthSink
from reconcilers.record import timestamp
from reconcilers.share import Share
from reconcilers.spec import PodKey

REGISTRATION_DEADLINE = 2.0
MEMBERSHIP_DEADLINE = 1.0
"""Seconds for a renewal of the membership, so that several fit into its TTL."""
SHOWN_WITHIN = 3.0
"""Seconds for a request to Consul that somebody waits for who looks at the page."""
KNOWN_WITHIN = 3.0
"""Seconds to wait at the start for what an earlier run left: for its session, before its keys are read, and for the
services of the agent. What becomes known later is handled then."""


Reader = Callable[..., Collection[PodKey]]
"""Reads the records that are published of the nodes with the given names, and returns their pods."""


class _Clients:
    """Makes the clients of one controller. `all` are closed at its end. Those that renew something are closed by their
    owners, which use them until then."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.silence = Silence(parts.observe)
        self._settings = parts.config.consul_settings(parts.environ)
        self.all: list[ConsulClient] = []
        self._renewing: list[ConsulClient] = []

    def new(self, **options: float) -> ConsulClient:
        self.all.append(ConsulClient(self._settings, observe=self.silence.observe, **options))
        return self.all[-1]

    def renewing(self) -> ConsulClient:
        self._renewing.append(ConsulClient(self._settings, observe=self.silence.observe))
        return self._renewing[-1]

    def apply(self, config: Config) -> None:
        """Uses the settings of this configuration from the next requests on."""
        for client in (*self._renewing, *self.all):
            client.apply(config.consul_settings(self._parts.environ))


def on_consul(parts: Parts) -> Backends:
    """Reads manifests from Consul; publishes health to its KV store under a session, to services of the agent, and to
    the catalog."""
    config, manifests, heartbeats = parts.config, parts.manifests, parts.heartbeats
    node, faults, session = config.node_name, heartbeats.faults, parts.restart_state.session
    services, clients = ManifestServices(manifests, ServiceNaming.of(config)), _Clients(parts)
    client = clients.new

    def published_under(session: str) -> None:
        parts.restart_state.write_session(session)
        parts.publish_again("kv", None)

    def leftovers() -> Collection[PodKey]:
        """The pods of a session that is taken over, once Consul has confirmed it. `expect` gets those of the agent."""
        for wait in waits:
            wait(KNOWN_WITHIN)
        return _read_all(readers, [node])

    def apply(config: Config) -> None:
        clients.apply(config)
        services.apply(ServiceNaming.of(config))

    holders, scheduled = Holders(describe_member), partial(_scheduled, manifests)
    sinks: dict[str, HealthSink] = {}
    keepers: list[Keeper] = []
    lease: SessionKeeper | None = None
    waits: list[Callable[[float], object]] = []
    readers: list[Reader] = []
    if "kv" in config.publish:
        heartbeat = heartbeats.new("session", 30, asks=True)
        lease = SessionKeeper(clients.renewing(), node, published_under, heartbeat, on_end=parts.void, resume=session)
        waits += [lease.wait] if session else []
        keepers.append(lease)
        keys = sinks["kv"] = KvSink(client(), lease, scheduled, holders=holders, faults=faults)
        readers.append(keys.leftovers)
        lost = partial(parts.publish_again, "kv")
        keepers.append(KeyKeeper(keys.look_again, lost, heartbeats.new("kv-look", 30, asks=True)))
    if "agent" in config.publish:
        agent = sinks["agent"] = AgentSink(
            client(),
            services.describe,
            partial(parts.publish_again, "agent"),
            void=parts.void,
            ttl=config.service.ttl,
            faults=faults,
        )
        renewals = TtlKeeper(agent, node, parts.expect, heartbeats.new("agent-ttl", 30, asks=True))
        waits.append(renewals.wait)
        keepers.append(renewals)
    if "catalog" in config.publish:
        share = CurrentShare(Share.of_node(node))
        catalog = CatalogSink(client(), services.describe, _to_register(config), share, Fences(share), scheduled)
        sinks["catalog"] = catalog
        readers.append(catalog.leftovers)
        lost = partial(parts.publish_again, "catalog")
        keepers.append(CatalogKeeper(catalog, client(), config.tree, share, scheduled, lost, heartbeats))
    addresses, watches = _addresses(config, lambda: CatalogAddress(client(), node), parts.moved, heartbeats)
    source = ConsulSource(client(), config.tree, node, leftovers)
    matters = config.startup_grace and config.tree == "intent"
    reality = RealityTree(OneSource(ConsulSource(client(), "reality", node, tuple))) if matters else None
    clients.silence.outlook = Outlook(lease, config.service.ttl if "agent" in sinks else None, "catalog" in sinks)
    return Backends(
        OneSource(source),
        sinks,
        addresses,
        lease,
        keepers,
        clients.all,
        reality,
        watches,
        apply,
        holders,
        silence=clients.silence,
    )


def on_fleet(parts: Parts) -> Backends:
    """Reads the manifests of the nodes in the share from Consul, and publishes health to its KV store under a session,
    to its catalog, or to both."""
    config, manifests, heartbeats, share = parts.config, parts.manifests, parts.heartbeats, parts.share
    fleet, clients = config.fleet or "", _Clients(parts)
    client = clients.new

    def published_under(session: str) -> None:
        last_keys.session = session
        parts.restart_state.write_session(session)
        parts.publish_again("kv", None)

    def leftovers(nodes: Collection[str]) -> Collection[PodKey]:
        if lease:
            lease.wait(KNOWN_WITHIN)
        return _read_all(readers, nodes)

    def apply(config: Config) -> None:
        clients.apply(config)
        services.apply(ServiceNaming.of(config))

    services, scheduled = ManifestServices(manifests, ServiceNaming.of(config)), partial(_scheduled, manifests)
    started = timestamp(time.time())
    heartbeat, timer = heartbeats.new("members", 30, asks=True), heartbeats.new("members-count", 30)
    membership = MembershipWatch(clients.renewing(), fleet, share, heartbeat, timer, started=started)
    handover = Handover(share, membership)
    last_keys = LastKeys(client(), scheduled, membership.has_others)
    sinks: dict[str, HealthSink] = {}
    keepers: list[Keeper] = []
    lease: SessionKeeper | None = None
    readers: list[Reader] = []
    if "kv" in config.publish:
        heartbeat, resume = heartbeats.new("session", 30, asks=True), parts.restart_state.session
        lease = SessionKeeper(
            clients.renewing(), config.node_name, published_under, heartbeat, on_end=parts.void, resume=resume
        )
        keys = sinks["kv"] = KvSink(client(), lease, scheduled, handover=handover, faults=heartbeats.faults)
        readers.append(keys.leftovers)
        look = heartbeats.new("kv-look", 30, asks=True)
        orphans = heartbeats.new("orphans", 90, asks=True)
        keepers += [
            lease,
            last_keys,
            KeyKeeper(
                keys.look_again,
                partial(parts.publish_again, "kv"),
                look,
                glance=keys.glance,
                glance_period=glance_period(config.defaults.interval),
            ),
            OrphanKeeper(client(), config.tree, share, scheduled, keys.expect, orphans),
        ]
    if "catalog" in config.publish:
        fences = Fences(share, membership)
        catalog = CatalogSink(client(), services.describe, _to_register(config), share, fences, scheduled)
        sinks["catalog"] = catalog
        readers.append(catalog.leftovers)
        lost = partial(parts.publish_again, "catalog")
        keepers.append(CatalogKeeper(catalog, client(), config.tree, share, scheduled, lost, heartbeats))
    source = FleetSource(client(), config.tree, share.owns, leftovers, parts.expect)
    shown = FleetReader(client(timeout=SHOWN_WITHIN), config.tree, fleet, lambda: share.current().view)
    addresses, moves = _addresses(config, lambda: CatalogAddresses(client()), parts.moved, heartbeats)
    reality = FleetSource(client(), "reality", share.owns) if config.startup_grace else None
    clients.silence.outlook = Outlook(lease, None, "catalog" in sinks, membership.is_stopped)
    return Backends(
        source,
        sinks,
        addresses,
        lease,
        keepers,
        clients.all,
        reality=RealityTree(reality, share.owns, reality.lacks, FLEET_GAP) if reality else None,
        watches=[membership, *moves],
        apply=apply,
        membership=membership,
        fleet=shown,
        read_at_scrape=partial(_read_fleet, share, source, handover),
        silence=clients.silence,
    )


def _read_fleet(share: CurrentShare, source: FleetSource, handover: Handover, metrics: Metrics) -> None:
    metrics.fleet(
        members=lambda: len(share.current().view.members),
        nodes_owned=source.owned,
        takeovers=lambda: handover.taken,
        view_index=lambda: share.current().index,
    )


def _scheduled(manifests: ManifestStore) -> Collection[PodKey]:
    return manifests.intents().keys()


def _read_all(readers: Iterable[Reader], nodes: Iterable[str]) -> Collection[PodKey]:
    """Returns the pods of which an earlier run, or another controller, has published health anywhere."""
    return frozenset(key for read in readers for key in read(*nodes))


def registration(
    parts: Parts, port: Callable[[], int], ready: Complaints, backends: Backends
) -> Sequence[RegistrationKeeper]:
    """Registers this controller in Consul, if the configuration wants that. In a fleet, this makes it a member."""
    config, heartbeats = parts.config, parts.heartbeats
    if config.is_embedded or not config.registers:
        return ()
    scheme = config.page_scheme
    host, _ = config.listen_address
    meta: dict[str, str] = {}
    if config.fleet and backends.membership:
        meta = {FLEET: config.fleet, MEMBER: config.node_name, STARTED: backends.membership.started}

    def describe() -> AgentService:
        return controller_service(config.node_name, version("podpulse"), scheme, host, port(), meta)

    status: CheckStatus = ReadyStatus(heartbeats.complaints, ready)
    if backends.membership:
        status = MemberStatus(backends.membership, config.node_name, heartbeats.stuck, ready)
    timeout = MEMBERSHIP_DEADLINE if config.fleet else REGISTRATION_DEADLINE
    client = ConsulClient(config.consul_settings(parts.environ), timeout=timeout, observe=backends.silence.observe)
    heartbeat = heartbeats.new("registration", 30, asks=True)
    return (RegistrationKeeper(client, describe, status, backends.holders, heartbeat),)


def _addresses(
    config: Config,
    of_catalog: Callable[[], CatalogAddress | CatalogAddresses],
    moved: Callable[[], None],
    heartbeats: Heartbeats,
) -> tuple[FixedAddress | CatalogAddress | CatalogAddresses, Sequence[AddressWatch]]:
    """Returns the addresses of the nodes, and what keeps them up to date."""
    if config.address != "catalog":
        return fixed(config.address), ()
    addresses = of_catalog()
    return addresses, [AddressWatch(addresses, moved, heartbeats.new("address", 30, asks=True))]


def _to_register(config: Config) -> Callable[[str], str | None]:
    """Returns the addresses with which nodes are registered. With `address: catalog`, the catalog must have them."""
    match config.address:
        case "name":
            return lambda node: node
        case "catalog":
            return lambda _: None
        case address:
            return lambda _: address
