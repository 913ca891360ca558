"""`podpulse acl-policy`: the rights that a configuration needs in Consul."""

import os
from pathlib import Path

import click

from controller.cli import acl_rules as policy
from controller.cli.options import FILE, explained, load
from controller.cli.terminal import say
from controller.config import ConfigError


@click.command("acl-policy")
@click.option("--config", "file", type=FILE, envvar="CONFIG_PATH", help="Configuration file, YAML [env CONFIG_PATH].")
@click.option("--node", metavar="NAME", help="This node's name [as configured, or the host's name].")
@click.option("--agent-node", metavar="NAME", help="What Consul's agent calls its node, if that is another name.")
@click.option("--any-node", is_flag=True, help="For one token that the controllers of all nodes share.")
@click.option("--list-policy", is_flag=True, help="For agents with acl.enable_key_list_policy.")
def acl_policy(file: Path | None, node: str | None, agent_node: str | None, any_node: bool, list_policy: bool) -> None:
    """Print the least ACL policy that a controller needs.

    It is that of one configuration, written to standard output in HCL, a rule a line, each with what it is for. Nothing
    is printed for a configuration without Consul.

    \b
    Examples:
      podpulse acl-policy --config /etc/podpulse/config.yaml >podpulse.hcl
      consul acl policy create -name podpulse-web1 -rules @podpulse.hcl
      consul acl token create -policy-name podpulse-web1

    \b
    Exit codes:
      0  the policy was printed
      1  the configuration cannot be used
      2  wrong use
    """
    with explained(ConfigError):
        config = load(file, {}, {"node": node})
        rules = policy.least(config, agent_node, any_node=any_node, lists=list_policy)
        say(policy.heading(config.consul_settings(os.environ)) + policy.hcl(rules), nl=False)
