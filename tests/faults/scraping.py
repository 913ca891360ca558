"""Reads `/metrics`: Prometheus' text format, as far as it is needed, by a parser of its own."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from tests.faults.history import PodSeries, Scrape

SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"(?:,|$)')
OWN = ("podpulse_", "process_")
ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}

BOUNDED: Mapping[str, frozenset[str]] = {
    "result": frozenset({"success", "warning", "failure", "local", "error", "requeue", "requeue_after"}),
    "state": frozenset({"passing", "warning", "critical", "unknown"}),
    "reason": frozenset(
        (
            *("dns", "connect", "refused", "timeout", "tls", "certificate", "status"),
            *("redirect", "body", "protocol", "not_serving", "denied", "local", "slow", "expiry"),
            *("uuid", "name", "other"),
            *("no_connection", "no_answer", "server_error", "permission_denied"),
        )
    ),
    "outcome": frozenset({"ok", "unavailable", "refused"}),
    "phase": frozenset({"resolve", "connect", "tls", "processing", "transfer"}),
}


def samples(text: str) -> Iterator[tuple[str, Mapping[str, str], float]]:
    """Yields name, labels and value of each sample.

    Raises:
        ValueError: a line is not a sample.
    """
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        found = SAMPLE.match(line)
        if not found:
            raise ValueError(f"not a sample: {line[:200]!r}")
        labels = {name: re.sub(r"\\.", _unescaped, value) for name, value in LABEL.findall(found[2] or "")}
        yield found[1], labels, float(found[3])


def _unescaped(found: "re.Match[str]") -> str:
    return ESCAPES.get(found[0], found[0])


def scrape_of(text: str, sent: float, at: float, pid: int) -> Scrape:
    """What one answer says."""
    pods: dict[str, PodSeries] = defaultdict(PodSeries)
    values: dict[str, float] = defaultdict(float)
    invalid, strange, count = set[str](), set[str](), 0
    for name, labels, value in samples(text):
        count += 1
        strange |= {f"{label}={text}" for label, text in labels.items() if text not in BOUNDED.get(label, {text})}
        match name:
            case "podpulse_probes_total" if labels["result"] in {"success", "warning", "failure", "local"}:
                series, field = pods[labels["pod"]], labels["result"].replace("warning", "success")
                result: dict[str, Any] = {field: getattr(series, field) + int(value)}
                pods[labels["pod"]] = replace(series, **result)
            case "podpulse_health" if value:
                pods[labels["pod"]] = replace(pods[labels["pod"]], state=labels["state"])
            case "podpulse_manifest_invalid" if value:
                invalid.add(labels["pod"])
            case _ if "pod" not in labels and name.startswith(OWN) and not name.endswith("_bucket"):
                values[name] += value
    return Scrape(sent, at, pid, dict(pods), dict(values), tuple(sorted(invalid)), tuple(sorted(strange)), count)
