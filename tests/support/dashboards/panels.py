"""Draws panels as HTML and SVG."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import groupby
from math import floor, log10
from typing import Any

from tests.support.dashboards.frames import Data, Line, field_config, gaps
from tests.support.dashboards.shown import Config, colour, formatted, shown

PALETTE = ("#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#96d98d", "#fade2a", "#c0d8ff")
LEFT, RIGHT, TOP, BOTTOM, LEGEND = 74, 10, 8, 20, 20
ROW, NARROW = 26, 500


@dataclass(frozen=True, slots=True)
class Canvas:
    """The place of a graph in its panel, and its scales."""

    width: float
    height: float
    start: float
    end: float
    most: float = 1.0
    marks: Sequence[float] = field(default=())

    def x(self, when: float) -> float:
        return LEFT + (self.width - LEFT - RIGHT) * (when - self.start) / (self.end - self.start)

    def y(self, value: float) -> float:
        return TOP + (self.height - TOP - BOTTOM) * (1 - value / self.most)


def body(panel: Config, data: Data, width: float, height: float, annotated: Mapping[str, Sequence[float]]) -> str:
    """Returns what is below the title of a panel."""
    match panel["type"]:
        case "stat":
            return _stat(panel, data.lines(panel))
        case "table":
            return _table(panel, data, height)
        case "timeseries":
            return _graph(panel, data, width, height, annotated)
        case "state-timeline":
            return _timeline(panel, data, width, height)
    raise ValueError(panel["type"])


def _stat(panel: Config, lines: Sequence[Line]) -> str:
    config = field_config(panel)
    is_name = panel["options"]["textMode"] == "name"
    if not lines:
        nothing = shown(None, config)
        return _number("" if is_name else nothing.text, nothing.colour)
    values = [(line, shown(line.points[-1][1], config)) for line in lines]
    return "".join(_number(line.name if is_name else value.text, value.colour) for line, value in values)


def _number(text: str, background: str) -> str:
    size = max(13, min(40, 190 // max(4, len(text))))
    return f'<div class="number" style="background:{background};font-size:{size}px">{escape(text)}</div>'


def _table(panel: Config, data: Data, height: float) -> str:
    columns, rows = data.table(panel)
    if not rows:
        return f'<div class="nothing">{escape(panel["fieldConfig"]["defaults"].get("noValue", "No data"))}</div>'
    fitting = int((height - ROW) // ROW)
    fitting -= len(rows) > fitting
    numbers = {column.field for column in columns if any(isinstance(row.get(column.field), float) for row in rows)}
    kinds = {column.field: "n" if column.field in numbers else "t" for column in columns}
    head = "".join(f'<th class="{kinds[column.field]}">{escape(column.title)}</th>' for column in columns)
    lines = "".join(
        f"<tr>{''.join(_cell(row.get(column.field), column.config, kinds[column.field]) for column in columns)}</tr>"
        for row in rows[:fitting]
    )
    more = f'<div class="more">{len(rows) - fitting} more below</div>' if len(rows) > fitting else ""
    return f"<table><tr>{head}</tr>{lines}</table>{more}"


def _cell(value: float | str | None, config: Config, kind: str) -> str:
    seen = shown(value, config)
    is_coloured = config.get("custom.cellOptions", {}).get("type") == "color-text"
    style = f' style="color:{seen.colour}"' if is_coloured else ""
    text = escape(seen.text)
    linked = f"<u>{text}</u>" if config.get("links") else text
    return f'<td class="{kind}"{style}>{linked}</td>'


def _graph(panel: Config, data: Data, width: float, height: float, annotated: Mapping[str, Sequence[float]]) -> str:
    lines, custom, period = data.lines(panel), panel["fieldConfig"]["defaults"].get("custom", {}), data.period
    config = field_config(panel)
    is_stacked = custom.get("stacking", {}).get("mode") == "normal"
    if not lines:
        return f'<div class="nothing">{escape(config.get("noValue", "No data"))}</div>'
    stacked = _stacked(lines) if is_stacked else [[(when, 0.0, value) for when, value in one.points] for one in lines]
    highest = max(top for one in stacked for _, _, top in one)
    unit = 1024.0**2 if config.get("unit") == "bytes" else 1.0
    step, most = _steps(config.get("max", 0.0) or highest or 1.0, unit, fixed="max" in config)
    marks = [step * number for number in range(int(most / step + 1.001))]
    canvas = Canvas(width, height - LEGEND, period.start, period.end, most, marks)
    colours = [_colour(panel, line.name, number) for number, line in enumerate(lines)]
    areas = [
        _area(canvas, one, chosen, custom.get("fillOpacity", 0), period.step)
        for one, chosen in zip(stacked, colours, strict=True)
    ]
    limits = _limits(canvas, config) if custom.get("thresholdsStyle") else ""
    notes = "".join(
        f'<line x1="{canvas.x(when):.1f}" x2="{canvas.x(when):.1f}" y1="{TOP}" y2="{canvas.height - BOTTOM}" '
        f'stroke="{colour(name)}" stroke-dasharray="3 3"/>'
        for name, times in annotated.items()
        for when in times
    )
    drawn = _axes(canvas, config) + "".join(areas) + limits + notes
    return f'<svg width="{width}" height="{canvas.height}">{drawn}</svg>{_legend(lines, colours)}'


def _stacked(lines: Sequence[Line]) -> list[list[tuple[float, float, float]]]:
    below: dict[float, float] = {}
    stacked = []
    for line in lines:
        stacked.append([(when, below.get(when, 0.0), below.get(when, 0.0) + value) for when, value in line.points])
        below.update({when: top for when, _, top in stacked[-1]})
    return stacked


def _area(
    canvas: Canvas, points: Sequence[tuple[float, float, float]], chosen: str, opacity: float, step: float
) -> str:
    drawn = ""
    bottoms = {when: bottom for when, bottom, _ in points}
    for part in gaps([(when, top) for when, _, top in points], step):
        tops = [f"{canvas.x(when):.1f},{canvas.y(min(top, canvas.most)):.1f}" for when, top in part]
        base = [f"{canvas.x(when):.1f},{canvas.y(bottoms[when]):.1f}" for when, _ in reversed(part)]
        drawn += f'<polygon points="{" ".join(tops + base)}" fill="{chosen}" fill-opacity="{opacity / 100}"/>'
        drawn += f'<polyline points="{" ".join(tops)}" fill="none" stroke="{chosen}"/>'
    return drawn


def _limits(canvas: Canvas, config: Config) -> str:
    steps = [step for step in config["thresholds"]["steps"][1:] if step["value"] <= canvas.most]
    return "".join(
        f'<line x1="{LEFT}" x2="{canvas.width - RIGHT}" y1="{canvas.y(step["value"]):.1f}" '
        f'y2="{canvas.y(step["value"]):.1f}" stroke="{colour(step["color"])}" stroke-dasharray="10 10"/>'
        for step in steps
    )


def _axes(canvas: Canvas, config: Config) -> str:
    drawn = ""
    for value in canvas.marks:
        y = canvas.y(value)
        drawn += f'<line x1="{LEFT}" x2="{canvas.width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#333"/>'
        text = escape(formatted(value, config, axis=True))
        drawn += f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
    return drawn + _times(canvas)


def _times(canvas: Canvas) -> str:
    step = 30 if canvas.width > NARROW else 60
    first = canvas.start - canvas.start % step + step
    drawn = ""
    for number in range(int((canvas.end - first) // step) + 1):
        when = first + step * number
        if canvas.x(when) > canvas.width - 30:
            break
        clock = time.strftime("%H:%M:%S", time.gmtime(when))
        drawn += f'<text x="{canvas.x(when):.1f}" y="{canvas.height - 5}" text-anchor="middle">{clock}</text>'
    return drawn


def _steps(highest: float, unit: float, *, fixed: bool) -> tuple[float, float]:
    """Returns the distance of the marks of an axis, and its end."""
    rough = highest / 4 / unit
    power = 10.0 ** floor(log10(rough))
    step = unit * next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    return step, highest if fixed else step * -(-highest // step)


def _legend(lines: Iterable[Line], colours: Iterable[str]) -> str:
    named = dict(zip([line.name for line in lines], colours, strict=True))
    items = "".join(f'<span><i style="background:{one}"></i>{escape(name)}</span>' for name, one in named.items())
    return f'<div class="legend">{items}</div>'


def _colour(panel: Config, name: str, number: int) -> str:
    fixed: Mapping[str, Any] = field_config(panel, name).get("color", {})
    return colour(fixed.get("fixedColor", PALETTE[number % len(PALETTE)]))


def _timeline(panel: Config, data: Data, width: float, height: float) -> str:
    lines, period = data.lines(panel), data.period
    config = field_config(panel)
    if not lines:
        return f'<div class="nothing">{escape(config.get("noValue", "No data"))}</div>'
    canvas = Canvas(width, height, period.start, period.end)
    place = (height - BOTTOM) / len(lines)
    drawn = _times(canvas)
    has_texts = panel["options"]["showValue"] != "never"
    for number, line in enumerate(lines):
        y, tall = place * number + place * 0.1, place * 0.8
        drawn += f'<text x="{LEFT - 6}" y="{y + tall / 2 + 4:.1f}" text-anchor="end">{escape(line.name)}</text>'
        for part in gaps(line.points, period.step):
            for value, run in groupby(part, key=lambda point: point[1]):
                times = [when for when, _ in run]
                seen, x = shown(value, config), canvas.x(times[0])
                wide = canvas.x(min(times[-1] + period.step, period.end)) - x
                drawn += f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{tall:.1f}" fill="{seen.colour}"/>'
                if has_texts and wide > 8 * len(seen.text):
                    drawn += f'<text class="in" x="{x + 5:.1f}" y="{y + tall / 2 + 4:.1f}">{escape(seen.text)}</text>'
    return f'<svg width="{width}" height="{height}">{drawn}</svg>'
