"""The command line. Every verb translates its options, calls one part of the controller, and says what went wrong."""

import functools
import gc
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import click

from controller import config as configuration
from controller import inspection, isup, log
from controller.app import App, StartError
from controller.config import Config, ConfigError
from controller.consul import ConsulClient, ConsulError
from controller.intent.directory import manifest_path
from reconcilers.keys import intent_key
from reconcilers.manifest import ManifestError, parse, pod_id
from reconcilers.options import Rules
from reconcilers.spec import Manifest, PodKey, is_name

F = TypeVar("F", bound=Callable[..., Any])

GC_THRESHOLDS = (20_000, 20, 50)
"""Nearly nothing here is cyclic: looking for cycles every 700 new objects, as is the default, finds none."""

SWITCH_INTERVAL = 0.0001
"""Seconds for which a thread may keep the interpreter when another wants it: a fiftieth of the default."""

LENIENT = Rules(allow_headers=True)
"""Which manifests the tools accept: the controller that will run the pod may refuse headers, or miss a file."""

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)

CONSUL_OPTIONS = {
    "address": click.option(
        "--consul", "address", metavar="ADDR", help="Consul's address [env CONSUL_HTTP_ADDR; 127.0.0.1:8500]."
    ),
    "token": click.option("--token", metavar="TOKEN", help="ACL token; --token-file keeps it out of the process list."),
    "token_file": click.option("--token-file", type=FILE, help="File with the ACL token, read again when it changes."),
    "https": click.option("--https", is_flag=True, help="Speak TLS to Consul."),
    "ca_file": click.option(
        "--tls-ca-file", "ca_file", type=FILE, help="CA bundle that Consul's certificate is checked with."
    ),
    "cert_file": click.option("--tls-cert-file", "cert_file", type=FILE, help="Client certificate for Consul."),
    "key_file": click.option("--tls-key-file", "key_file", type=FILE, help="Its key."),
}


def consul_options(function: F) -> F:
    """Add the options that say how to reach Consul; the function gets them as one mapping, `consul`."""

    @functools.wraps(function)
    def wrapper(**kwargs: Any) -> Any:
        given = {name: kwargs.pop(name) for name in CONSUL_OPTIONS}
        if given.pop("https"):
            given["address"] = _as_https(given["address"])
        given = {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}
        return function(consul=given, **kwargs)

    for option in reversed(CONSUL_OPTIONS.values()):
        wrapper = option(wrapper)
    return wrapper  # type: ignore[return-value]


def _as_https(address: str | None) -> str:
    address = address or os.environ.get("CONSUL_HTTP_ADDR") or "127.0.0.1:8500"
    return f"https://{address.split('://', 1)[-1]}"


@contextmanager
def _explained() -> Iterator[None]:
    """Turn the errors that a person can mend into one line on standard error."""
    try:
        yield
    except (ConfigError, ConsulError, ManifestError, StartError, OSError) as error:
        raise click.ClickException(str(error)) from error


def _client(consul: Mapping[str, Any]) -> ConsulClient:
    return ConsulClient(_load(None, consul, {}).consul_settings(os.environ))


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(version("podpulse"), prog_name="podpulse")
def main() -> None:
    """The health checker of a Consul fleet.

    Pod manifests stand in Consul's KV under intent/<node>/<pod>; `podpulse run` probes what they ask for, publishes the
    health to Consul and exports it to Prometheus.

    \b
    A first look, without Consul:
      podpulse isup --port 8000 hello &
      mkdir -p pods; printf 'id: isup\\nstatus_port: 8000\\nstatus_http: true\\n' > pods/isup.yaml
      podpulse run --intent-dir pods --health-dir health --address 127.0.0.1
    """


@main.command()
@click.option("--config", "file", type=FILE, envvar="CONFIG_PATH", help="Configuration file, YAML [env CONFIG_PATH].")
@click.option("--node", metavar="NAME", help="This node's name [the host's name].")
@click.option(
    "--address", "node_address", metavar="WHERE", help="Where pods are probed: name, catalog or an IP address [name]."
)
@click.option("--listen", metavar="HOST:PORT", help="Where page and metrics are served [127.0.0.1:9815].")
@click.option("--intent-dir", type=FOLDER, help="Take manifests from this folder instead of Consul.")
@click.option("--health-dir", type=FOLDER, help="Publish health into this folder instead of Consul.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="What to log [info].")
@consul_options
def run(file: Path | None, consul: Mapping[str, Any], **options: Any) -> None:
    """Run the controller of one node, until SIGTERM.

    \b
    podpulse run --node web1.example.com
    podpulse run --config /etc/podpulse.yaml
    """
    with _explained():
        config = _load(file, consul, options)
        log.configure(config.log_level)
        app = App(config, os.environ)
        signal.signal(signal.SIGTERM, lambda *_: app.request_stop())
        signal.signal(signal.SIGINT, lambda *_: app.request_stop())
        app.start()
        gc.set_threshold(*GC_THRESHOLDS)
        sys.setswitchinterval(SWITCH_INTERVAL)
        app.wait()
        app.stop()


def _load(file: Path | None, consul: Mapping[str, Any], options: Mapping[str, Any]) -> Config:
    names = {"node": "node_name", "node_address": "address"}
    overrides = {names.get(name, name): value for name, value in options.items()}
    overrides |= {f"consul.{name}": value for name, value in consul.items()}
    return configuration.load(file, overrides)


@main.command("isup")
@click.option("--host", default="0.0.0.0", show_default=True, help="Address to listen on.")  # noqa: S104 - it is to be probed
@click.option("--port", type=click.IntRange(0, 65_535), default=8000, show_default=True)
@click.option("--cert", type=FILE, help="Certificate, PEM: answer over HTTPS.")
@click.option("--key", type=FILE, help="Its key, unless it stands in the same file.")
@click.argument("words", nargs=-1)
def isup_command(host: str, port: int, cert: Path | None, key: Path | None, words: tuple[str, ...]) -> None:
    """Answer every request on /_status with WORDS and the environment, one a line.

    \b
    podpulse isup --port 8000 I am healthy
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with _explained():
        isup.serve(host, port, words, cert, key)


@main.command()
@click.argument("manifest", type=FILE)
@click.option("--node", metavar="NAME", help="The node that is to run the pod [the host's name].")
@click.option("--intent-dir", type=FOLDER, help="Write to this folder instead of Consul.")
@consul_options
def schedule(manifest: Path, node: str | None, intent_dir: Path | None, consul: Mapping[str, Any]) -> None:
    """Write MANIFEST to the intent tree: intent/<node>/<id of the manifest>.

    \b
    podpulse schedule isup.yaml --node web1.example.com
    """
    with _explained():
        data = manifest.read_bytes()
        try:
            key = _key(pod_id(data), node)
            parse(key, data, LENIENT)
        except ManifestError as error:
            raise click.ClickException(f"{manifest}: {error}") from error
        if intent_dir:
            intent_dir.mkdir(parents=True, exist_ok=True)
            unfinished = intent_dir / f".{key.pod}.new"
            unfinished.write_bytes(data)
            unfinished.replace(manifest_path(intent_dir, key))
        else:
            with _client(consul) as client:
                client.put(intent_key("intent", key), data)
        click.echo(json.dumps({"pod_id": key.pod, "pod_unique_key": ""}))


@main.command()
@click.argument("pod")
@click.option("--node", metavar="NAME", help="The node it was scheduled on [the host's name].")
@click.option("--intent-dir", type=FOLDER, help="Remove from this folder instead of Consul.")
@consul_options
def unschedule(pod: str, node: str | None, intent_dir: Path | None, consul: Mapping[str, Any]) -> None:
    """Remove POD's manifest from the intent tree: its checks stop and its health is withdrawn."""
    with _explained():
        key = _key(pod, node)
        if intent_dir:
            manifest_path(intent_dir, key).unlink(missing_ok=True)
        else:
            with _client(consul) as client:
                client.delete(intent_key("intent", key))


@main.command()
@click.option("--pod", metavar="POD", help="Only pods of this name.")
@click.option("--node", metavar="NAME", help="Only pods of this node.")
@click.option("--intent-dir", type=FOLDER, help="Read manifests from this folder instead of Consul.")
@click.option("--health-dir", type=FOLDER, help="Read health from this folder instead of Consul.")
@consul_options
def inspect(
    pod: str | None, node: str | None, intent_dir: Path | None, health_dir: Path | None, consul: Mapping[str, Any]
) -> None:
    """Show what is scheduled and how healthy it is, as JSON: pod, then node.

    \b
    podpulse inspect --pod isup
    podpulse inspect --node web1.example.com | jq '.[][].health_check.status'
    """
    with _explained():
        if intent_dir:
            sights = inspection.from_folders(intent_dir, health_dir, node or socket.gethostname(), pod)
        else:
            with _client(consul) as client:
                sights = inspection.from_consul(client, "intent", node, pod)
        click.echo(json.dumps(inspection.as_tree(sights), indent=2, ensure_ascii=False))


@main.command("check-manifest")
@click.argument("files", type=FILE, nargs=-1, required=True)
def check_manifest(files: tuple[Path, ...]) -> None:
    """Say what each manifest asks for, or what is wrong with it. Exit code 1 when one is wrong."""
    wrong = 0
    for file in files:
        try:
            data = file.read_bytes()
            manifest = parse(_key(pod_id(data), None), data, LENIENT)
        except ManifestError as error:
            wrong += 1
            click.echo(f"{file}: {error}", err=True)
            continue
        click.echo(f"{file}: {_asked(manifest)}")
        for field in manifest.unknown_fields:
            click.echo(f"{file}: {field}: not known here, passed over")
    sys.exit(1 if wrong else 0)


def _asked(manifest: Manifest) -> str:
    if manifest.check:
        return f"{manifest.check.probe.url} every {manifest.check.interval:g} s"
    return "paused" if manifest.paused else "asks for no check"


@main.command("check-config")
@click.argument("file", type=FILE)
def check_config(file: Path) -> None:
    """Say whether the configuration FILE can be used. Exit code 1 when not."""
    with _explained():
        configuration.load(file, {})
    click.echo(f"{file}: good")


def _key(pod: str, node: str | None) -> PodKey:
    """The pod's key; names that could reach other keys are refused here."""
    node = node or socket.gethostname()
    for what, name in (("node", node), ("pod", pod)):
        if not is_name(name):
            raise click.ClickException(
                f"{what}: expected letters, digits, dots, dashes and underscores, got {name[:60]!r}"
            )
    return PodKey(node, pod)
