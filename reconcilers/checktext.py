"""A check as text, field by field in the words of manifests: for people, and for comparing two checks.

A secret is shown as a digest (`reconcilers.request_fields.digest`).
"""

from collections.abc import Mapping

from reconcilers.option import Option
from reconcilers.options import OPTIONS
from reconcilers.spec import CheckSpec, Labels

IN_ORDER = sorted(OPTIONS.items(), key=lambda each: (each[0] == "tls", len(each[1].kinds) == 1))
"""Options of several kinds of checks first, then those of one kind, and those of TLS at the end."""


LABEL = "labels."
"""How the name of a field begins that is a label. It belongs to the pod: a change of it does not change the check."""


def describe(spec: CheckSpec, labels: Labels = ()) -> dict[str, str]:
    """Field to text; a field without text is absent. `labels` are those of the pod."""
    texts = {"url": spec.probe.url, "address": spec.address or ""}
    for name, option in IN_ORDER:
        texts |= _texts(spec, name, option)
    texts |= {f"{LABEL}{name}": value for name, value in labels}
    return {name: text for name, text in texts.items() if text}


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """The fields in which two checks differ: name, text before and text after; "" for a field that is absent."""
    names = dict.fromkeys((*after, *before))
    both = [(name, before.get(name, ""), after.get(name, "")) for name in names]
    return [(name, old, new) for name, old, new in both if old != new]


def _texts(spec: CheckSpec, name: str, option: Option) -> dict[str, str]:
    attribute = option.attribute or name
    value = getattr(spec, attribute, None) or getattr(spec.probe, attribute, None)
    shown = option.show(value) if value else ""
    return {name: shown} if isinstance(shown, str) else {f"{name}.{part}": text for part, text in shown.items()}
