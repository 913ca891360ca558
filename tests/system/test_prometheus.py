"""A real Prometheus beside a real Consul and the real controller, with the configuration and rules as delivered."""

import json
import re
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import yaml

from tests.support.consul import Agent
from tests.support.documents import least_rights
from tests.support.fleet import Fleet
from tests.support.net import Certificates, until
from tests.support.prometheus import Prometheus
from tests.support.rules import FOLDER, hasty
from tests.support.targets import Target, answer
from tests.system.conftest import Launch

SCRAPED_WITHIN = 30.0


def delivered(name: str, **changes: Any) -> dict[str, Any]:
    """Returns a shipped configuration in which these fields are changed, because they name places outside of the
    test."""
    config: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    (job,) = config["scrape_configs"]
    return {"scrape_configs": [{**job, **changes}]}


def through(consul: Agent, **more: str) -> dict[str, Any]:
    """Returns prometheus.yml, which finds controllers through this agent. `more` are further options of the
    discovery."""
    (job,) = delivered("prometheus.yml")["scrape_configs"]
    (discovery,) = job["consul_sd_configs"]
    there = {"server": consul.address.removeprefix("http://"), "refresh_interval": "1s", **more}
    return delivered("prometheus.yml", consul_sd_configs=[{**discovery, **there}])


def test_prometheus_finds_the_controller_through_consul_and_an_alert_fires_for_a_critical_pod(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target, consul_prometheus: Path, tmp_path: Path
) -> None:
    target.behave(answer(503), "/bad")
    fleet.schedule("good", "bad")
    controller = launch(consul, publish=["kv", "agent"])
    until(lambda: len(fleet.statuses()) == 2)
    with Prometheus(consul_prometheus, config=through(consul), rules=hasty(tmp_path)) as prometheus:
        until(lambda: prometheus.value('up{job="podpulse"}') == 1, SCRAPED_WITHIN, "the controller to be scraped")
        (up,) = prometheus.query('up{job="podpulse"}')
        assert (up.labels["node"], up.labels["instance"]) == ("web1", f"web1:{controller.port}")
        until(lambda: prometheus.firing("PodpulsePodCritical"), SCRAPED_WITHIN, "the alert to fire")
        (alert,) = prometheus.firing("PodpulsePodCritical")
        assert (alert["labels"]["node"], alert["labels"]["pod"]) == ("web1", "bad")
        assert ": answered with status 503 (reason status, HTTP status 503)." in alert["annotations"]["description"]
        assert {rule["name"]: rule["lastError"] for rule in prometheus.rules() if rule["health"] == "err"} == {}
        assert prometheus.firing("PodpulseSessionExpiring") == []

        controller.terminate()
        until(lambda: prometheus.targets() == [], SCRAPED_WITHIN, "the controller that was stopped to be forgotten")


def test_a_controller_with_tls_and_a_password_is_scraped(
    consul: Agent, launch: Launch, consul_prometheus: Path, tmp_path: Path
) -> None:
    files = Certificates.issue(tmp_path / "tls")
    hashed = bcrypt.hashpw(b"s3cret", bcrypt.gensalt(4)).decode()
    tls = {"cert_file": str(files.cert), "key_file": str(files.key)}
    web = tmp_path / "web.yml"
    web.write_text(yaml.safe_dump({"tls_server_config": tls, "basic_auth_users": {"prometheus": hashed}}))
    launch(consul, ready=False, web_config_file=str(web))
    config = through(consul)
    config["scrape_configs"][0] |= {
        "tls_config": {"ca_file": str(files.ca)},
        "basic_auth": {"username": "prometheus", "password": "s3cret"},
    }
    with Prometheus(consul_prometheus, config=config) as prometheus:
        until(lambda: prometheus.value('up{job="podpulse"}') == 1, SCRAPED_WITHIN, "the controller to be scraped")
        assert [target["scrapeUrl"].partition(":")[0] for target in prometheus.targets()] == ["https"]


def test_a_controller_of_another_host_that_listens_on_loopback_is_down_with_a_reason(
    consul: Agent, launch: Launch, consul_prometheus: Path
) -> None:
    """The controller on the host of Prometheus answers at that address. It must not be taken for the other
    controller."""
    beside = launch(consul)
    meta = {"scheme": "http", "external-source": "podpulse"}
    service = {"Service": "podpulse", "Address": "127.0.0.1", "Port": beside.port}
    for node, address in (("web2", "10.0.0.2"), ("web3", "127.0.0.1")):
        one = {**service, "ID": f"podpulse-{node}", "Meta": {**meta, "node": node}}
        consul.request("PUT", "catalog/register", json.dumps({"Node": node, "Address": address, "Service": one}))
    with Prometheus(consul_prometheus, config=through(consul)) as prometheus:
        until(lambda: prometheus.value('up{node="web1"}') == 1, SCRAPED_WITHIN, "the one beside it to be scraped")
        until(lambda: prometheus.value('up{node="web3"}') == 1, SCRAPED_WITHIN, "so another one on this very host")
        until(lambda: prometheus.value('up{node="web2"}') == 0, SCRAPED_WITHIN, "the other one to be down")
        (error,) = (one["lastError"] for one in prometheus.targets() if one["labels"]["node"] == "web2")
        assert "//listen-is-loopback.invalid:9815/metrics" in error


def test_a_controller_that_was_killed_stays_a_target_that_is_down(
    consul: Agent, launch: Launch, consul_prometheus: Path
) -> None:
    controller = launch(consul)
    with Prometheus(consul_prometheus, config=through(consul)) as prometheus:
        until(lambda: prometheus.value('up{job="podpulse"}') == 1, SCRAPED_WITHIN, "the controller to be scraped")
        controller.kill()
        until(lambda: prometheus.value('up{job="podpulse"}') == 0, SCRAPED_WITHIN, "the controller to be missed")


@pytest.mark.slow
def test_pods_of_a_node_that_has_no_address_fire_an_alert(
    consul: Agent, launch: Launch, target: Target, prometheus_binary: Path, tmp_path: Path
) -> None:
    Fleet(consul, target, node="nowhere").schedule("a")
    controller = launch(consul, node_name="nowhere", address="catalog")
    until(lambda: "no address of nowhere" in controller.log)
    listed = [{"targets": [f"127.0.0.1:{controller.port}"], "labels": {"node": "nowhere"}}]
    config = delivered("prometheus.static.yml", static_configs=listed)
    with Prometheus(prometheus_binary, config=config, rules=hasty(tmp_path)) as prometheus:
        until(lambda: prometheus.firing("PodpulsePodUnknown"), 2 * SCRAPED_WITHIN, "the alert to fire")
        assert controller.metrics().by_pod("podpulse_health", state="unknown") == {"a": 1.0}


def test_a_listed_controller_is_scraped_and_the_series_of_a_removed_pod_go_at_the_next_scrape(
    consul: Agent, launch: Launch, fleet: Fleet, prometheus_binary: Path
) -> None:
    fleet.schedule("stays", "goes")
    controller = launch(consul, register=False)
    labels = {"node": "web1", "instance": "web1:9815"}
    listed = [{"targets": [f"127.0.0.1:{controller.port}"], "labels": labels}]
    config = delivered("prometheus.static.yml", static_configs=listed)
    with Prometheus(prometheus_binary, config=config) as prometheus:
        until(lambda: prometheus.value("sum(probe_success)") == 2, SCRAPED_WITHIN, "both pods to be scraped")
        assert {series.labels["node"] for series in prometheus.query('{node!="",__name__=~"podpulse_.+|up"}')} == {
            "web1"
        }
        assert prometheus.metadata()["podpulse_probes"]["type"] == "counter", "OpenMetrics' name of the family"

        fleet.unschedule("goes")
        until(lambda: "goes" not in controller.get("/metrics").text, what="the series to go")
        seen = prometheus.scrapes("podpulse")
        until(lambda: prometheus.scrapes("podpulse") >= seen + 2, SCRAPED_WITHIN, "two more scrapes")
        assert prometheus.query('{pod="goes"}') == []
        assert prometheus.value('probe_success{pod="stays"}') == 1
    assert "podpulse" not in consul.request("GET", "catalog/services").json()


def test_a_token_without_a_right_to_the_service_affects_only_the_registration(
    acl_consul: Agent, launch: Launch, target: Target
) -> None:
    fleet = Fleet(acl_consul, target)
    fleet.schedule("a")
    rules = 'key_prefix "intent/" { policy = "read" } key_prefix "health/" { policy = "write" }'
    controller = launch(acl_consul, token=acl_consul.create_token(rules + ' session "web1" { policy = "write" }'))
    until(lambda: fleet.status("a") == "passing")
    until(lambda: "not registered with Consul" in controller.log)
    assert controller.metrics().sum("podpulse_ready") == 1
    assert controller.terminate() == 0
    assert controller.log.count("not registered with Consul") == 1


def test_where_acls_deny_the_rights_that_the_readme_and_the_configuration_name_are_enough(
    acl_consul: Agent, launch: Launch, consul_prometheus: Path
) -> None:
    rights = [line for line in least_rights().splitlines() if not line.startswith("service_prefix")]
    launch(acl_consul, token=acl_consul.create_token("\n".join(rights).replace("<node>", "web1")))
    named = re.findall(r'`(\w+ "\w*" { policy = "read" })`', (FOLDER / "prometheus.yml").read_text())
    config = through(acl_consul, token=acl_consul.create_token("\n".join(named)))
    with Prometheus(consul_prometheus, config=config) as prometheus:
        until(lambda: prometheus.value('up{job="podpulse"}') == 1, SCRAPED_WITHIN, "the controller to be scraped")


@pytest.mark.parametrize("publish", [["agent"], ["kv", "agent"]])
def test_a_pod_with_the_name_of_the_controllers_service_is_not_a_target(
    consul: Agent, launch: Launch, fleet: Fleet, consul_prometheus: Path, publish: list[str]
) -> None:
    fleet.schedule("podpulse")
    launch(consul, publish=publish)
    found = "catalog/service/podpulse"
    until(lambda: len(consul.request("GET", found).json()) == 2, what="the pod and the controller to be services")
    with Prometheus(consul_prometheus, config=through(consul)) as prometheus:
        until(lambda: prometheus.value('up{job="podpulse"}') == 1, SCRAPED_WITHIN, "the controller to be scraped")
        assert len(prometheus.targets()) == 1
    fleet.unschedule("podpulse")
    until(lambda: len(consul.request("GET", found).json()) == 1, what="the pod to go, and the controller to stay")
