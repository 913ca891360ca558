"""The API's responses as types. The OpenAPI description is generated from them, so it always agrees.

Times are RFC 3339 in UTC, null for never; durations are seconds.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AliasPath, BaseModel, BeforeValidator, ConfigDict, Field

from controller.web.pod_views import PodState
from controller.web.time_text import instant
from reconcilers.escaping import safe_utf8
from reconcilers.health import Reason
from reconcilers.option import in_url
from reconcilers.options import OPTIONS

EXCERPT = 1_000


def _instant(value: Any) -> datetime | None:
    return instant(value) if isinstance(value, float) else value


Seconds = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
Moment = Annotated[datetime, BeforeValidator(_instant)]
Instant = Annotated[datetime | None, BeforeValidator(_instant)]
"""A time, from seconds since the epoch; 0 is never."""
SoundText = Annotated[str, BeforeValidator(lambda value: safe_utf8(str(value)))]
"""Text without lone surrogates, which JSON cannot have."""


class Model(BaseModel):
    """The base of all types. A model is made of the attributes of an object, or of a mapping."""

    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True, populate_by_name=True)


class OfPod(Model):
    """The pod that an entry of a list is about."""

    node: str = Field(validation_alias=AliasPath("key", "node"))
    pod: str = Field(validation_alias=AliasPath("key", "pod"))


class Pod(OfPod):
    """One pod in a list."""

    state: PodState
    since: Instant = Field(description="When the state began.")
    last_probe: Instant = Field(validation_alias="probed")
    last_duration: Annotated[Seconds | None, BeforeValidator(lambda took: None if took == -1 else took)] = Field(
        validation_alias="took"
    )
    reason: Reason = Field(description='Why it is not passing; "" without a reason.')
    detail: SoundText = Field(description="A short description of the problem.")
    excerpt: Annotated[SoundText, BeforeValidator(lambda output: output[:EXCERPT])] = Field(
        validation_alias="output", description="The beginning of the response that led to this state."
    )
    labels: Annotated[dict[str, str], BeforeValidator(dict)] = Field(
        description="Those of the manifest that the configuration declares."
    )
    note: SoundText = Field(
        description='Why what runs is not what its newest manifest asks for: it is invalid, gone or being deployed; "" '
        "if it is that."
    )
    evidence: str = Field(description='How far the probes are on the way to another state, such as "1 of 3 misses".')


class Totals(Model):
    """How many pods are in each state."""

    critical: Count
    unknown: Count
    warning: Count
    passing: Count
    paused: Count
    unchecked: Count


class Page(Model):
    """One page of a list."""

    matching: Count = Field(description="How many entries match, on all pages.")
    page: int = Field(validation_alias=AliasPath("paging", "page"))
    pages: int
    per_page: int = Field(validation_alias=AliasPath("paging", "per_page"))


class PodList(Page):
    """One page of the pods that were asked for."""

    pods: list[Pod]
    totals: Totals = Field(description="Of all pods, without the filter.")


class ManifestError(OfPod):
    """An invalid manifest."""

    since: Instant
    field: SoundText = Field(description='The path of what is wrong; "" for the document as a whole.')
    problem: SoundText
    older_in_force: bool = Field(validation_alias="kept", description="Whether an older version is in force.")


class ManifestErrorList(Page):
    """One page of the invalid manifests."""

    errors: list[ManifestError]


class ManifestWarning(OfPod):
    """A field of a manifest in force that has no effect."""

    field: SoundText = Field(description="The path of the field.")
    problem: SoundText = Field(description="What it is, and what to write instead where that is known.")


class ManifestWarningList(Page):
    """One page of the warnings about manifests."""

    warnings: list[ManifestWarning]


class Status(Model):
    """The state of the controller itself."""

    node: str
    version: str
    time: Instant
    healthy: bool = Field(description="Whether all its threads turn.")
    ready: bool = Field(description="Whether manifests are read and health can be published.")
    complaints: list[SoundText]
    cut_off: str = Field(description='Why failures count as the node\'s own at the moment; "" while they do not.')
    totals: Totals
    manifest_errors: Count
    manifest_warnings: Count


class ProbeOptions(Model):
    """The options of the configuration in force that matter to a probe."""

    options: dict[str, str] = Field(
        description="By the dotted names of the configuration, as text in YAML's flow style. Values of headers are "
        "hidden, and the folder of credentials is not told."
    )


class BadParameter(Model):
    """What is wrong with one parameter."""

    parameter: str
    detail: str


class Problem(Model):
    """An error, as RFC 9457 has it."""

    type: Literal["about:blank"]
    title: str
    status: int
    detail: str
    errors: list[BadParameter] | None = None
    member: str | None = Field(None, description="The member of the fleet that checks the pod.")
    page: str | None = Field(None, description='The URL of its page of the pod; "" where there is none.')


CheckTexts = Annotated[
    dict[str, str],
    Field(
        json_schema_extra={
            "properties": {
                name: {"type": "string", "description": option.description}
                for name, option in OPTIONS.items()
                if option.show is not in_url
            }
        }
    ),
]
"""One check, by the names of its options; those of headers and TLS are `headers.NAME` and `tls.NAME`."""


class CheckList(Model):
    """The checks that run, field by field in the words of manifests."""

    node: str
    checks: dict[str, CheckTexts] = Field(description="By pod; values of headers and bodies are digests.")
