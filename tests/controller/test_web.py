"""The web server and its answers to programs, over real connections."""

import asyncio
import gzip
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from controller.web.chunks import SENT_AT_ONCE, in_chunks
from controller.web.server import ListenError, WebServer
from tests.support.net import until
from tests.support.site import NODE, Site


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


def test_metrics_are_served_as_prometheus_reads_them(site: Site) -> None:
    site.follow("isup")
    response, text = site.get("/metrics")
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert f'podpulse_health{{node="{NODE}",pod="isup",state="unknown"}} 1\n' in text
    assert "podpulse_build_info{" in text


def test_openmetrics_is_served_to_clients_that_accept_it(site: Site) -> None:
    site.follow("isup")
    response, body = site.ask("/metrics", accept="application/openmetrics-text;version=1.0.0,*/*;q=0.1")
    assert response.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert response.headers["Vary"] == "Accept, Accept-Encoding"
    assert body.endswith(b"# EOF\n")
    response, body = site.ask("/metrics", accept="*/*")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b"# EOF" not in body


def test_a_scrape_is_compressed_for_clients_that_accept_it_and_has_the_same_content(site: Site) -> None:
    site.follow(*(f"pod-{number}" for number in range(600)))
    response, packed = site.ask("/metrics", accept_encoding="gzip")
    assert response.headers["Content-Encoding"] == "gzip"
    plain_response, plain = site.ask("/metrics", accept_encoding="gzip;q=0")
    assert "Content-Encoding" not in plain_response.headers
    assert len(packed) < len(plain) / 10
    theirs, ours = (text.partition(b"# HELP process_")[0] for text in (gzip.decompress(packed), plain))
    assert theirs == ours


def test_healthy_answers_ok_or_names_the_threads_that_stand_still(site: Site) -> None:
    response, text = site.get("/-/healthy")
    assert (response.status, text) == (200, "ok\n")
    site.unhealthy += ["thread probe has stood still for 12 s", "thread watch has stood still for 30 s"]
    response, text = site.get("/-/healthy")
    assert response.status == 503
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert text == "thread probe has stood still for 12 s\nthread watch has stood still for 30 s\n"


def test_ready_answers_ok_or_the_reason(site: Site) -> None:
    assert site.get("/-/ready")[0].status == 200
    site.unready.append("the last good listing is 43 s old")
    response, text = site.get("/-/ready")
    assert (response.status, text) == (503, "the last good listing is 43 s old\n")
    assert site.get("/-/healthy")[0].status == 200


def test_a_reload_answers_with_its_result(site: Site) -> None:
    for method in ("POST", "PUT"):
        response, text = site.get("/-/reload", method)
        assert (response.status, text) == (200, "configuration reloaded\n")
    site.broken = "podpulse.yaml: listen: expected HOST:PORT"
    response, text = site.get("/-/reload", "POST")
    assert response.status == 500
    assert text == "the previous configuration stays in force: podpulse.yaml: listen: expected HOST:PORT\n"
    assert site.get("/-/reload")[0].status == 405


def test_a_reload_that_a_browser_sends_for_another_site_is_refused(site: Site) -> None:
    site.broken = "no reload is expected"
    for origin in ("https://elsewhere.example", "null"):
        response, text = site.get("/-/reload", "POST", Origin=origin)
        assert (response.status, text.partition(":")[0]) == (403, "a browser sent this request")


def faults_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The logged exceptions, and everything that uvicorn logged."""
    logged = [each for each in caplog.records if each.exc_info or each.name.startswith("uvicorn")]
    return [each.getMessage() for each in logged]


def test_a_fault_in_a_handler_costs_one_request_and_is_counted_and_logged_once(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.follow("isup")
    assert site.faults.counts() == {"web": 0}
    site.flapping = None  # type: ignore[assignment]
    for path in ("/", "/api/v1/pods", "/", "/"):
        response, text = site.get(path)
        assert (response.status, "Internal Server Error" in text, "Traceback" in text) == (500, True, False)
    assert site.faults.counts() == {"web": 4}
    assert faults_in(caplog) == [
        "requests of /: unexpected exception; everything else goes on",
        "requests of /api/v1/pods: unexpected exception; everything else goes on",
    ]
    site.flapping = {}
    assert site.get("/")[0].status == 200


def test_a_fault_while_a_response_is_sent_ends_the_connection_and_is_logged_once(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.follow(*(f"pod-{number}" for number in range(300)))
    site.flapping = None  # type: ignore[assignment]
    for _ in range(3):
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            site.get("/metrics")
    until(lambda: site.faults.counts() == {"web": 3}, 10.0, "every fault to be counted")
    site.flapping = {}
    assert site.get("/metrics")[0].status == 200
    assert faults_in(caplog) == ["requests of /metrics: unexpected exception; everything else goes on"]


class Patient(Site):
    """Reloads only after `may_go_on` is set. `most` is the highest number of reloads at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go_on = threading.Event()
        self.begun = self.now = self.most = 0

    def reload(self) -> str:
        self.begun += 1
        self.now += 1
        self.most = max(self.most, self.now)
        assert self.may_go_on.wait(30)
        self.now -= 1
        return super().reload()


def test_reloads_run_one_at_a_time() -> None:
    with Patient() as site, ThreadPoolExecutor(10) as pool:
        answers = [pool.submit(site.get, "/-/reload", "POST") for _ in range(10)]
        until(lambda: site.begun, what="the first has begun")
        for _ in range(20):
            assert site.get("/-/healthy")[0].status == 200
        site.may_go_on.set()
        assert {each.result()[0].status for each in answers} == {200, 503}
        assert site.most == 1


def test_a_reload_that_would_wait_for_more_than_one_other_is_refused_with_retry_after() -> None:
    with Patient() as site, ThreadPoolExecutor(10) as pool:
        answers = [pool.submit(site.get, "/-/reload", "POST") for _ in range(10)]
        until(lambda: sum(each.done() for each in answers) == 8, what="eight were refused")
        assert {each.result()[0].status for each in answers if each.done()} == {503}
        assert all(each.result()[0].headers["Retry-After"] == "1" for each in answers if each.done())
        site.may_go_on.set()
        assert [each.result()[0].status for each in answers].count(200) == site.begun == 2


def test_a_reload_waits_for_its_body_and_refuses_a_long_one(site: Site) -> None:
    site.broken = "the body is incomplete"
    with socket.create_connection(("127.0.0.1", site.server.port), timeout=10) as client:
        client.sendall(b"POST /-/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{")
        assert site.get("/-/healthy")[0].status == 200
        site.broken = ""
        client.sendall(b"}")
        assert client.recv(100).startswith(b"HTTP/1.1 200 ")
    with socket.create_connection(("127.0.0.1", site.server.port), timeout=10) as client:
        client.sendall(b"POST /-/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000\r\n\r\n" + bytes(9000))
        assert client.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_notice_is_shown_on_the_page_and_does_not_affect_readiness(site: Site) -> None:
    site.noticed = ["new values need a restart: listen"]
    assert "new values need a restart: listen" in site.get("/")[1]
    assert site.get("/-/ready")[0].status == site.get("/-/healthy")[0].status == 200


def test_other_paths_and_methods_are_refused(site: Site) -> None:
    assert site.get("/etc")[0].status == 404


@pytest.mark.parametrize(
    ("path", "method", "allowed"),
    [
        ("/", "POST", {"GET", "HEAD"}),
        ("/metrics", "DELETE", {"GET", "HEAD"}),
        ("/-/reload", "GET", {"POST", "PUT"}),
        ("/api/v1/pods", "PUT", {"GET", "HEAD"}),
        ("/api/v1/events", "POST", {"GET", "HEAD"}),
    ],
)
def test_the_answer_to_a_refused_method_names_the_allowed_methods(
    site: Site, path: str, method: str, allowed: set[str]
) -> None:
    response, _ = site.get(path, method)
    assert response.status == 405
    assert set(response.headers["Allow"].split(", ")) == allowed


def test_control_characters_in_a_complaint_are_escaped(site: Site) -> None:
    for complaints in (site.unhealthy, site.unready):
        complaints.append("\x1b[2J\u009b31m\u202e grün")
    for path in ("/-/healthy", "/-/ready"):
        assert site.get(path)[1] == "\\x1b[2J\\x9b31m\\u202e grün\n"


def test_the_answer_to_a_head_request_has_no_body(site: Site) -> None:
    response, text = site.get("/", "HEAD")
    assert (response.status, text) == (200, "")


def test_a_port_in_use_is_an_error_at_start(site: Site) -> None:
    second = WebServer(site.web.app, "127.0.0.1", site.server.port)
    with pytest.raises(
        ListenError,
        match=rf"cannot listen on 127\.0\.0\.1 port {site.server.port}: Address already in use; .*--listen$",
    ):
        second.start()
    second.stop()


def test_an_address_of_another_machine_is_an_error_at_start(site: Site) -> None:
    with pytest.raises(ListenError, match=r"cannot listen on 192\.0\.2\.1"):
        WebServer(site.web.app, "192.0.2.1", 0).start()


def test_the_server_listens_on_ipv6_too(site: Site) -> None:
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


def test_the_server_stops_soon_with_open_connections_and_frees_its_port() -> None:
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
    deaf.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    deaf.settimeout(10)
    assert deaf.recv(12) == b"HTTP/1.1 200"
    started = time.monotonic()
    site.server.stop(timeout=15.0)
    assert time.monotonic() - started < 12  # usually 1.3: the grace for the client that does not read
    assert not [thread for thread in threading.enumerate() if thread.name == "web"]
    again = WebServer(site.web.app, "127.0.0.1", site.server.port)
    again.start()
    again.stop()
    for connection in (idle, kept, deaf):
        connection.close()


def test_stopping_before_the_start_does_nothing() -> None:
    Site().server.stop()


def test_other_answers_are_made_between_two_chunks_of_a_long_answer() -> None:
    order: list[str] = []

    async def make(name: str) -> None:
        pieces = in_chunks([b"x" * SENT_AT_ONCE] * 3)
        while await anext(pieces, None):
            order.append(name)

    async def make_both() -> None:
        await asyncio.gather(make("scrape"), make("page"))

    asyncio.run(make_both())
    assert order == ["scrape", "page"] * 3
