"""The one place where parts are built and joined, and where the order of start and of stop is said.

Start goes with the data, from the far end to the near one, so that nothing arrives where nobody listens; stop goes the
other way round. Whether manifests and health live in Consul or in folders is decided here, and nobody else knows.
"""

import logging
import resource
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from prometheus_client import CollectorRegistry

from controller import exposition
from controller.addresses import CatalogAddress, FixedAddress
from controller.canary import Canary
from controller.config import Config
from controller.consul import ConsulClient
from controller.intent.consul import ConsulSource
from controller.intent.directory import DirectorySource
from controller.intent.watch import IntentWatch, Source
from controller.loop import ControlLoop
from controller.metrics import Metrics
from controller.probes.engine import ProbeEngine
from controller.pulse import Pulses
from controller.session import SessionKeeper
from controller.sink.directory import DirectoryLease, DirectorySink, FolderInUse
from controller.sink.kv import KvSink
from controller.store import HealthStore, ManifestStore
from controller.web.app import Web
from controller.web.server import ListenError, WebServer
from controller.workqueue import WorkQueue
from reconcilers.checks import CheckReconciler
from reconcilers.gate import RemovalGate
from reconcilers.ports import HealthSink
from reconcilers.publication import HealthReconciler
from reconcilers.spec import PodKey

log = logging.getLogger(__name__)

CHECK_BATCH = 256
PUBLICATION_BATCH = 1024
PUBLICATION_LINGER = 0.02
STALE_WATCH = 30.0
SPARE_DESCRIPTORS = 64
STOP_STEP = 1.0


class StartError(Exception):
    """The controller cannot start; the message says what is in the way."""


@dataclass(frozen=True, slots=True)
class Outside:
    """What is different between Consul and folders."""

    source: Source
    sink: HealthSink
    addresses: FixedAddress | CatalogAddress
    lease: SessionKeeper | DirectoryLease
    clients: Sequence[ConsulClient] = ()
    """Those to close at the end; a request of theirs that hangs is cancelled."""


class App:
    """One controller for one node."""

    def __init__(self, config: Config, environ: Mapping[str, str]) -> None:
        self.config = config
        self._stop_requested = threading.Event()
        self._pulses = Pulses()
        self._metrics = Metrics(CollectorRegistry(), version("podpulse"))
        self._checks = self._queue("checks")
        self._publication = self._queue("publication")
        self._manifests = ManifestStore(config.rules())
        self._healths = HealthStore(self._publication.add)
        self._outside = self._on_folders() if config.intent_dir else self._on_consul(environ)
        self._engine = ProbeEngine(
            self._healths,
            self._metrics.probes,
            self._pulses.new("probe", 5),
            ca_file=str(config.ca_file),
            max_in_flight=_affordable(config.max_in_flight),
            guard=config.guard(environ),
        )
        self._canary = self._with_canary(environ)
        self._loops = self._control_loops()
        self._watch = IntentWatch(
            self._outside.source,
            self._manifests,
            RemovalGate(),
            self._outside.addresses,
            self._checks.add,
            self._pulses.new("watch", 30),
        )
        self._web = self._server()
        self._read_at_scrape()

    @property
    def port(self) -> int:
        """The port of page and metrics."""
        return self._web.port

    def start(self) -> None:
        """Start all parts.

        Raises:
            StartError: the address is in use, or the folder is another controller's.
        """
        try:
            self._web.start()
            self._outside.lease.start()
        except (ListenError, FolderInUse) as error:
            raise StartError(str(error)) from error
        for loop in self._loops:
            loop.start()
        self._engine.run()
        if self._canary:
            self._canary.start()
        self._watch.start()
        log.info("checking the pods of node %s; page and metrics on port %d", self.config.node_name, self.port)

    def request_stop(self) -> None:
        """Ask for the end; may be called from a signal handler, more than once."""
        self._stop_requested.set()

    def wait(self) -> None:
        """Return when the end was asked for."""
        self._stop_requested.wait()

    def stop(self) -> None:
        """End all parts, within five seconds even when Consul hangs."""
        log.info("stopping")
        self._watch.stop(STOP_STEP)
        for loop in self._loops:
            loop.stop(STOP_STEP)
        for client in self._outside.clients:
            client.cancel()
        if self._canary:
            self._canary.stop(STOP_STEP)
        self._engine.close(STOP_STEP)
        self._outside.lease.stop(STOP_STEP)
        self._web.stop(STOP_STEP)
        for client in self._outside.clients:
            client.close()

    def _queue(self, name: str) -> WorkQueue[PodKey]:
        metrics = self._metrics.queue(name)
        queue: WorkQueue[PodKey] = WorkQueue(name, metrics)
        metrics.read(queue.__len__, queue.working)
        return queue

    def _with_canary(self, environ: Mapping[str, str]) -> Canary | None:
        target = self.config.canary_target(environ)
        window = 2 * self.config.defaults.interval + self.config.defaults.timeout
        if target is None:
            return None
        return Canary(target, self._healths, self._pulses.new("canary", 10), window=window)

    def _on_consul(self, environ: Mapping[str, str]) -> Outside:
        config, settings = self.config, self.config.consul_settings(environ)

        clients = [ConsulClient(settings, observe=self._metrics.consul.request) for _ in range(3)]
        watching, writing, asking = clients
        renewing = ConsulClient(settings, observe=self._metrics.consul.request)
        lease = SessionKeeper(renewing, config.node_name, self._on_new_session, self._pulses.new("session", 30))
        sink = KvSink(writing, lease)
        return Outside(
            ConsulSource(watching, config.tree, config.node_name, lambda: sink.leftovers(config.node_name)),
            sink,
            CatalogAddress(asking, config.node_name) if config.address == "catalog" else _fixed(config.address),
            lease,
            clients,
        )

    def _on_folders(self) -> Outside:
        config = self.config
        if not config.intent_dir or not config.health_dir:
            raise StartError("intent_dir and health_dir go together")
        sink = DirectorySink(config.health_dir)
        return Outside(
            DirectorySource(config.intent_dir, config.node_name, sink.leftovers),
            sink,
            _fixed(config.address),
            DirectoryLease(config.health_dir, self._pulses.new("session", 30)),
        )

    def _control_loops(self) -> Sequence[ControlLoop]:
        checks = CheckReconciler(self._manifests, self._engine, self._healths, self._outside.addresses)
        publication = HealthReconciler(self._healths, self._outside.sink)
        return (
            ControlLoop(
                self._checks, checks, self._metrics.loop("checks"), self._pulses.new("reconcile", 30), batch=CHECK_BATCH
            ),
            ControlLoop(
                self._publication,
                publication,
                self._metrics.loop("publication"),
                self._pulses.new("publish", 30),
                batch=PUBLICATION_BATCH,
                linger=PUBLICATION_LINGER,
            ),
        )

    def _server(self) -> WebServer:
        web = Web(
            self._healths,
            self._manifests,
            render=lambda: exposition.render(self._metrics.registry, self._healths, self._manifests),
            healthy=self._pulses.complaints,
            ready=self._ready,
            node=self.config.node_name,
            version=version("podpulse"),
        )
        return WebServer(web.app, *self.config.listen_address)

    def _read_at_scrape(self) -> None:
        metrics, lease = self._metrics, self._outside.lease
        metrics.intents.set_function(lambda: len(self._manifests))
        metrics.removals_held.set_function(self._watch.held)
        metrics.watch_last_success.set_function(self._watch.last_success)
        metrics.session_expires.set_function(lease.expires_at)

    def _ready(self) -> Sequence[str]:
        complaints = []
        match self._watch.silence():
            case None:
                complaints.append("the manifests have not been read yet")
            case seconds if seconds > STALE_WATCH:
                complaints.append(f"the manifests were last read {seconds:.0f} s ago")
        if self._outside.lease.current() is None:
            complaints.append("the lease is lost: no health can be published")
        return complaints

    def _on_new_session(self, _session: str) -> None:
        """Whatever stood under the old session is gone or not ours any more: everything is to be published again."""
        self._publication.add(tracked.spec.key for tracked in self._healths.all())


def _fixed(address: str) -> FixedAddress:
    return FixedAddress(None if address == "name" else address)


def _affordable(wanted: int) -> int:
    """How many transfers the descriptors of this process allow, after its limit was raised as far as it goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    goal = wanted + SPARE_DESCRIPTORS
    limit = goal if hard == resource.RLIM_INFINITY else min(goal, hard)
    if soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    affordable = max(1, min(wanted, max(soft, limit) - SPARE_DESCRIPTORS))
    if affordable < wanted:
        log.warning("max_in_flight is %d, and %d descriptors allow %d", wanted, limit, affordable)
    return affordable
