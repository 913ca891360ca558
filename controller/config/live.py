"""What the options are called, which of them a reload puts in force, and which stay as they were until a restart.

A field says so itself: `LIVE` among its metadata. Whatever bears no mark needs a restart.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import BaseModel

LIVE: Final = "live"

S = TypeVar("S", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Difference:
    """An option, by its dotted name, that has another value than before; whether that is `live` at once."""

    name: str
    live: bool


def differences(old: BaseModel, new: BaseModel, above: str = "") -> Iterator[Difference]:
    """What differs; a section that is not live as a whole is looked at field by field."""
    for name, before, after, live in _fields(old, new):
        if before == after:
            continue
        if isinstance(after, BaseModel) and isinstance(before, BaseModel) and not live:
            yield from differences(before, after, f"{above}{name}.")
        else:
            yield Difference(f"{above}{option_name(type(new), name)}", live)


def reloaded(old: S, new: S) -> S:
    """What is in force after a reload: `new` where it is live, else `old`."""
    kept: dict[str, Any] = {}
    for name, before, after, live in _fields(old, new):
        if before == after:
            kept[name] = before
        elif not live:
            sections = isinstance(after, BaseModel) and isinstance(before, BaseModel)
            kept[name] = reloaded(before, after) if sections else before
    return new.model_copy(update=kept)


def option_name(model: type[BaseModel], field: str) -> str:
    """How a field is called in the file."""
    return model.model_fields[field].alias or field


def option_names(model: type[BaseModel], above: str = "") -> Iterator[str]:
    """Every option by its dotted name, and every section."""
    for field, info in model.model_fields.items():
        name = f"{above}{option_name(model, field)}"
        yield name
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from option_names(info.annotation, f"{name}.")


def _fields(old: BaseModel, new: BaseModel) -> Iterator[tuple[str, Any, Any, bool]]:
    for name, field in type(new).model_fields.items():
        yield name, getattr(old, name), getattr(new, name), LIVE in field.metadata
