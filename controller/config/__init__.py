"""The configuration: one YAML file, Podpulse's or p2's, checked as a whole before anything starts.

Command-line options win over the file, and the file wins over Consul's usual environment variables.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from controller.config import preparer
from controller.config.fields import yaml_document
from controller.config.live import option_names
from controller.config.model import Config, ConfigError
from controller.config.preparer import PreparerError, Source, set_option
from reconcilers.fields import expectation
from reconcilers.unknown_fields import did_you_mean, nearest

__all__ = ["Config", "ConfigError", "load"]

OPTIONS = tuple(option_names(Config))


def load(path: Path | None, overrides: Mapping[str, Any]) -> Config:
    """Reads and checks a configuration. `overrides` are dotted fields (`consul.address`) from the command line.

    Raises ConfigError, which names the file, the field and the expected value.
    """
    where = str(path) if path else "command line"
    source = read_file(path) if path else Source({})
    document = source.document
    if overrides.get("consul.token") is not None:
        set_option(document, "consul.token_file", None)  # an option --token replaces the token file
    for name, value in overrides.items():
        if value is not None:
            set_option(document, name, value)
    try:
        return Config.model_validate(document, context=source.notes)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        problems = (_problem(source, each) for each in errors)
        raise ConfigError("\n".join(f"{where}: {problem}" for problem in problems)) from None


def read_file(path: Path) -> Source:
    """Returns the options of a file, unchecked. Raises ConfigError if it cannot be read."""
    document = yaml_document(path, ConfigError)
    if document is None:
        return Source({})
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected a mapping of options")
    try:
        ours = {name for name in OPTIONS if "." not in name}
        return preparer.translate(document, ours) if preparer.is_p2s(document) else Source(document)
    except PreparerError as error:
        raise ConfigError(f"{path}: {error}") from None


def _problem(source: Source, error: ErrorDetails) -> str:
    location, value = error["loc"], error["input"]
    field = ".".join(map(str, location))
    name = source.name(field)
    message = expectation(error["type"], error["msg"])
    if error["type"] == "extra_forbidden":
        meant = nearest(".".join(map(str, location[:-1])), str(location[-1]), OPTIONS)
        return f"{name}: {message}{did_you_mean(source.name(meant) if meant else '')}"
    secret = (
        isinstance(value, dict | list | tuple)
        or "token" in field
        or ".headers" in field
        or "http_auth" in field
        or field in {"consul", "consul.address"}
    )
    shown = "" if secret else f", got {str(value)[:60]!r}"
    return f"{name}: {message}{shown}" if field else message
