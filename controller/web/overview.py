"""What the page says, as plain values: which pods there are and in which order, read from the stores once per request.

No HTML here. Everything that came from a pod or a manifest stays raw text; the template escapes it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from controller.store import Intent, Tracked
from reconcilers.health import CheckHealth, HealthState, Reason
from reconcilers.spec import CheckSpec, PodKey

WORST_FIRST = (HealthState.CRITICAL, HealthState.UNKNOWN, HealthState.WARNING, HealthState.PASSING)
SEVERITY = {state: place for place, state in enumerate(WORST_FIRST)}
EXCERPT = 1_000
EXCERPT_PASSING = 120


@dataclass(frozen=True, slots=True)
class Row:
    """One pod. Times are seconds since the epoch, 0 for never; `duration` is seconds, None before the first probe.

    `evidence` says how far the probes are on the way to another state, "" when they are not.
    """

    key: PodKey
    state: HealthState
    since: float = 0.0
    last_probe: float = 0.0
    duration: float | None = None
    reason: Reason = Reason.NONE
    detail: str = ""
    excerpt: str = ""
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Share:
    """How many pods are in one state; `start` and `width` are percent of all, side by side."""

    state: HealthState
    count: int
    start: float
    width: float


@dataclass(frozen=True, slots=True)
class InvalidManifest:
    """A manifest that is not understood; `kept` when an older version of it is still in force."""

    key: PodKey
    since: float
    error: str
    kept: bool


@dataclass(frozen=True, slots=True)
class Unchecked:
    """A pod that runs no check: its manifest asks for none, or for a pause."""

    key: PodKey
    paused: bool


@dataclass(frozen=True, slots=True)
class Overview:
    """All that the page shows. `rows` are those of one state if that was asked for; `shares` are always of all pods."""

    rows: Sequence[Row]
    shares: Sequence[Share]
    invalid: Sequence[InvalidManifest]
    unchecked: Sequence[Unchecked]

    @property
    def worst(self) -> Share | None:
        """The worst state that any pod is in; None without pods."""
        return next((share for share in self.shares if share.count), None)

    @property
    def total(self) -> int:
        return sum(share.count for share in self.shares)


def overview(checks: Iterable[Tracked], intents: Mapping[PodKey, Intent], only: HealthState | None = None) -> Overview:
    """Read what is known; worst state first, then by name."""
    rows = {check.spec.key: _row(check) for check in checks}
    for key, intent in intents.items():
        if key not in rows and intent.manifest and intent.manifest.check:
            rows[key] = Row(key, HealthState.UNKNOWN, detail="no probe worker runs yet")
    chosen = [row for row in rows.values() if only in (None, row.state)]
    return Overview(
        rows=sorted(chosen, key=lambda row: (SEVERITY[row.state], row.key.pod, row.key.node)),
        shares=_shares(Counter(row.state for row in rows.values())),
        invalid=[_invalid(key, intents[key]) for key in sorted(intents) if intents[key].error],
        unchecked=[
            Unchecked(key, intent.manifest.paused)
            for key, intent in sorted(intents.items())
            if intent.manifest and not intent.manifest.check
        ],
    )


def _row(check: Tracked) -> Row:
    health, last = check.health, check.last
    limit = EXCERPT_PASSING if health.state is HealthState.PASSING else EXCERPT
    return Row(
        check.spec.key,
        health.state,
        health.since,
        last.started if last else 0.0,
        last.duration if last else None,
        health.reason,
        health.detail,
        health.output[:limit],
        _evidence(health, check.spec),
    )


def _evidence(health: CheckHealth, spec: CheckSpec) -> str:
    if health.state is HealthState.PASSING and health.misses:
        return f"{health.misses} of {spec.failure_threshold} misses"
    if health.state is not HealthState.PASSING and health.successes:
        return f"{health.successes} of {spec.success_threshold} successes"
    return ""


def _shares(counts: Mapping[HealthState, int]) -> list[Share]:
    total = sum(counts.values()) or 1
    shares, start = [], 0.0
    for state in WORST_FIRST:
        width = 100 * counts.get(state, 0) / total
        shares.append(Share(state, counts.get(state, 0), start, width))
        start += width
    return shares


def _invalid(key: PodKey, intent: Intent) -> InvalidManifest:
    return InvalidManifest(key, intent.invalid_since, str(intent.error), intent.manifest is not None)
