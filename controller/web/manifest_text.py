"""A manifest's bytes as text for the page and the API, without secrets.

The values of `CONFIDENTIAL` fields may be secret, so they are hidden. If they cannot be told from the rest of the
manifest, the whole manifest is hidden. Lines and indentation are not enough to find their end, because a quoted value
may continue on any line.
"""

import re
from collections.abc import Sequence

from reconcilers import clearsign, yamltext
from reconcilers.manifest import CONFIDENTIAL
from reconcilers.spec import HttpGet, Manifest, Probe, TcpConnect

MAX_SHOWN = 64 * 1024
HIDDEN = "(hidden)"
ALL_HIDDEN = "(not shown: it sets headers, a body, bytes to send or credentials, which may be secret)"
_KEY = re.compile(rf"(['\"]?)(?:{'|'.join(CONFIDENTIAL)})\1")
_MENTION = re.compile(
    r"headers|basic_auth|bearer_token(?!_)|(?:(?<![\w.-])|\?\s*['\"]?)(?:body|send)['\"]?\s*:", re.IGNORECASE
)
"""What may be one of these fields in a text that is not read as YAML, or in a comment."""
_BREAKS = "\n\r\x85\u2028\u2029"
"""Characters that end a line in YAML."""
_LINE_BEGUN = re.compile(rf"(?:\A|[{_BREAKS}])( *)\Z")
"""A line that has only its indentation so far."""
_ESCAPE = re.compile(rf"\\[xuU{_BREAKS}]")
"""Escapes that let a quoted key be written differently from what it means."""


def shown(data: bytes, manifest: Manifest | None) -> str:
    """Returns the text. `manifest` is the parsed manifest, None if the manifest is invalid."""
    text = data[:MAX_SHOWN].decode("utf-8", "replace").removeprefix("\ufeff")
    left, hidden = _without_secrets(text, data, manifest)
    return ALL_HIDDEN if len(_MENTION.findall(left)) > hidden else left


def _without_secrets(text: str, data: bytes, manifest: Manifest | None) -> tuple[str, int]:
    """Returns the text without these values, or `ALL_HIDDEN` if they may be anywhere, and how many were hidden."""
    try:
        document = clearsign.read(data).plaintext
        places = yamltext.places(document, *CONFIDENTIAL)
    except (clearsign.ClearsignError, yamltext.YamlError):
        return ALL_HIDDEN if _ESCAPE.search(text) else text, 0
    probe = manifest.check.probe if manifest and manifest.check else None
    if not places:
        return ALL_HIDDEN if _has_secrets(probe) else text, 0
    inner = document.decode().removeprefix("\ufeff")
    before, found, after = text.partition(inner)
    cut = _cut(inner, places) if found and manifest else ""
    return f"{before}{cut}{after}" if cut else ALL_HIDDEN, len(places)


def _has_secrets(probe: Probe | None) -> bool:
    if isinstance(probe, TcpConnect):
        return bool(probe.send) or any(step.send for step in probe.steps)
    return isinstance(probe, HttpGet) and bool(probe.headers or probe.body)


def _cut(text: str, places: Sequence[yamltext.Place]) -> str:
    """Returns the text without the values of these keys; "" unless each key and its value have separate lines."""
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
