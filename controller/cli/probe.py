"""`podpulse probe`: probes a pod once and explains the result phase by phase."""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import click
from rich.console import Console
from rich.text import Text

from controller.cli import nothing_found, terminal
from controller.cli.effective_manifests import known_addresses
from controller.cli.inspection import from_folders
from controller.cli.names import node_names, pod_names
from controller.cli.options import FILE, FOLDER, client_of, consul_options, explained, key_of, load
from controller.cli.page_request import NoController
from controller.cli.plan import running_checks
from controller.cli.taken_options import given, take_options
from controller.config import Config, ConfigError
from controller.config.url_list import read_urls
from controller.consul.client import ConsulClient
from controller.intent.folder import manifest_path
from controller.intent.source import SourceError
from controller.probes.once import probe_once
from controller.probes.resolver import ask_system
from reconcilers.checks import located
from reconcilers.checktext import changes, describe
from reconcilers.escaping import safe_line, safe_lines, safe_words
from reconcilers.health import PHASE_NAMES, Certificate, Outcome, ProbeResult
from reconcilers.keys import intent_key, parse_intent_key
from reconcilers.labels import texts
from reconcilers.manifest import ManifestError, parse, pod_id
from reconcilers.record import timestamp
from reconcilers.spec import CheckSpec, Labels, Manifest, PodKey

BAR = 30
EXCERPT_LINES = 10
DAY = 86_400
MOST_NODES = 5


class Verdict(NamedTuple):
    """What an outcome means. A row of such results gives the pod the state `makes`."""

    text: str
    colour: str
    makes: str
    exit_code: int


NO_EVIDENCE = "no evidence: the fault is on this machine, not in the pod"
VERDICTS = {
    Outcome.SUCCESS: Verdict("a success", "green", "passing", 0),
    Outcome.WARNING: Verdict("a success with a warning", "yellow", "warning", 0),
    Outcome.FAILURE: Verdict("a failure", "red", "critical", 1),
    Outcome.LOCAL: Verdict(NO_EVIDENCE, "magenta", "unknown, never critical", 3),
}


@click.command()
@click.argument("pod", required=False, shell_complete=pod_names)
@click.option("--manifest", "file", type=FILE, help="Probe the check of this manifest, which need not be scheduled.")
@click.option(
    "--node",
    metavar="NAME",
    shell_complete=node_names,
    help="The pod's node [the host's name, else the only one that has it].",
)
@click.option(
    "--config",
    "config_file",
    type=FILE,
    envvar="CONFIG_PATH",
    help="The controller's configuration [env CONFIG_PATH; /etc/podpulse/config.yaml].",
)
@click.option(
    "--controller", metavar="URL", help="Take the options of the controller with this page; `none`: of no controller."
)
@click.option("--controller-ca", type=FILE, help="CA bundle to verify the controller's certificate [libcurl's].")
@click.option("--address", "node_address", metavar="WHERE", help="Address of the pod: name, catalog or an IP address.")
@click.option("--intent-dir", type=FOLDER, help="Read the manifest from this folder instead of Consul.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@consul_options
def probe(
    pod: str | None,
    file: Path | None,
    node: str | None,
    config_file: Path | None,
    controller: str | None,
    controller_ca: Path | None,
    node_address: str | None,
    intent_dir: Path | None,
    as_json: bool,
    consul: Mapping[str, Any],
) -> None:
    """Probe POD once from here and explain the result.

    The manifest is read from the intent tree or from a file. The probe is the same that `podpulse run` sends, with the
    same deadline and the same denied addresses. Its options are those of --config or CONFIG_PATH, else of
    /etc/podpulse/config.yaml if this user may read it, else of the controller that runs on this machine, else the
    defaults. The output says which. With a file, it says in which options the controller of this machine differs. Of
    a controller's files, such as its ca_file, those are used that can be read here; its values of headers and its
    credentials are not. A paused pod is probed too. Nothing is published.

    \b
    Examples:
      podpulse probe isup --node web1.example.com
      podpulse probe isup --node web1.example.com --controller http://m1.example.com:9815
      podpulse probe --manifest isup.yaml --address 127.0.0.1
      podpulse probe isup --json | jq .phases

    \b
    Exit codes:
      0  the probe succeeded, perhaps with a warning
      1  the probe failed, or the manifest has no check
      2  wrong usage
      3  the fault is on this machine and says nothing about the pod
    """
    if (pod is None) == (file is None):
        raise click.UsageError("expected either POD or --manifest FILE")
    with explained(ConfigError, ManifestError, NoController, SourceError):
        page = "" if consul["address"] else load(None, consul, {}).page_url
        taken = take_options(config_file, controller, controller_ca, page)
        config = load(taken.file, consul, given(taken, node, node_address))
        key, data = _manifest(config, pod, node, file, intent_dir)
        manifest = _parsed(config, key, data, file)
        if manifest.check is None:
            raise click.ClickException(f"{key}: the manifest has no check: it has no status_port")
        with known_addresses(config) as addresses:
            spec = located(manifest.check, addresses)
        result = probe_once(spec, ca_file=str(config.ca_file), guard=config.guard(os.environ))
    if as_json:
        fields = {
            "configuration": str(taken.file) if taken.file else None,
            "controller": taken.controller or None,
            "notes": list(taken.notes),
            "paused": manifest.paused,
        }
        terminal.say_json(_fields(spec, manifest.labels, result) | fields)
    else:
        notes = [taken.text, *taken.notes, *(["paused: the controller does not probe it"] if manifest.paused else [])]
        if pod and taken.file and not (intent_dir or consul["address"]):
            notes += _differences(config, spec, manifest.labels)
        _explain(spec, manifest.labels, notes, result, terminal.console(soft_wrap=True))
    sys.exit(VERDICTS[result.outcome].exit_code)


def _differences(config: Config, spec: CheckSpec, labels: Labels) -> list[str]:
    """Returns how the controller of this machine checks the pod otherwise; nothing if it does not answer or is that of
    another node."""
    try:
        running = running_checks(config.page_url, spec.key.node, None).get(spec.key.pod)
    except NoController:
        return []
    differences = changes(running, describe(spec, labels)) if running else []
    return [
        f"the controller at {config.page_url} has another {name}: {theirs or '(none)'} instead of {ours or '(none)'}"
        for name, theirs, ours in differences
    ]


def _manifest(
    config: Config, pod: str | None, node: str | None, file: Path | None, intent_dir: Path | None
) -> tuple[PodKey, bytes]:
    if file:
        data = file.read_bytes()
        return key_of(pod_id(data), config.node_name), data
    if config.has_urls and not intent_dir:
        return _of_urls(config, pod or "", node)
    key = key_of(pod or "", config.node_name)
    if folder := intent_dir or config.intent_dir:
        return key, _in_folder(folder, key)
    with client_of(config) as client:
        pair = client.get(intent_key(config.tree, key))
        if pair is None and node is None and (elsewhere := _elsewhere(client, config.tree, key.pod)):
            key = elsewhere
            pair = client.get(intent_key(config.tree, key))
        if pair is None:
            why = nothing_found.in_consul(client, config, key.node, key.pod).text
            raise click.ClickException(
                f"{intent_key(config.tree, key)} does not exist: {key.pod} is not scheduled; {why}"
            )
    return key, pair.value


def _elsewhere(client: ConsulClient, tree: str, pod: str) -> PodKey | None:
    """Returns the pod on the only node that has it; None if none has."""
    keys = filter(None, (parse_intent_key(tree, name) for name in client.list_keys(f"{tree}/")))
    return _only(sorted(key for key in keys if key.pod == pod))


def _only(found: Sequence[PodKey]) -> PodKey | None:
    if len(found) > 1:
        nodes = ", ".join(key.node for key in found[:MOST_NODES]) + (", ..." if len(found) > MOST_NODES else "")
        raise click.ClickException(f"pod {found[0].pod} is on {nodes}; choose with --node")
    return found[0] if found else None


def _parsed(config: Config, key: PodKey, data: bytes, file: Path | None) -> Manifest:
    """Returns the manifest, as if it were not paused."""
    try:
        return parse(key, data, replace(config.rules(), ignores_pause=True))
    except ManifestError as error:
        raise click.ClickException(f"{file or key}: the manifest is invalid: {error}") from None


def _in_folder(folder: Path, key: PodKey) -> bytes:
    try:
        return manifest_path(folder, key).read_bytes()
    except FileNotFoundError:
        known = [each.key for each in from_folders(folder, None, key.node, None)]
        why = nothing_found.in_folder(known, folder, key.node, key.pod).text
        raise click.ClickException(f"{manifest_path(folder, key)} does not exist: {why}") from None


def _of_urls(config: Config, pod: str, node: str | None) -> tuple[PodKey, bytes]:
    """Returns the pod of a URL. Its node is the host of the URL, so it need not be given if only one has the pod."""
    checks = read_urls(config.urls, config.urls_file)
    if key := _only([key for key in checks if key.pod == pod and node in {None, key.node}]):
        return key, checks[key].manifest
    absence = nothing_found.absence(set(checks), "there are no URLs", node, pod, is_node=True)
    raise click.ClickException(f"no URL is checked as this pod: {absence.text}")


def _fields(spec: CheckSpec, labels: Labels, result: ProbeResult) -> dict[str, Any]:
    return {
        "pod": spec.key.pod,
        "node": spec.key.node,
        "labels": dict(labels),
        "url": spec.probe.url,
        "addresses": _addresses(spec),
        "outcome": result.outcome.value,
        "reason": result.reason.value,
        "detail": result.detail,
        "status_code": result.status_code,
        "started": timestamp(result.started),
        "duration": round(result.duration, 6),
        "phases": {name: round(seconds, 6) for name, seconds in result.phases._asdict().items()},
        "certificate_expiry": timestamp(result.certificate.ends) if result.certificate.ends else None,
        "certificate_names": result.certificate.names,
        "certificate_issuer": result.certificate.issuer,
        "output": result.output,
    }


def _addresses(spec: CheckSpec) -> list[str]:
    return list(ask_system(spec.address or spec.probe.host).addresses)


def _explain(spec: CheckSpec, labels: Labels, notes: Iterable[str], result: ProbeResult, console: Console) -> None:
    where = ", ".join(_addresses(spec)) or "no address"
    console.print(Text.assemble((spec.key.pod, "bold"), f" on {spec.key.node}: ", (safe_line(spec.probe.url), "bold")))
    console.print(f"at {where}, within {spec.timeout:g} s")
    for note in notes:
        console.print(safe_line(note))
    console.print(f"labels {', '.join(texts(labels))}\n" if labels else "")
    for phase in _phases(result):
        console.print(phase)
    for line in _findings(result):
        console.print(line)
    _excerpt(result.output, console)
    verdict = VERDICTS[result.outcome]
    sentence = Text.assemble("\nThis is ", (verdict.text, f"bold {verdict.colour}"))
    if result.reason:
        sentence.append(f": {result.reason}", verdict.colour)
    console.print(sentence.append("."))
    threshold = spec.success_threshold if result.outcome.is_good else spec.failure_threshold
    results = "One such result" if threshold == 1 else f"A row of {threshold} such results"
    console.print(f"{results} makes the pod {verdict.makes}.")


def _phases(result: ProbeResult) -> Iterator[Text]:
    """One line per phase with a bar of its share. A phase that the probe did not reach has no bar."""
    spent = dict(zip(PHASE_NAMES, result.phases, strict=True))
    words = {name: _milliseconds(seconds) if seconds else "-" for name, seconds in spent.items()}
    words["total"] = _milliseconds(result.duration)
    widest, longest = max(map(len, words)), max(map(len, words.values()))
    lines = [f"{what:<{widest}}  {took:>{longest}}" for what, took in words.items()]
    for line, seconds in zip(lines, spent.values(), strict=False):
        share = seconds / result.duration if result.duration else 0
        bar = "█" * max(round(share * BAR), bool(seconds))
        yield Text.assemble(line, (f"  {bar}" if bar else "", "cyan"))
    yield Text(lines[-1], "bold")


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def _findings(result: ProbeResult) -> list[str]:
    findings = []
    if result.status_code:
        findings.append(f"status {result.status_code}")
    if result.certificate.ends:
        findings += _certificate(result.certificate)
    if result.detail:
        findings.append(safe_words(result.detail))
    return findings


def _certificate(certificate: Certificate) -> list[str]:
    days = (certificate.ends - time.time()) / DAY
    day = time.strftime("%Y-%m-%d", time.gmtime(certificate.ends))
    lines = [f"certificate expires on {day}, in {days:.0f} days" if days >= 0 else f"certificate expired on {day}"]
    if certificate.names:
        lines.append(f"  for {safe_words(certificate.names)}")
    if certificate.issuer:
        lines.append(f"  signed by {safe_words(certificate.issuer)}")
    return lines


def _excerpt(output: str, console: Console) -> None:
    lines = safe_lines(output).splitlines()
    for line in lines[:EXCERPT_LINES]:
        console.print(Text.assemble(("  | ", "dim"), line))
    if len(lines) > EXCERPT_LINES:
        console.print(f"  | … {len(lines) - EXCERPT_LINES} more lines", style="dim")
