"""The fleet on the page of a member and in its API, over real connections and with a real Consul."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest

from controller.consul.client import ConsulClient
from controller.members.fleet_reader import FleetReader
from controller.web import fleet as web_fleet
from reconcilers.health import HealthState
from reconcilers.share import FleetView
from tests.controller.test_api import Client
from tests.support.consul import Agent
from tests.support.net import until
from tests.support.shares import publish, register
from tests.support.site import HOSTILE, NODE, Page, Site

OTHER = "m2"
VIEW = FleetView(4, tuple(sorted((NODE, OTHER))))
NODES = [f"node{number}" for number in range(12)]
THEIRS = next(node for node in NODES if VIEW.owner(node) == OTHER)
OURS = next(node for node in NODES if VIEW.owner(node) == NODE)


@pytest.fixture
def consul_client(consul: Agent) -> Iterator[ConsulClient]:
    with ConsulClient(consul.settings(), timeout=3.0) as client:
        yield client


@pytest.fixture
def site(consul: Agent, consul_client: ConsulClient) -> Iterator[Site]:
    """The site of a member. The other member checks `THEIRS`."""
    register(consul_client, NODE)
    register(consul_client, OTHER, detail="x")
    for node in NODES:
        consul.put(f"intent/{node}/isup", b"id: isup\n")
        publish(consul, node, "isup", HealthState.CRITICAL if node == "node7" else HealthState.PASSING)
    with Site(fleet=FleetReader(consul_client, "intent", "f", lambda: VIEW)) as site:
        yield site


@pytest.fixture
def lone() -> Iterator[Site]:
    """The site of a controller of one node."""
    with Site() as site:
        yield site


def rows(html: str, name: str) -> list[str]:
    """Returns the names that are links in the rows of a table."""
    _, _, table = html.partition(f'<table role="table" aria-label="{name}">')
    _, _, body = table.partition("</table>")[0].partition("<tbody")
    return [text for text in Page(f"<tbody{body}").text("a") if text.strip()]


def test_the_page_of_a_member_says_that_it_is_not_all_of_the_fleet(site: Site) -> None:
    assert "Only the pods that this member of the fleet checks." in site.get("/")[1]


def test_the_page_of_the_fleet_has_members_and_nodes_the_worst_first(site: Site) -> None:
    response, html = site.get("/fleet")
    assert response.status == 200
    page = Page(html)
    assert "Fleet f" in page.text("h1")[0]
    assert "2 members check 12 nodes with 12 published pods" in html
    assert rows(html, "Nodes")[0] == "node7"
    links = {attributes.get("href") for tag, attributes in page.tags if tag == "a"}
    assert "http://127.0.0.1:9815/fleet" in links
    assert f"fleet/pods?q={THEIRS}" in links
    assert "1 critical" in html
    assert 'href="fleet" aria-current="page"' in html
    assert 'href="fleet"' in site.get("/")[1]


def test_nodes_are_filtered_and_paged(site: Site) -> None:
    assert rows(site.get("/fleet?q=node1&per_page=1")[1], "Nodes")[0] == "node1"
    html = site.get("/fleet?q=NODE1&per_page=2&page=2")[1]
    assert rows(html, "Nodes")[0] == "node11"
    assert "Page 2 of 2, 3 nodes" in html
    assert "3 of 12" in html
    html = site.get(f"/fleet?q={OTHER}")[1]
    assert OURS not in rows(html, "Nodes")
    assert "No node matches." in site.get("/fleet?q=nonsense")[1]


def test_a_fleet_without_nodes_says_so(consul_client: ConsulClient) -> None:
    with Site(fleet=FleetReader(consul_client, "intent", "f", lambda: VIEW)) as site:
        html = site.get("/fleet")[1]
    assert "No node has a manifest yet." in html
    assert '<td role="cell" class="state">gone</td>' in html


def test_nodes_without_a_member_are_named_first(consul_client: ConsulClient, consul: Agent) -> None:
    consul.put("intent/node1/isup", b"id: isup\n")
    register(consul_client, OTHER, "critical", "thread probe hangs")
    with Site(fleet=FleetReader(consul_client, "intent", "f", FleetView)) as site:
        html = site.get("/fleet")[1]
    assert "No member checks 1 node." in html
    assert "no member</b>" in html
    assert "thread probe hangs" in html


def test_a_pod_of_any_node_is_found_with_its_member(site: Site) -> None:
    html = site.get(f"/fleet/pods?q=isup+{THEIRS}")[1]
    assert f'href="http://127.0.0.1:9815/pods/{THEIRS}/isup"' in html
    assert f'href="../pods/{THEIRS}/isup"' in html
    assert "isup says so" in html
    html = site.get("/fleet/pods?per_page=5&page=3")[1]
    assert "Page 3 of 3, 12 pods" in html
    assert "No published pod matches." in site.get("/fleet/pods?q=nonsense")[1]
    assert 'href="fleet/pods?q=is%20up"' in site.get("/?q=is+up")[1]


def test_the_page_of_a_pod_of_another_member_shows_its_record_and_leads_there(site: Site) -> None:
    response, html = site.get(f"/pods/{THEIRS}/isup")
    assert response.status == 200
    assert f'The member {OTHER} of the fleet checks it. <a href="http://127.0.0.1:9815/pods/{THEIRS}/isup">' in html
    assert "isup says so" in html
    response, html = site.get(f"/pods/{THEIRS}/missing")
    assert response.status == 404
    assert f"The member {OTHER} of the fleet checks it" in html
    assert "Nothing is published for this pod." in html


def test_a_pod_of_ours_that_is_not_checked_yet_leads_nowhere(site: Site) -> None:
    response, html = site.get(f"/pods/{OURS}/isup")
    assert response.status == 200
    assert "This controller is about to check it" in html
    response, html = site.get(f"/pods/{OURS}/missing")
    assert response.status == 404
    assert f"No pod missing on {OURS} is known here" in html
    assert site.get("/pods/node1/a%20b")[0].status == 404


def test_a_pod_without_a_member_says_so(consul_client: ConsulClient, consul: Agent) -> None:
    publish(consul, "node1", "isup")
    with Site(fleet=FleetReader(consul_client, "intent", "f", FleetView)) as site:
        assert "No member of the fleet checks its node." in site.get("/pods/node1/isup")[1]


def test_a_pod_that_is_checked_here_has_its_own_page(site: Site) -> None:
    site.follow("isup")
    assert "The check</h2>" in site.get(f"/pods/{NODE}/isup")[1]


def test_text_of_others_cannot_become_markup(consul_client: ConsulClient, consul: Agent) -> None:
    hostile = HOSTILE.replace("\ud800", "").replace("\0", "")
    register(consul_client, OTHER, "critical", hostile, version="<b>1</b>")
    record = {"Node": "node1", "Service": "isup", "Status": "critical", "Output": hostile, "Detail": hostile}
    consul.put("health/isup/node1", json.dumps(record))
    with Site(fleet=FleetReader(consul_client, "intent", "f", lambda: FleetView(1, (OTHER,)))) as site:
        pages = [
            site.get(path)[1] for path in ("/fleet", f"/fleet?q={quote(hostile)}", "/fleet/pods", "/pods/node1/isup")
        ]
    for html in pages:
        assert "<script>alert" not in html
        assert "<img" not in html
        assert "<b>1</b>" not in html
        assert "49" not in html.split("{{ 7 * 7 }}")[0][-3:]
    assert all("&lt;script&gt;alert" in html for html in pages)


def test_a_controller_of_one_node_has_no_fleet(lone: Site) -> None:
    for path in ("/fleet", "/fleet/pods"):
        response, html = lone.get(path)
        assert response.status == 404
        assert f"This controller checks the pods of one node, {NODE}, and has no fleet" in html
    for path in ("/fleet", "/fleet/pods"):
        assert "has no fleet" in Client(lone).get(path, path, 404)["detail"]
    assert ">Fleet<" not in lone.get("/")[1]
    assert lone.get("/pods/web9/isup")[0].status == 404


def test_the_api_has_members_nodes_and_pods_of_the_fleet(site: Site) -> None:
    client = Client(site)
    found = client.get("/fleet?per_page=5")
    assert (found["fleet"], found["view_index"], found["pods"], found["pods_read"]) == ("f", 4, 12, 12)
    assert {member["id"]: member["state"] for member in found["members"]} == {NODE: "member", OTHER: "member"}
    assert sum(member["nodes"] for member in found["members"]) == found["matching"] == 12
    first = {"node": "node7", "member": VIEW.owner("node7"), "pods": 1, "critical": 1}
    assert found["nodes"][0] == first | {"unknown": 0, "warning": 0, "passing": 0}
    assert (found["page"], found["pages"], found["per_page"], len(found["nodes"])) == (1, 3, 5, 5)
    pod = client.get(f"/fleet/pods?q=isup/{THEIRS}", "/fleet/pods")["pods"][0]
    assert (pod["status"], pod["member"], pod["detail"]) == ("passing", OTHER, "isup says so")
    assert pod["page"] == f"http://127.0.0.1:9815/pods/{THEIRS}/isup"
    assert client.get("/fleet?page=0", "/fleet", 400)["errors"][0]["parameter"] == "page"


def test_the_api_names_the_member_that_checks_a_pod(site: Site) -> None:
    problem = Client(site).get(f"/pods/{THEIRS}/isup", "/pods/{node}/{pod}", 404)
    assert problem["detail"] == f"pod {THEIRS}/isup is not checked here; member {OTHER} checks its node"
    assert (problem["member"], problem["page"]) == (OTHER, f"http://127.0.0.1:9815/pods/{THEIRS}/isup")
    assert "member" not in Client(site).get(f"/pods/{OURS}/missing", "/pods/{node}/{pod}", 404)


def test_without_consul_the_fleet_cannot_be_shown_and_the_rest_can(site: Site, consul: Agent) -> None:
    site.follow("isup")
    consul.stop()
    response, html = site.get("/fleet")
    assert response.status == 503
    assert "The fleet cannot be shown: " in html
    assert response.headers["Retry-After"]
    assert "The fleet cannot be shown" in Client(site).get("/fleet", "/fleet", 503)["detail"]
    assert site.get("/")[0].status == 200
    assert site.get(f"/pods/{NODE}/isup")[0].status == 200


def test_a_consul_that_stands_still_delays_no_other_request_and_few_wait_for_it(
    consul_client: ConsulClient, consul: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_fleet, "MOST_WAITING", 2)
    consul.pause()
    try:
        with Site(fleet=FleetReader(consul_client, "intent", "f", lambda: VIEW)) as site, ThreadPoolExecutor(3) as pool:
            asked = [pool.submit(lambda: site.get("/fleet")) for _ in range(3)]
            until(lambda: any(one.done() for one in asked), 10.0, "one request to be refused")
            assert site.get("/")[0].status == 200
            assert [one.result()[0].status for one in asked] == [503, 503, 503]
            assert sum("2 other requests wait for Consul" in one.result()[1] for one in asked) == 1
    finally:
        consul.resume()
