"""Content negotiation: what a client prefers by its `Accept` and `Accept-Encoding` headers.

Format: https://www.rfc-editor.org/rfc/rfc9110#name-content-negotiation
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

MAX_RANGES = 100
QUALITY = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")


@dataclass(frozen=True, slots=True)
class Range:
    """One element of a header: a name or pattern in lower case, its parameters, and its quality (0 to 1)."""

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    quality: float = 1.0


def ranges(header: str) -> Sequence[Range]:
    """Returns the first `MAX_RANGES` elements of a header in their order. Invalid elements are left out."""
    return list(_ranges(header))


def quality_of(media_type: str, version: str, accepted: Sequence[Range]) -> float:
    """Returns the quality (0 to 1) of the most specific range that matches, by `version` and `q` alone."""
    fitting = [(place, -at, each) for at, each in enumerate(accepted) if (place := _fit(each, media_type, version))]
    return max(fitting)[2].quality if fitting else 0.0


def prefers_gzip(accepted: Sequence[Range]) -> bool:
    """Returns whether gzip is accepted, and an uncompressed response is not preferred."""
    codings = {each.name: each.quality for each in accepted}
    gzip = codings.get("gzip", codings.get("x-gzip", codings.get("*", 0.0)))
    return gzip > 0 and gzip >= codings.get("identity", 0.0)


def _ranges(header: str) -> Iterator[Range]:
    for element in header.lower().split(",", MAX_RANGES)[:MAX_RANGES]:
        name, *texts = (text.strip() for text in element.split(";"))
        parameters = {key.strip(): value.strip(' \t"') for key, _, value in (text.partition("=") for text in texts)}
        quality = parameters.pop("q", "1")
        if name and QUALITY.fullmatch(quality):
            yield Range(name, parameters, float(quality))


def _fit(accepted: Range, media_type: str, version: str) -> int:
    """Returns how specifically a range matches; 0 if it does not match."""
    if accepted.name == media_type:
        return {version: 4, "": 3}.get(accepted.parameters.get("version", ""), 0)
    if accepted.name == media_type.partition("/")[0] + "/*":
        return 2
    return int(accepted.name == "*/*")
