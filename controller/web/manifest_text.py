"""A manifest's bytes as text that may be shown.

What `headers` sends to a pod may be a secret, so it is not shown: neither what the parser takes for its value, nor
anything at all of a manifest in which that cannot be told from the rest. Lines and how deep they are indented say
nothing about it: a quoted value may go on wherever it likes.
"""

import re
from collections.abc import Sequence

from reconcilers import clearsign, yamltext
from reconcilers.manifest import CONFIDENTIAL
from reconcilers.spec import HttpGet, Manifest

MAX_SHOWN = 64 * 1024
HIDDEN = "(hidden)"
ALL_HIDDEN = f"(not shown: it sets {CONFIDENTIAL}, which may be secret)"
_KEY = re.compile(rf"(['\"]?){CONFIDENTIAL}\1")
_BREAKS = "\n\r\x85\u2028\u2029"
"""What ends a line in YAML."""
_LINE_BEGUN = re.compile(rf"(?:\A|[{_BREAKS}])( *)\Z")
"""A line of which there is nothing yet but its indentation."""
_ESCAPE = re.compile(rf"\\[xuU{_BREAKS}]")
"""By which a quoted key may be written otherwise than it reads."""


def shown(data: bytes, manifest: Manifest | None) -> str:
    """The text; `manifest` is what these bytes were understood as, None if they were not."""
    text = data[:MAX_SHOWN].decode("utf-8", "replace").removeprefix("\ufeff")
    left, hidden = _without_headers(text, data, manifest)
    return ALL_HIDDEN if left.lower().count(CONFIDENTIAL) > hidden else left


def _without_headers(text: str, data: bytes, manifest: Manifest | None) -> tuple[str, int]:
    """And how often they were hidden. What is left is `ALL_HIDDEN` where they cannot be told from the rest, or where
    nobody knows whether there are any."""
    try:
        document = clearsign.read(data).plaintext
        places = yamltext.places(document, CONFIDENTIAL)
    except (clearsign.ClearsignError, yamltext.YamlError):
        return ALL_HIDDEN if _ESCAPE.search(text) else text, 0
    probe = manifest.check.probe if manifest and manifest.check else None
    if not places:
        return ALL_HIDDEN if isinstance(probe, HttpGet) and probe.headers else text, 0
    inner = document.decode().removeprefix("\ufeff")
    before, found, after = text.partition(inner)
    cut = _cut(inner, places) if found and manifest else ""
    return f"{before}{cut}{after}" if cut else ALL_HIDDEN, len(places)


def _cut(text: str, places: Sequence[yamltext.Place]) -> str:
    """Without what follows these keys; "" unless each of them stands on lines of its own."""
    parts, at = [], 0
    for place in places:
        following = _LINE_BEGUN.search(text, place.end, place.next)
        if not (
            _KEY.fullmatch(text, place.start, place.end)
            and _LINE_BEGUN.search(text, at, place.start)
            and (following or place.next == len(text))
        ):
            return ""
        parts.append(f"{text[at : place.end]}: {HIDDEN}\n{following[1] if following else ''}")
        at = place.next
    return "".join(parts) + text[at:]
