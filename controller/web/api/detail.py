"""The API's response about one pod in full, as a type."""

from datetime import UTC, datetime

from pydantic import Field

from controller.web.api.models import Model, Pod, Seconds
from controller.web.history_svg import phases
from controller.web.manifest_text import shown
from controller.web.pod_views import PodSnapshot
from controller.web.time_text import instant
from reconcilers.escaping import safe_utf8
from reconcilers.health import NO_CERTIFICATE, HealthState, Outcome, Reason
from reconcilers.p2.manifest import sha_or_empty
from reconcilers.spec import CheckSpec, Manifest

HISTORY = 100


class Check(Model):
    """What is checked, and how."""

    url: str
    address: str | None = Field(description="The address that is connected to instead of those of the name.")
    interval: Seconds
    timeout: Seconds
    failure_threshold: int
    success_threshold: int
    initial_delay: Seconds

    @classmethod
    def of(cls, spec: CheckSpec) -> "Check":
        return cls(
            url=spec.probe.url,
            address=spec.address or None,
            interval=spec.interval,
            timeout=spec.timeout,
            failure_threshold=spec.failure_threshold,
            success_threshold=spec.success_threshold,
            initial_delay=spec.initial_delay,
        )


class Phase(Model):
    """One part of a probe."""

    name: str
    seconds: Seconds


class Probe(Model):
    """The last probe."""

    started: datetime
    duration: Seconds
    outcome: Outcome
    reason: Reason
    detail: str
    status_code: int = Field(description="HTTP status, 0 where none was read.")
    phases: list[Phase]


class PastProbe(Model):
    """One of the last probes."""

    started: datetime
    duration: Seconds
    outcome: Outcome
    reason: Reason
    status_code: int


class Certificate(Model):
    """The certificate that the target sent."""

    expires: datetime | None = Field(
        description="Until when it is accepted by the chain that verifies it; where none does, when the first of all "
        "that the target sent expires; null where that is not known."
    )
    names: str = Field(description='The hosts that it is for; "" where that is not known.')
    issuer: str = Field(description='Who signed it; "" where that is not known.')
    verified: bool = Field(description="Whether the check verifies it.")


class Published(Model):
    """The published record, as far as it is known."""

    status: HealthState
    reason: Reason
    detail: str
    since: datetime | None
    manifest_sha: str = Field(description='Of the manifest that was probed, as p2 computes it; "" where not known.')
    in_doubt: bool = Field(description="Whether the record may not be ours, so that it will be written again.")


class ManifestVersion(Model):
    """A version of the manifest, without values that may be secret."""

    text: str
    sha: str = Field(description='As p2 computes it; "" for one that p2 would not read.')


class PodDetail(Pod):
    """One pod in full."""

    why: str = Field(description="Why it is in this state, in one sentence.")
    check: Check | None
    probe: Probe | None
    history: list[PastProbe] = Field(description="The last 100 probes, the oldest first.")
    certificate: Certificate | None
    published: Published | None
    manifest: ManifestVersion | None = Field(description="The newest version.")
    manifest_in_force: ManifestVersion | None = Field(description="If an older version is in force.")
    manifest_error: str
    manifest_warnings: list[str] = Field(description="About fields of the manifest in force that are ignored.")

    @classmethod
    def of_snapshot(cls, snapshot: PodSnapshot) -> "PodDetail":
        check, intent = snapshot.view.check, snapshot.view.intent
        valid = intent.manifest if intent and not intent.error else None
        older = intent if intent and intent.error and intent.manifest else None
        return cls(
            **dict(Pod.of(snapshot.view)),
            why=safe_utf8(snapshot.why),
            check=Check.of(check.spec) if check and check.spec.probe.url else None,
            probe=_probe(snapshot),
            history=_history(snapshot),
            certificate=_certificate(snapshot),
            published=_published(snapshot),
            manifest=_version(intent.data, valid) if intent else None,
            manifest_in_force=_version(older.good, older.manifest) if older else None,
            manifest_error=safe_utf8(str(intent.error)) if intent and intent.error else "",
            manifest_warnings=[safe_utf8(str(each)) for each in snapshot.warnings],
        )


def _probe(snapshot: PodSnapshot) -> Probe | None:
    last = snapshot.last
    if last is None:
        return None
    return Probe(
        started=datetime.fromtimestamp(last.started, UTC),
        duration=last.duration,
        outcome=last.outcome,
        reason=last.reason,
        detail=safe_utf8(last.detail),
        status_code=last.status_code,
        phases=[Phase(name=phase.name, seconds=phase.seconds) for phase in phases(last.phases)],
    )


def _history(snapshot: PodSnapshot) -> list[PastProbe]:
    check = snapshot.view.check
    return [
        PastProbe(
            started=datetime.fromtimestamp(past.started, UTC),
            duration=past.duration,
            outcome=past.outcome,
            reason=past.reason,
            status_code=past.status_code,
        )
        for past in (check.history.last(HISTORY) if check else ())
    ]


def _certificate(snapshot: PodSnapshot) -> Certificate | None:
    tls = snapshot.view.check.spec.probe.tls if snapshot.view.check else None
    if tls is None:
        return None
    shown = snapshot.last.certificate if snapshot.last else NO_CERTIFICATE
    return Certificate(
        expires=instant(shown.ends),
        names=safe_utf8(shown.names),
        issuer=safe_utf8(shown.issuer),
        verified=not tls.insecure_skip_verify,
    )


def _published(snapshot: PodSnapshot) -> Published | None:
    record = snapshot.published
    if record is None:
        return None
    return Published(
        status=record.status,
        reason=record.reason,
        detail=safe_utf8(record.detail),
        since=instant(record.since),
        manifest_sha=record.manifest_sha,
        in_doubt=snapshot.in_doubt,
    )


def _version(data: bytes, valid: Manifest | None) -> ManifestVersion:
    return ManifestVersion(text=shown(data, valid), sha=sha_or_empty(data))
