"""The targets that Prometheus' scrape configuration gives to a blackbox_exporter, after its relabelling."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import re2
import yaml

from deploy.converting import Untranslatable

Json = dict[str, Any]
PATH = "/probe"
MODULE = "http_2xx"
INTERVAL, TIMEOUT = "1m", "10s"
"""Prometheus' scrape_interval and scrape_timeout."""
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800, "y": 31_536_000}
DURATION = re.compile(r"(?:\d+(?:ms|[smhdwy]))+|0")


class Unusable(ValueError):
    """A file that cannot be read. The message names it."""


@dataclass(frozen=True, slots=True)
class Target:
    """One target of a job after relabelling. `labels` are those for the series, without `instance`."""

    job: str
    address: str
    module: str
    hostname: str
    interval: float
    timeout: float
    labels: Mapping[str, str]


def targets(config: Json, folder: Path) -> Iterator[Target | str]:
    """Yields the targets of the jobs that ask a blackbox_exporter, and a line for each job that cannot be read."""
    common = config.get("global") or {}
    if config.get("scrape_config_files"):
        yield "left out: scrape_config_files: run this script once for each of these files"
    for job in config.get("scrape_configs") or []:
        if job.get("metrics_path") == PATH:
            try:
                yield from _targets(job, common, folder)
            except Untranslatable as error:
                yield f"left out: job {job.get('job_name')}: {error}"


def _targets(job: Json, common: Json, folder: Path) -> Iterator[Target | str]:
    name = str(job.get("job_name"))
    for key in sorted(job):
        if key.endswith("_sd_configs") and key != "file_sd_configs":
            yield f"left out: job {name}: {key}: only static_configs and file_sd_configs can be read"
    interval = seconds(job.get("scrape_interval") or common.get("scrape_interval") or INTERVAL)
    timeout = seconds(job.get("scrape_timeout") or common.get("scrape_timeout") or TIMEOUT)
    params = {f"__param_{key}": str(values[0]) for key, values in (job.get("params") or {}).items() if values}
    for group in [*(job.get("static_configs") or []), *_groups_of_files(job, folder)]:
        for address in group.get("targets") or []:
            labels = {**params, **(group.get("labels") or {}), "__address__": str(address), "job": name}
            found = relabelled({key: str(value) for key, value in labels.items()}, job.get("relabel_configs") or [])
            if found is None:
                continue
            shown = {key: value for key, value in found.items() if not key.startswith("__") and value}
            kept = {key: value for key, value in shown.items() if key not in {"instance", "job"}}
            target, module = found.get("__param_target", ""), found.get("__param_module") or MODULE
            yield Target(name, target, module, found.get("__param_hostname", ""), interval, timeout, kept)


def _groups_of_files(job: Json, folder: Path) -> Iterator[Json]:
    """Yields the groups of targets in the files of `file_sd_configs`, whose patterns are relative to the folder."""
    for discovery in job.get("file_sd_configs") or []:
        for pattern in discovery.get("files") or []:
            base = Path("/") if pattern.startswith("/") else folder
            files = sorted(base.glob(pattern.lstrip("/")))
            if not files:
                raise Untranslatable(f"file_sd_configs: there is no file {pattern}")
            for file in files:
                yield from read(file, list)


def relabelled(labels: Mapping[str, str], steps: Sequence[Json]) -> dict[str, str] | None:
    """Returns the labels after Prometheus' relabelling; None for a target that it drops."""
    kept = dict(labels)
    for step in steps:
        found = _step(kept, step, str(step.get("action") or "replace").lower())
        if found is None:
            return None
        kept = found
    return kept


def _step(labels: dict[str, str], step: Json, action: str) -> dict[str, str] | None:
    pattern, replacement = _pattern(str(step.get("regex", "(.*)"))), str(step.get("replacement", "$1"))
    joined = str(step.get("separator", ";")).join(labels.get(name, "") for name in step.get("source_labels") or [])
    match action:
        case "keep" | "drop":
            return labels if bool(pattern.fullmatch(joined)) is (action == "keep") else None
        case "labeldrop" | "labelkeep":
            return {
                key: value for key, value in labels.items() if bool(pattern.fullmatch(key)) is (action == "labelkeep")
            }
        case "labelmap":
            found = ((key, pattern.fullmatch(key)) for key in labels)
            return {**labels, **{_expanded(replacement, each): labels[key] for key, each in found if each}}
        case "replace":
            target = str(step.get("target_label", ""))
            found_in = pattern.fullmatch(joined)
            return {**labels, target: _expanded(replacement, found_in)} if target and found_in else labels
    raise Untranslatable(f"relabel_configs: action {action} is not supported here")


def _pattern(regex: str) -> Any:
    try:
        return re2.compile(regex)
    except re2.error as error:
        raise Untranslatable(f"relabel_configs: regex {regex!r}: {error}") from None


def _expanded(replacement: str, match: Any) -> str:
    def group(reference: re.Match[str]) -> str:
        name = reference[1].strip("{}")
        try:
            return match.group(int(name) if name.isdigit() else name) or ""
        except (IndexError, KeyError, re2.error):
            return ""

    return re.sub(r"\$(\{\w+\}|\w+)", group, replacement)


def seconds(text: object) -> float:
    """Returns the seconds of a duration as Prometheus writes it. Raises Untranslatable for any other text."""
    if not DURATION.fullmatch(str(text)):
        raise Untranslatable(f"expected a duration such as 1m30s, got {text!r}")
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)(ms|[smhdwy])", str(text)))


def read(file: Path, kind: type) -> Any:
    """Reads a file of YAML or JSON whose document is of a kind. Raises Unusable."""
    try:
        document = yaml.safe_load(file.read_bytes())
    except OSError as error:
        raise Unusable(f"{file}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Unusable(f"{file}: expected YAML: {str(error).partition(chr(10))[0]}") from None
    if not isinstance(document, kind):
        raise Unusable(f"{file}: expected a {'list' if kind is list else 'mapping'}")
    return document
