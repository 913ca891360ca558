"""What the documents name exists: headings, files, verbs and their options, metrics, alerts."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from controller.cli import main
from controller.consul import session
from controller.consul.client import MAX_OPERATIONS
from controller.intent import reality, watch
from controller.publish import kv_keeper as keeper
from reconcilers.spec import Output
from tests.bench import __main__ as bench
from tests.support.consul import Agent
from tests.support.documents import (
    CONTRIBUTING,
    DOCUMENTS,
    GUIDES,
    HEADING,
    LINK,
    OPERATIONS,
    README,
    ROOT,
    SECURITY,
    inline,
    prose,
    sections,
    text,
)
from tests.support.fleet import Fleet
from tests.support.rules import ALERTS, RECORDED
from tests.system.conftest import Launch

OURS = ("controller", "deploy", "reconcilers", "tests")
FLEET = 5000
"""Controllers, of which deploy/operations.md says what they ask of Consul together."""
OF_OTHERS = {"probe_failed_due_to_regex"}
"""blackbox_exporter's, for which we have another one."""


each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def options(verb: click.Command) -> set[str]:
    return {name for parameter in verb.params for name in parameter.opts} | {"--help"}


def uses() -> Iterator[list[str]]:
    """Yields the words of each `podpulse VERB ...`, also inside a longer command."""
    for code in inline():
        for command in re.findall(r"(?:^|\()podpulse ([a-z][^)]*)", code):
            yield shlex.split(command)


@each_document
def test_every_link_leads_to_a_file_and_to_a_heading_that_there_are(document: Path) -> None:
    for link in LINK.findall(prose(document)):
        if "://" not in link:
            name, _, anchor = link.partition("#")
            file = (document.parent / name).resolve() if name else document
            assert file.exists(), link
            assert not anchor or anchor in sections(file), link


def test_every_document_can_be_reached_from_the_readme() -> None:
    linked = {(README.parent / link.partition("#")[0]).resolve() for link in LINK.findall(prose(README))}
    assert set(GUIDES) - {README} <= linked


@pytest.mark.parametrize("document", GUIDES, ids=lambda path: path.name)
def test_no_two_headings_of_a_document_have_the_same_anchor(document: Path) -> None:
    assert len(HEADING.findall(prose(document))) == len(sections(document))


def test_the_security_policy_names_every_bound_of_output() -> None:
    bounds = re.findall(r"^\| `(\w+)`", prose(SECURITY).partition("\n| `allow_output` |")[2], re.MULTILINE)
    assert bounds == list(Output)


def test_every_file_of_ours_that_is_named_exists() -> None:
    words = [word for code in inline() for word in code.split()]
    named = {word for word in words if re.fullmatch(rf"(?:{'|'.join(OURS)})/[\w./*-]*", word)}
    assert named
    assert [name for name in sorted(named) if not any(ROOT.glob(name.rstrip("/")))] == []


def test_every_constant_that_a_recipe_names_is_defined_in_its_file() -> None:
    recipes = text(CONTRIBUTING).partition("## Four recipes")[2].partition("\n## ")[0]
    steps = re.findall(r"^\d\. `([\w./-]+\.py)`: (.*?)(?=^\d\. |^\n|\Z)", recipes, re.MULTILINE | re.DOTALL)
    named = [(file, name) for file, step in steps for name in re.findall(r"`([A-Z][A-Z_]+)`", step)]
    assert len(named) >= 5
    assert [
        (file, name) for file, name in named if not re.search(rf"^{name}\b", (ROOT / file).read_text(), re.MULTILINE)
    ] == []


def test_every_verb_and_option_that_is_named_exists() -> None:
    assert isinstance(main, click.Group)
    known = list(uses())
    assert known
    for verb, *words in known:
        assert verb in main.commands, verb
        given = {word for word in words if word.startswith("--")}
        assert given <= options(main.commands[verb]), f"{verb}: {given - options(main.commands[verb])}"


def test_every_measurement_that_is_named_can_be_started() -> None:
    named = [shlex.split(code)[1:] for code in inline() if code.startswith("tests/bench/run -")]
    assert named
    for arguments in named:
        if arguments != ["--help"]:
            assert bench.parser().parse_args(arguments).scenario in bench.SCENARIOS


def test_every_metric_that_is_named_is_exported_and_all_of_ours_are_named(
    consul: Agent, launch: Launch, fleet: Fleet
) -> None:
    fleet.schedule("isup")
    controllers = [launch(consul, labels=["team"], metrics="full"), launch(consul, node_name="m1", fleet="f")]
    fleet.wait_asked("isup", 2)
    scrapes = (controller.get("/metrics").text for controller in controllers)
    exported = {name for scrape in scrapes for name in re.findall(r"^# TYPE (\S+)", scrape, re.MULTILINE)}
    families = {re.sub(r"\{.*", "", code) for code in inline() if re.match(r"(?:podpulse|probe)_\w+(?:\{|$)", code)}
    named = {name for name in families if "/" not in name} - OF_OTHERS - RECORDED
    assert named
    assert named - exported == set()
    assert {name for name in exported if name.startswith(("podpulse_", "probe_"))} - named == set()


def test_every_alert_that_is_named_is_delivered() -> None:
    named = {name for path in GUIDES for name in re.findall(r"\bPodpulse[A-Z]\w+", prose(path))}
    assert named == ALERTS.keys()


def test_what_a_fleet_asks_of_consul_is_what_the_constants_say() -> None:
    """Consul adds up to a sixteenth to a wait, so a thirty-second on average."""
    (row,) = (
        line
        for line in prose(OPERATIONS).splitlines()
        if line.startswith("| Consul's servers, quiet: 5,000 controllers")
    )
    listings, renewals, reads = (FLEET / each for each in (watch.WAIT * 33 / 32, session.TTL / 2, keeper.PERIOD))
    assert f"up to {MAX_OPERATIONS} checks each" in row
    for said in (
        f"of which {listings:.0f} a second end",
        f"{renewals:,.0f} renewals of sessions",
        f"{reads:.0f} read transactions",
        f"every {keeper.PERIOD:.0f} s",
        f"{listings + renewals + reads:,.0f} requests a second",
        f"{FLEET / (reality.WAIT * 33 / 32):.0f} more queries",
    ):
        assert said in row
