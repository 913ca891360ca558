"""The rules of Prometheus as they are delivered, and copies of them with shorter waiting times or none."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
RULES = sorted((FOLDER / "rules").glob("*.yml"))
DURATION = re.compile(r"(?<![\w.])(\d+)([smhd])\b")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def rules() -> Iterator[Mapping[str, Any]]:
    for file in RULES:
        for group in yaml.safe_load(file.read_text())["groups"]:
            yield from group["rules"]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
RECORDED = {rule["record"] for rule in rules() if "record" in rule}


def hasty(folder: Path) -> list[Path]:
    """Writes copies of the rules in which alerts fire at once."""
    return _copies(folder, lambda rule: {name: value for name, value in rule.items() if name != "for"})


def hastened(folder: Path, factor: float, others: Mapping[str, float]) -> list[Path]:
    """Writes copies of the rules in which each waiting time and each window is shorter by a factor. `others` are the
    factors of some alerts."""

    def change(rule: Mapping[str, Any]) -> dict[str, Any]:
        own = others.get(rule.get("alert", ""), factor)
        return {name: shortened(value, own) if name in {"expr", "for"} else value for name, value in rule.items()}

    return _copies(folder, change, factor)


def shortened(text: str, factor: float) -> str:
    """Returns an expression with each duration divided by a factor. Numbers and names stay as they are."""
    return DURATION.sub(lambda found: f"{round(1000 * int(found[1]) * SECONDS[found[2]] / factor)}ms", text)


def _copies(folder: Path, change: Callable[[Mapping[str, Any]], dict[str, Any]], factor: float = 1.0) -> list[Path]:
    copies = []
    for file in RULES:
        document = yaml.safe_load(file.read_text())
        for group in document["groups"]:
            group["rules"] = [change(rule) for rule in group["rules"]]
            if "interval" in group:
                group["interval"] = shortened(group["interval"], factor)
        copies.append(folder / file.name)
        copies[-1].write_text(yaml.safe_dump(document))
    return copies
