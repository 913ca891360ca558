"""Reads `/metrics`: Prometheus' text format, as far as it is needed, by a parser of its own."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace

from tests.faults.history import PodSeries, Scrape

SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"(?:,|$)')
ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}

BOUNDED: Mapping[str, frozenset[str]] = {
    "result": frozenset({"success", "failure", "local", "error", "requeue", "requeue_after"}),
    "state": frozenset({"passing", "warning", "critical", "unknown"}),
    "reason": frozenset(
        (
            *("dns", "connect", "refused", "timeout", "tls", "certificate", "status"),
            *("redirect", "body", "protocol", "not_serving", "denied", "local"),
        )
    ),
    "outcome": frozenset({"ok", "unavailable", "refused"}),
    "phase": frozenset({"resolve", "connect", "tls", "processing", "transfer"}),
}


def samples(text: str) -> Iterator[tuple[str, Mapping[str, str], float]]:
    """Name, labels and value of each sample.

    Raises:
        ValueError: a line that is none.
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
    strange, count = set[str](), 0
    for name, labels, value in samples(text):
        count += 1
        strange |= {f"{label}={text}" for label, text in labels.items() if text not in BOUNDED.get(label, {text})}
        if pod := labels.get("pod"):
            pods[pod] = _with(pods[pod], name, labels, value)
        elif name.startswith(("podpulse_", "process_")) and not name.endswith("_bucket"):
            values[name] += value
    return Scrape(sent, at, pid, dict(pods), dict(values), tuple(sorted(strange)), count)


def _with(series: PodSeries, name: str, labels: Mapping[str, str], value: float) -> PodSeries:
    match name:
        case "podpulse_probes_total" if labels["result"] in {"success", "failure", "local"}:
            return replace(series, **{labels["result"]: int(value)})  # type: ignore[arg-type]
        case "podpulse_health" if value:
            return replace(series, state=labels["state"])
        case "podpulse_manifest_invalid":
            return replace(series, invalid=bool(value))
        case _:
            return series
