"""`podpulse check-config --effective`: the configuration in force, and where each value comes from."""

from pathlib import Path

import pytest
import yaml

from controller.config import Config, load
from controller.config.effective import HIDDEN
from controller.config.live import option_names
from tests.support.cli import complaint, good, run

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "deploy" / "config.example.yaml"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)


def origins(*arguments: object, **environ: str) -> dict[str, tuple[str, str]]:
    """Returns the text and the origin of each option, by the last part of its name."""
    lines = good(run("check-config", "--effective", *arguments, **environ)).splitlines()
    split = [line.strip().partition("  # ") for line in lines if "  # " in line]
    return {text.partition(": ")[0]: (text.partition(": ")[2].strip(), origin) for text, _, origin in split}


def test_every_option_is_printed_with_its_value_and_can_be_read_again(tmp_path: Path) -> None:
    keyring = ROOT / "tests" / "data" / "signed" / "keyring.gpg"
    example = tmp_path / "example.yaml"
    example.write_text(f"{EXAMPLE.read_text()}\nrequire_signature: {keyring}\n")
    printed = good(run("check-config", "--effective", example, "--health-dir", tmp_path, "--intent-dir", tmp_path))
    document = yaml.safe_load(printed)
    names = {name for name in option_names(Config) if "." not in name}
    assert set(document) == names
    (tmp_path / "again.yaml").write_text(printed)
    again, first = load(tmp_path / "again.yaml", {}), load(example, {})
    changed = {"intent_dir", "health_dir", "state_dir", "consul"}
    assert again.model_dump(exclude=changed) == first.model_dump(exclude=changed)


def test_the_origin_is_the_flag_the_file_the_variable_or_the_default(tmp_path: Path) -> None:
    of_consul = {"CONSUL_HTTP_ADDR": "consul.example:8500", "CONSUL_HTTP_TOKEN": "s3cret"}
    file = tmp_path / "config.yaml"
    file.write_text("node_name: web9\nlog_level: debug\ndefaults: {interval: 7s, headers: {X-Key: s3cret}}\n")
    found = origins(file, "--node", "web1", STATE_DIRECTORY=str(tmp_path), **of_consul)
    assert found["node_name"] == ("web1", "the command line")
    assert found["log_level"] == ("debug", str(file))
    assert found["interval"] == ("7s", str(file))
    assert found["address"] == ('"http://consul.example:8500"', "the environment, CONSUL_HTTP_ADDR")
    assert found["token"] == (f'"{HIDDEN}"', "the environment, CONSUL_HTTP_TOKEN")
    assert found["state_dir"] == (str(tmp_path), "the environment, STATE_DIRECTORY")
    assert found["listen"] == ('"127.0.0.1:9815"', "the default")
    assert "s3cret" not in good(run("check-config", "--effective", file, **of_consul))


def test_the_file_may_come_from_the_environment_and_may_be_missing(tmp_path: Path) -> None:
    assert origins("--log-level", "error")["log_level"] == ("error", "the command line")
    file = tmp_path / "config.yaml"
    file.write_text("log_level: warning\n")
    assert origins(CONFIG_PATH=str(file))["log_level"] == ("warning", str(file))
    assert good(run("check-config", CONFIG_PATH=str(file))) == f"{file}: good\n"


def test_options_of_p2s_configuration_have_its_names(tmp_path: Path) -> None:
    file = tmp_path / "preparer.yaml"
    file.write_text("preparer: {node_name: web7, log_level: warn}\npodpulse: {p2_compat: true}\n")
    found = origins(file)
    assert found["node_name"] == ("web7", f"{file}: preparer.node_name")
    assert found["p2_compat"] == ("true", f"{file}: podpulse.p2_compat")
    assert found["method"] == ("HEAD", "the default of p2_compat")


def test_without_a_file_it_says_what_is_missing() -> None:
    assert "expected FILE, or --effective" in complaint(run("check-config"))
    assert "listen: expected" in complaint(run("check-config", "--effective", "--listen", "nowhere"))
