"""What `status.path` of a manifest becomes in the request line that a target reads."""

import json

import pytest

from reconcilers.manifest import parse
from reconcilers.options import Rules
from reconcilers.spec import CheckSpec, PodKey
from tests.support.checks import probe_all
from tests.support.probing import Bench
from tests.support.targets import Target

REQUESTED = {
    "/status?full=1": "/status?full=1",
    "/a%20b": "/a%20b",
    "/a%2Fb": "/a%2Fb",
    "/a%2fb/../c": "/c",
    "/_status#top?no": "/_status",
    "?full": "/?full",
    "/a/?b=c": "/a/?b=c",
    "/a/#b": "/a/",
    "//a//b/": "/a/b",
    "/a?next=//b/../c/": "/a?next=//b/../c/",
    "/a b?ü=[1] 2": "/a%20b?%C3%BC=%5B1%5D%202",
    "/100%": "/100%25",
    "/%2e%2e/a": "/%2e%2e/a",
    "/a/..;/b": "/a/..;/b",
}
ELSEWHERE = [
    "@evil.example.com/",
    "//evil.example.com/x",
    "http://evil.example.com/x",
    "/\\evil.example.com",
    "?@evil.example.com",
    "#@evil.example.com",
    "/..//evil.example.com",
    ":80@evil.example.com",
]


@pytest.mark.parametrize("tls", [{}, {"server_name": "localhost"}], ids=["plain", "tls"])
def test_a_path_is_asked_for_as_it_is_written(
    bench: Bench, target: Target, secure: Target, tls: dict[str, str]
) -> None:
    asked = secure if tls else target
    probe_all(bench, [check(asked, f"p{place}", path, tls) for place, path in enumerate(REQUESTED)])
    assert sorted(hit.path for hit in asked.hits()) == sorted(REQUESTED.values())


def test_no_path_asks_another_host(bench: Bench, target: Target) -> None:
    specs = [check(target, f"p{place}", path, {}) for place, path in enumerate(ELSEWHERE)]
    assert all(result.status_code == 200 for result in probe_all(bench, specs).values())
    assert {hit.headers["host"] for hit in target.hits()} == {f"localhost:{target.port}"}
    assert len(target.hits()) == len(ELSEWHERE)


def check(target: Target, pod: str, path: str, tls: dict[str, str]) -> CheckSpec:
    status = {"path": path, "localhost_only": True, "http": not tls, "interval": "10s"} | ({"tls": tls} if tls else {})
    manifest = {"id": pod, "status_port": target.port, "status": status}
    spec = parse(PodKey("web1", pod), json.dumps(manifest).encode(), Rules()).check
    assert spec
    return spec
