"""The answer to a scrape, in Prometheus' text format or OpenMetrics, from the stores and a registry.

The series of single checks (`families`) are rendered here, because prometheus_client takes over ten times as long, and
10,000 checks have 350,000 series. They are read from the stores at each scrape, so the series of a removed pod are gone
with it. Text is made for some checks at a time, so that no call holds the interpreter for long while probes are due.

Most values are the same at the next scrape. So the compressed samples of a family are kept with the facts that they
were made from, and copied into the next answer if the facts are equal.

Formats: https://prometheus.io/docs/instrumenting/exposition_formats/ and
https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import compress, zip_longest
from typing import Any, Self

from prometheus_client import CollectorRegistry, disable_created_metrics, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.exposition import ALLOWUTF8
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from controller.config import Config
from controller.health.store import HealthStore
from controller.intent.manifest_store import ManifestStore
from controller.web.chunks import in_chunks
from controller.web.families import FLAPPING, OF_CHECKS, OF_MANIFESTS, OF_RESULTS, POD_LABELS, Family, Measured, Pods
from controller.web.full_families import FULL
from controller.web.gzip_stream import HEADER, GzipStream
from controller.web.negotiation import prefers_gzip, quality_of, ranges
from reconcilers.spec import PodKey

CHUNK = 250
TEXT = ("text/plain", "0.0.4")
OPENMETRICS = ("application/openmetrics-text", "1.0.0")

disable_created_metrics()  # type: ignore[no-untyped-call] # they would double the number of counters in Prometheus


class Format(Enum):
    """A format, by its content type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@dataclass(frozen=True, slots=True)
class OptionalFamilies:
    """Which families are exported that the configuration has to ask for."""

    pod_labels: bool = False
    full: bool = False

    @classmethod
    def of(cls, config: Config) -> Self:
        return cls(bool(config.labels), config.exports_details)


class Exposition:
    """Makes the answers to scrapes, in the thread of the web server. `damped` returns the pods that flap. `optional`
    returns which optional families are exported now."""

    def __init__(
        self,
        registry: CollectorRegistry,
        healths: HealthStore,
        manifests: ManifestStore,
        damped: Callable[[], Collection[PodKey]],
        optional: Callable[[], OptionalFamilies] = OptionalFamilies,
    ) -> None:
        self._optional = optional
        self._registry = registry
        self._healths = healths
        self._manifests = manifests
        self._damped = damped
        self._kept: dict[str, list[Pods]] = {}

    def scraped(self, request: Request) -> Response:
        """Returns all metrics, in the text format unless the client prefers OpenMetrics, made while they are sent."""
        accepted = ranges(",".join(request.headers.getlist("accept")))
        prefers_openmetrics = quality_of(*OPENMETRICS, accepted) > quality_of(*TEXT, accepted)
        form = Format.OPENMETRICS if prefers_openmetrics else Format.TEXT
        headers = {
            "Content-Type": form.value,
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Vary": "Accept, Accept-Encoding",
        }
        if prefers_gzip(ranges(",".join(request.headers.getlist("accept-encoding")))):
            return StreamingResponse(in_chunks(self.gzipped(form)), headers=headers | {"Content-Encoding": "gzip"})
        return StreamingResponse(in_chunks(self.text(form)), headers=headers)

    def text(self, form: Format) -> Iterator[bytes]:
        """Returns all metrics in a format, in parts."""
        for part in self._parts(form):
            yield part if isinstance(part, bytes) else part.text()

    def gzipped(self, form: Format) -> Iterator[bytes]:
        """Returns the same text compressed."""
        stream = GzipStream()
        yield HEADER
        for part in self._parts(form):
            yield stream.add(part) if isinstance(part, bytes) else part.gzipped(stream)
        yield stream.end()

    def _parts(self, form: Format) -> Iterator["bytes | Samples"]:
        """The format requires the lines of a family to be together."""
        checks = self._healths.all()
        keys, last = [check.spec.key for check in checks], [check.last for check in checks]
        intents = self._manifests.intents()
        damped, optional = self._damped(), self._optional()
        of_checks = self._chunks("checks", keys, checks)
        of_results = self._chunks("results", [*compress(keys, last)], [*filter(None, last)])
        of_manifests = self._chunks("manifests", [*intents], [*intents.values()])
        for families, chunks in (
            (OF_RESULTS, of_results),
            (FULL if optional.full else (), of_results),
            (OF_CHECKS, of_checks),
            (OF_MANIFESTS, of_manifests),
            ((POD_LABELS,) if optional.pod_labels else (), of_manifests),
            ((FLAPPING,), [(pods, [key in damped for key in pods.keys]) for pods, _ in of_checks]),
        ):
            for family in families:
                yield family.heading(is_openmetrics=form is Format.OPENMETRICS)
                for pods, members in chunks:
                    yield Samples(family, pods, members)
        match form:
            case Format.TEXT:
                yield generate_latest(self._registry)
            case Format.OPENMETRICS:
                yield openmetrics.generate_latest(self._registry, ALLOWUTF8)  # type: ignore[no-untyped-call]

    def _chunks(self, group: str, keys: Sequence[PodKey], members: Sequence[Any]) -> list[tuple[Pods, Sequence[Any]]]:
        """Splits the members of a group. What is kept of a chunk is discarded when it has other pods."""
        starts = range(0, len(keys), CHUNK)
        chunks = (keys[start : start + CHUNK] for start in starts)
        before = self._kept.get(group, [])[: len(starts)]
        pods = [old if old and old.keys == chunk else Pods(chunk) for chunk, old in zip_longest(chunks, before)]
        self._kept[group] = pods
        return [(each, members[start : start + CHUNK]) for each, start in zip(pods, starts, strict=True)]


@dataclass(frozen=True, slots=True)
class Samples:
    """The samples of a family for the members of a chunk."""

    family: Family
    pods: Pods
    members: Sequence[Any]

    def text(self) -> bytes:
        return self.family.render(self.pods, self.family.facts(self.members))

    def gzipped(self, stream: GzipStream) -> bytes:
        family, kept = self.family, self.pods.pieces
        facts = family.facts(self.members)
        if isinstance(family, Measured):
            return stream.add(family.render(self.pods, facts))
        if not (before := kept.get(family.name)) or before[0] != facts:
            before = kept[family.name] = facts, stream.piece(family.render(self.pods, facts))
        return stream.copy(before[1])
