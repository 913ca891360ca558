"""A manifest's bytes as text that may be shown.

What `headers` sends to a pod may be a secret, so it is not shown: neither its lines, nor anything at all of a manifest
in which they cannot be told from the rest.
"""

import re

from reconcilers.manifest import CONFIDENTIAL
from reconcilers.spec import HttpGet, Manifest

MAX_SHOWN = 64 * 1024
HIDDEN = "(hidden)"
ALL_HIDDEN = f"(not shown: it sets {CONFIDENTIAL}, which may be secret)"
_OPENING = re.compile(rf"(\s*)(['\"]?){CONFIDENTIAL}\2\s*:")


def shown(data: bytes, manifest: Manifest | None) -> str:
    """The text; `manifest` is what these bytes were understood as, None if they were not."""
    text = data[:MAX_SHOWN].decode("utf-8", "replace")
    lines, hidden = _without_headers(text)
    probe = manifest.check.probe if manifest and manifest.check else None
    is_secret = isinstance(probe, HttpGet) and bool(probe.headers)
    left = any(CONFIDENTIAL in line for line in lines if not line.endswith(HIDDEN))
    if left or (hidden and not manifest) or (is_secret and not hidden):
        return ALL_HIDDEN
    return "\n".join(lines)


def _without_headers(text: str) -> tuple[list[str], int]:
    """Its lines without those below `headers`, which are indented deeper, and how often that was found."""
    lines: list[str] = []
    depth, found = -1, 0
    for line in text.split("\n"):
        if depth >= 0 and (not line.strip() or len(line) - len(line.lstrip()) > depth):
            continue
        depth = -1
        opening = _OPENING.match(line)
        if opening:
            depth, found = len(opening[1]), found + 1
        lines.append(f"{opening[0]} {HIDDEN}" if opening else line)
    return lines, found
