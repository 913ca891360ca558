"""Every option of a manifest changes only its kinds of checks, and `plan`, the API and the documents show it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from controller.cli import main
from controller.config import Config
from reconcilers import yamltext
from reconcilers.checktext import describe
from reconcilers.manifest import ManifestError, parse
from reconcilers.option import EVERY_KIND, Option
from reconcilers.options import OPTIONS, CheckOptions, Status
from reconcilers.spec import PodKey
from reconcilers.tls_options import TLS_OPTIONS, TlsOptions
from tests.support.site import NODE, Site

ROOT = Path(__file__).parents[2]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "deploy").glob("*.md")))
FILE = Path(__file__).resolve()

ALL: Mapping[str, Option] = {**OPTIONS, **{f"tls.{name}": option for name, option in TLS_OPTIONS.items()}}
"""By the name below `status:`."""

NEEDED = {
    "tls.cert_file": {"key_file": str(FILE)},
    "tls.key_file": {"cert_file": str(FILE)},
    "body": {"method": "POST"},
    "warn_expiry": {"tls": "{}"},
}
"""What an option needs beside it."""

ALLOWING = """
allow_headers: true
allow_send: true
allow_methods: [GET, HEAD, POST]
credentials_dir: /
max_redirects: 10
labels: [team]
"""
"""A configuration that allows manifests all options."""

RULES = Config.model_validate(yamltext.load(ALLOWING.encode())).rules()

WITHOUT_EFFECT = {"http": {"tcp"}, "kind": {OPTIONS["kind"].example}}
"""Kinds of checks in which an option says what is already true."""


def kinds(name: str) -> frozenset[str]:
    return ALL[name.partition(".")[0]].kinds


def kind_of(name: str) -> str:
    """A kind of check that the option applies to."""
    return "http" if "http" in kinds(name) else min(kinds(name))


def manifest(name: str, value: str, kind: str, pod: str = "isup") -> bytes:
    """A manifest of a check of this kind, in which the option has this value."""
    section, _, field = name.rpartition(".")
    said = {**NEEDED.get(name, {}), field: value}
    fields = {"kind": kind, "port": "81", **({section: _flow(said)} if section else said)}
    return f"id: {pod}\nstatus: {_flow(fields)}\n".encode()


def _flow(fields: Mapping[str, str]) -> str:
    return f"{{{', '.join(f'{name}: {text}' for name, text in fields.items())}}}"


def example(name: str) -> str:
    return re.sub(r"/\w+\.pem", str(FILE), ALL[name].example)


def texts(document: bytes) -> dict[str, str]:
    parsed = parse(PodKey(NODE, "isup"), document, RULES)
    return describe(parsed.check, parsed.labels) if parsed.check else {}


def plain(kind: str) -> dict[str, str]:
    """A check of this kind without further options."""
    return texts(f"id: isup\nstatus: {{kind: {kind}, port: 81}}\n".encode())


@pytest.mark.parametrize("name", ALL)
def test_an_option_changes_the_checks_of_its_kinds(name: str) -> None:
    for kind in sorted(kinds(name) - WITHOUT_EFFECT.get(name, set())):
        assert texts(manifest(name, example(name), kind)) != plain(kind)


@pytest.mark.parametrize("name", ALL)
def test_an_option_is_an_error_in_checks_of_other_kinds(name: str) -> None:
    for kind in sorted(EVERY_KIND - kinds(name)):
        with pytest.raises(ManifestError, match=f"of no use to a check of the kind {kind}$"):
            texts(manifest(name, example(name), kind))


def test_the_api_shows_every_option() -> None:
    with Site() as site:
        manifests = {name: manifest(name, example(name), kind_of(name), f"pod-{name}") for name in ALL}
        parsed = [parse(PodKey(NODE, f"pod-{name}"), document, RULES).check for name, document in manifests.items()]
        site.manifests.apply(RULES)
        site.schedule(1, **{f"pod-{name}": document for name, document in manifests.items()})
        site.healths.follow((check, 1) for check in parsed if check)
        shown = json.loads(site.get("/api/v1/checks")[1])["checks"]
        assert [name for name in ALL if shown.get(f"pod-{name}", {}) == plain(kind_of(name))] == []
        described = json.loads(site.get("/api/v1/openapi.json")[1])["components"]["schemas"]["CheckList"]
        properties = described["properties"]["checks"]["additionalProperties"]["properties"]
        assert {name: text["description"] for name, text in properties.items()}.items() <= {
            name: option.description for name, option in OPTIONS.items()
        }.items()


def test_plan_shows_every_option(tmp_path: Path) -> None:
    folder, config = tmp_path / "pods", tmp_path / "config.yaml"
    folder.mkdir()
    config.write_text(ALLOWING)
    for name in ALL:
        (folder / f"pod-{name}.yaml").write_bytes(manifest(name, example(name), kind_of(name), f"pod-{name}"))
    arguments = ("plan", "--node", NODE, "--config", config, "--intent-dir", folder, "--controller", "none", "--json")
    result = CliRunner().invoke(main, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    planned = json.loads(result.stdout)
    assert (planned["invalid"], list(planned["warnings"])) == ({}, ["pod-tls.resume"])
    assert [name for name in ALL if planned["start"].get(f"pod-{name}", {}) == plain(kind_of(name))] == []


@pytest.mark.parametrize("name", ALL)
def test_the_documents_have_one_row_for_every_option(name: str) -> None:
    option = ALL[name]
    model, field = (TlsOptions, name.removeprefix("tls.")) if "." in name else (Status, name)
    value = model.model_fields[field].default
    default = option.default or f"`{value if isinstance(value, str) else option.show(value)}`"
    row = f" | {option.description} | {default} |"
    lines = [line for document in DOCUMENTS for line in document.read_text("utf-8").splitlines()]
    found = [line for line in lines if re.match(rf"\|[^|]*`(status\.)?{re.escape(name)}`", line) and line.endswith(row)]
    assert len(found) == 1, f"expected this row in one of the tables of options: | `{name}`{row}"


def test_the_readme_names_the_options_without_a_default_in_the_configuration() -> None:
    sentence = re.search(r"defaults for all of them except ([^.]+)\.", (ROOT / "README.md").read_text("utf-8"))
    assert sentence
    of_p2 = {"http", "path", "port", "localhost_only"}
    assert set(re.findall(r"`(\w+)`", sentence[1])) == Status.model_fields.keys() - CheckOptions.model_fields - of_p2
