"""Decodes JSON as Go's `encoding/json` does into a struct, for tests that read our records as p2's tools do.

Names of fields are compared without regard to case, unless one is equal. The last of several equal fields is used. null
leaves a field unchanged. A value of another type is an error, and so is a time that is not RFC 3339. Fields that the
struct does not have are skipped. `test_gojson` has the results of Go 1.26 for each case. Go accepts some more times
(`1:00`, `,5`, `+24:00`), and refuses a time that is written with escapes.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

RFC3339 = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.(\d+))?(Z|[+-]\d{2}:\d{2})", re.ASCII)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class GoError(ValueError):
    """What `json.Unmarshal` returns instead of nil."""


@dataclass(frozen=True, slots=True, order=True)
class Time:
    """Go's `time.Time` as a point in time; of its zero value, the year 1."""

    seconds: int = -62_135_596_800
    nanoseconds: int = 0


Reader = Callable[[object], Any]
Struct = Mapping[str, tuple[Any, Reader]]
"""For each field its zero value and what reads it."""


def text(value: object) -> str:
    if not isinstance(value, str):
        raise GoError(f"json: cannot unmarshal {type(value).__name__} into Go value of type string")
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def time(value: object) -> Time:
    found = RFC3339.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise GoError(f"parsing time {value!r}")
    moment, fraction, offset = found.groups()
    try:
        seconds = (datetime.fromisoformat(f"{moment}+00:00") - EPOCH) // timedelta(seconds=1)
    except ValueError as error:
        raise GoError(f"parsing time {value!r}: {error}") from None
    return Time(seconds - _offset(offset), int((fraction or "0")[:9].ljust(9, "0")))


STRING = ("", text)
TIME = (Time(), time)


def unmarshal(data: bytes, struct: Struct) -> dict[str, Any]:
    """The fields of the struct.

    Raises:
        GoError: where Go's function would return an error.
    """
    try:
        document = json.loads(data.decode("utf-8", "replace"), object_pairs_hook=_Pairs, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise GoError(str(error)) from None
    fields = {name: zero for name, (zero, _) in struct.items()}
    if document is None:
        return fields
    if not isinstance(document, _Pairs):
        raise GoError("json: cannot unmarshal into Go value of a struct")
    for name, value in document:
        field = _field(name, struct)
        if field and value is not None:
            fields[field] = struct[field][1](value)
    return fields


class _Pairs(list[tuple[str, Any]]):
    """An object, with its members in their order."""


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _field(name: str, struct: Struct) -> str | None:
    if name in struct:
        return name
    return next((field for field in struct if _folded(field) == _folded(name)), None)


def _folded(name: str) -> str:
    """As Unicode folds single letters: the Kelvin sign is a k, but ß stays."""
    return "".join(folded if len(folded := letter.casefold()) == 1 else letter for letter in name)


def _offset(text: str) -> int:
    if text == "Z":
        return 0
    hours, minutes = int(text[1:3]), int(text[4:6])
    if hours > 23 or minutes > 59:
        raise GoError(f"parsing time: the offset {text}")
    return (hours * 3600 + minutes * 60) * (-1 if text[0] == "-" else 1)
