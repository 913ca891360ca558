"""The API's response about one pod in full, as a type."""

from typing import Annotated, Any

from pydantic import AliasPath, BeforeValidator, Field

from controller.health.store import TRANSITIONS
from controller.web.api.models import Instant, Model, Moment, Pod, Seconds, SoundText
from controller.web.history_svg import phases
from controller.web.manifest_text import shown
from controller.web.pod_views import PodSnapshot
from reconcilers.fields import status_ranges
from reconcilers.health import NO_CERTIFICATE, HealthState, Outcome, Reason
from reconcilers.p2.manifest import sha_or_empty
from reconcilers.spec import Manifest

HISTORY = 100


def _ranges(value: Any) -> str:
    return value if isinstance(value, str) else status_ranges(value)


class Check(Model):
    """What is checked, and how."""

    url: str = Field(validation_alias=AliasPath("probe", "url"))
    address: Annotated[str | None, BeforeValidator(lambda address: address or None)] = Field(
        description="The address that is connected to instead of those of the name."
    )
    interval: Seconds
    timeout: Seconds
    failure_threshold: int
    success_threshold: int
    initial_delay: Seconds
    warn_status: Annotated[str, BeforeValidator(_ranges)] = Field(
        validation_alias=AliasPath("probe", "warn_status"),
        default="",
        description='The status codes that are a warning, as in a manifest; "" for none.',
    )
    warn_above: Seconds = Field(description="A longer probe is a warning; 0 for never.")
    warn_expiry: Seconds = Field(description="The remaining time of a certificate that is a warning; 0 for never.")


class Phase(Model):
    """One part of a probe."""

    name: str
    seconds: Seconds


class PastProbe(Model):
    """One of the last probes."""

    started: Moment
    duration: Seconds
    outcome: Outcome
    reason: Reason
    status_code: int = Field(description="HTTP status, 0 where none was read.")


class Probe(PastProbe):
    """The last probe."""

    detail: SoundText
    phases: Annotated[list[Phase], BeforeValidator(phases)]


class Transition(Model):
    """A change of the state."""

    at: Moment = Field(validation_alias="since")
    before: HealthState = Field(serialization_alias="from")
    to: HealthState = Field(validation_alias="state")
    reason: Reason
    detail: SoundText


class Certificate(Model):
    """The certificate that the target sent."""

    expires: Instant = Field(
        description="Until when it is accepted by the chain that verifies it; where none does, when the first of all "
        "that the target sent expires; null where that is not known."
    )
    names: SoundText = Field(description='The hosts that it is for; "" where that is not known.')
    issuer: SoundText = Field(description='Who signed it; "" where that is not known.')
    verified: bool = Field(description="Whether the check verifies it.")


class Published(Model):
    """The published record, as far as it is known."""

    status: HealthState = Field(validation_alias=AliasPath("published", "status"))
    reason: Reason = Field(validation_alias=AliasPath("published", "reason"))
    detail: SoundText = Field(validation_alias=AliasPath("published", "detail"))
    since: Instant = Field(validation_alias=AliasPath("published", "since"))
    manifest_sha: str = Field(
        validation_alias=AliasPath("published", "manifest_sha"),
        description='Of the manifest that was probed, as p2 computes it; "" where not known.',
    )
    in_doubt: bool = Field(
        description="Whether readers may not see this record any more, because the session was not renewed in time or "
        "somebody else may have written it. It will be written again."
    )


class Uptime(Model):
    """The share of the time in which the pod was passing or warning, in a window that ends now."""

    share: float | None = Field(validation_alias="ratio", ge=0, le=1, description="Of the known time; null without.")
    up: Seconds = Field(description="Passing or warning.")
    down: Seconds = Field(description="Critical. Other time is not known, and counts neither way.")


class ManifestVersion(Model):
    """A version of the manifest, without values that may be secret."""

    text: str
    sha: str = Field(description='As p2 computes it; "" for one that p2 would not read.')


class PodDetail(Pod):
    """One pod in full."""

    why: SoundText = Field(description="Why it is in this state, in one sentence.")
    check: Check | None
    probe: Probe | None
    history: list[PastProbe] = Field(description="The last 100 probes, the oldest first.")
    transitions: list[Transition] = Field(
        description=f"The last {TRANSITIONS} changes of its state that this controller has seen, the oldest first."
    )
    uptime: dict[str, Uptime] = Field(description='By window: "1h", "24h", "7d", "30d"; empty if nothing is known.')
    certificate: Certificate | None
    published: Published | None
    manifest: ManifestVersion | None = Field(description="The newest version.")
    manifest_in_force: ManifestVersion | None = Field(description="If an older version is in force.")
    manifest_error: SoundText
    manifest_warnings: list[SoundText] = Field(description="About fields of the manifest in force that are ignored.")

    @classmethod
    def of_snapshot(cls, snapshot: PodSnapshot, *, in_doubt: bool = False) -> "PodDetail":
        """`in_doubt` is whether readers may not see any record of this controller."""
        check, intent = snapshot.view.check, snapshot.view.intent
        valid = intent.manifest if intent and not intent.error else None
        older = intent if intent and intent.error and intent.manifest else None
        fields = {
            **dict(Pod.model_validate(snapshot.view)),
            "why": snapshot.why,
            "check": check.spec if check and check.spec.probe.url else None,
            "probe": snapshot.last,
            "history": check.history.last(HISTORY) if check else [],
            "transitions": snapshot.transitions,
            "uptime": {share.window: share for share in snapshot.uptime},
            "certificate": _certificate(snapshot),
            "published": _published(snapshot, in_doubt) if snapshot.published else None,
            "manifest": _version(intent.data, valid) if intent else None,
            "manifest_in_force": _version(older.good, older.manifest) if older else None,
            "manifest_error": (intent and intent.error) or "",
            "manifest_warnings": snapshot.warnings,
        }
        return cls.model_validate(fields)


def _published(snapshot: PodSnapshot, in_doubt: bool) -> Published:
    published = Published.model_validate(snapshot)
    return published.model_copy(update={"in_doubt": in_doubt or snapshot.in_doubt})


def _certificate(snapshot: PodSnapshot) -> dict[str, Any] | None:
    tls = snapshot.view.check.spec.probe.tls if snapshot.view.check else None
    if tls is None:
        return None
    shown = snapshot.last.certificate if snapshot.last else NO_CERTIFICATE
    verified = not tls.insecure_skip_verify
    return {"expires": shown.ends, "names": shown.names, "issuer": shown.issuer, "verified": verified}


def _version(data: bytes, valid: Manifest | None) -> ManifestVersion:
    return ManifestVersion(text=shown(data, valid), sha=sha_or_empty(data))
