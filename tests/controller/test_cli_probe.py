"""`podpulse probe`: one probe by the real engine, and its result as a person sees it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from controller.cli import main, options
from controller.cli.taken_options import take_options
from controller.config import Config
from controller.config.probe_options import probe_options
from tests.support.authority import Authority
from tests.support.cli import complaint
from tests.support.consul import Agent
from tests.support.controller import podpulse
from tests.support.fake_http import FakeServer, Reply
from tests.support.site import Site
from tests.support.targets import Target, answer
from tests.support.terminal import OnTerminal


@pytest.fixture
def target() -> Iterator[Target]:
    with Target() as one:
        yield one


def manifest(folder: Path, port: int, *, https: bool = False, more: str = "") -> Path:
    file = folder / "isup.yaml"
    file.write_text(f"id: isup\nstatus_port: {port}\nstatus_http: {str(not https).lower()}\n{more}")
    return file


def probe(*arguments: object) -> Result:
    clean = {"CONSUL_HTTP_ADDR": None, "CONSUL_HTTP_TOKEN": None, "CONFIG_PATH": None}
    nobody = () if "--controller" in arguments else ("--controller", "none")
    command = ["probe", *map(str, arguments), *nobody, "--node", "web1", "--address", "127.0.0.1"]
    return CliRunner(env=clean).invoke(main, command)


def test_a_success_is_explained_phase_by_phase(target: Target, tmp_path: Path) -> None:
    target.behave(answer(body=b"I am healthy\n"))
    result = probe("--manifest", manifest(tmp_path, target.port))
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"isup on web1: http://web1:{target.port}/_status\nat 127.0.0.1, within 5 s\n")
    assert re.search(r"^connect +[0-9.]+ ms", result.stdout, re.MULTILINE)
    assert re.search(r"^tls +-$", result.stdout, re.MULTILINE)
    assert [line for line in result.stdout.splitlines() if line != line.rstrip()] == []
    assert "status 200\n  | I am healthy\n" in result.stdout
    assert result.stdout.endswith("This is a success.\nOne such result makes the pod passing.\n")
    assert [hit.path for hit in target.hits()] == ["/_status"]


def test_a_failure_says_its_reason_and_what_it_leads_to(target: Target, tmp_path: Path) -> None:
    target.behave(answer(503, b"\x1b[31mdatabase gone\n"))
    result = probe("--manifest", manifest(tmp_path, target.port, more="status: {failure_threshold: 3}"))
    assert result.exit_code == 1
    assert "answered with status 503" in result.stdout
    assert "This is a failure: status.\nA row of 3 such results makes the pod critical." in result.stdout
    assert "\x1b" not in result.stdout
    assert "\\x1b[31mdatabase gone" in result.stdout


def test_a_warning_says_the_limit_and_what_it_leads_to(target: Target, tmp_path: Path) -> None:
    target.behave(answer(429, b"busy\n"))
    more = "status: {warn_status: 429, success_threshold: 2}"
    result = probe("--manifest", manifest(tmp_path, target.port, more=more))
    assert result.exit_code == 0, result.output
    assert "answered with status 429 (warn_status)\n  | busy\n" in result.stdout
    end = "This is a success with a warning: status.\nA row of 2 such results makes the pod warning.\n"
    assert result.stdout.endswith(end)


def test_a_local_failure_is_not_attributed_to_the_pod(target: Target, tmp_path: Path) -> None:
    clean = {"CONSUL_HTTP_ADDR": None, "CONFIG_PATH": None}
    arguments = ["probe", "--manifest", str(manifest(tmp_path, target.port)), "--address", "169.254.1.1"]
    result = CliRunner(env=clean).invoke(main, arguments)
    assert result.exit_code == 3
    assert "169.254.1.1 is a link-local address, and may not be probed" in result.stdout
    assert not target.accepted()


def test_the_expiry_subject_and_issuer_of_a_certificate_are_shown(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    with Target(tls=authority.server("web1")) as target:
        more = f"status: {{tls: {{ca_file: {authority.file}}}}}"
        result = probe("--manifest", manifest(tmp_path, target.port, https=True, more=more))
        assert result.exit_code == 0, result.output
        assert re.search(r"certificate expires on [0-9-]+, in [0-9]+ days\n  for web1\n  signed by .*CA", result.stdout)
        unknown = probe("--manifest", manifest(tmp_path, target.port, https=True))
    assert unknown.exit_code == 1
    assert "certificate expires on" in unknown.stdout
    assert "This is a failure: certificate." in unknown.stdout


def test_json_contains_the_whole_result(target: Target, tmp_path: Path) -> None:
    said = json.loads(probe("--manifest", manifest(tmp_path, target.port), "--json").stdout)
    assert said["outcome"] == "success"
    assert said["addresses"] == ["127.0.0.1"]
    assert said["status_code"] == 200
    assert set(said["phases"]) == {"dns", "connect", "tls", "first_byte", "transfer"}
    assert 0 < said["phases"]["connect"] <= said["duration"]


def test_the_manifest_is_read_from_a_folder_or_from_consul(target: Target, tmp_path: Path, consul: Agent) -> None:
    file = manifest(tmp_path, target.port)
    assert probe("isup", "--intent-dir", tmp_path).exit_code == 0
    config = tmp_path / "podpulse.conf"
    config.write_text(f"intent_dir: {tmp_path}\nhealth_dir: {tmp_path / 'health'}\n")
    assert probe("isup", "--config", config).exit_code == 0
    missing = probe("isup", "--consul", consul.address)
    assert missing.exit_code == 1
    assert "intent/web1/isup does not exist: isup is not scheduled" in missing.stderr
    podpulse("schedule", file, "--node", "web1", "--consul", consul.address)
    assert probe("isup", "--consul", consul.address).exit_code == 0
    podpulse("schedule", file, "--node", "web2", "--consul", consul.address)
    consul.delete("intent/web1/isup")
    found = podpulse("probe", "isup", "--address", "127.0.0.1", "--consul", consul.address)
    assert found.stdout.startswith("isup on web2: "), "it is the only node that has the pod"
    podpulse("schedule", file, "--node", "web3", "--consul", consul.address)
    several = podpulse("probe", "isup", "--consul", consul.address, check=False)
    assert "pod isup is on web2, web3; choose with --node" in several.stderr
    assert len(target.hits()) == 4


def test_the_catalogs_address_is_used_where_the_configuration_says_so(
    target: Target, tmp_path: Path, consul: Agent
) -> None:
    file = manifest(tmp_path, target.port)
    arguments = ["--consul", consul.address, "--node", consul.node, "--address", "catalog", "--json"]
    said = json.loads(podpulse("probe", "--manifest", file, *arguments).stdout)
    assert said["addresses"] == ["127.0.0.1"]
    arguments[3] = "nobody"
    refused = podpulse("probe", "--manifest", file, *arguments, check=False)
    assert "the address of node nobody is not known" in refused.stderr


def test_a_pod_that_cannot_be_probed_is_an_error(tmp_path: Path) -> None:
    assert "either POD or --manifest" in probe().stderr
    none = probe("--manifest", manifest(tmp_path, 0))
    assert (none.exit_code, none.stderr) == (1, "Error: web1/isup: the manifest has no check: it has no status_port\n")
    wrong = probe("--manifest", manifest(tmp_path, 80, more="status: {timeout: 9x}"))
    assert f"{tmp_path / 'isup.yaml'}: the manifest is invalid: status.timeout: expected a duration" in wrong.stderr


def test_a_paused_pod_can_be_probed(target: Target, tmp_path: Path) -> None:
    target.behave(answer(body=b"I am healthy\n"))
    paused = probe("--manifest", manifest(tmp_path, target.port, more="status: {paused: true}"))
    assert paused.exit_code == 0, paused.output
    assert "\npaused: the controller does not probe it\n" in paused.stdout
    assert "This is a success." in paused.stdout
    assert json.loads(probe("--manifest", tmp_path / "isup.yaml", "--json").stdout)["paused"] is True


def test_the_usual_configuration_is_used_and_named(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = manifest(tmp_path, target.port)
    monkeypatch.setattr(options, "USUAL", tmp_path / "config.yaml")
    without = probe("--manifest", file)
    why = f"{tmp_path / 'config.yaml'} cannot be read here, and no controller was asked"
    assert f"within 5 s\nwith the default options, because {why}\n" in without.stdout
    (tmp_path / "config.yaml").write_text("defaults: {timeout: 3s}\n")
    assert f"within 3 s\nwith the options of {tmp_path / 'config.yaml'}\n" in probe("--manifest", file).stdout
    (tmp_path / "other.yaml").write_text("defaults: {timeout: 2s}\n")
    said = json.loads(probe("--manifest", file, "--config", tmp_path / "other.yaml", "--json").stdout)
    assert said["configuration"] == str(tmp_path / "other.yaml")


def test_other_options_of_the_running_controller_are_named(target: Target, tmp_path: Path) -> None:
    manifest(tmp_path, target.port)
    url = f"http://web1:{target.port}/_status"
    check = {"url": url, "address": "127.0.0.1", "interval": "1s", "timeout": "5s"}
    body = json.dumps({"node": "web1", "checks": {"isup": check}}).encode()
    with FakeServer(lambda _: Reply(200, body)) as fake:
        config = tmp_path / "config.yml"
        listen = fake.address.removeprefix("http://")
        config.write_text(f"intent_dir: {tmp_path}\nhealth_dir: {tmp_path / 'health'}\nlisten: {listen}\n")
        said = probe("isup", "--config", config).stdout
        assert f"the controller at {fake.address} has another interval: 1s instead of 5s\n" in said
        other = CliRunner().invoke(main, ["probe", "isup", "--config", str(config), "--address", "127.0.0.1"])
    assert "has another" not in other.stdout
    assert "has another" not in probe("isup", "--config", config).stdout


def test_the_options_of_a_running_controller_are_taken_and_named(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest(tmp_path, target.port)
    monkeypatch.setattr(options, "USUAL", tmp_path / "none.yaml")
    ours = {"ca_file": str(tmp_path / "gone.pem"), "credentials_dir": str(tmp_path), "intent_dir": str(tmp_path)}
    defaults = {"timeout": "3s", "interval": "7s", "headers": {"X-Key": "s3cret"}}
    theirs = Config.model_validate({**ours, "health_dir": "health", "defaults": defaults} | {"ca_file": __file__})
    told = {**probe_options(theirs), "ca_file": ours["ca_file"], "of_a_later_version": "1"}
    assert "s3cret" not in str(told)
    assert "credentials_dir" not in told
    with Site() as site:
        site.options = told
        url = f"http://127.0.0.1:{site.server.port}"
        said = probe("isup", "--controller", url)
        assert f"within 3 s\nwith the options of the controller at {url}\n" in said.stdout, said.output
        assert "without the defaults.headers of the controller, because it does not tell" in said.stdout
        assert f"without the ca_file of the controller: {ours['ca_file']} cannot be read here: No such" in said.stdout
        assert json.loads(probe("isup", "--controller", url, "--json").stdout)["controller"] == url
        assert "did you mean isup?" in probe("isupp", "--controller", url).stderr
        hit = target.hits()[-1]
        for where, note in {"name": "", "127.0.0.2": "", "192.0.2.1": "192.0.2.1 is not one of this machine"}.items():
            site.options = {"address": where}
            notes = take_options(None, None, None, url).notes
            assert [text.partition(": ")[2] for text in notes] == [note][: bool(note)]
        site.options = {"urls": f"[http://web1:{target.port}/_status]"}
        by_url = probe(f"http-{target.port}-status", "--controller", url)
        assert by_url.exit_code == 0, by_url.output
        assert target.hits()[-1].path == hit.path
        assert "no URL is checked as this pod: no pod isup is" in probe("isup", "--controller", url).stderr
        for hostile in ("[" * 5_000, "\0", "&a [*a]"):
            site.options = {"defaults.timeout": hostile}
            assert len(complaint(probe("isup", "--controller", url)).splitlines()) == 1
    assert "no controller answers at http://127.0.0.1:1: " in probe("isup", "--controller", "http://127.0.0.1:1").stderr


def test_only_terminals_get_colours_unless_they_are_disabled(target: Target, tmp_path: Path) -> None:
    file = manifest(tmp_path, target.port)
    arguments = ("probe", "--manifest", file, "--node", "web1", "--address", "127.0.0.1")
    assert "\x1b[" not in podpulse(*arguments).stdout
    with OnTerminal(*arguments) as terminal:
        assert terminal.wait() == 0
        assert "\x1b[36m  █" in terminal.shown
        assert "\x1b[1;32ma success" in terminal.shown
    with OnTerminal(*arguments, NO_COLOR="1") as terminal:
        assert terminal.wait() == 0
        assert "a success" in terminal.shown
        assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", terminal.shown)
