"""The least rights follow from the configuration."""

from pathlib import Path

from controller.cli.policy import hcl, heading, least
from controller.config import Config
from controller.consul.client import ConsulSettings
from tests.support.controller import podpulse

POLICY = Path(__file__).parents[2] / "deploy" / "consul" / "policy.hcl"


def rules(any_node: bool = False, lists: bool = False, agent_node: str = "", **options: object) -> list[str]:
    config = Config.model_validate({"node_name": "web1.example.com", **options})
    return [str(rule) for rule in least(config, agent_node, any_node=any_node, lists=lists)]


def test_with_the_default_configuration_manifests_are_read_and_health_is_written_under_a_session() -> None:
    assert rules(agent_node="web1") == [
        'key_prefix "intent/web1.example.com/" { policy = "read" }',
        'key_prefix "health/" { policy = "write" }',
        'session "web1" { policy = "write" }',
        'service "podpulse" { policy = "write" }',
    ]


def test_what_is_configured_is_allowed_and_no_more() -> None:
    said = rules(tree="reality", publish="agent", service={"name_prefix": "pod-"}, address="catalog", lists=True)
    assert said == [
        'key_prefix "reality/web1.example.com/" { policy = "list" }',
        'service_prefix "pod-" { policy = "write" }',
        'agent "web1.example.com" { policy = "read" }',
        'service "podpulse" { policy = "write" }',
        'node "web1.example.com" { policy = "read" }',
    ]


def test_what_really_runs_is_read_only_where_it_says_who_is_being_deployed() -> None:
    reality = 'key_prefix "reality/web1.example.com/" { policy = "read" }'
    assert reality in rules(startup_grace="1m")
    assert rules(startup_grace="1m", tree="reality").count(reality) == 1
    assert reality not in rules()


def test_the_controller_needs_no_rule_of_its_own_where_that_of_the_pods_covers_it_or_it_does_not_register() -> None:
    own = 'service "podpulse" { policy = "write" }'
    assert own not in rules(publish="agent")
    assert own not in rules(publish="agent", service={"name_prefix": "pod"})
    assert own not in rules(register=False)


def test_a_member_of_a_fleet_reads_all_manifests_and_the_other_members() -> None:
    expected = [
        'key_prefix "intent/" { policy = "read" }',
        'key_prefix "health/" { policy = "write" }',
        'session "web1" { policy = "write" }',
        'service "podpulse" { policy = "write" }',
        'node_prefix "" { policy = "read" }',
    ]
    assert rules(fleet="f", agent_node="web1") == expected
    reality = 'key_prefix "reality/" { policy = "read" }'
    assert rules(fleet="f", agent_node="web1", startup_grace="1m") == [expected[0], reality, *expected[1:]]
    assert rules(fleet="f", agent_node="web1", address="catalog") == expected


def test_with_the_catalog_nodes_and_services_are_written() -> None:
    assert rules(publish="catalog", service={"name_prefix": "pod-"}, address="catalog") == [
        'key_prefix "intent/web1.example.com/" { policy = "read" }',
        'service_prefix "pod-" { policy = "write" }',
        'service "podpulse" { policy = "write" }',
        'node "web1.example.com" { policy = "write" }',
    ]
    assert rules(publish=["kv", "catalog"], fleet="f", agent_node="web1") == [
        'key_prefix "intent/" { policy = "read" }',
        'key_prefix "health/" { policy = "write" }',
        'session "web1" { policy = "write" }',
        'service_prefix "" { policy = "write" }',
        'node_prefix "" { policy = "write" }',
    ]


def test_one_token_may_serve_every_node() -> None:
    assert rules(any_node=True, address="catalog", publish=["kv", "agent"]) == [
        'key_prefix "intent/" { policy = "read" }',
        'key_prefix "health/" { policy = "write" }',
        'session_prefix "" { policy = "write" }',
        'service_prefix "" { policy = "write" }',
        'agent_prefix "" { policy = "read" }',
        'node_prefix "" { policy = "read" }',
    ]


def test_without_consul_nothing_is_needed(tmp_path: Path) -> None:
    assert rules(intent_dir=str(tmp_path), health_dir=str(tmp_path)) == []
    assert hcl(()) == ""


def test_the_policy_in_the_repository_is_the_one_of_the_default_configuration() -> None:
    said = "".join(line for line in POLICY.read_text().splitlines(keepends=True) if line.strip() and line[0] != "#")
    assert said == podpulse("acl-policy", "--node", "web1").stdout


def test_the_namespace_and_partition_of_the_policy_are_named() -> None:
    settings = ConsulSettings(namespace="team", partition="east")
    assert heading(settings) == "# to be created with -namespace team -partition east\n"
    assert heading(ConsulSettings()) == ""
