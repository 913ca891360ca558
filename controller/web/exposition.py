"""The answer to a scrape, in Prometheus' text format or OpenMetrics, from the stores and a registry.

The series of single checks are rendered here, because prometheus_client takes over ten times as long, and 10,000 checks
have 350,000 series. They are read from the stores at each scrape and not kept, so the series of a removed pod disappear
with it. Text is joined for some checks at a time, so that no call holds the interpreter for long while probes are due.

Formats: https://prometheus.io/docs/instrumenting/exposition_formats/ and
https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from prometheus_client import CollectorRegistry, disable_created_metrics, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from controller.health.store import HealthStore, Tracked
from controller.intent.manifest_store import ManifestStore
from controller.web.chunks import gzipped, in_chunks
from controller.web.negotiation import prefers_gzip, quality_of, ranges
from reconcilers.health import HealthState, Outcome, ProbeResult, Reason
from reconcilers.spec import PodKey, Unprobed

CHUNK = 250
TEXT = ("text/plain", "0.0.4")
OPENMETRICS = ("application/openmetrics-text", "1.0.0")

disable_created_metrics()  # type: ignore[no-untyped-call] # they would double the number of counters in Prometheus


class Format(Enum):
    """A format, by its content type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


Render = Callable[[Format], Iterable[bytes]]
"""Returns the text of all metrics in a format, in parts."""


def scraped(request: Request, render: Render) -> Response:
    """Returns all metrics, in the text format unless the client prefers OpenMetrics, made while they are sent."""
    accepted = ranges(",".join(request.headers.getlist("accept")))
    prefers_openmetrics = quality_of(*OPENMETRICS, accepted) > quality_of(*TEXT, accepted)
    form = Format.OPENMETRICS if prefers_openmetrics else Format.TEXT
    parts = render(form)
    headers = {
        "Content-Type": form.value,
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Vary": "Accept, Accept-Encoding",
    }
    if prefers_gzip(ranges(",".join(request.headers.getlist("accept-encoding")))):
        headers["Content-Encoding"] = "gzip"
        parts = gzipped(parts)
    return StreamingResponse(in_chunks(parts), headers=headers)


def render(
    registry: CollectorRegistry,
    healths: HealthStore,
    manifests: ManifestStore,
    damped: Collection[PodKey],
    form: Format,
) -> Iterator[bytes]:
    """Returns the text of a scrape in parts. `damped` are the pods that flap."""
    checks = [(_labels(check.spec.key), check) for check in healths.all()]
    results = [(labels, check.last) for labels, check in checks if check.last]
    intents = [(_labels(key), intent) for key, intent in manifests.intents().items()]
    for families, labelled in ((OF_RESULTS, results), (OF_CHECKS, checks), (OF_MANIFESTS, intents)):
        for family in families:
            yield from family.render(labelled, form)
    yield from FLAPPING.render([(labels, check.spec.key in damped) for labels, check in checks], form)
    match form:
        case Format.TEXT:
            yield generate_latest(registry)
        case Format.OPENMETRICS:
            yield openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family. `name` is without the suffix `_total` of a counter's samples.

    `value` returns the value of a pod's sample; "" stands for no sample. If a pod has several samples, `lines` returns
    them from the name of the samples and the labels `node` and `pod` as text.
    """

    name: str
    text: str
    value: Callable[[Any], object] | None = None
    kind: str = "gauge"
    lines: Callable[[str, str, Any], str] | None = None

    @property
    def sample(self) -> str:
        """The name of its samples. HELP and TYPE have it too, except in OpenMetrics."""
        return f"{self.name}_total" if self.kind == "counter" else self.name

    def render(self, labelled: Sequence[tuple[str, Any]], form: Format) -> Iterator[bytes]:
        """Renders the family for all pods. The format requires the lines of a family to be together."""
        sample, value, lines = self.sample, self.value, self.lines
        name = self.name if form is Format.OPENMETRICS else sample
        yield f"# HELP {name} {self.text}\n# TYPE {name} {self.kind}\n".encode()
        for start in range(0, len(labelled), CHUNK):
            chunk = labelled[start : start + CHUNK]
            if lines:
                texts = [lines(sample, labels, pod) for labels, pod in chunk]
            elif value:
                texts = [f"{sample}{{{labels}}} {text}\n" for labels, pod in chunk if (text := value(pod)) != ""]
            yield "".join(texts).encode()


def _phases(name: str, labels: str, last: ProbeResult) -> str:
    """The names of the phases are blackbox_exporter's."""
    dns, connect, tls, first_byte, transfer = last.phases
    return (
        f'{name}{{{labels},phase="resolve"}} {dns:.6f}\n'
        f'{name}{{{labels},phase="connect"}} {connect:.6f}\n'
        f'{name}{{{labels},phase="tls"}} {tls:.6f}\n'
        f'{name}{{{labels},phase="processing"}} {first_byte:.6f}\n'
        f'{name}{{{labels},phase="transfer"}} {transfer:.6f}\n'
    )


def _probes(name: str, labels: str, check: Tracked) -> str:
    counts = check.counts
    return (
        f'{name}{{{labels},result="success"}} {counts[Outcome.SUCCESS]}\n'
        f'{name}{{{labels},result="failure"}} {counts[Outcome.FAILURE]}\n'
        f'{name}{{{labels},result="local"}} {counts[Outcome.LOCAL]}\n'
    )


def _reason(_: str, labels: str, check: Tracked) -> str:
    return labels.join(REASONS[check.last.reason if check.last else Reason.NONE])


def _health(_: str, labels: str, check: Tracked) -> str:
    return labels.join(STATES[check.health.state])


def _one_of(name: str, label: str, values: Iterable[str], chosen: str) -> list[str]:
    """Returns one line per value, 1 for the chosen one, split at the place of a check's labels."""
    lines = [f'{name}{{{HOLE},{label}="{value}"}} {value == chosen:d}\n' for value in values]
    return "".join(lines).split(HOLE)


HOLE = "\0"
REASON, HEALTH = "podpulse_probe_failure_reason", "podpulse_health"
OF_PROBES = [reason for reason in Reason if reason not in {Reason.NONE, Reason.FLAPPING, Reason.DEPLOYING}]
REASONS = {reason: _one_of(REASON, "reason", OF_PROBES, reason) for reason in Reason}
STATES = {state: _one_of(HEALTH, "state", HealthState, state) for state in HealthState}

OF_RESULTS = (
    Family("probe_success", "Whether the last probe succeeded.", lambda last: int(last.outcome is Outcome.SUCCESS)),
    Family("probe_duration_seconds", "How long the last probe took.", lambda last: f"{last.duration:.6f}"),
    Family(
        "probe_http_status_code",
        "HTTP status of the last probe's response, 0 if none was received.",
        lambda last: last.status_code,
    ),
    Family("probe_http_duration_seconds", "How long the parts of the last probe took.", lines=_phases),
    Family(
        "probe_ssl_earliest_cert_expiry",
        "The earliest expiry of all certificates that the target sent, needed or not, in seconds since the epoch.",
        lambda last: f"{last.certificate.expires:.0f}" if last.certificate.expires else "",
    ),
    Family(
        "probe_ssl_last_chain_expiry_timestamp_seconds",
        "When the verified chain of the target's certificate expires, in seconds since the epoch.",
        lambda last: f"{last.certificate.chain_expires:.0f}" if last.certificate.chain_expires else "",
    ),
    Family("podpulse_last_probe_timestamp_seconds", "When the last probe started.", lambda last: f"{last.started:.3f}"),
)
"""The families of the last `ProbeResult` of each check."""

OF_CHECKS = (
    Family(REASON, "Why the last probe failed; all are 0 if it succeeded.", lines=_reason),
    Family(
        "podpulse_probes",
        "Finished probes, by result; local failures say nothing about the pod.",
        kind="counter",
        lines=_probes,
    ),
    Family(HEALTH, "The state of the check, by its thresholds.", lines=_health),
    Family(
        "podpulse_health_transitions",
        "Changes of the state of the check.",
        lambda check: check.transitions,
        kind="counter",
    ),
    Family(
        "podpulse_check_interval_seconds",
        "The interval of the check's probes.",
        lambda check: "" if isinstance(check.spec.probe, Unprobed) else f"{check.spec.interval:g}",
    ),
)
"""The families of each `Tracked`."""

FLAPPING = Family(
    "podpulse_flapping", "Whether the pod is published as unknown because its status changes too often.", int
)

OF_MANIFESTS = (
    Family(
        "podpulse_manifest_invalid",
        "Whether the newest manifest of the pod is invalid.",
        lambda intent: int(intent.error is not None),
    ),
    Family(
        "podpulse_manifest_in_force",
        "Whether a version of the pod's manifest is in force; if not, the pod is not checked.",
        lambda intent: int(intent.manifest is not None),
    ),
    Family(
        "podpulse_manifest_warnings",
        "Fields of the manifest in force that are ignored: they are unknown, or have no effect.",
        lambda intent: sum(warning.count for warning in intent.manifest.warnings) if intent.manifest else 0,
    ),
    Family(
        "podpulse_paused",
        "Whether the manifest in force pauses the check of the pod.",
        lambda intent: int(intent.manifest is not None and intent.manifest.paused),
    ),
)
"""The families of each `Intent`, whether or not it has a check."""


def _labels(key: PodKey) -> str:
    return f'node="{_label_value(key.node)}",pod="{_label_value(key.pod)}"'


def _label_value(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
