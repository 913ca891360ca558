"""The API's responses as types. The OpenAPI description is generated from them, so it always agrees.

Times are RFC 3339 in UTC, null for never; durations are seconds.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from controller.web.pod_page import PodPage
from controller.web.pod_views import DoubtfulField, InvalidManifest, PodState, PodView
from controller.web.time_text import instant
from reconcilers.escaping import safe_utf8
from reconcilers.health import Reason
from reconcilers.options import OPTIONS, in_url

EXCERPT = 1_000

Seconds = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]


class Model(BaseModel):
    """The base of all types."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Pod(Model):
    """One pod in a list."""

    node: str
    pod: str
    state: PodState
    since: datetime | None = Field(description="When the state began.")
    last_probe: datetime | None
    last_duration: Seconds | None
    reason: Reason = Field(description='Why it is not passing; "" without a reason.')
    detail: str = Field(description="A short description of the problem.")
    excerpt: str = Field(description="The beginning of the response that led to this state.")
    evidence: str = Field(description='How far the probes are on the way to another state, such as "1 of 3 misses".')

    @classmethod
    def of(cls, view: PodView) -> "Pod":
        return cls(
            node=view.key.node,
            pod=view.key.pod,
            state=view.state,
            since=instant(view.since),
            last_probe=instant(view.probed),
            last_duration=None if view.took < 0 else view.took,
            reason=view.reason,
            detail=safe_utf8(view.detail),
            excerpt=safe_utf8(view.output[:EXCERPT]),
            evidence=view.evidence,
        )


class Totals(Model):
    """How many pods are in each state."""

    critical: Count
    unknown: Count
    warning: Count
    passing: Count
    paused: Count
    unchecked: Count

    @classmethod
    def of(cls, counts: Mapping[PodState, int]) -> "Totals":
        return cls.model_validate({state.value: count for state, count in counts.items()})


class PodList(Model):
    """One page of the pods that were asked for."""

    pods: list[Pod]
    matching: Count = Field(description="How many pods match, on all pages.")
    page: int
    pages: int
    per_page: int
    totals: Totals = Field(description="Of all pods, without the filter.")

    @classmethod
    def of(cls, page: PodPage) -> "PodList":
        return cls(
            pods=[Pod.of(view) for view in page.pods],
            matching=page.matching,
            page=page.paging.page,
            pages=page.pages,
            per_page=page.paging.per_page,
            totals=Totals.of(page.totals),
        )


class ManifestError(Model):
    """An invalid manifest."""

    node: str
    pod: str
    since: datetime | None
    field: str = Field(description='The path of what is wrong; "" for the document as a whole.')
    problem: str
    older_in_force: bool = Field(description="Whether an older version is in force.")

    @classmethod
    def of(cls, invalid: InvalidManifest) -> "ManifestError":
        return cls(
            node=invalid.key.node,
            pod=invalid.key.pod,
            since=instant(invalid.since),
            field=safe_utf8(invalid.field),
            problem=safe_utf8(invalid.problem),
            older_in_force=invalid.kept,
        )


class Page(Model):
    """One page of a list; `matching` counts the entries of all pages."""

    matching: Count
    page: int
    pages: int
    per_page: int


class ManifestErrorList(Page):
    """One page of the invalid manifests."""

    errors: list[ManifestError]


class ManifestWarning(Model):
    """A field of a manifest in force that has no effect."""

    node: str
    pod: str
    field: str = Field(description="The path of the field.")
    problem: str = Field(description="What it is, and what to write instead where that is known.")

    @classmethod
    def of(cls, doubtful: DoubtfulField) -> "ManifestWarning":
        return cls(
            node=doubtful.key.node,
            pod=doubtful.key.pod,
            field=safe_utf8(doubtful.field),
            problem=safe_utf8(doubtful.problem),
        )


class ManifestWarningList(Page):
    """One page of the warnings about manifests."""

    warnings: list[ManifestWarning]


class Status(Model):
    """The state of the controller itself."""

    node: str
    version: str
    time: datetime | None
    healthy: bool = Field(description="Whether all its threads turn.")
    ready: bool = Field(description="Whether manifests are read and health can be published.")
    complaints: list[str]
    cut_off: str = Field(description='Why failures count as the node\'s own at the moment; "" while they do not.')
    totals: Totals
    manifest_errors: Count
    manifest_warnings: Count


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
    checks: dict[str, CheckTexts] = Field(description="By pod; values of headers are digests.")
