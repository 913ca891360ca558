"""The messages of `inspect` and `watch` if they find nothing, from a real Consul and from folders."""

import json
from pathlib import Path

import pytest

from controller.cli.nothing_found import absence, similar
from reconcilers.health import HealthState
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey
from tests.support.cli import on, run
from tests.support.consul import Agent
from tests.support.net import until
from tests.support.terminal import OnTerminal, Running

MANIFEST = "id: isup\nstatus_port: 8000\n"
KNOWN = [PodKey(f"web{number}.example.com", "isup") for number in range(1, 6)]


def test_an_empty_consul_is_explained_and_is_no_failure(consul: Agent) -> None:
    result = on(consul, "inspect")
    assert (result.exit_code, json.loads(result.stdout)) == (0, {})
    assert "nothing is scheduled, and no health is published: Consul has no key below intent/" in result.stderr
    assert "or Consul shows them only with a token, and none is given" in result.stderr
    assert "or this token may not read them" in on(consul, "inspect", "--token", "x").stderr
    named = on(consul, "inspect", "--pod", "isup", "--format", "list")
    assert (named.exit_code, json.loads(named.stdout)) == (1, None)


def test_names_that_do_not_exist_lead_to_similar_ones(consul: Agent) -> None:
    for key in ("web1.example.com/isup", "web2.example.com/isup", "web2.example.com/shop"):
        consul.put(f"intent/{key}", MANIFEST)
    wrong = on(consul, "inspect", "--pod", "isupp")
    assert (wrong.exit_code, json.loads(wrong.stdout)) == (1, {})
    assert wrong.stderr == "no pod isupp is scheduled or published; did you mean isup?\n"
    wrong = on(consul, "inspect", "--node", "web2")
    assert (wrong.exit_code, wrong.stderr) == (1, "no node web2 has pods; did you mean web2.example.com?\n")
    wrong = on(consul, "inspect", "--node", "web1.example.com", "--pod", "shop")
    assert (wrong.exit_code, wrong.stderr) == (
        1,
        "pod shop is not on node web1.example.com; it is on web2.example.com\n",
    )
    other = on(consul, "inspect", "--label", "team=x", "--format", "table")
    assert (other.exit_code, other.stderr) == (0, "none of the 3 pods has these labels\n")


def test_a_node_of_the_catalog_without_pods_is_no_failure(consul: Agent) -> None:
    consul.put("intent/other/isup", MANIFEST)
    result = on(consul, "inspect", "--node", consul.node)
    assert (result.exit_code, json.loads(result.stdout)) == (0, {})
    assert result.stderr == f"node {consul.node} has no pods; there are other\n"


@pytest.mark.parametrize(
    ("node", "pod", "text"),
    [
        (None, None, "none of the pods is selected by the options"),
        ("db1", None, "no node db1 has pods"),
        ("db1", "isup", "pod isup is not on node db1; it is on {}, {}, {} and 2 more"),
    ],
)
def test_long_lists_of_names_are_cut(node: str | None, pod: str | None, text: str) -> None:
    known = KNOWN if pod is None else [*KNOWN, PodKey("db1", "x")]
    wanted = text.format(*(key.node for key in KNOWN))
    assert absence(known, "", node, pod, is_node=False).text == wanted


def test_similar_names_are_those_that_contain_a_name_first() -> None:
    names = ["db.web1", "web1.example.com", "wob1", "shop"]
    assert similar("web1", names) == ["web1.example.com", "db.web1", "wob1"]
    assert similar("zzz", names) == []
    assert similar("n1", [f"n{number}" for number in range(30_000)]) == ["n1", "n10", "n100"]


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name in ("pods", "health"):
        (tmp_path / name).mkdir()
    (tmp_path / "pods" / "isup.yaml").write_text(MANIFEST)
    record = HealthRecord(PodKey("web1.example.com", "isup"), HealthState.PASSING)
    (tmp_path / "health" / "isup.json").write_bytes(record.encode(1.7e9))
    (tmp_path / "health" / ".podpulse.lease").touch()
    return tmp_path


def test_folders_say_themselves_which_node_they_are_of(folders: Path) -> None:
    arguments = ("--intent-dir", folders / "pods", "--health-dir", folders / "health")
    shown = json.loads(run("inspect", *arguments).stdout)
    assert shown["isup"]["web1.example.com"]["health"] == "passing"
    assert shown["isup"]["web1.example.com"]["scheduled"]
    assert list(shown["isup"]) == ["web1.example.com"]
    wrong = run("inspect", *arguments, "--pod", "isupp")
    assert (wrong.exit_code, wrong.stderr) == (1, "no pod isupp is scheduled or published; did you mean isup?\n")
    (folders / "pods" / "isup.yaml").unlink()
    empty = run("inspect", "--intent-dir", folders / "pods", "--node", "web1")
    assert (empty.exit_code, json.loads(empty.stdout)) == (0, {})
    assert f"{folders / 'pods'} has no manifest NAME.yaml" in empty.stderr


def test_watch_says_why_there_is_nothing_and_waits(consul: Agent, folders: Path) -> None:
    with Running("watch", "--consul", consul.address) as watching:
        until(lambda: "waiting: nothing is scheduled" in watching.err, 20.0)
        consul.put("intent/web1/isup", MANIFEST)
        until(lambda: "web1 isup unknown\n" in watching.out)
        assert len(watching.err.splitlines()) == 1
        assert watching.interrupt() == 0
    for file in ("pods/isup.yaml", "health/isup.json"):
        (folders / file).unlink()
    with OnTerminal("watch", "--intent-dir", folders / "pods", "--health-dir", folders / "health") as terminal:
        until(lambda: "waiting: nothing is scheduled" in terminal.shown, 20.0)
        (folders / "pods" / "isup.yaml").write_text(MANIFEST)
        until(lambda: "no health is published" in terminal.shown)
        assert terminal.interrupt() == 0
