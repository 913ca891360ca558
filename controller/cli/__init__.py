"""The command line. A verb translates its options, calls one part of the controller and reports errors.

A verb's module is imported when the verb is used. So `--version`, `--help` and the completion of verbs import
nothing of the controller.
"""

from collections import UserDict
from collections.abc import Sequence
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem

from reconcilers.escaping import safe_lines


def _say_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    """Names the TLS libraries of the probes too. Their metadata is read, because to import them takes long."""
    if value and not ctx.resilient_parsing:
        libraries = [name for name in ("rtls", "OpenSSL") if find_spec(name)]
        distributions = (name.replace("OpenSSL", "pyOpenSSL") for name in libraries)
        said = ", ".join(f"{name} {version(name)}" for name in distributions)
        click.echo(f"podpulse, version {version('podpulse')} (TLS: {said})")  # noqa: TID251 - all of it is ours
        ctx.exit()


VERSION = click.option(
    "-v",
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_say_version,
    help="Show the version and exit.",
)


class Verb(NamedTuple):
    """Where a verb is implemented, and the first sentence of its help."""

    module: str
    function: str
    summary: str


VERBS = {
    "acl-policy": Verb("policy", "acl_policy", "Print the least ACL policy that a controller needs."),
    "bin2pod": Verb("bin2pod", "bin2pod", "Make a pod of EXECUTABLE: a tar.gz and a manifest."),
    "check-config": Verb("check_config", "check_config", "Report whether the configuration FILE is valid."),
    "check-manifest": Verb(
        "check_manifest", "check_manifest", "Report the checks that manifests define, and their errors."
    ),
    "completion": Verb("completion", "completion", "Print the completion script for SHELL."),
    "describe": Verb("describe", "describe", "Show one pod in full."),
    "fleet": Verb("fleet", "fleet", "Show the members of a fleet and their shares."),
    "healthy": Verb("healthy", "healthy", "Ask the controller of this machine whether it is healthy."),
    "inspect": Verb("inspect", "inspect", "Show scheduled pods and their health."),
    "isup": Verb("isup", "isup_command", "Serve as an always healthy pod, to try checks with."),
    "plan": Verb("plan", "plan", "Show which checks would start, change and stop."),
    "probe": Verb("probe", "probe", "Probe POD once from here and explain the result."),
    "release-removals": Verb("release", "release_removals", "Release the removals that the fuse holds."),
    "run": Verb("run", "run", "Run the controller of one node, or a member of a fleet."),
    "schedule": Verb("schedule", "schedule", "Write MANIFESTS to the intent tree."),
    "unschedule": Verb("schedule", "unschedule", "Remove POD's manifest from the intent tree."),
    "watch": Verb("watch", "watch", "Show the health of pods as it changes, until Ctrl-C."),
}


INSTEAD = {
    **dict.fromkeys(("status", "list", "ls", "pods", "get", "health", "ps"), "inspect, healthy, fleet"),
    **dict.fromkeys(("start", "serve", "server", "daemon", "agent"), "run"),
    **dict.fromkeys(("apply", "add", "create", "launch", "deploy"), "schedule"),
    **dict.fromkeys(("remove", "rm", "stop"), "unschedule"),
    **dict.fromkeys(("validate", "lint", "check", "config", "test"), "check-manifest, check-config, probe"),
    **dict.fromkeys(("follow", "tail", "events", "log", "logs"), "watch"),
    **dict.fromkeys(("show", "explain", "info"), "describe, inspect"),
    "diff": "plan",
    "ping": "probe",
    "members": "fleet",
    "policy": "acl-policy",
}
"""What users of other tools may look for, and the verbs that do it."""


class _Commands(UserDict[str, Any]):
    """The verbs by name. A verb's module is imported when its command is looked up."""

    def __getitem__(self, name: str) -> click.Command:
        verb = super().__getitem__(name)
        if isinstance(verb, Verb):
            module = import_module(f"controller.cli.{verb.module}")
            verb = self[name] = VERSION(getattr(module, verb.function))
        return verb  # type: ignore[no-any-return]


class _Verbs(click.Group):
    """Lists the verbs without importing them. Escapes error messages, which may quote an argument, a file's name or
    Consul's answer."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            error.message = safe_lines(error.message)  # type: ignore[misc]
            raise

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Handles `help` and `version`, and says which verb may be meant instead of an unknown one."""
        name, *rest = args
        match name:
            case "version":
                return super().resolve_command(ctx, ["--version"])
            case "help":
                return "help", click.Command("help", callback=partial(self._help, ctx, rest)), []
        if name in self.commands or name.startswith("-"):
            return super().resolve_command(ctx, args)
        meant = INSTEAD.get(name) or ", ".join(get_close_matches(name, VERBS, 2))
        hint = f"Perhaps you want: {meant}." if meant else "`podpulse --help` lists the commands."
        raise click.UsageError(f"No such command {name!r}. {hint}", ctx)

    def _help(self, ctx: click.Context, verbs: Sequence[str]) -> None:
        for name in verbs[:1]:
            _, command, _ = self.resolve_command(ctx, [name])
            if command:
                ctx = click.Context(command, info_name=name, parent=ctx)
        click.echo(ctx.get_help())  # noqa: TID251 - all of it is ours

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.summary) for name, verb in VERBS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        verbs = [CompletionItem(name, help=verb.summary) for name, verb in VERBS.items() if name.startswith(incomplete)]
        return verbs + click.Command.shell_complete(self, ctx, incomplete)


@click.group(
    cls=_Verbs,
    commands=_Commands(VERBS),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@VERSION
def main() -> None:
    """The health checker of a Consul fleet.

    Pod manifests are in Consul's KV under intent/<node>/<pod>. `podpulse run` probes the pods as their manifests
    define, publishes the health to Consul and exports it to Prometheus.

    \b
    A first look, without Consul:
      env -i PATH="$PATH" podpulse isup --port 8000 hello &
      mkdir -p pods; printf 'id: isup\\nstatus_port: 8000\\nstatus_http: true\\n' > pods/isup.yaml
      podpulse run --intent-dir pods --health-dir health --address 127.0.0.1
      podpulse watch --intent-dir pods --health-dir health

    The verbs use the environment variables of the consul command (CONSUL_HTTP_ADDR, CONSUL_HTTP_TOKEN, ...), and their
    options override these. Defaults are in square brackets. Results are written to standard output, and errors and
    warnings to standard error. The exit code is 0 on success, 1 on failure, 2 for wrong usage; the help of a verb names
    others. Colours are used on terminals only, and NO_COLOR switches them off. `podpulse completion` prints the
    completion script for your shell.
    """
