"""Labels that group pods for people: what a configuration may declare, what a manifest has, and how pods are selected.

Labels never affect a check. So a label that cannot be used is ignored with a warning and never makes a manifest
invalid: an operator may declare a label after manifests with other values for it were written.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from reconcilers.escaping import quoted
from reconcilers.spec import FieldWarning, Labels

FIELD = "status.labels"
MAX_LABELS = 10
MAX_WARNINGS = 10
NAME = re.compile(r"(?!__)[A-Za-z_][A-Za-z0-9_]{0,62}")
"""The names of Prometheus' labels. Prometheus reserves those that begin with two underscores."""
VALUE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
"""The values of Kubernetes' labels, except the empty one."""
RESERVED = frozenset({"node", "pod", "instance", "job"})
"""Labels that the series of a pod have already, or that Prometheus adds."""

A_VALUE = "1 to 63 letters, digits, '.', '_' and '-', of which the first and the last are a letter or a digit"
SELECTED = "NAME=VALUE, or NAME= for pods without this label"

Selector = Mapping[str, Collection[str]]
"""By name, the values of which a pod must have one. "" stands for a missing label."""
NO_SELECTOR: Selector = {}


def is_name(text: str) -> bool:
    """Returns whether a configuration may declare a label of this name."""
    return NAME.fullmatch(text) is not None and text not in RESERVED


def read(said: object, declared: Sequence[str] | None) -> tuple[Labels, tuple[FieldWarning, ...]]:
    """Returns the labels in `said`, the value of a manifest's field, and the warnings about what is ignored.

    The labels have the order of the `declared` names. If it is None, every name is accepted, and the labels are sorted.
    """
    if said is None:
        return (), ()
    if not isinstance(said, dict):
        return (), (FieldWarning(FIELD, "expected a mapping of names to values, ignored"),)
    given = {name: value for name, value in said.items() if value is not None}
    names = sorted(filter(is_name, given))[:MAX_LABELS] if declared is None else declared
    found = tuple((name, str(value)) for name in names if (value := given.get(name)) is not None and _is_value(value))
    ignored = sorted(given.keys() - dict(found).keys())
    return found, tuple(_warnings(ignored, given, names, is_declared=declared is not None))


def _is_value(value: object) -> bool:
    return isinstance(value, str) and VALUE.fullmatch(value) is not None


def _warnings(
    ignored: Sequence[str], given: Mapping[str, object], names: Collection[str], *, is_declared: bool
) -> Iterator[FieldWarning]:
    for name in ignored[:MAX_WARNINGS]:
        path = f"{FIELD}.{name}" if NAME.fullmatch(name) else f"{FIELD}.{quoted(name)}"
        if name in names:
            yield FieldWarning(path, f"expected {A_VALUE}; ignored, got {quoted(str(given[name]))}")
        elif is_declared:
            yield FieldWarning(path, "a label that the controller's option labels does not declare, ignored")
        else:
            yield FieldWarning(path, f"expected at most {MAX_LABELS} names that the option labels may declare; ignored")
    if more := len(ignored[MAX_WARNINGS:]):
        yield FieldWarning(FIELD, f"{more} more labels, ignored", more)


def selector(texts: Iterable[str]) -> Selector:
    """Reads the conditions of a selection. A pod must meet those of each name; for one name, one of its values.

    Raises ValueError for a text that is not a condition.
    """
    wanted: dict[str, set[str]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (equals and NAME.fullmatch(name) and (not value or VALUE.fullmatch(value))):
            raise ValueError(f"expected {SELECTED}, got {quoted(text)}")
        wanted.setdefault(name, set()).add(value)
    return wanted


def matches(labels: Labels, wanted: Selector) -> bool:
    """Returns whether a pod with these labels is selected."""
    found = dict(labels)
    return all(found.get(name, "") in values for name, values in wanted.items())


def texts(labels: Labels) -> list[str]:
    """Returns the labels in the form `team=shop`."""
    return [f"{name}={value}" for name, value in labels]
