"""The rules of Prometheus as they are delivered, and copies of them without waiting times."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
RULES = sorted((FOLDER / "rules").glob("*.yml"))


def rules() -> Iterator[Mapping[str, Any]]:
    for file in RULES:
        for group in yaml.safe_load(file.read_text())["groups"]:
            yield from group["rules"]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
RECORDED = {rule["record"] for rule in rules() if "record" in rule}


def hasty(folder: Path) -> list[Path]:
    """Writes copies of the rules in which alerts fire at once."""
    copies = []
    for file in RULES:
        document = yaml.safe_load(file.read_text())
        for group in document["groups"]:
            for rule in group["rules"]:
                rule.pop("for", None)
        copies.append(folder / file.name)
        copies[-1].write_text(yaml.safe_dump(document))
    return copies
