"""The command line: every verb against folders and against a real Consul, and what it says when something is wrong."""

import json
import re
import socket
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import pytest

from controller.cli import main
from reconcilers.p2.manifest import sha
from tests.support.cli import complaint, good, on, run
from tests.support.consul import Agent
from tests.support.controller import podpulse
from tests.support.documents import DOCUMENTS, OPERATIONS, text
from tests.support.fake_http import FakeServer, Reply

MANIFEST = "id: isup\nstatus_port: 8000\nstatus_http: true\n"
HERE = socket.gethostname()
ROOT = Path(__file__).parents[2]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    file = tmp_path / "isup.yaml"
    file.write_text(MANIFEST)
    return file


# Everywhere


def test_help_lists_the_verbs() -> None:
    said = podpulse("--help").stdout
    for verb in ("run", "isup", "schedule", "unschedule", "inspect", "check-manifest", "check-config"):
        assert f"\n  {verb} " in said


@pytest.mark.parametrize("arguments", [[], *([verb] for verb in sorted(main.commands))])
def test_the_program_and_every_verb_print_the_version(arguments: list[str]) -> None:
    tls = f"rtls {version('rtls')}, pyOpenSSL {version('pyopenssl')}"
    assert good(run(*arguments, "--version")) == f"podpulse, version {version('podpulse')} (TLS: {tls})\n"


@pytest.mark.parametrize("verb", sorted(main.commands))
def test_the_help_of_every_verb_has_valid_examples(verb: str) -> None:
    said = good(run(verb, "-h"))
    examples = re.findall(r"^ +(?:.*\$\(|env -i \S+ )?podpulse ([a-z0-9-]+)(.*)$", said, re.MULTILINE)
    assert any(name == verb for name, _ in examples), said
    for name, rest in examples:
        known = {option for parameter in main.commands[name].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest.partition("|")[0].partition("$(")[0])) <= known, rest


@pytest.mark.parametrize("verb", sorted(main.commands))
def test_the_help_of_every_verb_lists_its_exit_codes(verb: str) -> None:
    said = good(run(verb, "-h"))
    assert "\n  Examples:\n" in said
    assert "\n  Exit codes:\n" in said


@pytest.mark.parametrize("arguments", [[], *([verb] for verb in sorted(main.commands))])
def test_help_has_no_colours_and_fits_the_width(arguments: list[str]) -> None:
    said = good(run(*arguments, "-h", COLUMNS="110"))
    assert "\x1b" not in said
    assert max(map(len, said.splitlines())) <= 110


def test_summaries_of_verbs_are_not_truncated_on_a_narrow_terminal() -> None:
    listed = good(run("--help", COLUMNS="80")).partition("Commands:\n")[2].splitlines()
    assert len(listed) == len(main.commands)
    assert [line for line in listed if not line.endswith(".") or line.endswith("..")] == []


@pytest.mark.parametrize("verb", sorted(main.commands))
def test_every_option_has_a_help_text(verb: str) -> None:
    options = [each for each in main.commands[verb].params if isinstance(each, click.Option)]
    assert [each.name for each in options if not each.help] == []


def test_documents_code_and_help_name_only_existing_verbs() -> None:
    """For example, `podpulse demo` would be wrong: it is `deploy/demo`."""
    files = [*DOCUMENTS]
    for folder, pattern in (("controller", "*.py"), ("controller", "*.html"), ("reconcilers", "*.py"), ("deploy", "*")):
        files += [
            path for path in (ROOT / folder).rglob(pattern) if path.is_file() and path.suffix not in {".pyc", ".1"}
        ]
    named = {
        (str(path.relative_to(ROOT)), verb)
        for path in files
        for verb in re.findall(
            r"(?:^ *|[`(])podpulse ([a-z][a-z0-9-]*)", path.read_text("utf-8", "ignore"), re.MULTILINE
        )
    }
    assert len(named) > 20
    assert [(path, verb) for path, verb in sorted(named) if verb not in main.commands] == []


def test_the_documentation_has_every_verb_in_its_table() -> None:
    rows = re.findall(r"^\| (`[^|]*) \|", text(OPERATIONS).replace("\\|", "/"), re.MULTILINE)
    named = {verb for row in rows for verb in re.findall(r"`([a-z][a-z0-9-]*)[ `]", row)}
    assert sorted(set(main.commands) - named - {"run"}) == []


def test_an_unknown_verb_or_option_is_a_wrong_use() -> None:
    assert "No such command" in complaint(run("paint"))
    assert "No such option" in complaint(run("inspect", "--colour"))


# Folders


def test_schedule_inspect_and_unschedule_work_on_a_folder(manifest: Path, tmp_path: Path) -> None:
    pods = tmp_path / "new" / "pods"
    assert json.loads(good(run("schedule", manifest, "--intent-dir", pods))) == {
        "pod_id": "isup",
        "pod_unique_key": "",
    }
    assert [path.name for path in pods.iterdir()] == ["isup.yaml"]
    assert (pods / "isup.yaml").read_text() == MANIFEST
    tree = json.loads(good(run("inspect", "--intent-dir", pods)))
    assert tree["isup"][HERE]["health_check"] == {"status": "unknown", "output": ""}
    assert tree["isup"][HERE]["scheduled"]
    assert len(tree["isup"][HERE]["intent_manifest_sha"]) == 64
    good(run("unschedule", "isup", "--intent-dir", pods))
    assert json.loads(good(run("inspect", "--intent-dir", pods))) == {}
    good(run("unschedule", "isup", "--intent-dir", pods))


def test_inspect_can_show_a_list_or_a_table(manifest: Path, tmp_path: Path) -> None:
    pods = tmp_path / "pods"
    good(run("schedule", manifest, "--intent-dir", pods))
    (listed,) = json.loads(good(run("inspect", "--intent-dir", pods, "--format", "list")))
    assert (listed["node"], listed["pod"], listed["health"]) == (HERE, "isup", "unknown")
    head, row = good(run("inspect", "--intent-dir", pods, "--format", "table")).splitlines()
    assert head.split()[:3] == ["POD", "NODE", "STATE"]
    assert row.split()[:3] == ["isup", HERE, "unknown"]


def test_inspecting_a_folder_that_is_missing_says_so(tmp_path: Path) -> None:
    assert "No such file or directory" in complaint(run("inspect", "--intent-dir", tmp_path / "missing"))


def test_an_invalid_manifest_is_not_scheduled(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("id: isup\nstatus_port: 70000\n")
    said = complaint(run("schedule", file, "--intent-dir", tmp_path / "pods"))
    assert str(file) in said
    assert "status_port: expected a port" in said
    assert not (tmp_path / "pods").exists()


@pytest.mark.parametrize("name", ["../../etc", "a/b", "", "-" * 3, "x" * 200])
def test_names_that_could_leave_the_folder_are_refused(manifest: Path, tmp_path: Path, name: str) -> None:
    assert "expected letters" in complaint(run("unschedule", "--intent-dir", tmp_path, "--", name))
    if name:
        assert "expected letters" in complaint(run("schedule", manifest, f"--node={name}", "--intent-dir", tmp_path))


# Consul


def test_schedule_inspect_and_unschedule_work_on_consul(consul: Agent, manifest: Path) -> None:
    good(on(consul, "schedule", manifest, "--node", "web2"))
    assert consul.get("intent/web2/isup") == MANIFEST.encode()
    good(on(consul, "schedule", manifest))
    assert consul.keys("intent/") == sorted(["intent/web2/isup", f"intent/{HERE}/isup"])
    tree = json.loads(good(on(consul, "inspect", "--node", "web2", "--pod", "isup")))
    assert tree["isup"].keys() == {"web2"}
    good(on(consul, "unschedule", "isup", "--node", "web2"))
    assert consul.keys("intent/") == [f"intent/{HERE}/isup"]


def test_the_program_finds_consul_by_environment_variable_or_option(consul: Agent, manifest: Path) -> None:
    address = f"http://127.0.0.1:{consul.http_port}"
    good(run("schedule", manifest, "--node", "web1", CONSUL_HTTP_ADDR=address))
    assert json.loads(podpulse("inspect", "--consul", address).stdout).keys() == {"isup"}


def test_the_client_sends_its_certificate_over_tls(consul_binary: Path, manifest: Path) -> None:
    with Agent(consul_binary, tls=True) as consul:
        files = consul.certificates
        assert files
        options: list[Any] = ["--https", "--consul", consul.address.removeprefix("https://"), "--tls-ca-file", files.ca]
        assert complaint(run("inspect", *options))
        options += ["--tls-cert-file", files.client_cert, "--tls-key-file", files.client_key]
        assert json.loads(good(run("inspect", *options))) == {}


def test_a_token_is_taken_from_option_or_file_and_a_wrong_one_is_not_repeated(
    consul_binary: Path, manifest: Path, tmp_path: Path
) -> None:
    secret, wrong = tmp_path / "token", "11111111-2222-3333-4444-555555555555"
    with Agent(consul_binary, acl=True) as consul:
        secret.write_text(consul.token + "\n")
        good(on(consul, "schedule", manifest, "--token", consul.token))
        good(on(consul, "unschedule", "isup", "--token-file", secret))
        said = complaint(on(consul, "schedule", manifest, "--token", wrong))
        assert wrong not in said
        assert "403" in said or "ACL" in said


def test_an_unreachable_consul_is_reported_in_one_line(consul: Agent, manifest: Path) -> None:
    consul.kill()
    said = complaint(on(consul, "inspect"))
    assert said.startswith("Error: ")
    assert len(said.splitlines()) == 1


def test_headers_in_both_spellings_of_p2_are_sent_with_every_request(manifest: Path) -> None:
    with FakeServer(lambda _: Reply(200, b"true", {"X-Consul-Index": "1"})) as proxy:
        headers = ("--header", "X-Proxy=a=b", "--header", "Authorization: Bearer s3cret")
        good(run("schedule", manifest, "--consul", proxy.address, "--wait", "1m", *headers))
    assert proxy.asked[0].headers["x-proxy"] == "a=b"
    assert proxy.asked[0].headers["authorization"] == "Bearer s3cret"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["s3cret"], "expected NAME=VALUE"),
        (["X-A=s3cret\r\nX-B: 1"], "expected printable ASCII"),
        (["X A=s3cret"], "expected the name of a header"),
        (["Host=s3cret"], "headers other than those of the connection itself"),
        (["X-Consul-Token=s3cret"], "other than the token's"),
        (["X-A=s3cret", "X-A=other"], "each header once"),
        (["X-A=s3cret", "x-a: other"], "each once"),
    ],
)
def test_a_header_that_cannot_be_sent_is_refused_and_its_value_not_repeated(given: list[str], expected: str) -> None:
    said = complaint(run("inspect", *(f"--header={header}" for header in given)))
    assert expected in " ".join(said.split())
    assert "s3cret" not in said


def test_a_header_is_not_repeated_when_consul_refuses(manifest: Path) -> None:
    with FakeServer(lambda _: Reply(403, b"no")) as proxy:
        said = complaint(run("schedule", manifest, "--consul", proxy.address, "--header", "X-Key=s3cret"))
    assert "403" in said
    assert "s3cret" not in said


def test_a_wait_is_a_duration() -> None:
    assert "expected a duration" in complaint(run("inspect", "--wait", "soon"))


def test_an_invalid_consul_address_is_reported_in_one_line() -> None:
    said = complaint(run("inspect", "--consul", "ftp://x"))
    assert said.startswith("Error: command line: consul.address: Consul's address is 'ftp://x'; expected")
    assert len(said.splitlines()) == 1


# Checking files


def test_check_manifest_prints_the_check_and_unknown_fields(tmp_path: Path) -> None:
    file = tmp_path / "m.yaml"
    file.write_text("id: isup\nstatus_port: 8000\ncolour: red\nstatus: {path: /up}\n")
    silent = tmp_path / "s.yaml"
    silent.write_text("id: quiet\n")
    resting = tmp_path / "p.yaml"
    resting.write_text("id: batch\nstatus_port: 80\nstatus: {paused: true}\n")
    said = good(run("check-manifest", file, silent, resting))
    assert f"{file}: https://{HERE}:8000/up every 5 s; SHA {sha(file.read_bytes())}\n" in said
    assert f"{file}: warning: colour: unknown field, ignored\n" in said
    assert f"{silent}: no check; SHA {sha(silent.read_bytes())}\n" in said
    assert f"{resting}: paused; SHA {sha(resting.read_bytes())}\n" in said


def test_check_manifest_continues_after_an_invalid_manifest_and_exits_with_1(manifest: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("id: [\n")
    result = run("check-manifest", bad, manifest)
    assert result.exit_code == 1
    assert f"{bad}: line 2" in result.stderr
    assert str(manifest) in result.stdout


def test_check_config_lists_the_ignored_options_of_p2s_configuration(tmp_path: Path) -> None:
    file = tmp_path / "p2-preparer.yaml"
    file.write_text("preparer: {node_name: web1, status_port: 8082}\n")
    why = "it is p2-preparer's; page and metrics are where podpulse.listen says"
    assert good(run("check-config", file)).splitlines() == [
        f"{file}: good",
        f"{file}: preparer.status_port: passed over; {why}",
    ]
    file.write_text("preparer: {node: web1}\n")
    assert f"{file}: preparer.node: no such option of p2-preparer" in complaint(run("check-config", file))


def test_check_config_prints_good_or_the_errors(tmp_path: Path) -> None:
    file = tmp_path / "podpulse.yaml"
    file.write_text("node_name: web1\n")
    assert good(run("check-config", file)) == f"{file}: good\n"
    file.write_text("node: web1\n")
    assert f"{file}: node: no such option" in complaint(run("check-config", file))
    file.write_text("node_name: web1\ndefaults: {expect_body: '('}\nallow_addresses: here\ncanary: there\n")
    said = complaint(run("check-config", file)).splitlines()
    assert [line.removeprefix("Error: ").split(": ")[:2] for line in said] == [
        [str(file), field] for field in ("defaults.expect_body", "allow_addresses", "canary")
    ]
    file.write_text("node_name: web1\ndefaults: {tls: {ca_file: /nowhere/ca.pem}}\n")
    assert "defaults.tls.ca_file: expected a readable file" in complaint(run("check-config", file))


@pytest.mark.parametrize("arguments", [["--intent-dir", "."], ["--listen", "nowhere"], ["--node", "a b"]])
def test_run_rejects_an_invalid_command_line_in_one_line(arguments: list[str]) -> None:
    said = complaint(run("run", *arguments))
    assert said.startswith("Error: command line: ")
    assert len(said.splitlines()) == 1


def test_isup_reports_that_its_port_is_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = podpulse("isup", "--host", "127.0.0.1", "--port", taken.getsockname()[1], check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("verb", "lead"),
    [("status", "inspect, healthy, fleet"), ("inpsect", "inspect"), ("serve", "run"), ("xyzzy", "`podpulse --help`")],
)
def test_an_unknown_verb_leads_to_those_that_may_be_meant(verb: str, lead: str) -> None:
    assert f"No such command '{verb}'" in complaint(run(verb))
    assert lead in complaint(run(verb))


def test_help_and_version_work_as_verbs_too() -> None:
    assert good(run("help")) == good(run("--help"))
    assert good(run("help", "plan")) == good(run("plan", "--help"))
    assert good(run("version")) == good(run("-v")) == good(run("--version"))


def test_a_folder_that_does_not_exist_is_an_error_before_the_start(tmp_path: Path) -> None:
    said = complaint(run("run", "--intent-dir", tmp_path / "typo", "--health-dir", tmp_path))
    assert "Invalid value for '--intent-dir': Directory" in said
    assert "does not exist" in said
