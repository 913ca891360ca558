"""What the README names is there: headings, files, verbs and their options, metrics, alerts."""

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
from tests.support.consul import Agent
from tests.support.fleet import Fleet
from tests.support.readme import INLINE, LINK, prose, sections
from tests.support.rules import ALERTS, RECORDED
from tests.system.conftest import Launch

ROOT = Path(__file__).parents[2]
OURS = ("controller", "deploy", "reconcilers", "tests")
FLEET = 5000
"""Controllers, of which the README says what they ask of Consul together."""
OF_OTHERS = {"probe_failed_due_to_regex"}
"""blackbox_exporter's, for which we have another one."""


def inline() -> list[str]:
    """Every piece of code within a line."""
    return [" ".join(code.split()) for code in INLINE.findall(prose())]


def options(verb: click.Command) -> set[str]:
    return {name for parameter in verb.params for name in parameter.opts} | {"--help"}


def uses() -> Iterator[list[str]]:
    """The words of each `podpulse VERB ...`, also where it stands within a longer command."""
    for code in inline():
        for command in re.findall(r"(?:^|\()podpulse ([a-z][^)]*)", code):
            yield shlex.split(command)


@pytest.mark.parametrize("link", sorted(set(LINK.findall(prose()))))
def test_every_link_leads_somewhere(link: str) -> None:
    if link.startswith("#"):
        assert link[1:] in sections()
    else:
        assert "://" in link or (ROOT / link).exists()


def test_the_security_policy_names_every_bound_of_output_and_leads_somewhere() -> None:
    policy = (ROOT / "SECURITY.md").read_text()
    bounds = re.findall(r"^\| `(\w+)`", policy, re.MULTILINE)
    assert bounds == ["allow_output", *Output]
    for file, _, anchor in (link.partition("#") for link in LINK.findall(policy)):
        assert (ROOT / file).exists()
        assert not anchor or anchor in sections()


def test_no_two_headings_have_the_same_anchor() -> None:
    headings = re.findall(r"^#+ (.+)$", prose(), re.MULTILINE)
    assert len(headings) == len(sections())


def test_every_file_of_ours_that_is_named_exists() -> None:
    words = [word for code in inline() for word in code.split()]
    named = {word for word in words if re.fullmatch(rf"(?:{'|'.join(OURS)})/[\w./*-]*", word)}
    assert named
    assert [name for name in sorted(named) if not any(ROOT.glob(name.rstrip("/")))] == []


def test_every_verb_and_option_that_is_named_exists() -> None:
    assert isinstance(main, click.Group)
    known = list(uses())
    assert known
    for verb, *words in known:
        assert verb in main.commands, verb
        given = {word for word in words if word.startswith("--")}
        assert given <= options(main.commands[verb]), f"{verb}: {given - options(main.commands[verb])}"


def test_every_metric_that_is_named_is_exported(consul: Agent, launch: Launch, fleet: Fleet) -> None:
    fleet.schedule("isup")
    controller = launch(consul)
    fleet.wait_asked("isup", 2)
    exported = set(re.findall(r"^# TYPE (\S+)", controller.get("/metrics").text, re.MULTILINE))
    families = {re.sub(r"\{.*", "", code) for code in inline() if re.match(r"(?:podpulse|probe)_\w+(?:\{|$)", code)}
    named = {name for name in families if "/" not in name} - OF_OTHERS - RECORDED
    assert named
    assert named - exported == set()


def test_every_alert_that_is_named_is_delivered() -> None:
    named = set(re.findall(r"\bPodpulse[A-Z]\w+", prose()))
    assert named == ALERTS.keys()


def test_what_a_fleet_asks_of_consul_is_what_the_constants_say() -> None:
    """Consul adds up to a sixteenth to a wait, so a thirty-second on average."""
    (row,) = (line for line in prose().splitlines() if line.startswith("| Consul's servers, quiet: 5,000 controllers"))
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
