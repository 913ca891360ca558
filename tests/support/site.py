"""The web server for a test with real stores, and a parser of its pages."""

import http.client
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from html.parser import HTMLParser
from types import TracebackType
from typing import Any, Self

from prometheus_client import CollectorRegistry

from controller.config import ConfigError
from controller.config.web_access import WebAccess
from controller.health.store import HealthStore
from controller.health.uptimes import Uptimes
from controller.intent.manifest_store import ManifestStore
from controller.members.fleet_reader import FleetReader
from controller.runtime.faults import Faults
from controller.runtime.metrics import Metrics
from controller.web.app import Web
from controller.web.exposition import Exposition
from controller.web.pod_views import PodViews
from controller.web.server import OPEN_ACCESS, WebServer
from reconcilers.damping import Flapping
from reconcilers.gate import Entry, Listing
from reconcilers.health import Outcome, ProbeResult, Reason
from reconcilers.options import Rules
from reconcilers.record import HealthRecord
from reconcilers.spec import CheckSpec, HttpGet, PodKey, Tls
from tests.support.recorders import FakeClock

NODE = "web1.example.com"
NOW = 1_790_000_000.0
HOSTILE = "<script>alert('1')</script>\"'><img src=x onerror=alert(2)>{{ 7 * 7 }}\ud800\0"


class Site(AbstractContextManager["Site"]):
    """Real stores, a real server, and complaints that a test can change."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        access: WebAccess = OPEN_ACCESS,
        names: Sequence[str] = (),
        allowed_hosts: Sequence[str] = (),
        fleet: FleetReader | None = None,
    ) -> None:
        self.boottime = FakeClock(500_000.0)
        """Only the uptimes have this clock."""
        uptimes = Uptimes(self.boottime, lambda: NOW)
        self.healths = HealthStore(lambda _: None, wall_clock=lambda: NOW - 60, uptimes=uptimes)
        self.manifests = ManifestStore(Rules(allow_headers=True, allow_send=True), wall_clock=lambda: NOW - 60)
        self.flapping: dict[PodKey, Flapping] = {}
        self.published: dict[PodKey, HealthRecord] = {}
        self.held: dict[PodKey, str] = {}
        self.unhealthy: list[str] = []
        self.unready: list[str] = []
        self.noticed: list[str] = []
        self.broken = ""
        self.in_doubt = False
        self.options: Mapping[str, str] = {}
        self.faults = Faults()
        metrics = Metrics(CollectorRegistry(), "0.1.0")
        self.fleet = PodViews(
            self.healths,
            self.manifests,
            flapping=lambda: self.flapping,
            published=self.published.get,
            held=lambda: self.held,
            clock=lambda: NOW,
        )
        self.web = Web(
            self.fleet,
            exposition=Exposition(metrics.registry, self.healths, self.manifests, lambda: self.flapping),
            healthy=lambda: self.unhealthy,
            ready=lambda: self.unready,
            notices=lambda: self.noticed,
            reload=self.reload,
            node=NODE,
            version="0.1.0",
            faults=self.faults,
            fleet=fleet,
            checked=f"the pods of node {NODE}",
            in_doubt=lambda: self.in_doubt,
            options=lambda: self.options,
        )
        self.server = WebServer(
            self.web.app, host, 0, access, names=names, allowed_hosts=allowed_hosts, before_stop=self.web.close
        )

    def reload(self) -> str:
        if self.broken:
            raise ConfigError(self.broken)
        return "configuration reloaded"

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.stop()

    def follow(self, *pods: str, **options: Any) -> None:
        """Adds checks of these pods; `options` are those of `CheckSpec`."""
        probe = HttpGet(NODE, 8000, "/_status", Tls())
        self.healths.follow((CheckSpec(PodKey(NODE, pod), probe, 5.0, 2.0, **options), 1) for pod in pods)

    def passes(self, *pods: str, output: str = "") -> None:
        for pod in pods:
            result = ProbeResult(PodKey(NODE, pod), 1, Outcome.SUCCESS, NOW - 5, 0.004, output=output, status_code=200)
            self.healths.observe([result])

    def fails(self, pod: str, detail: str = "answered 503", output: str = "") -> None:
        key = PodKey(NODE, pod)
        self.healths.observe([ProbeResult(key, 1, Outcome.FAILURE, NOW - 5, 0.25, Reason.STATUS, detail, output, 503)])

    def schedule(self, index: int, **manifests: bytes) -> None:
        entries = {PodKey(NODE, pod): Entry((index,), data) for pod, data in manifests.items()}
        self.manifests.replace(Listing(index, entries))

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, str]:
        response, body = self.ask(path, method, **headers)
        return response, body.decode()

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
        """Returns the answer and its body without decoding it; the names of `headers` have underscores."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()


class Page(HTMLParser):
    """The tags of a page with their attributes, and its texts, each with the tag around it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self._open = tag
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, _: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open, data))

    def text(self, tag: str) -> list[str]:
        return [text for holder, text in self.texts if holder == tag]
