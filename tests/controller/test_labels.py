"""Labels of pods where people use them: the page, the API, events, metrics, services and the command line."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from controller.cli.following import ConsulPods, FolderPods
from controller.config import Config, ConfigError, load
from controller.health.store import HealthStore
from controller.intent.manifest_store import ManifestStore
from controller.publish.services import ManifestServices, ServiceNaming
from controller.web import events
from controller.web.exposition import Exposition, Format, OptionalFamilies
from reconcilers.gate import Entry, Listing
from reconcilers.labels import selector
from reconcilers.options import Rules
from reconcilers.spec import PodKey
from tests.support.cli import complaint, good, on, run
from tests.support.consul import Agent
from tests.support.net import until
from tests.support.site import NODE, Page, Site
from tests.support.terminal import Running

SHOP = b"id: shop\nstatus_port: 8000\nstatus: {labels: {team: shop, tier: web}}\n"
CART = b"id: cart\nstatus_port: 8000\nstatus: {labels: {team: shop, tier: db}}\n"
PLAIN = b"id: plain\nstatus_port: 8000\n"
PODS = {"shop": SHOP, "cart": CART, "plain": PLAIN}
RULES = Rules(labels=("team", "tier"))


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as one:
        one.manifests.apply(RULES)
        one.schedule(1, **PODS)
        one.follow(*PODS)
        one.passes("shop")
        one.fails("cart")
        yield one


def listed(site: Site, query: str) -> list[str]:
    return sorted(pod["pod"] for pod in json.loads(site.get(f"/api/v1/pods{query}")[1])["pods"])


@pytest.mark.parametrize(
    ("query", "pods"),
    [
        ("?label=team=shop", ["cart", "shop"]),
        ("?label=team%3Dshop&label=tier%3Dweb", ["shop"]),
        ("?label=tier=web&label=tier=db", ["cart", "shop"]),
        ("?label=team=", ["plain"]),
        ("?label=owner=me", []),
        ("?label=team=shop&state=critical", ["cart"]),
        ("?label=", ["cart", "plain", "shop"]),
    ],
)
def test_the_api_selects_pods_by_their_labels(site: Site, query: str, pods: list[str]) -> None:
    assert listed(site, query) == pods


def test_the_api_shows_the_labels_of_a_pod(site: Site) -> None:
    shop = json.loads(site.get(f"/api/v1/pods/{NODE}/shop")[1])
    assert shop["labels"] == {"team": "shop", "tier": "web"}
    assert json.loads(site.get(f"/api/v1/pods/{NODE}/plain")[1])["labels"] == {}
    checks = json.loads(site.get("/api/v1/checks")[1])["checks"]
    assert (checks["shop"]["labels.team"], "labels.team" in checks["plain"]) == ("shop", False)


@pytest.mark.parametrize(
    "query", ["label=team", "label==x", "label=team=%00", "label=%22%3E=x", "label=a=" + "b" * 64, "label=a=b&" * 50]
)
@pytest.mark.parametrize("path", ["/api/v1/pods", "/api/v1/events"])
def test_a_wrong_condition_is_named(site: Site, path: str, query: str) -> None:
    query = "&".join(f"label=a={n}" for n in range(51)) if query.startswith("label=a=b&") else query
    response, text = site.get(f"{path}?{query}")
    assert (response.status, json.loads(text)["errors"][0]["parameter"]) == (400, "label")
    assert site.get(f"/?{query}")[0].status == 200, "the page ignores it"


def test_the_page_links_to_the_pods_with_the_same_label(site: Site) -> None:
    html = site.get("/?state=critical")[1]
    links = [attributes.get("href") for tag, attributes in Page(html).tags if tag == "a"]
    assert "?state=critical&label=team%3Dshop" in links
    html = site.get("/?label=team%3Dshop&label=tier%3Dweb&q=s")[1]
    page = Page(html)
    links = [attributes.get("href") for tag, attributes in page.tags if tag == "a"]
    assert "?q=s&label=tier%3Dweb" in links, "to remove a condition"
    hidden = [a.get("value") for tag, a in page.tags if tag == "input" and a.get("name") == "label"]
    assert hidden == ["team=shop", "tier=web"], "the form keeps the conditions"
    assert "1 of 3" in html
    detail = Page(site.get(f"/pods/{NODE}/shop")[1])
    assert "../../?label=tier%3Dweb" in [attributes.get("href") for tag, attributes in detail.tags if tag == "a"]


def test_another_value_of_a_label_replaces_the_condition(site: Site) -> None:
    links = [a.get("href") for tag, a in Page(site.get("/?label=tier%3Dweb&label=tier%3Ddb")[1]).tags if tag == "a"]
    assert "?label=tier%3Ddb" in links


def test_a_changed_label_changes_the_mark_of_the_page(site: Site) -> None:
    before = site.fleet.mark()
    site.schedule(2, **PODS | {"shop": SHOP.replace(b"shop, tier", b"other, tier")})
    assert site.fleet.mark() != before
    assert listed(site, "?label=team=other") == ["shop"]


def test_a_stream_counts_the_pods_with_its_labels(site: Site) -> None:
    def totals(query: str) -> dict[str, int]:
        connection = http.client.HTTPConnection("127.0.0.1", site.server.port, timeout=10)
        connection.request("GET", f"/api/v1/events{query}")
        response = connection.getresponse()
        for line in response:
            if line.startswith(b"data: "):
                connection.close()
                return {state: count for state, count in json.loads(line[6:]).items() if count}
        raise AssertionError("no event")

    assert totals("") == {"critical": 1, "passing": 1, "unknown": 1}
    assert totals("?label=tier=db") == {"critical": 1}
    assert totals("?label=tier=db&label=tier=web&other=1") == {"critical": 1, "passing": 1}
    for number in range(3 * events.STREAMS):
        assert totals(f"?label=tier=x{number}") == {}


def scraped(store: ManifestStore, optional: OptionalFamilies) -> dict[str, Any]:
    exposition = Exposition(CollectorRegistry(), HealthStore(lambda _: None), store, tuple, lambda: optional)
    text = b"".join(exposition.text(Format.TEXT)).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def stored(**manifests: bytes) -> ManifestStore:
    store = ManifestStore(RULES)
    store.replace(Listing(1, {PodKey(NODE, pod): Entry((1,), data) for pod, data in manifests.items()}))
    return store


def test_an_info_metric_has_the_labels_of_every_pod_with_a_manifest() -> None:
    store = stored(**PODS, bad=b"id: [bad]\n")
    family = scraped(store, OptionalFamilies(pod_labels=True))["podpulse_pod_labels"]
    assert {sample.labels.pop("pod"): sample.labels for sample in family.samples} == {
        "shop": {"node": NODE, "team": "shop", "tier": "web"},
        "cart": {"node": NODE, "team": "shop", "tier": "db"},
        "plain": {"node": NODE},
    }
    assert {sample.value for sample in family.samples} == {1}


def test_the_metric_follows_the_labels_and_exists_only_if_some_are_declared() -> None:
    declared = OptionalFamilies.of(Config.model_validate({"node_name": "web1", "labels": ["team"]}))
    assert OptionalFamilies.of(Config.model_validate({"node_name": "web1"})) != declared
    store = stored(**PODS)
    assert "podpulse_pod_labels" not in scraped(store, OptionalFamilies())
    changed = store.apply(Rules(labels=("tier",)))
    assert sorted(key.pod for key in changed) == ["cart", "shop"]
    family = scraped(store, declared)["podpulse_pod_labels"]
    assert [sample.labels for sample in family.samples if sample.labels["pod"] == "shop"] == [
        {"node": NODE, "pod": "shop", "tier": "web"}
    ]


def test_a_service_has_a_tag_for_each_label() -> None:
    services = ManifestServices(stored(**PODS), ServiceNaming(tags=("podpulse", "tier=web")))
    described = {pod: services.describe(PodKey(NODE, pod)) for pod in PODS}
    assert {pod: service and service.tags for pod, service in described.items()} == {
        "shop": ("podpulse", "tier=web", "team=shop"),
        "cart": ("podpulse", "tier=web", "team=shop", "tier=db"),
        "plain": ("podpulse", "tier=web"),
    }


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[team, team]", "labels: expected a list of at most 10 names of labels, each once"),
        (f"[{', '.join(f'l{n}' for n in range(11))}]", "labels: expected a list of at most 10 names"),
        ("[pod]", "instance, job, node, pod are taken), found 'pod'"),
        ("[te-am]", "found 'te-am'"),
        ("[__team]", "found '__team'"),
        ("[[team]]", "labels: expected names of labels"),
        ("{team: shop}", "labels: expected names of labels"),
        ('["te\\nam"]', "found 'te\\nam'"),
    ],
)
def test_a_configuration_declares_names_of_prometheus(tmp_path: Path, text: str, error: str) -> None:
    (file := tmp_path / "config.yaml").write_text(f"labels: {text}\n")
    with pytest.raises(ConfigError) as raised:
        load(file, {})
    assert error in str(raised.value)


def test_a_configuration_may_declare_one_name_or_a_list(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    for text, names in (("team", ("team",)), ("[team, tier]", ("team", "tier")), ("[]", ())):
        file.write_text(f"labels: {text}\n")
        assert load(file, {}).rules().labels == names


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (pods := tmp_path / "pods").mkdir()
    for pod, data in PODS.items():
        (pods / f"{pod}.yaml").write_bytes(data)
    return pods


def test_inspect_shows_labels_and_selects_by_them(folder: Path) -> None:
    command = ("inspect", "--intent-dir", folder, "--node", "web1", "--format")
    every = {pod["pod"]: pod.get("labels") for pod in json.loads(good(run(*command, "list")))}
    assert every == {"shop": {"team": "shop", "tier": "web"}, "cart": {"team": "shop", "tier": "db"}, "plain": None}
    assert list(json.loads(good(run(*command, "tree", "--label", "team=shop", "--label", "tier=db")))) == ["cart"]
    assert "plain" in good(run(*command, "table", "--label", "team="))
    assert "expected NAME=VALUE" in complaint(run(*command, "table", "--label", "team"))


def test_inspect_and_watch_read_labels_from_consul(consul: Agent) -> None:
    for pod, data in PODS.items():
        consul.put(f"intent/web1/{pod}", data)
        consul.put(f"health/{pod}/web1", json.dumps({"Id": pod, "Node": "web1", "Service": pod, "Status": "passing"}))
    assert sorted(json.loads(good(on(consul, "inspect", "--label", "team=shop")))) == ["cart", "shop"]
    with Running("watch", "--label", "tier=web", "--consul", consul.address) as watching:
        until(lambda: "web1 shop passing" in watching.out, 20.0)
        consul.put("intent/web1/plain", PLAIN + b"status: {labels: {tier: web}}\n")
        until(lambda: "web1 plain passing" in watching.out)
        consul.put("intent/web1/shop", SHOP.replace(b"web", b"db"))
        until(lambda: "shop gone" in watching.out)
        assert "cart" not in watching.out
        assert watching.interrupt() == 0
    with ConsulPods(consul.client, None, "cart", 10.0, selector(["tier=db"])) as pods:
        until(lambda: [sight.key.pod for sight in pods.next(0.5).sights or ()] == ["cart"], 20.0)
    with ConsulPods(consul.client, "web1", "cart", 10.0, selector(["tier=x"])) as pods:
        until(lambda: pods.next(0.5).sights == [], 20.0)


def test_a_watch_of_folders_selects_too(folder: Path) -> None:
    pods = FolderPods(folder, None, "web1", None, selector(["tier=db"]))
    assert [sight.key.pod for sight in pods.next(0.0).sights or ()] == ["cart"]


def test_check_manifest_accepts_labels_and_with_a_configuration_names_undeclared_ones(tmp_path: Path) -> None:
    (file := tmp_path / "shop.yaml").write_bytes(SHOP)
    (config := tmp_path / "config.yaml").write_text("labels: [team]\n")
    (shown,) = json.loads(good(run("check-manifest", file, "--node", "web1", "--json")))
    assert (shown["check"]["labels.tier"], shown["warnings"]) == ("web", [])
    (shown,) = json.loads(good(run("check-manifest", file, "--node", "web1", "--config", config, "--json")))
    assert "labels.tier" not in shown["check"]
    assert shown["warnings"] == [
        "status.labels.tier: a label that the controller's option labels does not declare, ignored"
    ]
