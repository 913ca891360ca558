"""How an option of a check is declared: a field of a model has the name, type and default, an `Option` the rest."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import BaseModel

Kind = Literal["http", "tcp", "grpc"]

EVERY_KIND = frozenset(get_args(Kind))
HTTP = frozenset({"http"})
GRPC = frozenset({"grpc"})
TCP = frozenset({"tcp"})


def in_url(_: object) -> str:
    """Shows nothing: the URL of the check shows the option."""
    return ""


@dataclass(frozen=True, slots=True)
class Option:
    """One option, besides the name, type and default of its field.

    `description` and `default` are cells of the documentation's table; "" for `default` takes the field's default.
    `example` is a value other than the default, in YAML. `kinds` are the kinds of checks that the option applies to.
    `attribute` is the field of `CheckSpec` or of the probe that has the value; "" if it has the option's name. `show`
    turns that field's value into the text that `plan` and the API show, or into one text for each part of the value.
    """

    description: str
    example: str
    kinds: frozenset[str] = EVERY_KIND
    default: str = ""
    attribute: str = ""
    show: Callable[[Any], str | Mapping[str, str]] = str


def option_of(model: type[BaseModel], name: str) -> Option:
    """The declaration of a field. Raises StopIteration when the field has none."""
    return next(each for each in model.model_fields[name].metadata if isinstance(each, Option))


def declared(model: type[BaseModel]) -> Iterator[tuple[str, Option]]:
    return ((name, option_of(model, name)) for name in model.model_fields)
