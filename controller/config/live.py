"""The names of the options, and which of them a reload puts in force.

A field with `LIVE` among its metadata is put in force by a reload. Every other field needs a restart.
"""

from collections.abc import Iterator
from typing import Any, Final, TypeVar

from pydantic import BaseModel

LIVE: Final = "live"

S = TypeVar("S", bound=BaseModel)


def differences(old: BaseModel, new: BaseModel, above: str = "") -> Iterator[tuple[str, bool]]:
    """Yields the dotted names of the changed options, and whether a reload puts each in force.

    A section that is not live as a whole is compared field by field.
    """
    for name, before, after, live in _fields(old, new):
        if before == after:
            continue
        if isinstance(after, BaseModel) and isinstance(before, BaseModel) and not live:
            yield from differences(before, after, f"{above}{name}.")
        else:
            yield f"{above}{option_name(type(new), name)}", live


def reloaded(old: S, new: S) -> S:
    """Returns the configuration in force after a reload: the new values of live fields, the old values of others."""
    kept: dict[str, Any] = {}
    for name, before, after, live in _fields(old, new):
        if before == after:
            kept[name] = before
        elif not live:
            sections = isinstance(after, BaseModel) and isinstance(before, BaseModel)
            kept[name] = reloaded(before, after) if sections else before
    return new.model_copy(update=kept)


def option_name(model: type[BaseModel], field: str) -> str:
    """Returns the name of a field in the file."""
    return model.model_fields[field].alias or field


def option_names(model: type[BaseModel], above: str = "") -> Iterator[str]:
    """Yields the dotted name of every option and section."""
    for field, info in model.model_fields.items():
        name = f"{above}{option_name(model, field)}"
        yield name
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from option_names(info.annotation, f"{name}.")


def _fields(old: BaseModel, new: BaseModel) -> Iterator[tuple[str, Any, Any, bool]]:
    for name, field in type(new).model_fields.items():
        yield name, getattr(old, name), getattr(new, name), LIVE in field.metadata
