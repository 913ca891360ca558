"""The README, as tests read it."""

import re
from functools import cache
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@cache
def sections() -> dict[str, str]:
    """Its sections, by the anchor of their heading."""
    parts = HEADING.split(README.read_text("utf-8"))
    return {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-"): text
        for title, text in zip(parts[1::2], parts[2::2], strict=True)
    }
