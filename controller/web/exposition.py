"""The text of a scrape, in Prometheus' text format or OpenMetrics, from the stores and a registry.

The series of single checks are rendered here, because prometheus_client takes over ten times as long, and 10,000 checks
have 350,000 series. They are read from the stores at each scrape and not kept, so the series of a removed pod disappear
with it. Text is joined for some checks at a time, so that no call holds the interpreter for long while probes are due.

Formats: https://prometheus.io/docs/instrumenting/exposition_formats/ and
https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from controller.health.store import HealthStore, Tracked
from controller.intent.manifest_store import Intent, ManifestStore
from reconcilers.health import HealthState, Outcome, Reason
from reconcilers.spec import PodKey, Unprobed

CHUNK = 250


class Format(Enum):
    """A format, by its content type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def render(
    registry: CollectorRegistry,
    healths: HealthStore,
    manifests: ManifestStore,
    damped: Collection[PodKey],
    form: Format,
) -> Iterator[bytes]:
    """Returns the text of a scrape in parts. `damped` are the pods that flap."""
    checks = [(_labels(check.spec.key), check) for check in healths.all()]
    yield from _checks(checks, form)
    yield from _flags(FLAPPING, [(labels, check.spec.key in damped) for labels, check in checks], form)
    intents = [(_labels(key), intent) for key, intent in manifests.intents().items()]
    for family, value in OF_MANIFESTS:
        yield from _flags(family, [(labels, value(intent)) for labels, intent in intents], form)
    match form:
        case Format.TEXT:
            yield generate_latest(_WithoutCreated(registry))
        case Format.OPENMETRICS:
            yield openmetrics.generate_latest(_WithoutCreated(registry))  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family. `name` is without the suffix `_total` of a counter's samples."""

    name: str
    kind: str
    text: str

    @property
    def sample(self) -> str:
        """The name of its samples. HELP and TYPE have it too, except in OpenMetrics."""
        return f"{self.name}_total" if self.kind == "counter" else self.name

    def head(self, form: Format) -> bytes:
        name = self.name if form is Format.OPENMETRICS else self.sample
        return f"# HELP {name} {self.text}\n# TYPE {name} {self.kind}\n".encode()


Lines = Callable[[str, Tracked], str]
"""The lines of one family for one check, whose labels `node` and `pod` are given as text."""

SUCCESS = Family("probe_success", "gauge", "Whether the last probe succeeded.")
DURATION = Family("probe_duration_seconds", "gauge", "How long the last probe took.")
STATUS = Family("probe_http_status_code", "gauge", "HTTP status of the last probe's response, 0 if none was received.")
EXPIRY = Family(
    "probe_ssl_earliest_cert_expiry",
    "gauge",
    "The earliest expiry of all certificates that the target sent, needed or not, in seconds since the epoch.",
)
CHAIN_EXPIRY = Family(
    "probe_ssl_last_chain_expiry_timestamp_seconds",
    "gauge",
    "When the verified chain of the target's certificate expires, in seconds since the epoch.",
)
PHASES = Family("probe_http_duration_seconds", "gauge", "How long the parts of the last probe took.")
REASON = Family("podpulse_probe_failure_reason", "gauge", "Why the last probe failed; all are 0 if it succeeded.")
LAST = Family("podpulse_last_probe_timestamp_seconds", "gauge", "When the last probe started.")
PROBES = Family("podpulse_probes", "counter", "Finished probes, by result; local failures say nothing about the pod.")
HEALTH = Family("podpulse_health", "gauge", "The state of the check, by its thresholds.")
TRANSITIONS = Family("podpulse_health_transitions", "counter", "Changes of the state of the check.")
INTERVAL = Family("podpulse_check_interval_seconds", "gauge", "The interval of the check's probes.")
FLAPPING = Family(
    "podpulse_flapping", "gauge", "Whether the pod is published as unknown because its status changes too often."
)

OF_MANIFESTS: tuple[tuple[Family, Callable[[Intent], int]], ...] = (
    (
        Family("podpulse_manifest_invalid", "gauge", "Whether the newest manifest of the pod is invalid."),
        lambda intent: intent.error is not None,
    ),
    (
        Family(
            "podpulse_manifest_in_force",
            "gauge",
            "Whether a version of the pod's manifest is in force; if not, the pod is not checked.",
        ),
        lambda intent: intent.manifest is not None,
    ),
    (
        Family(
            "podpulse_manifest_warnings",
            "gauge",
            "Fields of the manifest in force that are ignored: they are unknown, or have no effect.",
        ),
        lambda intent: sum(warning.count for warning in intent.manifest.warnings) if intent.manifest else 0,
    ),
    (
        Family("podpulse_paused", "gauge", "Whether the manifest in force pauses the check of the pod."),
        lambda intent: intent.manifest is not None and intent.manifest.paused,
    ),
)
"""The families with one sample per manifest, whether or not it has a check."""

HOLE = "\0"


def _one_of(family: Family, label: str, values: Iterable[str], chosen: str) -> list[str]:
    """Returns one line per value, 1 for the chosen one, split at the place of a check's labels."""
    lines = [f'{family.sample}{{{HOLE},{label}="{value}"}} {value == chosen:d}\n' for value in values]
    return "".join(lines).split(HOLE)


OF_PROBES = [reason for reason in Reason if reason not in {Reason.NONE, Reason.FLAPPING, Reason.DEPLOYING}]
REASONS = {reason: _one_of(REASON, "reason", OF_PROBES, reason) for reason in Reason}
STATES = {state: _one_of(HEALTH, "state", HealthState, state) for state in HealthState}


def _success(labels: str, check: Tracked) -> str:
    return f"{SUCCESS.name}{{{labels}}} {check.last.outcome is Outcome.SUCCESS:d}\n" if check.last else ""


def _duration(labels: str, check: Tracked) -> str:
    return f"{DURATION.name}{{{labels}}} {check.last.duration:.6f}\n" if check.last else ""


def _status(labels: str, check: Tracked) -> str:
    return f"{STATUS.name}{{{labels}}} {check.last.status_code}\n" if check.last else ""


def _expiry(labels: str, check: Tracked) -> str:
    expiry = check.last.certificate.expires if check.last else 0
    return f"{EXPIRY.name}{{{labels}}} {expiry:.0f}\n" if expiry else ""


def _chain_expiry(labels: str, check: Tracked) -> str:
    expiry = check.last.certificate.chain_expires if check.last else 0
    return f"{CHAIN_EXPIRY.name}{{{labels}}} {expiry:.0f}\n" if expiry else ""


def _phases(labels: str, check: Tracked) -> str:
    """The names of the phases are blackbox_exporter's."""
    if not check.last:
        return ""
    dns, connect, tls, first_byte, transfer = check.last.phases
    return (
        f'{PHASES.name}{{{labels},phase="resolve"}} {dns:.6f}\n'
        f'{PHASES.name}{{{labels},phase="connect"}} {connect:.6f}\n'
        f'{PHASES.name}{{{labels},phase="tls"}} {tls:.6f}\n'
        f'{PHASES.name}{{{labels},phase="processing"}} {first_byte:.6f}\n'
        f'{PHASES.name}{{{labels},phase="transfer"}} {transfer:.6f}\n'
    )


def _reason(labels: str, check: Tracked) -> str:
    return labels.join(REASONS[check.last.reason if check.last else Reason.NONE])


def _last(labels: str, check: Tracked) -> str:
    return f"{LAST.name}{{{labels}}} {check.last.started:.3f}\n" if check.last else ""


def _probes(labels: str, check: Tracked) -> str:
    counts = check.counts
    return (
        f'{PROBES.name}_total{{{labels},result="success"}} {counts[Outcome.SUCCESS]}\n'
        f'{PROBES.name}_total{{{labels},result="failure"}} {counts[Outcome.FAILURE]}\n'
        f'{PROBES.name}_total{{{labels},result="local"}} {counts[Outcome.LOCAL]}\n'
    )


def _health(labels: str, check: Tracked) -> str:
    return labels.join(STATES[check.health.state])


def _transitions(labels: str, check: Tracked) -> str:
    return f"{TRANSITIONS.name}_total{{{labels}}} {check.transitions}\n"


def _interval(labels: str, check: Tracked) -> str:
    return "" if isinstance(check.spec.probe, Unprobed) else f"{INTERVAL.name}{{{labels}}} {check.spec.interval:g}\n"


FAMILIES: tuple[tuple[Family, Lines], ...] = (
    (SUCCESS, _success),
    (DURATION, _duration),
    (STATUS, _status),
    (PHASES, _phases),
    (EXPIRY, _expiry),
    (CHAIN_EXPIRY, _chain_expiry),
    (REASON, _reason),
    (LAST, _last),
    (PROBES, _probes),
    (HEALTH, _health),
    (TRANSITIONS, _transitions),
    (INTERVAL, _interval),
)


def _checks(labelled: Sequence[tuple[str, Tracked]], form: Format) -> Iterator[bytes]:
    """Renders all families of all checks. The format requires the lines of a family to be together."""
    for family, lines in FAMILIES:
        yield family.head(form)
        for start in range(0, len(labelled), CHUNK):
            yield "".join([lines(labels, check) for labels, check in labelled[start : start + CHUNK]]).encode()


def _flags(family: Family, flags: Sequence[tuple[str, int]], form: Format) -> Iterator[bytes]:
    """Renders a family with a small number for each pod."""
    yield family.head(form)
    for start in range(0, len(flags), CHUNK):
        lines = [f"{family.name}{{{labels}}} {flag:d}\n" for labels, flag in flags[start : start + CHUNK]]
        yield "".join(lines).encode()


def _labels(key: PodKey) -> str:
    return f'node="{_label_value(key.node)}",pod="{_label_value(key.pod)}"'


def _label_value(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


class _WithoutCreated(Collector):
    """A registry without the `_created` series, which would double the number of counters in Prometheus."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family
