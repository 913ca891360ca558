"""`podpulse describe`: one pod from a real page, from a real Consul alone, and from folders."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from controller.cli.description import Description, decoded, lines_of
from controller.web.api.detail import PodDetail
from reconcilers.escaping import safe_lines
from reconcilers.health import HealthState, Reason
from reconcilers.p2 import manifest as p2manifest
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey
from tests.support.cli import complaint, good, on, run
from tests.support.consul import Agent
from tests.support.fake_http import FakeServer, Reply
from tests.support.shares import enrol, register
from tests.support.site import NODE, Site
from tests.support.terminal import OnTerminal

MANIFEST = b"id: isup\nstatus_port: 8000\nstatus: {failure_threshold: 2, labels: {team: shop}}\n"
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        site.schedule(1, isup=MANIFEST, quiet=b"id: quiet\nstatus_port: 8000\nstatus: {paused: true}\n")
        site.follow("isup", failure_threshold=2)
        site.passes("isup")
        site.fails("isup", output="\x1b[2Joops\n" * 9)
        site.fails("isup", output="\x1b[2Joops\n" * 9)
        yield site


def page(site: Site) -> str:
    return f"http://127.0.0.1:{site.server.port}"


def put_record(consul: Agent, node: str, manifest: bytes = MANIFEST) -> None:
    sha = p2manifest.sha(manifest)
    record = HealthRecord(
        PodKey(node, "isup"), HealthState.CRITICAL, Reason.STATUS, "status 500", "oops", 1.7e9, 1.7e9, manifest_sha=sha
    )
    consul.put(f"health/isup/{node}", record.encode(1.7e9))


def test_a_controller_tells_everything_of_its_pod(site: Site) -> None:
    said = good(run("describe", "isup", "--controller", page(site)))
    assert said.startswith(f"isup on {NODE} is critical for ")
    assert "\nIt is critical, because 2 probes in a row failed with the reason status: answered 503" in said
    assert f"\nCheck        https://{NODE}:8000/_status, every 5 s, within 2 s\n" in said
    assert "critical after 2 failures, passing after 1 success\n" in said
    assert re.search(r"\nLast probe   .* ago: failure \(status, HTTP 503\) after 250\.0 ms\n", said)
    assert "| \\x1b[2Joops\n" in said
    assert "| (3 more lines)\n" in said
    changes = re.search(
        r"\nTransitions  (.*) ago: passing -> critical \(status\): (.*)\n +(.*) ago: unknown -> passing\n", said
    )
    assert changes, said
    assert f"\nManifest     SHA {p2manifest.sha(MANIFEST)}\n" in said
    assert "\nPublished    nothing\n" in said
    assert said.endswith(f"\nSource       the controller at {page(site)}\n")
    fields = json.loads(good(run("describe", "isup", "--controller", page(site), "--node", NODE, "--json")))
    assert (fields["state"], fields["probe"]["status_code"]) == ("critical", 503)
    assert [(each["from"], each["to"]) for each in fields["transitions"]] == [
        ("unknown", "passing"),
        ("passing", "critical"),
    ]
    assert fields["probed_by"] == [fields["source"]] == [f"the controller at {page(site)}"]


def test_a_paused_and_an_unknown_pod(site: Site) -> None:
    said = good(run("describe", "quiet", "--controller", page(site)))
    assert said.startswith(f"quiet on {NODE} is paused\nNothing is checked, because its manifest asks for a pause.\n")
    assert "\nProbed by    nobody, because nothing is checked\n" in said
    for node, said in (((), "it has no such pod"), (("--node", "web9"), "no pod web9/nope is known here")):
        assert f"{page(site)} says: {said}" in complaint(run("describe", "nope", *node, "--controller", page(site)))
    assert "POD: expected a name" in complaint(run("describe", "a/b", "--controller", page(site)))
    assert "no controller answers at" in complaint(run("describe", "isup", "--controller", NOWHERE))


def test_without_a_controller_consul_alone_tells_what_it_has(consul: Agent) -> None:
    consul.put("intent/web1/isup", MANIFEST)
    put_record(consul, "web1")
    said = good(on(consul, "describe", "isup"))
    assert "isup on web1 is critical for " in said
    assert "\nIt is critical with the reason status: status 500.\n" in said
    assert "Last probe   not known; the published health is of a probe " in said
    assert "Transitions  not available: only the controller of the pod has them\n" in said
    assert "Labels       team=shop\n" in said
    assert "in Consul's key health/isup/web1, held by no session\n" in said
    assert "Probed by    no registered controller\n" in said
    assert said.endswith("Source       Consul alone, because no controller of its node is registered\n")
    put_record(consul, "web1", MANIFEST + b"status_http: true\n")
    assert "status 500; this is the health of an older manifest: the new one is being" in good(
        on(consul, "describe", "isup")
    )
    consul.put("intent/web1/isup", b"id: isup\nstatus: {timeout: 9x}\n")
    said = good(on(consul, "describe", "isup"))
    assert "an older manifest is in force, this one is invalid: status.timeout: expected a duration" in said
    consul.delete("intent/web1/isup")
    assert "Manifest     none: the pod is not scheduled\n" in good(on(consul, "describe", "isup"))


def test_the_controller_is_found_in_consul(consul: Agent, site: Site) -> None:
    consul.put(f"intent/{NODE}/isup", MANIFEST)
    with closing(consul.client()) as client:
        enrol(client, NODE, 1)
        said = good(on(consul, "describe", "isup"))
        assert f"\nProbed by    the controller of node {NODE}, {NOWHERE}, passing\n" in said
        assert "\nSource       Consul alone, because no controller answers at http://127.0.0.1:1: " in said
        enrol(client, NODE, site.server.port)
        said = good(on(consul, "describe", "isup"))
        assert said.endswith(f"\nSource       the controller of node {NODE}, {page(site)}\n")
        assert "because 2 probes in a row failed" in said
        register(client, "m1")
        client.deregister_service(f"podpulse-{NODE}")
        said = good(on(consul, "describe", "isup"))
    assert "\nProbed by    member m1 of fleet f, http://127.0.0.1:9815, passing\n" in said


def test_several_nodes_of_a_pod_are_listed(consul: Agent) -> None:
    for node in ("web1", "web2"):
        consul.put(f"intent/{node}/isup", MANIFEST)
    put_record(consul, "web2")
    result = on(consul, "describe", "isup")
    assert (result.exit_code, result.stdout) == (1, "NODE  STATE\nweb2  critical\nweb1  unknown\n")
    assert result.stderr == "Error: 2 nodes have pod isup; choose one with --node\n"
    assert "isup on web1 is unknown\nIt is unknown; no health is published." in good(
        on(consul, "describe", "isup", "--node", "web1")
    )
    assert "no pod isupp is scheduled or published; did you mean isup?" in complaint(on(consul, "describe", "isupp"))
    pods = [{"node": "a", "pod": "isup", "state": "passing"}, {"node": "b", "pod": "isup", "state": "\x1b[2J"}]
    with FakeServer(lambda _: Reply(200, json.dumps({"pods": pods}).encode())) as fake:
        said = run("describe", "isup", "--controller", fake.address)
    assert said.stdout.startswith("NODE  STATE\na     passing\nb     \\x1b[2J\n")


def test_folders_are_read_without_consul(tmp_path: Path) -> None:
    (tmp_path / "pods").mkdir()
    (tmp_path / "pods" / "isup.yaml").write_bytes(b"id: isup\n")
    config = tmp_path / "config.yaml"
    config.write_text(f"intent_dir: {tmp_path / 'pods'}\nhealth_dir: {tmp_path / 'health'}\nlisten: 127.0.0.1:1\n")
    said = good(run("describe", "isup", "--config", config, "--node", "web1"))
    assert said.startswith("isup on web1 is unchecked\nIt is unchecked; its manifest has no status_port.\n")
    assert "\nSource       the folders alone, because no controller answers at http://127.0.0.1:1: " in said
    wrong = run("describe", "isupp", "--config", config, "--node", "web1")
    assert "no pod isupp is scheduled or published; did you mean isup?" in complaint(wrong)


def test_folders_are_not_mixed_up_with_the_pods_of_the_controller_of_this_machine(site: Site, tmp_path: Path) -> None:
    (tmp_path / "isup.yaml").write_bytes(b"id: isup\n")
    config = tmp_path / "config"
    config.write_text(f"listen: 127.0.0.1:{site.server.port}\n")
    arguments = ("describe", "isup", "--config", config, "--intent-dir", tmp_path)
    assert "Source       the folders alone, because" in good(run(*arguments))
    assert "Source       the controller at" in good(run(*arguments, "--node", NODE))


@pytest.mark.parametrize("body", [b"{}", b"[" * 10_000, b'{"node": 1}', b"\xff"])
def test_an_answer_that_is_not_one_about_a_pod_is_none(body: bytes) -> None:
    assert decoded(body) is None


def test_a_hostile_answer_controls_no_terminal() -> None:
    text = "\x1b]0;owned\x07\n\u202egnp"
    fields = dict.fromkeys(("node", "pod", "state", "since", "why", "detail", "excerpt", "manifest_error"), text)
    odd = {**fields, "probe": {"started": text, "detail": text}, "certificate": {"names": text, "expires": text}}
    with FakeServer(lambda _: Reply(200, json.dumps(odd).encode())) as fake:
        said = good(run("describe", "isup", "--node", "web1", "--controller", fake.address))
    assert safe_lines(said) == said
    assert "\nowned" not in said


def test_a_controller_that_refuses_is_named() -> None:
    with FakeServer(lambda _: Reply(401, b"")) as fake:
        said = complaint(run("describe", "isup", "--controller", fake.address))
    assert f"{fake.address} answered with status 401" in said


def test_every_field_is_one_of_the_api() -> None:
    assert set(Description.__struct_fields__) <= PodDetail.model_fields.keys()


def test_lines_about_certificate_uptime_and_an_older_version() -> None:
    answer = {
        "node": "web1",
        "pod": "isup",
        "state": "passing",
        "uptime": {
            "1h": {"share": 0.99999, "up": 3590, "down": 0.01},
            "24h": {"share": 1, "up": 90},
            "7d": {"share": None},
        },
        "certificate": {"expires": "2023-11-24T22:13:20Z", "names": "web1", "issuer": "CA", "verified": False},
        "published": {"status": "passing", "since": "2023-11-14T22:13:10Z", "in_doubt": True},
        "manifest": {"sha": "abc"},
        "manifest_in_force": {"sha": "def"},
    }
    pod = decoded(json.dumps(answer).encode())
    assert pod
    assert list(lines_of(pod, 1.7e9)) == [
        ("Transitions", "not available: only the controller of the pod has them"),
        ("Certificate", "expires on 2023-11-24, in 10 days; it is not verified"),
        ("", "for web1"),
        ("", "signed by CA"),
        ("Uptime", "1h 99.99 %, 24h 100 % (of 1m30s known), 7d -"),
        ("Manifest", "SHA abc"),
        ("", "an older version is in force, SHA def"),
        ("Published", "passing for 10s; in doubt: readers may not see it any more, and it will be written again"),
    ]
    answer["uptime"] = {"1h": {"share": 1, "up": 90}, "24h": {"share": 1, "up": 90}}
    young = decoded(json.dumps(answer).encode())
    assert young
    assert ("Uptime", "1h 100 %, 24h 100 %, of 1m30s known") in lines_of(young, 1.7e9)
    later = dict(lines_of(pod, 1.8e9))
    assert later["Certificate"] == "has expired; it is not verified"


def test_only_terminals_get_colours(site: Site) -> None:
    arguments = ("describe", "isup", "--controller", page(site))
    with OnTerminal(*arguments, columns=60) as terminal:
        assert terminal.wait() == 0
        assert "\x1b[1;31mcritical" in terminal.shown
    with OnTerminal(*arguments, NO_COLOR="1") as terminal:
        assert terminal.wait() == 0
        assert "is critical" in terminal.shown.replace("\x1b[1m", "").replace("\x1b[0m", "")
        assert "31mcritical" not in terminal.shown
