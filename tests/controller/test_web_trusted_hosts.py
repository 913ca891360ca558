"""The checks of the host, the form and the framing of requests, over real connections."""

import base64
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from controller.config.web_access import WebAccess
from controller.web.server import WebServer
from controller.web.trusted_hosts import is_from_here
from tests.support.site import NODE, Site

HASH = bcrypt.hashpw(b"s3cret", bcrypt.gensalt(4)).decode()
ALICE = base64.b64encode(b"alice:s3cret").decode()
ASKED = "GET {} HTTP/1.1\nHost: localhost\n{}Connection: close\n\n"


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


def said(server: WebServer, request: str, address: str = "127.0.0.1") -> tuple[int, str]:
    """Returns the status of the answer, and the whole answer until the connection ends."""
    with socket.create_connection((address, server.port), timeout=10) as client:
        client.sendall(request.replace("\n", "\r\n").encode())
        answer = b""
        while data := client.recv(65_536):
            answer += data
    return int(answer.split()[1]), answer.decode()


def status_for(server: WebServer, host: str, address: str = "127.0.0.1") -> int:
    return said(server, f"GET /-/healthy HTTP/1.1\nHost: {host}\nConnection: close\n\n", address)[0]


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "localhost:9815", "LOCALHOST.", "demo.localhost", "127.0.0.1:1", "[::1]:9815", "10.1.2.3"),
        *(NODE, f"{NODE}:9815", NODE.partition(".")[0], socket.gethostname(), ""),
    ],
)
def test_a_request_for_a_name_of_this_machine_is_answered(host: str) -> None:
    with Site(names=[NODE]) as site:
        assert status_for(site.server, host) == 200


@pytest.mark.parametrize("there", [True, False])
def test_a_request_for_the_full_name_in_the_hosts_file_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    hosts, name = tmp_path / "hosts", socket.gethostname()
    monkeypatch.setattr("controller.web.trusted_hosts.HOSTS", hosts)
    if there:
        hosts.write_text(
            f"127.0.0.1 localhost\n127.0.1.1\t{name}.corp.example {name} # self.example\n10.0.0.9 db.example\n"
        )
    with Site() as site:
        assert status_for(site.server, f"{name}.corp.example:9815") == (200 if there else 421)
        assert status_for(site.server, name) == 200
        for other in ("db.example", "self.example"):
            assert status_for(site.server, other) == 421


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9815", "localhost.evil.example", "127.0.0.1.evil.org"])
def test_a_request_for_the_name_of_another_site_is_refused(site: Site, host: str) -> None:
    for path in ("/", "/metrics", "/api/v1/pods", "/-/ready", "/nowhere"):
        status, answer = said(site.server, f"GET {path} HTTP/1.1\nHost: {host}\nConnection: close\n\n")
        assert status == 421
        assert answer.endswith("add the name to allowed_hosts in the configuration and restart\n")


@pytest.mark.parametrize(
    ("allowed", "host", "status"),
    [
        ("pods.example.com", "pods.example.com:443", 200),
        ("pods.example.com", "other.example.com", 421),
        (".example.com", "other.example.com", 200),
        (".example.com", "evilexample.com", 421),
        ("*", "anything.example", 200),
    ],
)
def test_names_that_the_configuration_allows_are_answered(allowed: str, host: str, status: int) -> None:
    with Site(allowed_hosts=[allowed]) as site:
        assert status_for(site.server, host) == status


def test_a_server_for_other_machines_checks_the_host_only_if_names_are_configured() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        route.connect(("192.0.2.1", 9))
        outward = route.getsockname()[0]
    with Site(host="0.0.0.0") as site:
        assert status_for(site.server, "scraped.example", outward) == 200
        assert status_for(site.server, "evil.example") == 421
    with Site(host="0.0.0.0", allowed_hosts=["scraped.example"]) as site:
        assert status_for(site.server, "scraped.example", outward) == 200
        assert status_for(site.server, "evil.example", outward) == 421


def test_a_request_from_this_machine_learns_the_health_without_a_password_and_no_more() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        route.connect(("192.0.2.1", 9))
        outward = route.getsockname()[0]
    with Site(host="0.0.0.0", access=WebAccess(basic_auth_users={"alice": HASH})) as site:
        for address in ("127.0.0.1", outward):
            assert said(site.server, ASKED.format("/-/healthy", ""), address)[1].endswith("\nok\n")
        site.unhealthy.append("thread probe has stood still for 12 s")
        status, answer = said(site.server, ASKED.format("/-/healthy", ""))
        assert (status, answer.rpartition("\r\n\r\n")[2]) == (503, "unhealthy\n")
        status, answer = said(site.server, ASKED.format("/-/healthy", f"Authorization: Basic {ALICE}\n"))
        assert (status, answer.rpartition("\r\n\r\n")[2]) == (503, "thread probe has stood still for 12 s\n")
        assert said(site.server, ASKED.format("/-/healthy", "Authorization: Basic eDp5\n"))[0] == 401
        for path in ("/", "/metrics", "/-/ready", "/-/healthy/", "/-/reload", "http://localhost/metrics"):
            assert said(site.server, ASKED.format(path, ""))[0] == 401
        for method in ("POST", "OPTIONS", "DELETE"):
            assert said(site.server, ASKED.format("/-/healthy", "").replace("GET", method))[0] == 401


def test_a_request_for_the_health_from_another_machine_needs_a_password() -> None:
    scope = {"type": "http", "client": ("10.0.0.2", 40_000), "server": ("10.0.0.1", 9815)}
    assert not is_from_here(scope)
    assert is_from_here(scope | {"client": ("10.0.0.1", 40_000)})
    assert is_from_here(scope | {"client": ("::ffff:127.0.0.1", 40_000)})
    assert not is_from_here({"type": "http"})


def test_a_request_in_absolute_form_is_answered(site: Site) -> None:
    for target in ("http://localhost:9815/-/healthy", "HTTPS://127.0.0.1/-/healthy?x=1"):
        assert said(site.server, f"GET {target} HTTP/1.1\nHost: evil.example\nConnection: close\n\n")[0] == 200
    status, _ = said(site.server, "GET http://evil.example/ HTTP/1.1\nHost: localhost\nConnection: close\n\n")
    assert status == 421
    status, answer = said(site.server, "GET http://localhost HTTP/1.1\nHost: localhost\nConnection: close\n\n")
    assert (status, "<title>" in answer) == (200, True)


def test_a_request_with_two_lengths_ends_the_connection(site: Site) -> None:
    twice = "Content-Length: 5\nTransfer-Encoding: chunked\n"
    smuggled = "GET /metrics HTTP/1.1\nHost: localhost\n\n"
    status, answer = said(site.server, f"POST /-/reload HTTP/1.1\nHost: localhost\n{twice}\n0\n\n{smuggled}")
    assert status == 400
    assert len(re.findall(r"HTTP/1\.1 \d\d\d", answer)) == 1
    assert "connection: close" in answer.lower()
