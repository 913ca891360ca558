"""`podpulse acl-policy`: prints the least rights that a configuration needs in a Consul whose ACLs deny by default."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from controller.cli.names import node_names
from controller.cli.options import FILE, explained, load
from controller.cli.terminal import say
from controller.config import Config, ConfigError
from controller.consul.holders import NAME
from controller.consul.settings import ConsulSettings
from reconcilers.keys import HEALTH


@click.command("acl-policy")
@click.option("--config", "file", type=FILE, envvar="CONFIG_PATH", help="Configuration file, YAML [env CONFIG_PATH].")
@click.option(
    "--node",
    metavar="NAME",
    shell_complete=node_names,
    help="The controller's node [as configured, else the host's name].",
)
@click.option("--agent-node", metavar="NAME", help="The node name of the Consul agent, if it is another one.")
@click.option("--any-node", is_flag=True, help="Allow all nodes, for one token that all controllers share.")
@click.option("--list-policy", is_flag=True, help="Use the policy `list`, for agents with acl.enable_key_list_policy.")
def acl_policy(file: Path | None, node: str | None, agent_node: str | None, any_node: bool, list_policy: bool) -> None:
    """Print the least ACL policy that a controller needs.

    The policy depends on the configuration. It is printed as HCL, with one rule per line and a comment that says what
    the rule is for. Nothing is printed if the configuration does not use Consul.

    \b
    Examples:
      podpulse acl-policy --config /etc/podpulse/config.yaml >podpulse.hcl
      consul acl policy create -name podpulse-web1 -rules @podpulse.hcl
      consul acl token create -policy-name podpulse-web1

    \b
    Exit codes:
      0  the policy was printed
      1  the configuration is invalid
      2  wrong usage
    """
    with explained(ConfigError):
        config = load(file, {}, {"node": node})
        rules = least(config, agent_node, any_node=any_node, lists=list_policy)
        say(heading(config.consul_settings(os.environ)) + hcl(rules), nl=False)


Access = Literal["read", "list", "write"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a policy: `resource "name" { policy = "access" }`, and its purpose."""

    resource: str
    name: str
    access: Access
    purpose: str

    def __str__(self) -> str:
        return f'{self.resource} "{self.name}" {{ policy = "{self.access}" }}'


def least(config: Config, agent_node: str | None = None, *, any_node: bool, lists: bool) -> Sequence[Rule]:
    """Returns the rules that `config` needs; none if it does not use Consul.

    `agent_node` is the agent's name of its node if that differs from `node_name`. With `any_node`, one token serves
    every node. `lists` is for agents with `acl.enable_key_list_policy`, which need a right to list.
    """
    return () if config.intent_dir else tuple(_rules(config, agent_node or config.node_name, any_node, lists))


def hcl(rules: Sequence[Rule]) -> str:
    """Returns the rules as a policy for `consul acl policy create -rules @FILE`, with their purposes as comments."""
    width = max((len(str(rule)) for rule in rules), default=0)
    return "".join(f"{rule!s:<{width}}  # {rule.purpose}\n" for rule in rules)


def heading(settings: ConsulSettings) -> str:
    """Returns where to create the policy and its token in Consul Enterprise; else ""."""
    places = (("namespace", settings.namespace), ("partition", settings.partition))
    options = " ".join(f"-{name} {text}" for name, text in places if text)
    return f"# to be created with {options}\n" if options else ""


def _rules(config: Config, agent_node: str, any_node: bool, lists: bool) -> Iterator[Rule]:
    reading: Access = "list" if lists else "read"
    node = "" if any_node or config.fleet else f"{config.node_name}/"
    yield Rule("key_prefix", f"{config.tree}/{node}", reading, "the manifests")
    if config.startup_grace and config.tree == "intent":
        yield Rule("key_prefix", f"reality/{node}", reading, "which pods are still being deployed")
    if "kv" in config.publish:
        session = ("session_prefix", "") if any_node else ("session", agent_node)
        yield Rule("key_prefix", HEALTH, "write", "the health records of the pods")
        yield Rule(*session, "write", "deletes the health records when the controller dies")
    are_services = not {"agent", "catalog"}.isdisjoint(config.publish)
    if are_services:
        yield Rule("service_prefix", config.service.name_prefix, "write", "pods as services, and their checks")
    if "agent" in config.publish:
        agent = ("agent_prefix", "") if any_node else ("agent", agent_node)
        yield Rule(*agent, "read", "to warn if the agent belongs to another node")
    is_covered = are_services and NAME.startswith(config.service.name_prefix)
    if config.registers and not is_covered:
        yield Rule("service", NAME, "write", "registers the controller for Prometheus")
    yield from _on_nodes(config, any_node)


def _on_nodes(config: Config, any_node: bool) -> Iterator[Rule]:
    whose = ("node_prefix", "") if any_node or config.fleet else ("node", config.node_name)
    if "catalog" in config.publish:
        yield Rule(*whose, "write", "nodes without an agent, and their addresses")
    elif config.fleet:
        yield Rule(*whose, "read", "the members of the fleet, and the addresses of the nodes")
    elif config.address == "catalog":
        yield Rule(*whose, "read", "the address of the node")
