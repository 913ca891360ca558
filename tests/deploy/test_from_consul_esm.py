"""Manifests made of consul-esm's checks ask for the same, and say what they cannot ask for."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconcilers.manifest import parse
from reconcilers.options import Rules
from reconcilers.spec import HttpGet, PodKey, TcpConnect

SCRIPT = Path(__file__).parents[2] / "deploy" / "from_consul_esm.py"
RULES = Rules(allow_headers=True)


def check(check_id: str = "service:web", node: str = "printer1", **definition: Any) -> dict[str, Any]:
    """One of the answer's of /v1/health/state."""
    return {"Node": node, "CheckID": check_id, "Name": "", "Status": "passing", "Definition": definition}


def convert(folder: Path, *checks: Mapping[str, Any]) -> tuple[int, str]:
    """The exit code, and what was said."""
    command = [sys.executable, str(SCRIPT), str(folder)]
    done = subprocess.run(command, input=json.dumps(checks), capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def manifests(folder: Path) -> dict[str, dict[str, Any]]:
    return {f"{file.parent.name}/{file.stem}": yaml.safe_load(file.read_text()) for file in folder.glob("*/*.yaml")}


def test_an_http_check_becomes_one_of_ours(tmp_path: Path) -> None:
    definition = {"HTTP": "http://localhost:8000/health", "Interval": "1m0s", "Timeout": "5s", "Method": "HEAD"}
    assert convert(tmp_path, check(**definition))[0] == 0
    (file,) = tmp_path.glob("*/*.yaml")
    spec = parse(PodKey("printer1", "web"), file.read_bytes(), RULES).check
    assert spec is not None
    assert isinstance(spec.probe, HttpGet)
    assert (spec.probe.port, spec.probe.path, spec.probe.method, spec.interval, spec.timeout) == (
        8000,
        "/health",
        "HEAD",
        60,
        5,
    )
    assert spec.probe.expect_status == ((200, 299),)


def test_a_tcp_check_becomes_one_of_ours_with_consul_esms_interval(tmp_path: Path) -> None:
    assert convert(tmp_path, check("db", TCP="db.example.com:5432"))[0] == 0
    (file,) = tmp_path.glob("*/*.yaml")
    spec = parse(PodKey("printer1", "db"), file.read_bytes(), RULES).check
    assert spec is not None
    assert isinstance(spec.probe, TcpConnect)
    assert (spec.probe.port, spec.interval) == (5432, 30)


def test_an_escaped_path_and_its_query_stay_the_same(tmp_path: Path) -> None:
    assert convert(tmp_path, check(HTTP="http://web/a%20b/%C3%BC/a%2Fb/?full=1#top"))[0] == 0
    (file,) = tmp_path.glob("*/*.yaml")
    spec = parse(PodKey("printer1", "web"), file.read_bytes(), RULES).check
    assert spec is not None
    assert spec.probe.url == "http://printer1:80/a%20b/%C3%BC/a%2Fb/?full=1"


@pytest.mark.parametrize(
    ("definition", "tls"),
    [
        ({"HTTP": "https://shop.example.com/"}, {"server_name": "shop.example.com"}),
        ({"HTTP": "https://10.0.0.1:8443/"}, None),
        ({"HTTP": "https://10.0.0.1/", "TLSSkipVerify": True}, {"insecure_skip_verify": True}),
        ({"HTTP": "https://10.0.0.1/", "TLSServerName": "shop"}, {"server_name": "shop"}),
    ],
)
def test_tls_is_for_the_same_name(tmp_path: Path, definition: Mapping[str, Any], tls: Mapping[str, Any] | None) -> None:
    convert(tmp_path, check(**definition))
    (manifest,) = manifests(tmp_path).values()
    assert manifest["status"].get("tls") == tls
    assert manifest["status_port"] == (8443 if "8443" in definition["HTTP"] else 443)
    assert "status_http" not in manifest


def test_headers_are_kept_but_for_those_that_consul_adds(tmp_path: Path) -> None:
    headers = {"X-Key": ["a", "b"], "User-Agent": ["Consul Health Check"], "Accept": ["text/plain"]}
    code, said = convert(tmp_path, check(HTTP="http://web/", Header=headers))
    assert manifests(tmp_path)["printer1/web"]["status"]["headers"] == {"X-Key": "a, b"}
    assert (code, "allow_headers" in said) == (0, True)


@pytest.mark.parametrize(
    ("left_out", "why"),
    [
        (check(HTTP="http://web/", Method="POST"), "GET or HEAD"),
        (check(HTTP="ftp://web/"), "neither http nor https"),
        (check(HTTP="http://web:99999/"), "Port out of range"),
        (check(HTTP="http://web:0/"), "a port from 1 to 65535"),
        (check(HTTP="http://me:pw@web/"), "sends no user and password"),
        (check(HTTP="http://web/health/"), "asks for /health, not for /health/"),
        (check(HTTP="http://web//health"), "not for //health"),
        (check(TCP="web"), "expected host:port"),
        (check(TCP="web:0"), "a port from 1 to 65535"),
        (check(TCP="web:123456"), "expected host:port"),
        (check(), "neither an HTTP nor a TCP check"),
        (check("service::", HTTP="http://web/"), "cannot be the name of a pod"),
        (check(node="../up", HTTP="http://web/"), "cannot be the name of a node"),
    ],
)
def test_what_no_manifest_can_say_is_left_out_and_said(tmp_path: Path, left_out: Mapping[str, Any], why: str) -> None:
    code, said = convert(tmp_path, left_out, check("other", TCP="web:1"))
    assert (code, list(manifests(tmp_path))) == (1, ["printer1/other"])
    assert said.startswith("left out: ")
    assert why in said


def test_two_checks_of_one_name_are_not_one(tmp_path: Path) -> None:
    code, said = convert(tmp_path, check("service:web", TCP="web:1"), check("web", TCP="web:2"))
    assert (code, "another check of this node is called web" in said) == (1, True)
    assert manifests(tmp_path)["printer1/web"]["status_port"] == 1


def test_pings_and_deregistration_are_noted_only(tmp_path: Path) -> None:
    ping = check("externalNodeHealth")
    code, said = convert(tmp_path, ping, check(TCP="web:1", DeregisterCriticalServiceAfter="1h"))
    assert (code, said.count("note: ")) == (0, 2)
