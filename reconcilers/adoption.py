"""What a controller may take over from the one before it: counts and verdicts that are known to be of the same check.

Two witnesses are asked. What was *saved* says how far the counts were, at some moment in the past. What *stands*
published says what readers have been told without a break since: it stands only where whoever publishes under the
predecessor's own lease goes on with it. Where they differ the newer one wins, and nothing is passing by what was saved
alone.
"""

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from hashlib import blake2b

from reconcilers.damping import Damping
from reconcilers.health import CheckHealth, HealthState, ProbeResult, Reason
from reconcilers.record import HealthRecord
from reconcilers.spec import CheckSpec, PodKey

HINT = 900.0
"""Seconds for which counts that were saved still speak for a check whose verdict has been withdrawn since."""
CLOCK_SLACK = 1.0


@dataclass(frozen=True, slots=True)
class Saved:
    """All that is remembered of one check. `check` is its `identity`, `at` when this was so (seconds since the epoch),
    `manifest` the digest of the manifest that its health is about, which `health` itself lacks.

    `failing_since` is when the present row of failures began, 0 for none; `damping` has times of the monotonic clock.
    """

    key: PodKey
    check: str
    at: float
    health: CheckHealth
    failing_since: float = 0.0
    last: ProbeResult | None = None
    damping: Damping | None = None
    manifest: str = ""

    @classmethod
    def of(
        cls, spec: CheckSpec, at: float, health: CheckHealth, failing_since: float, last: ProbeResult | None
    ) -> "Saved":
        """What is known of a check at some moment; where the clock was set back since, at the latest it tells of."""
        bare = replace(health, manifest=b"")
        latest = max(at, health.since, health.born, failing_since, last.started if last else 0.0)
        return cls(spec.key, identity(spec), latest, bare, failing_since, last, manifest=digest(health.manifest))


@dataclass(frozen=True, slots=True)
class Inherited:
    """Where a check goes on. `last` is its last probe, None where a newer one is known to have been."""

    health: CheckHealth
    failing_since: float = 0.0
    last: ProbeResult | None = None


def digest(data: bytes) -> str:
    """Tells one manifest from another."""
    return blake2b(data, digest_size=12).hexdigest()


def identity(spec: CheckSpec) -> str:
    """The same for equal checks, also in a later version that knows more options: what is default is left out."""
    return digest("\n".join(_said(spec)).encode())


def adopt(spec: CheckSpec, saved: Saved, standing: HealthRecord | None, now: float) -> Inherited | None:
    """Where the check `spec` goes on at `now`; None: from the beginning.

    `standing` is what has stood published all the time, None where that is not certain.
    """
    if saved.check != identity(spec) or not _is_plausible(saved):
        return None
    if standing is None or not _is_about(saved, spec.manifest):
        return Inherited(_hint(saved.health)) if 0 <= now - saved.at < HINT else None
    agree = (standing.status, standing.reason) == (saved.health.state, saved.health.reason)
    if not agree and (standing.written > saved.at or _claims_more(saved.health, standing)):
        return Inherited(_as_published(saved.health, standing, spec.manifest))
    output = standing.excerpt if agree else ""
    health = replace(saved.health, output=output, manifest=spec.manifest if saved.health.since else b"")
    return Inherited(health, saved.failing_since, saved.last)


def _is_about(saved: Saved, manifest: bytes) -> bool:
    """Whether its verdict, if there is one, is about this version of the manifest."""
    return not saved.health.since or saved.manifest == digest(manifest)


def _hint(health: CheckHealth) -> CheckHealth:
    """The counts without a verdict: one more result may confirm them. The initial delay does not begin anew."""
    return CheckHealth(successes=health.successes, failures=health.failures, misses=health.misses, born=health.born)


def _claims_more(health: CheckHealth, standing: HealthRecord) -> bool:
    """Whether it would be passing by what was saved, and nobody was told so."""
    told = standing.last_seen if standing.reason is Reason.FLAPPING else standing.status
    return health.state is HealthState.PASSING and told is not HealthState.PASSING


def _as_published(health: CheckHealth, standing: HealthRecord, manifest: bytes) -> CheckHealth:
    """The counts behind it are not known."""
    since = standing.since or health.since
    return CheckHealth(
        standing.status,
        standing.reason,
        since,
        standing.detail,
        standing.excerpt,
        born=health.born,
        manifest=manifest,
    )


def _is_plausible(saved: Saved) -> bool:
    """Whether somebody could have counted so: times that were, and no count below zero."""
    health, latest = saved.health, saved.at + CLOCK_SLACK
    times = (health.since, health.born, saved.failing_since, saved.last.started if saved.last else 0.0)
    counts = (health.successes, health.failures, health.misses)
    return all(0 <= time <= latest for time in times) and min(counts) >= 0


def _said(value: object, path: str = "") -> Iterator[str]:
    """`path=value` for each field of a frozen value that is part of what it is and not its default."""
    if not is_dataclass(value):
        yield f"{path}={value!r}"
        return
    yield f"{path}:{type(value).__name__}"
    for field in fields(value):
        content = getattr(value, field.name)
        if field.compare and (field.default is MISSING or content != field.default):
            yield from _said(content, f"{path}.{field.name}")
