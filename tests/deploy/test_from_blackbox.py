"""Manifests made from blackbox_exporter's modules and Prometheus' jobs.

They ask for the same as the modules and jobs. What they cannot ask for is reported.
"""

import json
import subprocess
from collections.abc import Mapping
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.from_blackbox import main
from reconcilers.manifest import parse
from reconcilers.options import Rules
from reconcilers.spec import HttpGet, PodKey
from tests.support.cli import run

SCRIPT = Path(__file__).parents[2] / "deploy" / "from_blackbox.py"
USUAL = (
    {"source_labels": ["__address__"], "target_label": "__param_target"},
    {"source_labels": ["__param_target"], "target_label": "instance"},
    {"target_label": "__address__", "replacement": "127.0.0.1:9115"},
)
Module = Mapping[str, Any]


def job(*targets: str, name: str = "web", module: str = "m", **more: Any) -> dict[str, Any]:
    return {
        "job_name": name,
        "metrics_path": "/probe",
        "params": {"module": [module]},
        "static_configs": [{"targets": list(targets)}],
        "relabel_configs": list(USUAL),
        **more,
    }


def convert(folder: Path, modules: Mapping[str, Module], *jobs: Mapping[str, Any], **common: Any) -> tuple[int, str]:
    """Returns the exit code and the output."""
    (folder / "blackbox.yml").write_text(yaml.safe_dump({"modules": dict(modules)}))
    (folder / "prometheus.yml").write_text(yaml.safe_dump({"global": common, "scrape_configs": list(jobs)}))
    return script(folder, folder / "blackbox.yml", folder / "prometheus.yml")


def script(folder: Path, modules: Path, prometheus: Path) -> tuple[int, str]:
    with redirect_stderr(StringIO()) as said:
        try:
            code = main([str(folder / "out"), "--modules", str(modules), "--prometheus", str(prometheus)])
        except SystemExit as ended:
            code = int(str(ended.code))
    return code, said.getvalue()


def manifests(folder: Path) -> dict[str, dict[str, Any]]:
    return {f"{each.parent.name}/{each.stem}": json.loads(each.read_text()) for each in folder.glob("out/*/*.yaml")}


def only(folder: Path, module: Module, target: str = "http://web1:8000/_status") -> dict[str, Any]:
    """Returns `status` in the manifest of one target."""
    code, said = convert(folder, {"m": module}, job(target))
    assert code == 0, said
    (manifest,) = manifests(folder).values()
    status: dict[str, Any] = manifest["status"]
    return status


def http(**options: Any) -> Module:
    return {"prober": "http", "http": options}


def tcp(*steps: Mapping[str, Any], **options: Any) -> Module:
    return {"prober": "tcp", "tcp": {"query_response": list(steps), **options}}


def test_a_target_over_http_becomes_a_pod_of_its_host(tmp_path: Path) -> None:
    code, said = convert(tmp_path, {"m": {"prober": "http", "timeout": "3s"}}, job("http://web1:8000/_status"))
    assert (code, said) == (0, "")
    assert manifests(tmp_path)["web1/web"] == {
        "id": "web",
        "status_port": 8000,
        "status_http": True,
        "status": {"path": "/_status", "expect_status": "200-299", "interval": "1m", "timeout": "3s"},
    }
    (file,) = tmp_path.glob("out/*/*.yaml")
    spec = parse(PodKey("web1", "web"), file.read_bytes(), Rules()).check
    assert spec
    assert isinstance(spec.probe, HttpGet)
    assert spec.probe.url == "http://web1:8000/_status"


@pytest.mark.parametrize(
    ("module", "target", "expected"),
    [
        (http(), "web1", {"path": "/", "expect_status": "200-299"}),
        (http(), "https://web1/a?b=1", {"path": "/a?b=1"}),
        (http(valid_status_codes=[200, 204], method="HEAD"), "web1", {"expect_status": [200, 204], "method": "HEAD"}),
        (http(accept_any_response=True), "web1", {"expect_status": "200-599"}),
        (http(valid_http_versions=["HTTP/1.1", "HTTP/2.0"]), "web1", {}),
        (http(valid_http_versions=["HTTP/2.0"]), "https://web1/", {"http_version": 2}),
        (http(fail_if_body_not_matches_regexp=["a|b"]), "web1", {"expect_body": "a|b"}),
        (http(fail_if_body_matches_regexp=["a"]), "web1", {"expect_body_not": "a"}),
        (http(fail_if_body_matches_regexp=["a", "b|c"]), "web1", {"expect_body_not": "(?:a)|(?:b|c)"}),
        (
            http(method="POST", body="{}", headers={"X": "1"}),
            "web1",
            {"method": "POST", "body": "{}", "headers": {"X": "1"}},
        ),
        (http(headers={"Host": "shop.example:80"}), "https://10.0.0.1/", {"tls": {"server_name": "shop.example"}}),
        (http(tls_config={"insecure_skip_verify": True}), "https://web1/", {"tls": {"insecure_skip_verify": True}}),
        (http(tls_config={"insecure_skip_verify": True}, preferred_ip_protocol="ip4"), "http://web1/", {}),
        (http(no_follow_redirects=True, fail_if_ssl=True, fail_if_not_ssl=False), "web1", {}),
        (tcp(), "db:5432", {"kind": "tcp"}),
        (tcp(tls=True), "db:5432", {"tls": {}}),
        (tcp(tls=True, tls_config={"server_name": "x"}), "db:5432", {"tls": {"server_name": "x"}}),
        (tcp({"expect": "^SSH-2"}), "db:22", {"expect": "^SSH-2"}),
        (tcp({"expect": "^OK$"}), "db:22", {"expect": r"^OK\r?$"}),
        (tcp({"expect": r"\$"}), "db:22", {"expect": r"\$"}),
        (tcp({"send": "PING\r"}), "db:1", {"send": "PING\r\n"}),
        (tcp({"expect": "a", "send": "\u00e9"}), "db:1", {"steps": [{"expect": "a"}, {"send": "\u00c3\u00a9\n"}]}),
        ({"prober": "grpc", "grpc": {"service": "s"}}, "web1:9000", {"kind": "grpc", "service": "s"}),
        (
            {"prober": "grpc", "grpc": {"tls": True, "tls_config": {"server_name": "x"}}},
            "web1:9000",
            {"kind": "grpc", "tls": {"server_name": "x"}},
        ),
    ],
)
def test_the_options_of_a_module_become_those_of_a_manifest(
    tmp_path: Path, module: Module, target: str, expected: Mapping[str, Any]
) -> None:
    status = only(tmp_path, module, target)
    assert expected.items() <= status.items()
    assert status.keys() - expected.keys() <= {"interval", "timeout", "path", "expect_status", "kind", "headers"}


@pytest.mark.parametrize(
    ("module", "credentials"),
    [
        (http(bearer_token_file="/token"), {"bearer_token_file": "/token"}),
        (http(authorization={"credentials_file": "/token"}), {"bearer_token_file": "/token"}),
        (
            http(basic_auth={"username": "me", "password_file": "/pw"}),
            {"basic_auth": {"username": "me", "password_file": "/pw"}},
        ),
    ],
)
def test_credentials_stay_in_their_files(tmp_path: Path, module: Module, credentials: Mapping[str, Any]) -> None:
    code, said = convert(tmp_path, {"m": module}, job("http://web1/"))
    assert credentials.items() <= manifests(tmp_path)["web1/web"]["status"].items()
    assert (code, said) == (0, "note: the controller's configuration needs `credentials_dir: FOLDER`\n")


@pytest.mark.parametrize(
    ("options", "by_itself", "asked_for"),
    [
        ({}, None, 10),
        ({"follow_redirects": True}, 10, 10),
        ({"follow_redirects": False}, None, None),
        ({"no_follow_redirects": True}, None, None),
        ({"follow_redirects": True, "method": "POST"}, None, None),
    ],
)
def test_redirects_are_followed_where_the_module_or_the_user_says_so(
    tmp_path: Path, options: Mapping[str, Any], by_itself: int | None, asked_for: int | None
) -> None:
    code, said = convert(tmp_path, {"m": http(**options)}, job("http://web1/"))
    assert (code, manifests(tmp_path)["web1/web"]["status"].get("follow_redirects")) == (0, by_itself)
    assert ("`max_redirects: 10`" in said) is (by_itself is not None)
    files = ["--modules", str(tmp_path / "blackbox.yml"), "--prometheus", str(tmp_path / "prometheus.yml")]
    assert main([str(tmp_path / "out"), *files, "--follow-redirects"]) == 0
    assert manifests(tmp_path)["web1/web"]["status"].get("follow_redirects") == asked_for


@pytest.mark.parametrize(("protocol", "asks"), [("smtp", "EHLO prober\r"), ("imap", ". STARTTLS"), ("pop3", "STLS\r")])
def test_a_dialogue_before_tls_becomes_starttls_and_the_rest_steps(tmp_path: Path, protocol: str, asks: str) -> None:
    module = tcp(
        {"expect": "ready"}, {"send": asks}, {"expect": "ok"}, {"starttls": True}, {"send": "x"}, {"expect": "y"}
    )
    status = only(tmp_path, module, "mail:25")
    assert (status["starttls"], status["steps"]) == (protocol, [{"send": "x\n"}, {"expect": "y"}])


@pytest.mark.parametrize(
    ("module", "target", "why"),
    [
        ({"prober": "icmp"}, "web1", "prober icmp: no probe does that"),
        ({"prober": "dns", "dns": {"query_name": "x"}}, "8.8.8.8", "prober dns: no probe does that"),
        ({}, "web1", "there is no module m"),
        (http(proxy_url="http://proxy:3128"), "web1", "http.proxy_url: no probe does that"),
        (http(oauth2={"client_id": "x"}), "web1", "http.oauth2: no probe does that"),
        (http(fail_if_header_matches=[{"header": "x"}]), "web1", "http.fail_if_header_matches: no probe does that"),
        (http(fail_if_body_not_matches_regexp=["a", "b"]), "web1", "a probe has one expression"),
        (http(fail_if_body_not_matches_regexp=["("]), "web1", "status.expect_body: expected a regular expression"),
        (http(basic_auth={"username": "a", "password": "s3cret"}), "web1", "the password in a file"),
        (http(bearer_token="s3cret"), "web1", "expected the token in a file"),
        (http(authorization={"type": "Digest", "credentials_file": "/x"}), "web1", "expected the token in a file"),
        (http(fail_if_not_ssl=True), "web1", "the module never succeeds with http"),
        (http(fail_if_ssl=True), "https://web1/", "the module never succeeds with https"),
        (http(valid_http_versions=["HTTP/3"]), "web1", "a probe is HTTP/1.1 or HTTP/2"),
        (http(tls_config={"min_version": "TLS13"}), "https://web1/", "tls_config.min_version: no probe does that"),
        (http(method="PATCH"), "web1", "status.method: expected"),
        (http(), "ftp://web1/", "neither http nor https"),
        (http(), "http://me:s3cret@web1/", "takes user and password from files"),
        (http(), "http://web1:99999/", "Port out of range"),
        (http(), "http://[::1]/", "'::1' cannot be the name of a node"),
        (http(), "http://../", "cannot be the name of a node"),
        (http(), "http://web1/a\tb", "which nobody can request"),
        (http(), "", "cannot be the name of a node"),
        (http(headers=["x"]), "web1", "does not have the format of blackbox_exporter"),
        (tcp(), "db", "expected host:port"),
        (tcp(), "db:0", "expected a port from 1 to 65535"),
        (tcp({"send": "PONG ${1}"}), "db:1", "cannot send a part of what it got"),
        (tcp({"starttls": True}), "db:1", "starttls is known for smtp, imap and pop3 only"),
        (tcp({"send": "STLS"}, {"starttls": True}, {"starttls": True}), "db:1", "begins TLS once"),
        (tcp({"unknown": "x"}), "db:1", "tcp.query_response.unknown: no probe does that"),
        (tcp(source_ip_address="1.2.3.4"), "db:1", "tcp.source_ip_address: no probe does that"),
    ],
)
def test_what_no_manifest_can_say_is_left_out_and_named(tmp_path: Path, module: Module, target: str, why: str) -> None:
    code, said = convert(tmp_path, {"m": module, "good": tcp()}, job(target), job("x:1", name="other", module="good"))
    assert (code, list(manifests(tmp_path))) == (1, ["x/other"])
    assert said.startswith("left out: ")
    assert why in said
    assert "s3cret" not in said


def test_what_the_configuration_must_allow_is_said_once(tmp_path: Path) -> None:
    modules = {"m": http(method="POST", headers={"X": "1"}), "n": http(method="PUT"), "t": tcp({"send": "x"})}
    labelled = [{"targets": ["x:1", "y:1"], "labels": {"team": "shop", "tier": "db"}}]
    jobs = (job("a", "b"), job("c", module="n", name="n"), job(module="t", name="t", static_configs=labelled))
    code, said = convert(tmp_path, modules, *jobs)
    assert (code, said.splitlines()) == (
        0,
        [
            "note: the controller's configuration needs `allow_headers: true`",
            "note: the controller's configuration needs `allow_methods: [GET, HEAD, POST, PUT]`",
            "note: the controller's configuration needs `allow_send: true`",
            "note: the controller's configuration needs `labels: [team, tier]`",
        ],
    )
    assert manifests(tmp_path)["x/t"]["status"]["labels"] == {"team": "shop", "tier": "db"}


# Prometheus' configuration


def test_several_targets_of_one_host_have_the_port_and_the_path_in_their_names(tmp_path: Path) -> None:
    code, _ = convert(tmp_path, {"m": http()}, job("http://a/x", "http://a:81/", "http://b/"))
    assert (code, sorted(manifests(tmp_path))) == (0, ["a/web-80-x", "a/web-81", "b/web"])
    code, said = convert(tmp_path, {"m": http()}, job("http://a/x", "http://a/x?1", "http://a/x#1"))
    assert (code, said.count("another check of this node has the name web-80-x too")) == (1, 1)


def test_times_are_those_of_the_job_and_of_the_module(tmp_path: Path) -> None:
    modules = {"m": {"prober": "http"}, "quick": {"prober": "http", "timeout": "2s"}}
    jobs = (
        job("a", name="one", scrape_interval="1m30s", scrape_timeout="20s"),
        job("a", name="two", module="quick"),
        job("a", name="three", scrape_timeout="30s"),
    )
    convert(tmp_path, modules, *jobs, scrape_interval="15s", scrape_timeout="5s")
    found = {key: (each["status"]["interval"], each["status"]["timeout"]) for key, each in manifests(tmp_path).items()}
    assert found == {"a/one": ("1m30s", "19s500ms"), "a/two": ("15s", "2s"), "a/three": ("15s", "15s")}
    code, said = convert(tmp_path, modules, job("a", scrape_interval="2d"), job("a", name="x", scrape_interval="5"))
    assert code == 1
    assert "status.interval: expected a duration from 100ms to 1h" in said
    assert "job x: expected a duration such as 1m30s" in said


def test_targets_are_relabelled_as_prometheus_does_it(tmp_path: Path) -> None:
    steps = [
        {"source_labels": ["__address__"], "regex": "(.*);(.*)", "target_label": "never"},
        {
            "source_labels": ["__address__"],
            "regex": "([^;]+)(;.*)?",
            "target_label": "__param_target",
            "replacement": "${1}",
        },
        {"source_labels": ["kind", "zone"], "regex": "(.+);eu", "target_label": "__param_module"},
        {"regex": "__meta_(.+)", "replacement": "of_$1", "action": "labelmap"},
        {"regex": "kind|__meta_.*", "action": "labeldrop"},
        {"source_labels": ["zone"], "regex": "eu", "action": "keep"},
        {"source_labels": ["__param_target"], "regex": "drop:.*", "action": "Drop"},
        {"source_labels": ["__param_target"], "target_label": "__param_hostname", "regex": "a:1", "replacement": "h"},
    ]
    groups = [
        {"targets": ["a:1", "drop:1"], "labels": {"kind": "tcp", "zone": "eu", "__meta_rack": "7"}},
        {"targets": ["b:1"], "labels": {"zone": "us"}},
    ]
    code, said = convert(tmp_path, {"tcp": tcp()}, job(static_configs=groups, relabel_configs=steps))
    assert (code, {key: each["status"]["labels"] for key, each in manifests(tmp_path).items()}) == (
        0,
        {"a/web": {"zone": "eu", "of_rack": "7"}},
    ), said
    keeps = [*USUAL, {"regex": "__.*|zone", "action": "labelkeep"}]
    convert(tmp_path, {"m": tcp()}, job(static_configs=groups[1:], relabel_configs=keeps))
    assert manifests(tmp_path)["b/web"]["status"]["labels"] == {"zone": "us"}


def test_the_name_for_a_target_is_its_host_header_and_that_of_tls(tmp_path: Path) -> None:
    asks = job("https://10.0.0.1/", params={"module": ["m"], "hostname": ["shop.example"]})
    assert convert(tmp_path, {"m": http()}, asks)[0] == 0
    status = manifests(tmp_path)["10.0.0.1/web"]["status"]
    assert (status["headers"], status["tls"]) == ({"Host": "shop.example"}, {"server_name": "shop.example"})


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ({"action": "hashmod", "modulus": 2}, "action hashmod is not supported here"),
        ({"source_labels": ["job"], "regex": "(", "action": "keep"}, "regex '('"),
    ],
)
def test_a_job_whose_relabelling_is_not_understood_is_left_out(tmp_path: Path, step: Any, why: str) -> None:
    code, said = convert(tmp_path, {"m": http()}, job("a", relabel_configs=[step]))
    assert (code, manifests(tmp_path), why in said) == (1, {}, True)


def test_files_of_targets_are_read_and_other_discoveries_named(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text('[{"targets": ["a:1"], "labels": {"team": "shop"}}]')
    (tmp_path / "two.yml").write_text("- targets: ['b:1']\n")
    found = [{"files": ["*.json", str(tmp_path / "two.yml")]}]
    code, said = convert(tmp_path, {"m": tcp()}, job(file_sd_configs=found, consul_sd_configs=[{}]))
    assert (code, sorted(manifests(tmp_path))) == (1, ["a/web", "b/web"])
    assert "consul_sd_configs: only static_configs and file_sd_configs can be read" in said
    code, said = convert(tmp_path, {"m": tcp()}, job(file_sd_configs=[{"files": ["none*.json"]}]))
    assert (code, "there is no file none*.json" in said) == (1, True)


def test_jobs_without_a_blackbox_exporter_are_not_touched(tmp_path: Path) -> None:
    assert convert(tmp_path, {"m": tcp()}, {"job_name": "node", "static_configs": [{"targets": ["a:1"]}]}) == (0, "")
    assert manifests(tmp_path) == {}


@pytest.mark.parametrize(
    ("modules", "prometheus", "why"),
    [
        ("a: [", "{}", "blackbox.yml: expected YAML"),
        ("[]", "{}", "blackbox.yml: expected a mapping"),
        ("{}", "\0", "prometheus.yml: expected YAML"),
        ("{}", "scrape_configs: [5]", "prometheus.yml: expected the format of Prometheus"),
        ("{}", "scrape_configs: [{metrics_path: /probe, static_configs: 5}]", "expected the format of Prometheus"),
    ],
)
def test_files_that_cannot_be_read_are_wrong_use(tmp_path: Path, modules: str, prometheus: str, why: str) -> None:
    (tmp_path / "blackbox.yml").write_text(modules)
    (tmp_path / "prometheus.yml").write_text(prometheus)
    code, said = script(tmp_path, tmp_path / "blackbox.yml", tmp_path / "prometheus.yml")
    assert (code, why in said) == (2, True), said


def test_a_missing_file_and_a_folder_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    code, said = script(tmp_path, tmp_path / "none.yml", tmp_path / "none.yml")
    assert (code, "none.yml: No such file or directory" in said) == (2, True)
    (tmp_path / "out").write_text("")
    code, said = convert(tmp_path, {"m": tcp()}, job("a:1"))
    assert (code, "cannot write" in said) == (1, True)


def test_check_manifest_accepts_what_is_written(tmp_path: Path) -> None:
    modules = {"m": http(), "t": tcp({"expect": "x"}, tls=True), "g": {"prober": "grpc"}}
    jobs = (job("https://n/a%2Fb?x=1"), job("n:1", name="t", module="t"), job("n:2", name="g", module="g"))
    assert convert(tmp_path, modules, *jobs)[0] == 0
    result = run("check-manifest", *sorted(tmp_path.glob("out/*/*.yaml")), "--node", "n")
    assert (result.exit_code, result.stderr, len(result.stdout.splitlines())) == (0, "", 3)


def test_the_script_runs_by_itself_and_says_how_it_is_used(tmp_path: Path) -> None:
    done = subprocess.run([SCRIPT, "--help"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for expected in ("FOLDER --modules", "Exit codes:", "follows no redirect unless"):
        assert expected in done.stdout
