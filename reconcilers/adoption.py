"""Decides what a run takes over from the last run or from another controller: only what is known of the same check.

There are two sources. The *saved* state has the counts at some time in the past. The *published* record is what readers
have had without a break since then: that is certain only where this run continues with the session of the last run. If
the two differ, the newer one wins, except that a saved state alone never makes a check passing.

A record of another controller (`Elsewhere`) is newer than everything that this one has saved. It has the counts if the
other controller knew that the pod may move.
"""

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from hashlib import blake2b
from typing import Annotated

from pydantic import PlainSerializer

from reconcilers.damping import Damping
from reconcilers.health import Assessment, CheckHealth, HealthState, ProbeResult, Reason
from reconcilers.p2 import manifest as p2manifest
from reconcilers.record import Elsewhere, HealthRecord
from reconcilers.spec import NO_VERSION, CheckSpec, ManifestVersion, PodKey

HINT = 900.0
"""Seconds for which saved counts are used for a check whose record is not published any more."""


@dataclass(frozen=True, slots=True)
class Saved:
    """The saved state of one check.

    `check` is its `identity`, and `at` the time of the state (seconds since the epoch). `manifest` is the digest of the
    manifest version that `health` is about; `health` and `last` have no version, because serial numbers are of one run.
    `failing_since` is when the first failure since the last success started, 0 if there is none. `damping` has times of
    the monotonic clock. `uptime` is the time of the pod, encoded. A pod without a check has that alone.
    """

    key: Annotated[PodKey, PlainSerializer(PodKey._asdict)]
    check: str
    at: float
    health: CheckHealth
    failing_since: float = 0.0
    last: ProbeResult | None = None
    damping: Damping | None = None
    manifest: str = ""
    uptime: str = ""

    @classmethod
    def of(
        cls,
        spec: CheckSpec,
        at: float,
        health: CheckHealth,
        failing_since: float,
        last: ProbeResult | None,
        *,
        damping: Damping | None = None,
        uptime: str = "",
        check: str = "",
    ) -> "Saved":
        """The state of a check. If the clock was set back, `at` becomes the latest of all its times. `check` is the
        identity of `spec`, "" if it is not known yet."""
        bare, bare_last = replace(health, version=NO_VERSION), last and replace(last, version=NO_VERSION)
        latest = max(at, health.since, health.born, failing_since, last.started if last else 0.0)
        check, manifest = check or identity(spec), digest(health.version.data)
        return cls(spec.key, check, latest, bare, failing_since, bare_last, damping, manifest, uptime)

    @classmethod
    def without_check(cls, key: PodKey, at: float, uptime: str) -> "Saved":
        """The state of a pod that has no check at the moment. No check takes it over."""
        return cls(key, "", at, CheckHealth(), uptime=uptime)


@dataclass(frozen=True, slots=True)
class Inherited:
    """Where a check continues. `last` is its last probe, None if there was a newer one that is not known.

    `is_handed_over` says that another controller has probed it until now.
    """

    health: CheckHealth
    failing_since: float = 0.0
    last: ProbeResult | None = None
    is_handed_over: bool = False

    @property
    def assessment(self) -> Assessment:
        """The last probe is the last success if it was one. No earlier one is known."""
        last_success = self.last.started if self.last and self.last.outcome.is_good else 0.0
        return Assessment(self.health, self.failing_since, last_success)


def digest(data: bytes) -> str:
    """A short hash that distinguishes manifests."""
    return blake2b(data, digest_size=12).hexdigest()


def identity(spec: CheckSpec) -> str:
    """A hash that is the same for equal checks. Fields with their default are left out, so that a later version of this
    program with more options gets the same hash."""
    return digest("\n".join(_parts(spec)).encode())


def adopt(spec: CheckSpec, saved: Saved | None, published: HealthRecord | None, now: float) -> Inherited | None:
    """Returns where the check `spec` continues at `now`, None if it starts without an earlier state.

    `published` is the record that has been published without a break, None if that is not certain.
    """
    if isinstance(published, Elsewhere):
        return _handed_over(spec, published, now)
    if saved is None or saved.check != identity(spec) or not _is_plausible(saved):
        return None
    if published is None or not _has_version(saved, spec.version):
        return Inherited(_hint(saved.health)) if 0 <= now - saved.at < HINT else None
    agree = (published.status, published.reason) == (saved.health.state, saved.health.reason)
    if not agree and (published.written > saved.at or _claims_more(saved.health, published)):
        return Inherited(_as_published(saved.health, published, spec.version))
    output = published.excerpt if agree else ""
    health = replace(saved.health, output=output, version=spec.version if saved.health.since else NO_VERSION)
    return Inherited(health, saved.failing_since, saved.last)


def _handed_over(spec: CheckSpec, published: Elsewhere, now: float) -> Inherited:
    """Where a check of another controller continues: with the published state, if that is about the same manifest."""
    fresh = CheckHealth(born=now)
    is_same = published.manifest_sha and published.manifest_sha == p2manifest.sha_or_empty(spec.version.data)
    if not is_same:
        return Inherited(fresh, is_handed_over=True)
    health = replace(_as_published(fresh, published, spec.version), **published.counts._asdict())
    if published.reason is Reason.FLAPPING and published.last_seen:
        detail = f"last seen {published.last_seen} by the controller that checked it before"
        health = replace(health, state=published.last_seen, reason=Reason.NONE, detail=detail)
    return Inherited(health, is_handed_over=True)


def _has_version(saved: Saved, version: ManifestVersion) -> bool:
    """Whether the saved state, if there is one, is about this version. The digests of the bytes are compared."""
    return not saved.health.since or saved.manifest == digest(version.data)


def _hint(health: CheckHealth) -> CheckHealth:
    """The counts without a state, which one more result may confirm. The initial delay does not start again."""
    return CheckHealth(successes=health.successes, failures=health.failures, misses=health.misses, born=health.born)


def _claims_more(health: CheckHealth, published: HealthRecord) -> bool:
    """Whether the saved state is passing or warning but readers have had a worse one."""
    read = published.last_seen if published.reason is Reason.FLAPPING else published.status
    if health.state is HealthState.PASSING:
        return read is not HealthState.PASSING
    return health.state.is_up and not (read and read.is_up)


def _as_published(health: CheckHealth, published: HealthRecord, version: ManifestVersion) -> CheckHealth:
    """The published state, without counts: they are not known."""
    since = published.since or health.since or published.written
    state, reason, detail, output = published.status, published.reason, published.detail, published.excerpt
    return CheckHealth(state, reason, since, detail, output, born=health.born, version=version)


def _is_plausible(saved: Saved) -> bool:
    """Whether the state is possible: no time is after `at`, and no count is negative."""
    health = saved.health
    times = (health.since, health.born, saved.failing_since, saved.last.started if saved.last else 0.0)
    counts = (health.successes, health.failures, health.misses, health.warnings)
    return all(0 <= time <= saved.at for time in times) and min(counts) >= 0


def _parts(value: object, path: str = "") -> Iterator[str]:
    """Yields `path=value` for each compared field of a frozen value that does not have its default."""
    if isinstance(value, PodKey):
        yield from (f"{path}:PodKey", f"{path}.node={value.node!r}", f"{path}.pod={value.pod!r}")
        return
    if not is_dataclass(value):
        yield f"{path}={value!r}"
        return
    yield f"{path}:{type(value).__name__}"
    for field in fields(value):
        content = getattr(value, field.name)
        if field.compare and (field.default is MISSING or content != field.default):
            yield from _parts(content, f"{path}.{field.name}")
