"""Builds and joins the parts of a controller, and defines the order in which they start and stop.

A part starts before the parts that send data to it, so no data is lost. They stop in the opposite order.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version

from prometheus_client import CollectorRegistry

from controller.config import Config
from controller.config.probe_options import probe_options
from controller.consul.addresses import AddressWatch
from controller.consul.operations import CONTROLLER_OPERATIONS
from controller.consul.registration import RegistrationKeeper
from controller.health.canary import Canary
from controller.health.store import HealthStore
from controller.intent.deployments import Deployments
from controller.intent.manifest_store import ManifestStore
from controller.intent.reality import HEARTBEAT_LIMIT, RealityWatch
from controller.intent.watch import IntentWatch
from controller.members.current_share import CurrentShare
from controller.members.membership_watch import MembershipWatch
from controller.probes.engine import ProbeEngine
from controller.probes.name_ttl import ttl_in_dns
from controller.publish.desired import DesiredHealth, InFleet
from controller.publish.places import Places
from controller.reload import Reloader, restart_state_of
from controller.runtime import log as log_setup
from controller.runtime.control_loop import ControlLoop, stop_together
from controller.runtime.descriptors import affordable
from controller.runtime.heartbeat import Heartbeats
from controller.runtime.libcurl import check_libcurl
from controller.runtime.metrics import Metrics
from controller.runtime.signal_requests import Requests
from controller.runtime.systemd import ServiceManager
from controller.runtime.work_queue import WorkQueue
from controller.web.app import Web
from controller.web.exposition import Exposition, OptionalFamilies
from controller.web.pod_views import PodViews
from controller.web.readiness import Readiness
from controller.web.server import WebServer
from controller.wiring import connect
from controller.wiring.backends import Parts, share_of
from controller.wiring.consul import registration
from reconcilers.adoption import Inherited
from reconcilers.checks import CheckReconciler
from reconcilers.gate import RemovalGate
from reconcilers.publication import HealthReconciler
from reconcilers.spec import CheckSpec, PodKey

log = logging.getLogger(__name__)

CHECK_BATCH = 256
PUBLICATION_BATCH = 1024
PUBLICATION_LINGER = 0.02
STOP_STEP = 1.0
STOP_WITHIN = 4.0
COUNTS_WITHIN = 0.5
"""Seconds in which the counts of pods that pass to other members are written."""
LAST_STEP = 0.05
"""Seconds for the end: of one part, of all parts together, and of a part that comes when that time is used up."""
AFTER_LEAVE = 0.5
"""Seconds of STOP_WITHIN that are reserved for the parts that end after the keepers; the keepers get the rest."""


class App:
    """The controller of one node. `reread` reads the configuration again from the same file and options.

    Raises StartError if another one runs, the folder for its state cannot be used, or libcurl is unsuitable.
    """

    def __init__(self, config: Config, environ: Mapping[str, str], reread: Callable[[], Config]) -> None:
        check_libcurl()
        self.config = config
        """The configuration at the start. A reload puts other values in force, but not here."""
        self._environ = environ
        self._requests = Requests()
        self._heartbeats = Heartbeats()
        self._metrics = Metrics(CollectorRegistry(), version("podpulse"))
        self._checks = self._queue("checks")
        self._manifests = ManifestStore(config.rules(), faults=self._heartbeats.faults)
        self._restart_state = restart_state_of(config, environ, self._heartbeats)
        self._share = CurrentShare(share_of(config))
        parts = self._parts()
        self._backends = connect(parts)
        self._places = Places(self._backends.sinks)
        self._publications = {place: self._queue(f"publication-{place}") for place in self._backends.sinks}
        reality, faults = self._backends.reality, self._heartbeats.faults
        grace, lacks = (config.startup_grace, reality.lacks) if reality else (0.0, None)
        self._deployments = Deployments(grace, self._manifests, self._places.published, faults=faults, lacks=lacks)
        moves = self._share.may_lose
        uptimes = self._restart_state.uptimes
        self._healths = HealthStore(
            self._publish, deployments=self._deployments, inherit=self._inherited, moves=moves, uptimes=uptimes
        )
        self._engine = ProbeEngine(
            self._healths,
            self._metrics.probes,
            self._heartbeats.new("probe", 5),
            ca_file=str(config.ca_file),
            max_in_flight=affordable(config.max_in_flight),
            guard=config.guard(environ),
            details=config.exports_details,
            ttl=ttl_in_dns,
            may_probe=self._share.may_probe if config.fleet else None,
        )
        self._canary = Canary.of(config, environ, self._healths, self._heartbeats)
        fleet = InFleet(moves, self._places.published) if config.fleet else None
        dampings = {} if fleet and "kv" in config.publish else self._restart_state.dampings()
        rules, is_awaited = config.damping_rules(), self._is_awaited
        uptime = uptimes.text if fleet or config.publish_uptime else None
        self._desired = DesiredHealth(self._healths, time.monotonic, rules, dampings, is_awaited, fleet, uptime)
        self._share.listen(lambda: self._publish(self._healths.pending()))
        self._checking = ControlLoop(
            self._checks,
            CheckReconciler(self._manifests, self._engine, self._healths, self._backends.addresses),
            self._metrics.loop("checks"),
            self._heartbeats.new("reconcile", 30),
            batch=CHECK_BATCH,
        )
        self._publishing = self._publishing_loops()
        self._watch = IntentWatch(
            self._backends.source,
            self._manifests,
            RemovalGate,
            self._on_manifests,
            self._heartbeats.new("watch", 30, asks=self._backends.asks),
            config.consul.wait,
            owns=self._share.owns if config.fleet or config.has_urls else None,
        )
        self._share.listen(self._watch.wake)
        backends, membership, unanswered = self._backends, self._backends.membership, self._backends.silence.text
        rival, joining = backends.holders.complaint, membership.complaint if membership else str
        self._readiness = Readiness(self._watch.silence, backends.lease, rival, self._publishing, joining, unanswered)
        self._registrations = registration(parts, lambda: self.port, self._readiness.complaints, self._backends)
        self._systemd = ServiceManager(environ, self._heartbeats, self._status)
        self._reloader = Reloader(
            config,
            environ,
            reread,
            self._apply,
            self._engine,
            self._heartbeats.new("reload", 60, asks=True),
            self._systemd,
            successful=self._metrics.reload_successful,
            success_time=self._metrics.reload_success_time,
        )
        self._web = self._server()
        self._others: list[RealityWatch | AddressWatch | MembershipWatch | RegistrationKeeper] = []
        if reality:
            heartbeat = self._heartbeats.new("reality", HEARTBEAT_LIMIT, asks=True)
            watch = RealityWatch(reality, self._deployments, heartbeat)
            self._share.listen(watch.wake)
            self._others.append(watch)
        self._others += (*self._backends.watches, *self._registrations)
        self._read_at_scrape()

    @property
    def port(self) -> int:
        """The port of page and metrics."""
        return self._web.port

    def start(self, listening: Callable[[], object] = lambda: None) -> None:
        """Starts all parts, and calls `listening` once the page can be reached, before the first probe.

        Raises StartError if the address is in use, or another controller uses the folder.
        """
        self._web.start()
        listening()
        for keeper in self._backends.keepers:
            keeper.start()
        for other in self._others:
            other.start()
        for loop in (self._checking, *self._publishing.values()):
            loop.start()
        self._engine.run()
        if self._canary:
            self._canary.start()
        self._watch.start()
        self._restart_state.start(self._healths.all, self._desired.dampings)
        self._reloader.start()
        self._systemd.start()
        log.info("checking %s; page and metrics on port %d", self.config.checked, self.port)

    # Called from signal handlers

    def request_stop(self) -> None:
        """Requests the end."""
        self._requests.put(None)

    def request_reload(self) -> None:
        """Requests a reload of the configuration."""
        self._requests.put(self._reloader.request)

    def request_release(self) -> None:
        """Requests that the removals pass that the fuse holds."""
        self._requests.put(self._watch.release)

    def wait(self) -> None:
        """Serves requests until the end is requested."""
        self._requests.serve()

    def stop(self) -> None:
        """Ends all parts, within five seconds even if Consul does not answer."""
        log.info("stopping")
        deadline = time.monotonic() + STOP_WITHIN

        def rest(after: float = 0.0) -> float:
            return max(LAST_STEP, deadline - after - time.monotonic())

        def step() -> float:
            return min(STOP_STEP, rest())

        self._systemd.stopping()
        self._reloader.stop(step())
        self._leave(step)
        self._watch.stop(step())
        self._checking.stop(step())
        stop_together(list(self._publishing.values()), step())
        for client in self._backends.clients:
            client.cancel()
        if self._canary:
            self._canary.stop(step())
        self._engine.close(step())
        self._restart_state.stop(step())
        keeps_records = self._reloader.config.on_stop == "keep" and self._restart_state.is_kept
        leaves_records = keeps_records or self._backends.has_heirs()
        self._stop_talkers(step(), rest(AFTER_LEAVE), destroy=not leaves_records)
        self._web.stop(step())
        for client in self._backends.clients:
            client.close()
        self._restart_state.release(left=leaves_records)

    def _leave(self, step: Callable[[], float]) -> None:
        """Ends the membership of a fleet. Probes go on meanwhile. The heirs continue with the counts written before."""
        if self._backends.has_heirs() and "kv" in self._publications:
            self._share.leave()
            self._publications["kv"].wait_idle(min(COUNTS_WITHIN, step()))
        self._backends.leave(self._registrations, step)

    def _stop_talkers(self, timeout: float, leave: float, *, destroy: bool) -> None:
        """Ends the parts that talk to Consul, in parallel. Keepers remove their records for up to `leave` seconds."""
        ends = [partial(keeper.stop, leave, destroy=destroy) for keeper in self._backends.keepers]
        ends += [partial(other.stop, timeout) for other in self._others]
        with ThreadPoolExecutor(max(1, len(ends)), "stop") as pool:
            for ended in [pool.submit(end) for end in ends]:
                ended.result()

    def _queue(self, name: str) -> WorkQueue[PodKey]:
        metrics = self._metrics.queue(name)
        queue: WorkQueue[PodKey] = WorkQueue(name, metrics)
        metrics.read(queue.__len__, queue.working)
        return queue

    def _apply(self, config: Config) -> bool:
        """Puts a checked configuration in force. Returns False if a part of the web configuration needs a restart."""
        log_setup.set_level(config.log_level)
        self._backends.apply(config)
        for keeper in self._registrations:
            keeper.apply(config.consul_settings(self._environ))
        self._desired.apply(config.damping_rules())
        guard, details = config.guard(self._environ), config.exports_details
        self._engine.apply(ca_file=str(config.ca_file), guard=guard, details=details)
        if self._canary:
            self._canary.apply(config.canary_window)
        self._on_manifests(self._manifests.apply(config.rules()))
        self._publish(self._known_pods())
        return self._web.apply(config.web_access)

    def _parts(self) -> Parts:
        if not self.config.is_embedded:
            self._metrics.consul.expect(CONTROLLER_OPERATIONS)
        return Parts(
            self.config,
            self._environ,
            self._manifests,
            self._heartbeats,
            self._metrics.consul.request,
            self._publish_again,
            self._void,
            lambda keys: self._watch.expect(keys),  # noqa: PLW0108 -- the watch is built later
            lambda: self._checks.add(self._manifests.intents().keys()),
            self._restart_state,
            self._share,
        )

    def _void(self) -> None:
        """Voids all results, so that they make no pod passing any more, and probes every pod now."""
        self._healths.void()
        self._engine.probe_all(self._healths.count_again)

    def _inherited(self, spec: CheckSpec) -> Inherited | None:
        return self._restart_state.take_over(spec, self._places.published_without_break(spec.key))

    def _is_awaited(self, key: PodKey) -> bool:
        """Whether a pod without a worker may get one soon, because its node was gained."""
        return self._watch.is_awaited(key.node) or bool(self.config.fleet and self._manifests.has_check(key))

    def _publishing_loops(self) -> Mapping[str, ControlLoop]:
        """One loop for each place, so that no place waits for another."""
        return {
            place: ControlLoop(
                queue,
                HealthReconciler(self._desired, self._backends.sinks[place], self._share, keeps_counts=place == "kv"),
                self._metrics.loop(queue.name),
                self._heartbeats.new(f"publish-{place}", 30, asks=self._backends.asks),
                batch=PUBLICATION_BATCH,
                linger=PUBLICATION_LINGER,
            )
            for place, queue in self._publications.items()
        }

    def _server(self) -> WebServer:
        flapping, published, held = self._desired.flapping, self._places.published, self._watch.held_pods
        web = Web(
            PodViews(self._healths, self._manifests, flapping=flapping, published=published, held=held),
            exposition=self._exposition(),
            healthy=self._heartbeats.complaints,
            ready=self._readiness.complaints,
            notices=self._notices,
            reload=self._reloader.reload if self.config.enable_lifecycle else None,
            node=self.config.node_name,
            version=version("podpulse"),
            faults=self._heartbeats.faults,
            fleet=self._backends.fleet,
            checked=self.config.checked,
            urls_file=self.config.urls_file,
            in_doubt=self._readiness.is_in_doubt,
            options=lambda: probe_options(self._reloader.config),
        )
        listen, access = self.config.listen_address, self.config.web_access
        names, allowed = (self.config.node_name,), self.config.allowed_hosts
        return WebServer(web.app, *listen, access, names=names, allowed_hosts=allowed, before_stop=web.close)

    def _exposition(self) -> Exposition:
        optional = lambda: OptionalFamilies.of(self._reloader.config)  # noqa: E731
        return Exposition(self._metrics.registry, self._healths, self._manifests, self._desired.damped, optional)

    def _read_at_scrape(self) -> None:
        metrics, lease = self._metrics, self._backends.lease
        metrics.time.set_function(time.time)
        metrics.thread_faults.read(self._heartbeats.faults.counts)
        metrics.intents.set_function(lambda: len(self._manifests))
        metrics.ignored(self._watch.ignored.count)
        metrics.pods_deploying.set_function(self._healths.deploying)
        metrics.removals_held(self._watch.held, self._watch.held_because)
        metrics.watch(last_success=self._watch.last_success, last_change=self._watch.last_change)
        metrics.ready.set_function(lambda: not self._readiness.complaints())
        metrics.healthy.set_function(lambda: not self._heartbeats.complaints())
        metrics.cut_off.set_function(lambda: bool(self._healths.cut_off))
        metrics.probes_kept.set_function(lambda: self._engine.kept.ratio)
        metrics.pods_damped.set_function(lambda: len(self._desired.damped()))
        metrics.changes_suppressed.read(lambda: {"": self._desired.suppressed})
        for place in self._publishing:
            metrics.unpublished(place, partial(self._readiness.unpublished, place))
        if lease:
            metrics.lease(lease.expires_at, lease.failure)
        self._backends.read_at_scrape(metrics)

    def _notices(self) -> Sequence[str]:
        """The notices of the pages, in addition to what makes the controller unhealthy or not ready."""
        held = self._watch.held()
        removals = f"the removal of {held} pods is held: {self._watch.held_because()} (podpulse release-removals)"
        kept = self._engine.kept
        return (
            *self._readiness.notices(),
            *self._reloader.complaints(),
            *([kept.sentence()] if kept.is_overloaded else ()),
            *([removals] if held else ()),
            *filter(None, [self._watch.ignored.notice()]),
        )

    def _on_manifests(self, keys: Collection[PodKey]) -> None:
        """Queues the pods whose manifests are new, changed or gone. A changed label changes the service of a pod."""
        self._deployments.intend(keys)
        self._checks.add(keys)
        if self._reloader.config.labels:
            self._publish([key for key in keys if self._healths.tracked(key) and self._manifests.has_check(key)])

    def _status(self) -> str:
        """The state of the controller in one line, for systemctl status."""
        complaints = "; ".join(self._readiness.complaints())
        return complaints or f"ready; {len(self._manifests)} pods of {self.config.node_name}"

    def _publish(self, keys: Collection[PodKey]) -> None:
        """Queues these pods for publication in every place."""
        for queue in self._publications.values():
            queue.add(keys)

    def _publish_again(self, place: str, keys: Collection[PodKey] | None) -> None:
        """Queues pods whose records in one place were lost or taken over; None stands for all pods."""
        self._publications[place].add(self._known_pods() if keys is None else keys)

    def _known_pods(self) -> Collection[PodKey]:
        return [each.spec.key for each in self._healths.all()]
