"""`check-manifest` says everything that is wrong with a manifest before it is used, for people and for machines."""

import json
from pathlib import Path

import pytest

from reconcilers.p2.manifest import sha
from tests.support.cli import complaint, good, run

MANIFEST = "id: isup\nstatus_port: 8000\nstatus_http: true\n"
WRONG = """id: isup
status_port: 70000
status: {interval: 5, method: TRACE, tls: {ca_file: a.pem}}
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    file = tmp_path / "isup.yaml"
    file.write_text(MANIFEST)
    return file


def written(folder: Path, text: str) -> Path:
    file = folder / f"m{len(list(folder.iterdir()))}.yaml"
    file.write_text(text)
    return file


def test_json_describes_each_file(manifest: Path, tmp_path: Path) -> None:
    odd = written(tmp_path, "id: odd\ncolour: red\n")
    wrong = written(tmp_path, WRONG)
    broken = written(tmp_path, "id: [\n")
    result = run("check-manifest", manifest, odd, wrong, broken, "--node", "web1", "--json")
    assert (result.exit_code, result.stderr) == (1, "")
    first, second, third, fourth = json.loads(result.stdout)
    assert first == {
        "file": str(manifest),
        "id": "isup",
        "sha": sha(MANIFEST.encode()),
        "check": {
            "url": "http://web1:8000/_status",
            "interval": "5s",
            "timeout": "5s",
            "failure_threshold": "1",
            "success_threshold": "1",
            "method": "GET",
            "expect_status": "200",
        },
        "error": None,
        "warnings": [],
    }
    assert second["warnings"] == ["colour: unknown field, ignored"]
    assert (second["check"], second["error"]) == (None, None)
    assert (third["id"], third["sha"], third["check"]) == ("isup", sha(WRONG.encode()), None)
    assert [line.partition(": ")[0] for line in third["error"].splitlines()] == [
        "status_port",
        "status.interval",
        "status.method",
        "status.tls.ca_file",
    ]
    assert (fourth["id"], fourth["sha"], fourth["check"]) == (None, None, None)
    assert fourth["error"].startswith("line 2")


def test_the_check_of_the_json_is_the_one_that_plan_shows(manifest: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pods"
    folder.mkdir()
    where = ["--intent-dir", folder, "--node", "web1", "--controller", "none"]
    planned = json.loads(good(run("plan", manifest, *where, "--json")))
    (checked,) = json.loads(good(run("check-manifest", manifest, "--node", "web1", "--json")))
    assert planned["start"] == {"isup": checked["check"]}


def test_schedule_and_plan_warn_about_a_mistyped_field_and_continue(tmp_path: Path) -> None:
    odd, pods = written(tmp_path, "id: isup\nstatus_port: 80\nexpect_staus: 204\n"), tmp_path / "pods"
    warning = "expect_staus: unknown field, ignored; did you mean status.expect_status?"
    result = run("schedule", odd, "--intent-dir", pods, "--node", "web1")
    assert json.loads(good(result))["pod_id"] == "isup"
    assert result.stderr == f"{odd}: warning: {warning}\n"
    where = ["plan", "--intent-dir", pods, "--node", "web1", "--controller", "none"]
    assert f"  ? isup  {warning}\n" in good(run(*where))
    assert json.loads(good(run(*where, "--json")))["warnings"] == {"isup": [warning]}
    (pods / "isup.yaml").write_text("id: isup\n")
    assert json.loads(good(run(*where, "--json")))["warnings"] == {}


def test_a_mistyped_field_is_reported_together_with_an_invalid_one(tmp_path: Path) -> None:
    file = written(tmp_path, "id: isup\nstatus_port: 70000\nstatus: {intervall: 5s}\n")
    result = run("check-manifest", file)
    assert (result.exit_code, result.stdout) == (
        1,
        f"{file}: warning: status.intervall: unknown field, ignored; did you mean status.interval?\n",
    )


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        (WRONG, ["status_port", "status.interval", "status.method", "status.tls.ca_file"]),
        ("status_port: web\nstatus: 5\n", ["id", "status_port", "status"]),
        ("id: isup\nstatus: {kind: grpc, path: /a, method: GET}\n", ["status.method", "status.path"]),
        (
            "id: isup\nstatus: {http: true, service: a, tls: {}, timeout: 9s, method: HEAD, expect_body: a}\n",
            ["status.service", "status.tls", "status.timeout", "status.expect_body"],
        ),
    ],
)
def test_every_error_of_a_manifest_has_its_own_line(tmp_path: Path, text: str, fields: list[str]) -> None:
    file = written(tmp_path, text)
    for verb in (["check-manifest", file], ["schedule", file, "--intent-dir", tmp_path / "pods"]):
        said = complaint(run(*verb)).removeprefix("Error: ").splitlines()
        assert [line.removeprefix(f"{file}: ").partition(": ")[0] for line in said] == fields


def test_the_configuration_supplies_the_node_the_defaults_and_the_permissions(tmp_path: Path) -> None:
    manifest = written(tmp_path, "id: isup\nstatus_port: 80\nstatus: {headers: {X-Key: a}, tls: {ca_file: /no.pem}}\n")
    config = tmp_path / "config.yaml"
    config.write_text("node_name: web7\ndefaults: {interval: 30s}\n")
    assert "every 5 s" in good(run("check-manifest", manifest))
    said = complaint(run("check-manifest", manifest, "--config", config)).splitlines()
    assert [line.split(": ")[1] for line in said] == ["status.headers", "status.tls.ca_file"]
    config.write_text("node_name: web7\nallow_headers: true\ndefaults: {interval: 30s}\n")
    manifest.write_text("id: isup\nstatus_port: 80\nstatus: {headers: {X-Key: a}}\n")
    assert "https://web7:80/_status every 30 s; SHA " in good(run("check-manifest", manifest, "--config", config))
    assert "https://web8:80/" in good(run("check-manifest", manifest, "--config", config, "--node", "web8"))


def test_the_configuration_decides_what_passes_without_a_probe(tmp_path: Path) -> None:
    manifest, config = written(tmp_path, "id: isup\n"), tmp_path / "config.yaml"
    config.write_text("node_name: web7\np2_compat: true\n")
    assert "passing without a probe every 1 s" in good(run("check-manifest", manifest, "--config", config))
    config.write_text("node_name: web7\nlisten: nowhere\n")
    assert f"{config}: listen: expected" in complaint(run("check-manifest", manifest, "--config", config))


@pytest.mark.parametrize("node", ["", "a/b"])
def test_an_invalid_node_name_is_a_usage_error(manifest: Path, node: str) -> None:
    assert "--node: expected a name" in complaint(run("check-manifest", manifest, "--node", node))


def test_a_manifest_that_p2_would_not_read_has_no_sha(tmp_path: Path) -> None:
    file = written(tmp_path, "id: isup\nstatus_port: 80\nlaunchables: {a: {}}\n")
    assert "; no SHA, because p2 would not read it" in good(run("check-manifest", file))
    assert json.loads(good(run("check-manifest", file, "--json")))[0]["sha"] is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("launchables: {app: {location: x}}", "launchables.app.launchable_type: missing"),
        ("min_health_percentage: fifty", "min_health_percentage: expected a number of 64 bits"),
        ("config: {at: https://example.com/}", "a ':' in 'https://example.com/'"),
    ],
)
def test_content_that_p2_would_not_read_gives_a_warning(tmp_path: Path, text: str, why: str) -> None:
    odd = written(tmp_path, f"{MANIFEST}{text}\n")
    said = good(run("check-manifest", odd))
    assert f"{odd}: warning: p2 would not read this: " in said
    assert why in said
    (found,) = json.loads(good(run("check-manifest", odd, "--json")))
    assert len(found["warnings"]) == 1
    result = run("schedule", odd, "--intent-dir", tmp_path / "pods")
    assert json.loads(good(result))["pod_id"] == "isup"
    assert f"{odd}: warning: p2 would not read this: " in result.stderr
    assert why in result.stderr


def test_a_credential_on_this_host_that_cannot_be_used_is_a_warning_without_its_content(tmp_path: Path) -> None:
    file = tmp_path / "token"
    manifest = written(tmp_path, f"id: isup\nstatus_port: 80\nstatus: {{bearer_token_file: {file}}}\n")
    assert "warning" not in good(run("check-manifest", manifest))
    file.write_text("hunter2\nhunter3\n")
    warned = good(run("check-manifest", manifest))
    assert f"warning: status.bearer_token_file: {file}: expected one line of printable text" in warned
    assert "hunter" not in warned
    config = tmp_path / "config.yaml"
    config.write_text("credentials_dir: /etc/podpulse/credentials\n")
    said = complaint(run("check-manifest", manifest, "--config", config))
    assert "status.bearer_token_file: expected a file below /etc/podpulse/credentials, the controller's" in said
