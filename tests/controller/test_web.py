"""The web server and its pages, asked over real connections."""

import base64
import gzip
import hashlib
import http.client
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser

import pytest
from prometheus_client import CollectorRegistry

from controller.config import ConfigError
from controller.exposition import render
from controller.metrics import Metrics
from controller.store import HealthStore, ManifestStore
from controller.web.app import Web, age, moment, span
from controller.web.overview import overview
from controller.web.server import ListenError, WebServer
from reconcilers.gate import Entry, Listing
from reconcilers.health import Outcome, ProbeResult, Reason
from reconcilers.options import Rules
from reconcilers.spec import CheckSpec, HttpGet, PodKey, Tls

NODE = "web1.example.com"
NOW = 1_790_000_000.0
HOSTILE = "<script>alert('1')</script>\"'><img src=x onerror=alert(2)>{{ 7 * 7 }}\ud800\0"


class Site:
    """Real stores, a real server, and complaints that a test can change."""

    def __init__(self) -> None:
        self.healths = HealthStore(lambda _: None)
        self.manifests = ManifestStore(Rules(), wall_clock=lambda: NOW - 60)
        self.unhealthy: list[str] = []
        self.unready: list[str] = []
        self.noticed: list[str] = []
        self.broken = ""
        metrics = Metrics(CollectorRegistry(), "0.1.0")
        self.web = Web(
            self.healths,
            self.manifests,
            render=lambda form: render(metrics.registry, self.healths, self.manifests, (), form),
            healthy=lambda: self.unhealthy,
            ready=lambda: self.unready,
            notices=lambda: self.noticed,
            reload=self.reload,
            node=NODE,
            version="0.1.0",
            clock=lambda: NOW,
        )
        self.server = WebServer(self.web.app, "127.0.0.1", 0)

    def reload(self) -> str:
        if self.broken:
            raise ConfigError(self.broken)
        return "configuration reloaded"

    def follow(self, *pods: str, failure_threshold: int = 1, success_threshold: int = 1) -> None:
        probe = HttpGet(NODE, 8000, "/_status", Tls())
        specs = [CheckSpec(PodKey(NODE, pod), probe, 5.0, 2.0, failure_threshold, success_threshold) for pod in pods]
        self.healths.follow((spec, 1) for spec in specs)

    def passes(self, *pods: str, output: str = "") -> None:
        for pod in pods:
            result = ProbeResult(PodKey(NODE, pod), 1, Outcome.SUCCESS, NOW - 5, 0.004, output=output, status_code=200)
            self.healths.observe([result])

    def fails(self, pod: str, detail: str = "answered 503", output: str = "") -> None:
        key = PodKey(NODE, pod)
        self.healths.observe([ProbeResult(key, 1, Outcome.FAILURE, NOW - 5, 0.25, Reason.STATUS, detail, output, 503)])

    def schedule(self, index: int, **manifests: bytes) -> None:
        entries = {PodKey(NODE, pod): Entry((index,), data) for pod, data in manifests.items()}
        self.manifests.replace(Listing(index, entries), ())

    def get(self, path: str, method: str = "GET") -> tuple[http.client.HTTPResponse, str]:
        response, body = self.ask(path, method)
        return response, body.decode()

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
        """The answer with its body as it was sent; `headers` are named with underscores."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    site.server.start()
    yield site
    site.server.stop()


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text by the tag that holds it."""

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


def pods(html: str) -> list[str]:
    return re.findall(r'<th scope="row">([^<]*)</th>', html)


def test_metrics_are_served_as_prometheus_reads_them(site: Site) -> None:
    site.follow("isup")
    response, text = site.get("/metrics")
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert f'podpulse_health{{node="{NODE}",pod="isup",state="unknown"}} 1\n' in text
    assert "podpulse_build_info{" in text


def test_openmetrics_is_served_to_who_asks_for_it(site: Site) -> None:
    site.follow("isup")
    response, body = site.ask("/metrics", accept="application/openmetrics-text;version=1.0.0,*/*;q=0.1")
    assert response.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert response.headers["Vary"] == "Accept, Accept-Encoding"
    assert body.endswith(b"# EOF\n")
    response, body = site.ask("/metrics", accept="*/*")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b"# EOF" not in body


def test_a_scrape_is_compressed_for_who_asks_for_it_and_says_the_same(site: Site) -> None:
    site.follow(*(f"pod-{number}" for number in range(600)))
    response, packed = site.ask("/metrics", accept_encoding="gzip")
    assert response.headers["Content-Encoding"] == "gzip"
    plain_response, plain = site.ask("/metrics", accept_encoding="gzip;q=0")
    assert "Content-Encoding" not in plain_response.headers
    assert len(packed) < len(plain) / 10
    theirs, ours = (text.partition(b"# HELP process_")[0] for text in (gzip.decompress(packed), plain))
    assert theirs == ours


def test_healthy_says_ok_or_names_what_stands_still(site: Site) -> None:
    response, text = site.get("/-/healthy")
    assert (response.status, text) == (200, "ok\n")
    site.unhealthy += ["thread probe has stood still for 12 s", "thread watch has stood still for 30 s"]
    response, text = site.get("/-/healthy")
    assert response.status == 503
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert text == "thread probe has stood still for 12 s\nthread watch has stood still for 30 s\n"


def test_ready_says_ok_or_why_not(site: Site) -> None:
    assert site.get("/-/ready")[0].status == 200
    site.unready.append("the last good listing is 43 s old")
    response, text = site.get("/-/ready")
    assert (response.status, text) == (503, "the last good listing is 43 s old\n")
    assert site.get("/-/healthy")[0].status == 200


def test_a_reload_says_what_came_of_it(site: Site) -> None:
    for method in ("POST", "PUT"):
        response, text = site.get("/-/reload", method)
        assert (response.status, text) == (200, "configuration reloaded\n")
    site.broken = "podpulse.yaml: listen: expected HOST:PORT"
    response, text = site.get("/-/reload", "POST")
    assert response.status == 500
    assert text == "the configuration before stays in force: podpulse.yaml: listen: expected HOST:PORT\n"
    assert site.get("/-/reload")[0].status == 405


def test_a_notice_stands_on_the_page_and_makes_nobody_unready(site: Site) -> None:
    site.noticed = ["a new value waits for a restart: listen"]
    assert "a new value waits for a restart: listen" in site.get("/")[1]
    assert site.get("/-/ready")[0].status == site.get("/-/healthy")[0].status == 200


def test_other_paths_and_methods_are_refused(site: Site) -> None:
    assert site.get("/etc")[0].status == 404
    assert site.get("/", "POST")[0].status == 405
    assert site.get("/metrics", "DELETE")[0].status == 405


def test_a_head_request_gets_the_headers_alone(site: Site) -> None:
    response, text = site.get("/", "HEAD")
    assert (response.status, text) == (200, "")


def test_the_worst_pods_come_first_then_by_name(site: Site) -> None:
    site.follow("b", "a", "sick", "new", "ill")
    site.passes("b", "a")
    site.fails("sick")
    site.fails("ill")
    assert pods(site.get("/")[1]) == ["ill", "sick", "new", "a", "b"]


def test_a_row_says_since_when_why_and_what_was_answered(site: Site) -> None:
    site.follow("isup")
    site.fails("isup", "answered 503 Service Unavailable", "db is down\nqueue is full")
    html = site.get("/")[1]
    page = Page(html)
    assert "answered 503 Service Unavailable" in html
    assert page.text("pre") == ["db is down\nqueue is full"]
    assert "status" in page.text("b")
    assert page.text("time") == ["5 s", "5 s"]
    assert ("time", {"title": moment(NOW - 5)}) in page.tags
    assert '<td class="time took">250 ms</td>' in html


def test_evidence_that_is_not_yet_enough_is_shown(site: Site) -> None:
    site.follow("a", "b", failure_threshold=3, success_threshold=2)
    site.passes("a", "a")
    site.fails("a")
    site.passes("b")
    assert Page(site.get("/")[1]).text("small") == ["1 of 2 successes", "1 of 3 misses"]


def test_totals_are_of_all_pods_and_lead_to_the_pods_of_one_state(site: Site) -> None:
    site.follow("a", "b", "c")
    site.passes("a", "b")
    site.fails("c")
    html = site.get("/?state=passing")[1]
    assert pods(html) == ["a", "b"]
    totals = dict(re.findall(r'href="\?state=(\w+)"[^>]*><b>(\d+)</b>', html))
    assert totals == {"critical": "1", "unknown": "0", "warning": "0", "passing": "2"}
    assert "<b>3</b>pods" in html
    assert pods(site.get("/?state=nonsense")[1]) == ["c", "a", "b"]


def test_the_title_tells_the_worst(site: Site) -> None:
    site.follow("a", "b")
    assert Page(site.get("/")[1]).text("title") == [f"2 unknown · {NODE} · Podpulse"]
    site.fails("b")
    assert Page(site.get("/")[1]).text("title") == [f"1 critical · {NODE} · Podpulse"]


def test_invalid_manifests_are_listed_with_what_is_wrong(site: Site) -> None:
    site.schedule(1, good=b"id: good\nstatus_port: 80\n")
    site.schedule(2, good=b"id: good\nstatus_port: 010\n", bad=b"id: bad\nstatus_port: [1]\n")
    html = site.get("/")[1]
    errors = Page(html).text("bdi")
    assert len(errors) == 2
    assert all(error.startswith("status_port: ") for error in errors)
    assert html.count("its last good version stays in force") == 1
    assert html.count("nothing is checked") == 1


def test_pods_without_a_worker_and_without_a_check_are_not_left_out(site: Site) -> None:
    site.schedule(1, waiting=b"id: waiting\nstatus_port: 80\n", cron=b"id: cron\n")
    html = site.get("/")[1]
    assert pods(html) == ["waiting"]
    assert "no probe worker runs yet" in html
    assert "cron" in html


def test_a_paused_pod_is_shown_as_paused(site: Site) -> None:
    paused = b"id: batch\nstatus_port: 80\nstatus: {paused: true}\n"
    site.schedule(1, batch=paused, cron=b"id: cron\n", isup=b"id: isup\nstatus_port: 80\n")
    html = site.get("/")[1]
    assert pods(html) == ["isup"]
    assert '<span class="quiet">batch (paused), cron</span>' in html


def test_an_empty_node_has_a_page_too(site: Site) -> None:
    assert "No pod asks for a check yet." in site.get("/")[1]
    assert "No pod is in the state warning." in site.get("/?state=warning")[1]


def test_complaints_of_the_controller_stand_on_the_page_once(site: Site) -> None:
    site.unhealthy.append("thread probe has stood still for 12 s")
    site.unready += ["thread probe has stood still for 12 s", "the session is lost"]
    assert Page(site.get("/")[1]).text("li") == ["thread probe has stood still for 12 s", "the session is lost"]


def test_what_a_pod_sends_stays_text(site: Site) -> None:
    site.follow("evil", "sly")
    site.fails("evil", HOSTILE, HOSTILE)
    site.passes("sly", output=HOSTILE)
    site.schedule(1, torn=f"id: torn\nstatus_port: {HOSTILE[:70]!r}\n".encode())
    site.unready.append(HOSTILE)
    html = site.get("/")[1]
    page = Page(html)
    assert {"torn", "evil", "sly"} <= {*page.text("b"), *page.text("th")}
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert page.text("pre")[0].startswith("<script>alert('1')</script>\"'><img src=x onerror=alert(2)>{{ 7 * 7 }}")


def test_the_policy_lets_the_page_run_and_load_nothing_and_its_own_style_through(site: Site) -> None:
    response, html = site.get("/")
    policy = dict(part.strip().split(" ", 1) for part in response.headers["Content-Security-Policy"].split(";"))
    [style] = re.findall("<style>(.*)</style>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy["default-src"] == "'none'"
    assert policy["style-src"] == f"'sha256-{digest}'"
    assert policy["frame-ancestors"] == "'none'"
    assert "style=" not in html.replace(style, "")
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', html)
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-store"


def test_long_answers_are_cut(site: Site) -> None:
    site.follow("a", "b")
    site.passes("a", output="y" * 4_096)
    site.fails("b", output="z" * 4_096)
    critical, passing = Page(site.get("/")[1]).text("pre")
    assert (len(critical), len(passing)) == (1_000, 120)


def test_a_page_of_very_many_pods_is_made_in_little_time_and_refreshed_less_often(site: Site) -> None:
    names = [f"checkout-service-{number:05d}" for number in range(10_000)]
    site.follow(*names)
    site.passes(*names, output="isup\nPATH=/usr/bin\n" * 10)
    started = time.process_time()
    html = site.get("/")[1]
    took = time.process_time() - started
    assert html.count("<tr class=") == 10_000
    assert '<meta http-equiv="refresh" content="30">' in html
    assert took < 2.0  # seconds of CPU; usually 0.17
    assert '<meta http-equiv="refresh" content="5">' in site.get("/?state=critical")[1]


def test_the_shares_of_the_bar_fill_it() -> None:
    site = Site()
    site.follow("a", "b", "c")
    site.passes("a", "b")
    shares = overview(site.healths.all(), {}).shares
    assert sum(share.width for share in shares) == pytest.approx(100)
    assert shares[-1].start + shares[-1].width == pytest.approx(100)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (-3, "0 s"),
        (0.9, "0 s"),
        (119.9, "119 s"),
        (120, "2 min"),
        (7_199, "119 min"),
        (7_200, "2 h"),
        (172_799, "47 h"),
        (172_800, "2 d"),
        (1e7, "115 d"),
    ],
)
def test_ages_are_told_in_one_unit(seconds: float, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 ms"), (0.0042, "4 ms"), (0.25, "250 ms"), (2.5, "2 s")])
def test_durations_are_told_in_milliseconds_or_seconds(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_a_port_in_use_is_an_error_at_start(site: Site) -> None:
    second = WebServer(site.web.app, "127.0.0.1", site.server.port)
    with pytest.raises(ListenError, match=rf"cannot listen on 127\.0\.0\.1 port {site.server.port}: .*in use"):
        second.start()
    second.stop()


def test_an_address_that_is_not_ours_is_an_error_at_start(site: Site) -> None:
    with pytest.raises(ListenError, match=r"cannot listen on 192\.0\.2\.1"):
        WebServer(site.web.app, "192.0.2.1", 0).start()


def test_it_listens_on_ipv6_too(site: Site) -> None:
    server = WebServer(site.web.app, "::1", 0)
    try:
        server.start()
    except ListenError:
        pytest.skip("no IPv6 here")
    connection = http.client.HTTPConnection("::1", server.port, timeout=10)
    connection.request("GET", "/-/healthy")
    assert connection.getresponse().status == 200
    connection.close()
    server.stop()


def test_the_server_runs_in_a_thread_named_web() -> None:
    site = Site()
    site.server.start()
    assert [thread.name for thread in threading.enumerate() if thread.name == "web"] == ["web"]
    site.server.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "web"]


def test_it_stops_soon_although_connections_are_open_and_frees_its_port() -> None:
    site = Site()
    site.follow(*(f"pod-{number}" for number in range(10_000)))
    site.server.start()
    idle = socket.create_connection(("127.0.0.1", site.server.port))
    kept = http.client.HTTPConnection("127.0.0.1", site.server.port, timeout=10)
    kept.request("GET", "/-/healthy")
    kept.getresponse().read()
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    deaf.connect(("127.0.0.1", site.server.port))
    deaf.sendall(b"GET /metrics HTTP/1.1\r\nHost: web1\r\n\r\n")
    deaf.settimeout(10)
    assert deaf.recv(12) == b"HTTP/1.1 200"
    started = time.monotonic()
    site.server.stop(timeout=15.0)
    assert time.monotonic() - started < 12  # usually 1.3: the grace for the one that does not read
    assert not [thread for thread in threading.enumerate() if thread.name == "web"]
    again = WebServer(site.web.app, "127.0.0.1", site.server.port)
    again.start()
    again.stop()
    for connection in (idle, kept, deaf):
        connection.close()


def test_stopping_before_the_start_does_nothing() -> None:
    Site().server.stop()
