"""The answer to a scrape: Prometheus' text format 0.0.4, of the stores as they are now and of a registry.

Series about single checks are written here by hand, because prometheus_client needs over ten times as long, and
10,000 checks have 220,000 of them. They are read from the stores anew at each scrape, and nothing is remembered in
between: the series of a removed pod are gone with it. Text is joined some checks at a time, so no single call holds
the interpreter for long while probes are due.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.registry import Collector

from controller.store import HealthStore, ManifestStore, Tracked
from reconcilers.health import HealthState, Outcome, Reason
from reconcilers.spec import PodKey

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
CHUNK = 250


def render(registry: CollectorRegistry, healths: HealthStore, manifests: ManifestStore) -> Iterator[bytes]:
    """Everything that a scrape gets, in parts."""
    yield from _checks(healths.all())
    yield from _invalid([key for key, intent in manifests.intents().items() if intent.error])
    yield generate_latest(_WithoutCreated(registry))


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: `name` is without the `_total` that a counter's samples bear."""

    name: str
    kind: str
    text: str

    @property
    def sample(self) -> str:
        """The name of its samples, which is also the one that HELP and TYPE bear in this format."""
        return f"{self.name}_total" if self.kind == "counter" else self.name

    def head(self) -> bytes:
        return f"# HELP {self.sample} {self.text}\n# TYPE {self.sample} {self.kind}\n".encode()


Lines = Callable[[str, Tracked], str]
"""The lines of one family for one check, whose labels `node` and `pod` are given as text."""

SUCCESS = Family("probe_success", "gauge", "Whether the last probe succeeded.")
DURATION = Family("probe_duration_seconds", "gauge", "How long the last probe took.")
STATUS = Family("probe_http_status_code", "gauge", "HTTP status of the last probe's answer, 0 if none was read.")
EXPIRY = Family(
    "probe_ssl_earliest_cert_expiry",
    "gauge",
    "When the first certificate of the target expires, in seconds since the epoch; known also if it was refused.",
)
PHASES = Family("probe_http_duration_seconds", "gauge", "How long the parts of the last probe took.")
REASON = Family("podpulse_probe_failure_reason", "gauge", "Why the last probe failed; all are 0 if it did not.")
LAST = Family("podpulse_last_probe_timestamp_seconds", "gauge", "When the last probe started.")
PROBES = Family("podpulse_probes", "counter", "Probes that ended, by result; local ones failed by our own fault.")
HEALTH = Family("podpulse_health", "gauge", "The state of the check, by its thresholds.")
TRANSITIONS = Family("podpulse_health_transitions", "counter", "Changes of the state of the check.")
INVALID = Family("podpulse_manifest_invalid", "gauge", "The newest manifest is not understood.")

HOLE = "\0"


def _one_of(family: Family, label: str, values: Iterable[str], chosen: str) -> str:
    """One line for each of `values`, 1 for the chosen one; `HOLE` stands where the labels of the check belong."""
    return "".join(f'{family.sample}{{{HOLE},{label}="{value}"}} {value == chosen:d}\n' for value in values)


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
    expiry = check.last.certificate_expiry if check.last else 0
    return f"{EXPIRY.name}{{{labels}}} {expiry:.0f}\n" if expiry else ""


def _phases(labels: str, check: Tracked) -> str:
    """Named as blackbox_exporter does."""
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
    return REASONS[check.last.reason if check.last else Reason.NONE].replace(HOLE, labels)


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
    return STATES[check.health.state].replace(HOLE, labels)


def _transitions(labels: str, check: Tracked) -> str:
    return f"{TRANSITIONS.name}_total{{{labels}}} {check.transitions}\n"


FAMILIES: tuple[tuple[Family, Lines], ...] = (
    (SUCCESS, _success),
    (DURATION, _duration),
    (STATUS, _status),
    (PHASES, _phases),
    (EXPIRY, _expiry),
    (REASON, _reason),
    (LAST, _last),
    (PROBES, _probes),
    (HEALTH, _health),
    (TRANSITIONS, _transitions),
)


def _checks(checks: Sequence[Tracked]) -> Iterator[bytes]:
    """All families of all checks; the format wants the lines of one family together."""
    labelled = [(_labels(check.spec.key), check) for check in checks]
    for family, lines in FAMILIES:
        yield family.head()
        for start in range(0, len(labelled), CHUNK):
            yield "".join([lines(labels, check) for labels, check in labelled[start : start + CHUNK]]).encode()


def _invalid(keys: Iterable[PodKey]) -> Iterator[bytes]:
    yield INVALID.head()
    for key in keys:
        yield f"{INVALID.name}{{{_labels(key)}}} 1\n".encode()


def _labels(key: PodKey) -> str:
    return f'node="{_escaped(key.node)}",pod="{_escaped(key.pod)}"'


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


class _WithoutCreated(Collector):
    """A registry without the `_created` series, which double every counter and belong to OpenMetrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family
