"""Latency and outcome of the last probes as coordinates of an SVG, which the templates draw.

Each probe is a vertical stroke whose height is its duration, or the full height if it failed. The strokes of one
colour are one path, so that a page with a hundred drawings stays small.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controller.health.history import PastProbe
from controller.web.time_text import span
from reconcilers.health import PHASE_NAMES, Outcome, Phases

STEP = 3
HEIGHT = 20
LEAST = 2.0


@dataclass(frozen=True, slots=True)
class Drawing:
    """`width` and `height` are those of the view box. `label` describes the drawing in words.
    `start` is where the oldest probe is, in percent of the width.

    `strokes` are the probes of each outcome, as the `d` of a path.
    """

    width: int
    height: int
    strokes: Mapping[Outcome, str]
    label: str
    start: float = 0.0


@dataclass(frozen=True, slots=True)
class Phase:
    """One part of a probe: `start` and `width` are percent of the whole, `seconds` how long it took."""

    name: str
    seconds: float
    start: float
    width: float


def drawing(probes: Sequence[PastProbe], places: int) -> Drawing:
    """The last probes, the newest at the right end of `places` places."""
    probes = probes[-places:]
    longest = max((probe.duration for probe in probes if probe.outcome.is_good), default=0.0)
    paths = dict.fromkeys(Outcome, "")
    for place, probe in enumerate(probes, places - len(probes)):
        height = _height(probe, longest)
        paths[probe.outcome] += f"M{place * STEP + 1} {HEIGHT}v-{height:.3g}"
    strokes = {outcome: path for outcome, path in paths.items() if path}
    start = 100 * (places - len(probes)) / places
    return Drawing(places * STEP, HEIGHT, strokes, _label(probes), start)


def phases(parts: Phases) -> list[Phase]:
    """Returns the parts of one probe from left to right; empty if nothing was measured."""
    whole = sum(parts)
    shown, start = [], 0.0
    for name, seconds in zip(PHASE_NAMES, parts, strict=True):
        width = 100 * seconds / whole if whole else 0.0
        if seconds > 0:
            shown.append(Phase(name, seconds, start, width))
        start += width
    return shown


def _height(probe: PastProbe, longest: float) -> float:
    if not probe.outcome.is_good or not longest:
        return float(HEIGHT)
    return max(LEAST, HEIGHT * probe.duration / longest)


def _label(probes: Sequence[PastProbe]) -> str:
    if not probes:
        return "not probed yet"
    times = [probe.duration for probe in probes if probe.outcome.is_good]
    warnings = sum(probe.outcome is Outcome.WARNING for probe in probes)
    counts = f"{len(times)} of {len(probes)} probes succeeded{f', {warnings} with a warning' if warnings else ''}"
    if not times:
        return counts
    least, most = span(min(times)), span(max(times))
    return f"{counts}, in {least}" if least == most else f"{counts}, in {least} to {most}"
