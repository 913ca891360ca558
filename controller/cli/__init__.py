"""The command line. Every verb translates its options, calls one part of the controller, and says what went wrong."""

from importlib.metadata import version
from typing import Any

import click

from controller.cli.bin2pod import bin2pod
from controller.cli.check import check_config, check_manifest
from controller.cli.completion import completion
from controller.cli.healthy import healthy
from controller.cli.inspect import inspect
from controller.cli.isup import isup_command
from controller.cli.plan import plan
from controller.cli.policy import acl_policy
from controller.cli.probe import probe
from controller.cli.release import release_removals
from controller.cli.run import run
from controller.cli.schedule import schedule, unschedule
from controller.cli.watch import watch
from reconcilers.visible import visible_lines

VERSION = click.version_option(version("podpulse"), prog_name="podpulse")


class _Verbs(click.Group):
    """Of all its verbs, whatever an error quotes is safe to show: an argument, the name of a file, Consul's answer."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            error.message = visible_lines(error.message)  # type: ignore[misc]
            raise


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@VERSION
def main() -> None:
    """The health checker of a Consul fleet.

    Pod manifests stand in Consul's KV under intent/<node>/<pod>; `podpulse run` probes what they ask for, publishes the
    health to Consul and exports it to Prometheus.

    \b
    A first look, without Consul:
      env -i PATH="$PATH" podpulse isup --port 8000 hello &
      mkdir -p pods; printf 'id: isup\\nstatus_port: 8000\\nstatus_http: true\\n' > pods/isup.yaml
      podpulse run --intent-dir pods --health-dir health --address 127.0.0.1
      podpulse watch --intent-dir pods --health-dir health

    Consul is found as the consul command finds it: by CONSUL_HTTP_ADDR, CONSUL_HTTP_TOKEN and their kin, or by each
    verb's options. What a verb has to say is on standard output, and trouble on standard error; the exit code is 0 when
    it did what was asked for, 1 when it could not, 2 for a wrong use, and else as the verb's own help says. Colours are
    for terminals only, and NO_COLOR switches them off. `podpulse completion` has your shell complete all this.
    """


VERBS = (
    run,
    healthy,
    isup_command,
    schedule,
    unschedule,
    inspect,
    probe,
    plan,
    watch,
    bin2pod,
    check_manifest,
    check_config,
    release_removals,
    acl_policy,
    completion,
)
for verb in VERBS:
    main.add_command(VERSION(verb))
