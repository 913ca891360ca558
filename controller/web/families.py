"""The series of single checks, and how the samples of some of them are rendered."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import Any

from controller.health.store import Tracked
from controller.probes.text import sound
from controller.web.gzip_stream import Piece
from reconcilers.health import PHASE_NAMES, WARNING, HealthState, Outcome, Reason
from reconcilers.spec import Labels, PodKey, Unprobed

Lines = Callable[[str, Sequence[str], Sequence[Any]], str]


class Pods:
    """The pods of a chunk, and what is kept of their samples, by the name of the family."""

    __slots__ = ("keys", "labels", "pieces", "templates")

    def __init__(self, keys: Sequence[PodKey]) -> None:
        self.keys = keys
        self.labels = [_labels(key) for key in keys]
        self.pieces: dict[str, tuple[Sequence[object], Piece]] = {}
        """The facts of a family, and the compressed samples that were made from them."""
        self.templates: dict[str, bytes] = {}
        """The samples of a family without their values."""


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family. `name` is without the suffix `_total` of a counter's samples.

    `facts` returns what the samples of these members are made from: one fact for each member. Equal facts make equal
    samples. `lines` returns the samples of members from their name, the labels `node` and `pod` of each as text, and
    the facts.
    """

    name: str
    text: str
    facts: Callable[[Sequence[Any]], Sequence[Any]]
    lines: Lines
    kind: str = "gauge"

    @property
    def sample(self) -> str:
        """The name of its samples. HELP and TYPE have it too, except in OpenMetrics."""
        return f"{self.name}_total" if self.kind == "counter" else self.name

    def heading(self, *, is_openmetrics: bool) -> bytes:
        name = self.name if is_openmetrics else self.sample
        return f"# HELP {name} {self.text}\n# TYPE {name} {self.kind}\n".encode()

    def render(self, pods: Pods, facts: Sequence[Any]) -> bytes:
        return self.lines(self.sample, pods.labels, facts).encode()


@dataclass(frozen=True, slots=True)
class Measured(Family):
    """A family whose values change with each probe. They are rendered at each scrape, into a kept template.

    `facts` returns all values of all members, and `lines` the samples with conversions for `%` in their place.
    """

    def render(self, pods: Pods, facts: Sequence[Any]) -> bytes:
        if not (template := pods.templates.get(self.name)):
            labels = [each.replace("%", "%%") for each in pods.labels]
            template = pods.templates[self.name] = self.lines(self.sample, labels, ()).encode()
        return template % tuple(facts)


def attribute(name: str) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """The fact of a member is this attribute of it."""
    read = attrgetter(name)
    return lambda members: list(map(read, members))


def value_lines(value: Callable[[Any], object]) -> Lines:
    """Each member has one sample, or none if its value is ""."""

    def lines(name: str, labels: Sequence[str], facts: Sequence[object]) -> str:
        values = zip(labels, map(value, facts), strict=True)
        return "".join([f"{name}{{{pod}}} {text}\n" for pod, text in values if text != ""])

    return lines


def _chosen(lines: Mapping[Any, Sequence[str]]) -> Lines:
    """Each member has the lines of its fact, which are split at the place of its labels."""
    return lambda _, labels, facts: "".join([pod.join(lines[fact]) for pod, fact in zip(labels, facts, strict=True)])


def _template(conversion: str, label: str = "", values: Sequence[str] = ()) -> Lines:
    """Each member has one sample, or one for each of the values of another label."""
    more = [f',{label}="{value}"' for value in values] or [""]
    return lambda name, labels, _: "".join(f"{name}{{{pod}{each}}} {conversion}\n" for pod in labels for each in more)


def _failures(checks: Sequence[Tracked]) -> Sequence[Reason]:
    """The reason of each last probe, unless it is a warning."""
    return [last.reason if (last := check.last) and last.outcome is not WARNING else Reason.NONE for check in checks]


def _warnings(checks: Sequence[Tracked]) -> Sequence[Reason]:
    """The reason of each last probe that is a warning."""
    return [last.reason if (last := check.last) and last.outcome is WARNING else Reason.NONE for check in checks]


def _why(checks: Sequence[Tracked]) -> Sequence[str]:
    """Why each check is in its state; "" if it is passing. The sentence changes with the state or the reason only."""
    healths = [check.assessment.health for check in checks]
    return ["" if health.state is HealthState.PASSING else health.detail for health in healths]


def info_lines(labels: Callable[[Any], str]) -> Lines:
    """Each member has a sample with the value 1 and further labels, or none if its fact is "" or None."""

    def lines(name: str, pods: Sequence[str], facts: Sequence[Any]) -> str:
        members = zip(pods, facts, strict=True)
        return "".join([f"{name}{{{pod},{labels(fact)}}} 1\n" for pod, fact in members if fact])

    return lines


def _sentence(label: str) -> Lines:
    """The fact of a member is the text of the further label."""
    return info_lines(lambda text: f'{label}="{label_value(sound(text[:MAX_TEXT]))}"')


def _counts(checks: Sequence[Tracked]) -> Sequence[int]:
    return list(chain.from_iterable(check.counts.values() for check in checks))


def _flat(phases: Iterable[Iterable[float]]) -> Sequence[float]:
    return list(chain.from_iterable(phases))


def _one_of(name: str, label: str, values: Iterable[str], chosen: str) -> list[str]:
    """Returns one line per value, 1 for the chosen one, split at the place of a check's labels."""
    lines = [f'{name}{{{HOLE},{label}="{value}"}} {value == chosen:d}\n' for value in values]
    return "".join(lines).split(HOLE)


HOLE = "\0"
MAX_TEXT = 300
"""The most characters of a sentence in a label."""
REASON, HEALTH = "podpulse_probe_failure_reason", "podpulse_health"
WARNED = "podpulse_probe_warning_reason"
NO_FAILURES = {Reason.NONE, Reason.FLAPPING, Reason.DEPLOYING, Reason.EXPIRY, Reason.SLOW}
OF_PROBES = [reason for reason in Reason if reason not in NO_FAILURES]
REASONS = {reason: _one_of(REASON, "reason", OF_PROBES, reason) for reason in Reason}
WARNINGS = {reason: f'{WARNED}{{{HOLE},reason="{reason}"}} 1\n'.split(HOLE) for reason in Reason}
STATES = {state: _one_of(HEALTH, "state", HealthState, state) for state in HealthState}

OF_RESULTS = (
    Family(
        "probe_success",
        "Whether the last probe succeeded, perhaps with a warning.",
        attribute("outcome"),
        value_lines(lambda outcome: int(outcome.is_good)),
    ),
    Measured("probe_duration_seconds", "How long the last probe took.", attribute("duration"), _template("%.6f")),
    Family(
        "probe_http_status_code",
        "HTTP status of the last probe's response, 0 if none was received.",
        attribute("status_code"),
        value_lines(int),
    ),
    Measured(
        "probe_http_duration_seconds",
        "How long the parts of the last probe took.",
        lambda results: _flat(last.phases for last in results),
        _template("%.6f", "phase", PHASE_NAMES),
    ),
    Family(
        "probe_ssl_earliest_cert_expiry",
        "The earliest expiry of all certificates that the target sent, needed or not, in seconds since the epoch.",
        attribute("certificate.expires"),
        value_lines(lambda expires: f"{expires:.0f}" if expires else ""),
    ),
    Family(
        "probe_ssl_last_chain_expiry_timestamp_seconds",
        "When the verified chain of the target's certificate expires, in seconds since the epoch.",
        attribute("certificate.chain_expires"),
        value_lines(lambda expires: f"{expires:.0f}" if expires else ""),
    ),
    Measured(
        "podpulse_last_probe_timestamp_seconds",
        "When the last probe started.",
        attribute("started"),
        _template("%.3f"),
    ),
)
"""The families of the last `ProbeResult` of each check."""

OF_CHECKS = (
    Family(
        REASON,
        "Why the last probe failed; all are 0 if it succeeded.",
        _failures,
        _chosen(REASONS),
    ),
    Family(
        WARNED,
        "Why the last probe is a warning; absent if it is none.",
        _warnings,
        _chosen({**WARNINGS, Reason.NONE: [""]}),
    ),
    Measured(
        "podpulse_probes",
        "Finished probes, by result; local failures say nothing about the pod.",
        _counts,
        _template("%d", "result", list(Outcome)),
        kind="counter",
    ),
    Family(
        HEALTH,
        "The state of the check, by its thresholds.",
        attribute("assessment.health.state"),
        _chosen(STATES),
    ),
    Family(
        "podpulse_health_info",
        "Why the check is in its state, in a sentence; absent if it is passing.",
        _why,
        _sentence("detail"),
    ),
    Family(
        "podpulse_health_transitions",
        "Changes of the state of the check.",
        attribute("transitions"),
        value_lines(int),
        kind="counter",
    ),
    Family(
        "podpulse_check_interval_seconds",
        "The interval of the check's probes.",
        attribute("spec"),
        value_lines(lambda spec: "" if isinstance(spec.probe, Unprobed) else f"{spec.interval:g}"),
    ),
)
"""The families of each `Tracked`."""

FLAPPING = Family(
    "podpulse_flapping",
    "Whether the pod is published as unknown because its status changes too often.",
    list,
    value_lines(int),
)

OF_MANIFESTS = (
    Family(
        "podpulse_manifest_invalid",
        "Whether the newest manifest of the pod is invalid.",
        list,
        value_lines(lambda intent: int(intent.error is not None)),
    ),
    Family(
        "podpulse_manifest_error_info",
        "What is wrong with the newest manifest of the pod, with the field; absent if it is valid.",
        lambda intents: [str(intent.error or "") for intent in intents],
        _sentence("error"),
    ),
    Family(
        "podpulse_manifest_in_force",
        "Whether a version of the pod's manifest is in force; if not, the pod is not checked.",
        list,
        value_lines(lambda intent: int(intent.manifest is not None)),
    ),
    Family(
        "podpulse_manifest_warnings",
        "Fields of the manifest in force that are ignored: they are unknown, or have no effect.",
        list,
        value_lines(
            lambda intent: sum(warning.count for warning in intent.manifest.warnings) if intent.manifest else 0
        ),
    ),
    Family(
        "podpulse_paused",
        "Whether the manifest in force pauses the check of the pod.",
        list,
        value_lines(lambda intent: int(intent.manifest is not None and intent.manifest.paused)),
    ),
)
"""The families of each `Intent`, whether or not it has a check."""


def _labels_in_force(intents: Sequence[Any]) -> Sequence[Labels | None]:
    return [intent.manifest.labels if intent.manifest else None for intent in intents]


def _label_lines(name: str, pods: Sequence[str], facts: Sequence[Labels | None]) -> str:
    """A pod without labels has a sample too: in a join, a missing one would drop the pod."""
    lines = []
    for pod, labels in zip(pods, facts, strict=True):
        if labels is not None:
            more = "".join([f',{label}="{label_value(value)}"' for label, value in labels])
            lines.append(f"{name}{{{pod}{more}}} 1\n")
    return "".join(lines)


POD_LABELS = Family(
    "podpulse_pod_labels",
    "The labels of the pod, from its manifest in force; the value is always 1.",
    _labels_in_force,
    _label_lines,
)
"""A family of each `Intent`, if the configuration declares labels."""


def _labels(key: PodKey) -> str:
    return f'node="{label_value(key.node)}",pod="{label_value(key.pod)}"'


def label_value(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
