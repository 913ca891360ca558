"""What a panel shows for a value: a text and a colour, by Grafana's rules.

Sources: `displayProcessor.ts`, `valueFormats.ts` and `dateTimeFormatters.ts` of grafana-data.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Config = Mapping[str, Any]
"""The configuration of a field: the panel's defaults and the overrides that match."""

COLOURS = {
    "green": "#56a64b",
    "yellow": "#f2cc0c",
    "orange": "#ff780a",
    "red": "#e02f44",
    "purple": "#a352cc",
    "blue": "#3274d9",
}
SCALES: Mapping[str, Sequence[tuple[float, str]]] = {
    "s": (
        (1e-9, " ns"),
        (1e-6, " µs"),
        (1e-3, " ms"),
        (1.0, " s"),
        (60.0, " mins"),
        (3600.0, " hours"),
        (86400.0, " days"),
        (604800.0, " weeks"),
    ),
    "bytes": tuple((1024.0**power, f" {prefix}B") for power, prefix in enumerate(("", "Ki", "Mi", "Gi"))),
    "ops": tuple((1000.0**power, f"{prefix} ops/s") for power, prefix in enumerate(("", "K", "M"))),
    "short": tuple((1000.0**power, prefix) for power, prefix in enumerate(("", " K", " Mil"))),
}


@dataclass(frozen=True, slots=True)
class Shown:
    text: str
    colour: str


def shown(value: float | str | None, config: Config) -> Shown:
    """Returns the text and the colour of a value, or of a result without any value."""
    mapping = _mapped(value, config.get("mappings", ()))
    number = value if isinstance(value, float) else None
    plain = formatted(number, config) if number is not None else str(value or config.get("noValue", ""))
    return Shown(mapping.get("text", plain), colour(mapping["color"]) if "color" in mapping else limit(number, config))


def formatted(value: float, config: Config, *, axis: bool = False) -> str:
    """Returns a number with its unit. On an axis, zeros after the decimal point are not shown."""
    unit, decimals = str(config.get("unit", "")), config.get("decimals")
    if math.isnan(value):
        return "NaN"
    if unit == "percentunit":
        return f"{_fixed(100 * value, decimals, axis=axis)}%"
    if unit == "dtdurations":
        return _duration(value)
    if unit.startswith("suffix:"):
        return f"{_fixed(value, decimals, axis=axis)} {unit.removeprefix('suffix:')}"
    if unit not in SCALES or not value:
        return _fixed(value, decimals, axis=axis) + (
            SCALES[unit][0][1] if unit == "ops" else " s" if unit == "s" else ""
        )
    scales = SCALES[unit]
    factor, suffix = scales[max(0, bisect_right([least for least, _ in scales], abs(value)) - 1)]
    return _fixed(value / factor, decimals, axis=axis) + suffix


def limit(value: float | None, config: Config) -> str:
    """Returns the colour of a value by the thresholds. A missing value has the lowest one."""
    lowest, *steps = config.get("thresholds", {}).get("steps") or [{"color": "green"}, {"color": "red", "value": 80.0}]
    reached = [lowest, *(step for step in steps if value is not None and value >= step["value"])]
    return colour(reached[-1]["color"])


def colour(name: str) -> str:
    return COLOURS.get(name, name)


def _mapped(value: float | str | None, mappings: Sequence[Config]) -> Config:
    for mapping in mappings:
        options: Config = mapping["options"]
        if mapping["type"] == "special" and value is None and options["match"] in {"null", "null+nan"}:
            return dict(options["result"])
        if mapping["type"] == "value" and value is not None:
            text = f"{value:g}" if isinstance(value, float) else value
            if text in options:
                return dict(options[text])
    return {}


def _fixed(value: float, decimals: int | None, *, axis: bool) -> str:
    """Without `decimals`, a number has three significant digits, and an integer has all of its digits."""
    if decimals is None:
        decimals = 0 if value == int(value) else max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if axis and "." in text else text


def _duration(value: float) -> str:
    days, seconds = divmod(int(abs(value)), 86_400)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return (f"{days} d " if days else "") + clock + (" ago" if value < 0 else "")
