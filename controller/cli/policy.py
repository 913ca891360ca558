"""`podpulse acl-policy`: prints the Consul ACL policy that a configuration needs."""

import os
from pathlib import Path

import click

from controller.cli import acl_rules as policy
from controller.cli.options import FILE, explained, load
from controller.cli.terminal import say
from controller.config import ConfigError


@click.command("acl-policy")
@click.option("--config", "file", type=FILE, envvar="CONFIG_PATH", help="Configuration file, YAML [env CONFIG_PATH].")
@click.option("--node", metavar="NAME", help="The controller's node [as configured, else the host's name].")
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
        rules = policy.least(config, agent_node, any_node=any_node, lists=list_policy)
        say(policy.heading(config.consul_settings(os.environ)) + policy.hcl(rules), nl=False)
