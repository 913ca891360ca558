"""Manifests made from consul-esm's checks ask for the same. What they cannot ask for is reported."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.from_consul_esm import main
from reconcilers.manifest import parse
from reconcilers.options import Rules
from reconcilers.spec import HttpGet, PodKey, TcpConnect
from tests.support.cli import run

SCRIPT = Path(__file__).parents[2] / "deploy" / "from_consul_esm.py"
RULES = Rules(allow_headers=True)


def check(check_id: str = "service:web", node: str = "printer1", **definition: Any) -> dict[str, Any]:
    """Returns a check as in the answer of /v1/health/state."""
    return {"Node": node, "CheckID": check_id, "Name": "", "Status": "passing", "Definition": definition}


def convert(folder: Path, *checks: Mapping[str, Any], options: Sequence[str] = ()) -> tuple[int, str]:
    """Returns the exit code and the output."""
    before, sys.stdin = sys.stdin, TextIOWrapper(BytesIO(json.dumps(checks).encode()))
    try:
        with redirect_stderr(StringIO()) as said:
            code = main([str(folder), *options])
    finally:
        sys.stdin = before
    return code, said.getvalue()


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
    headers = {"X-Key": ["a", "b"], "User-Agent": ["Consul Health Check"], "Accept": ["text/plain, text/*, */*"]}
    code, said = convert(tmp_path, check(HTTP="http://web/", Header=headers))
    assert manifests(tmp_path)["printer1/web"]["status"]["headers"] == {"X-Key": "a, b"}
    assert (code, "allow_headers" in said) == (0, True)
    own = {"User-Agent": ["curl"], "Accept": ["text/html"]}
    convert(tmp_path, check(HTTP="http://web/", Header=own))
    assert manifests(tmp_path)["printer1/web"]["status"]["headers"] == {"User-Agent": "curl", "Accept": "text/html"}


@pytest.mark.parametrize(
    ("left_out", "why"),
    [
        (check(HTTP="http://web/", Method="PATCH"), "status.method: expected 'GET', 'HEAD'"),
        (check(HTTP="ftp://web/"), "neither http nor https"),
        (check(HTTP="http://web:99999/"), "Port out of range"),
        (check(HTTP="http://web:0/"), "a port from 1 to 65535"),
        (check(HTTP="http://me:pw@web/"), "takes user and password from files"),
        (check(HTTP="http://web/health/"), "asks for /health, not for /health/"),
        (check(HTTP="http://web//health"), "not for //health"),
        (check(TCP="web"), "expected host:port"),
        (check(TCP="web:0"), "a port from 1 to 65535"),
        (check(TCP="web:123456"), "expected host:port"),
        (check(), "neither an HTTP nor a TCP check"),
        (check("service::", HTTP="http://web/"), "cannot be the name of a pod"),
        (check(node="../up", HTTP="http://web/"), "cannot be the name of a node"),
        (check(HTTP="http://web/", Header={"Expect": ["x"]}), "status.headers: expected headers other than those of"),
        (check(HTTP="http://web/", Header={"X Y": ["a"]}), "status.headers: expected the name of a header"),
        (check(HTTP="http://web/", Interval="10s", Timeout="30s"), "status.timeout: expected at most the interval of"),
        (check(HTTP="http://web/", Timeout="31s"), "status.timeout: expected at most the interval of 30s, got 31s"),
        (check(HTTP="http://web/", Interval="24h0m0s"), "status.interval: expected a duration from 100ms to 1h"),
        (check(HTTP="http://web/", Interval="10ms"), "status.interval: expected a duration from 100ms to 1h"),
        (check(HTTP="https://web/", TLSServerName="*.web"), "status.tls.server_name: expected a host's name"),
        (check(HTTP=f"http://web/{'a' * 3000}"), "status.path: expected a path of at most 2048 characters"),
        (check(HTTP="http://web/a\tb"), "HTTP: expected a URL"),
        (check(HTTP="http://web/100%"), "HTTP: expected a URL"),
        (check(HTTP="http://web/", Body="{}"), "status.body: expected method POST or PUT"),
        (check(HTTP=5), "expected a definition in the format of Consul"),
        (check(HTTP="http://web/", Header=[1]), "expected a definition in the format of Consul"),
    ],
)
def test_what_no_manifest_can_say_is_left_out_and_said(tmp_path: Path, left_out: Mapping[str, Any], why: str) -> None:
    code, said = convert(tmp_path, left_out, check("other", TCP="web:1"))
    assert (code, list(manifests(tmp_path))) == (1, ["printer1/other"])
    assert said.startswith("left out: ")
    assert why in said


def test_the_request_is_the_same_where_the_operator_allows_it(tmp_path: Path) -> None:
    headers = {"Host": ["shop.example.com"], "Content-Type": ["application/json"]}
    code, said = convert(tmp_path, check(HTTP="http://web/", Method="POST", Body="{}", Header=headers))
    status = manifests(tmp_path)["printer1/web"]["status"]
    assert (status["method"], status["body"], status["headers"]["Host"]) == ("POST", "{}", "shop.example.com")
    assert (code, "POST among `allow_methods`" in said, "as Host" in said) == (0, True, False)


@pytest.mark.parametrize(
    ("definition", "tls"),
    [
        ({}, {"server_name": "db.example.com"}),
        ({"TLSServerName": "db", "TLSSkipVerify": True}, {"server_name": "db", "insecure_skip_verify": True}),
        ({"TCP": "10.0.0.1:5432"}, {}),
    ],
)
def test_a_tcp_check_uses_tls(tmp_path: Path, definition: Mapping[str, Any], tls: Mapping[str, Any]) -> None:
    assert convert(tmp_path, check(**{"TCP": "db.example.com:5432", "TCPUseTLS": True, **definition}))[0] == 0
    assert manifests(tmp_path)["printer1/web"]["status"]["tls"] == tls


def test_429_is_a_warning_as_it_is_for_consul_esm(tmp_path: Path) -> None:
    convert(tmp_path, check(HTTP="http://web/"))
    assert manifests(tmp_path)["printer1/web"]["status"]["warn_status"] == 429


def test_redirects_are_followed_on_request(tmp_path: Path) -> None:
    checks = (check("a", HTTP="http://web/"), check("b", HTTP="http://web/", Method="PUT"), check("c", TCP="web:1"))
    cases: tuple[tuple[list[str], list[int | None]], ...] = (
        ([], [None, None, None]),
        (["--follow-redirects"], [10, None, None]),
    )
    for options, expected in cases:
        assert convert(tmp_path, *checks, options=options)[0] == 0
        found = manifests(tmp_path)
        assert [found[f"printer1/{pod}"]["status"].get("follow_redirects") for pod in "abc"] == expected


def test_two_checks_of_one_name_are_not_one(tmp_path: Path) -> None:
    code, said = convert(tmp_path, check("service:web", TCP="web:1"), check("web", TCP="web:2"))
    assert (code, "another check of this node has the name web" in said) == (1, True)
    assert manifests(tmp_path)["printer1/web"]["status_port"] == 1


def test_pings_and_deregistration_are_noted_only(tmp_path: Path) -> None:
    ping = check("externalNodeHealth")
    code, said = convert(tmp_path, ping, check(TCP="web:1", DeregisterCriticalServiceAfter="1h"))
    assert (code, said.count("note: ")) == (0, 2)


def test_every_wrong_field_of_a_check_is_said(tmp_path: Path) -> None:
    code, said = convert(tmp_path, check(HTTP="http://web/", Interval="24h0m0s", Timeout="2h0m0s"))
    assert (code, manifests(tmp_path)) == (1, {})
    assert [line.split(": ")[2] for line in said.splitlines()] == ["status.interval", "status.timeout"]


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/\N{GRINNING FACE}", "/%F0%9F%98%80"),
        ("/%F0%9F%98%80", "/%F0%9F%98%80"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a%252Fb?x=%26#top", "/a%252Fb?x=%26"),
        ("/a b", "/a%20b"),
        ("/zust\N{LATIN SMALL LETTER A WITH DIAERESIS}nde", "/zust%C3%A4nde"),
        ("", "/"),
        ("?full", "/?full"),
    ],
)
def test_what_is_asked_for_is_what_consul_esm_asks_for(tmp_path: Path, path: str, asked: str) -> None:
    assert convert(tmp_path, check(HTTP=f"http://web:8000{path}"))[0] == 0
    (file,) = tmp_path.glob("*/*.yaml")
    spec = parse(PodKey("printer1", "web"), file.read_bytes(), RULES).check
    assert spec is not None
    assert spec.probe.url == f"http://printer1:8000{asked}"


@pytest.mark.parametrize(
    ("definition", "times"),
    [({}, (30, 10)), ({"Interval": "5s"}, (5, 5)), ({"Interval": "1m0s"}, (60, 10)), ({"Timeout": "20s"}, (30, 20))],
)
def test_a_check_without_timeout_has_consul_esms(
    tmp_path: Path, definition: Mapping[str, Any], times: tuple[int, int]
) -> None:
    convert(tmp_path, check(HTTP="http://web/", **definition))
    (file,) = tmp_path.glob("*/*.yaml")
    spec = parse(PodKey("printer1", "web"), file.read_bytes(), RULES).check
    assert spec is not None
    assert (spec.interval, spec.timeout) == times


def test_check_manifest_accepts_all_that_is_written(tmp_path: Path) -> None:
    odd = [
        check(f"c{number}", HTTP=f"http://web/{path}") for number, path in enumerate(("\N{PILE OF POO}", "a%2Fb", "~'"))
    ]
    assert convert(tmp_path, *odd, check("tls", HTTP="https://shop/"), check("tcp", TCP="[::1]:22"))[0] == 0
    result = run("check-manifest", *sorted(tmp_path.glob("*/*.yaml")), "--node", "printer1")
    assert (result.exit_code, result.stderr) == (0, "")
    assert len(result.stdout.splitlines()) == 5


def test_the_script_says_how_it_is_used_and_what_it_expected(tmp_path: Path) -> None:
    def script(*arguments: str, given: str = "") -> tuple[int, str, str]:
        command = [sys.executable, str(SCRIPT), *arguments]
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    code, said, _ = script("--help")
    assert code == 0
    for expected in ("FOLDER <checks.json", "Exit codes:", "follows redirects"):
        assert expected in said
    assert script()[0] == 2
    for given, wrong in (
        ("", "expected JSON"),
        ("{}", "expected a list of checks"),
        ('[{"Node": 1}]', "a list of check"),
    ):
        code, _, complaint = script(str(tmp_path), given=given)
        assert (code, wrong in complaint, "Traceback" in complaint) == (2, True, False)
    (tmp_path / "file").write_text("")
    code, _, complaint = script(str(tmp_path / "file"), given=json.dumps([check(TCP="web:1")]))
    assert (code, "cannot write" in complaint, "Traceback" in complaint) == (1, True, False)
