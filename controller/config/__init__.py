"""The configuration: one YAML file, Podpulse's or p2's, checked as a whole before anything starts.

Command-line options win over the file, and the file wins over Consul's usual environment variables.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from controller.config import preparer
from controller.config.live import option_names
from controller.config.model import Config, ConfigError
from controller.config.preparer import PreparerError, Source
from reconcilers import yamltext
from reconcilers.fields import expectation
from reconcilers.unknown_fields import did_you_mean, nearest

__all__ = ["Config", "ConfigError", "load"]

OPTIONS = tuple(option_names(Config))


def load(path: Path | None, overrides: Mapping[str, Any]) -> Config:
    """Reads and checks a configuration file. `overrides` are dotted fields (`consul.address`) from the command line.

    Raises:
        ConfigError: naming the file, the field and what was expected.
    """
    where = str(path) if path else "command line"
    source = _read(path) if path else Source({})
    document = source.document
    if overrides.get("consul.token") is not None:
        _set(document, ["consul", "token_file"], None)  # an option --token replaces the token file
    for name, value in overrides.items():
        if value is not None:
            _set(document, name.split("."), value)
    try:
        return Config.model_validate(document, context=source.notes)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        problems = (_problem(source, each) for each in errors)
        raise ConfigError("\n".join(f"{where}: {problem}" for problem in problems)) from None


def _read(path: Path) -> Source:
    try:
        document = yamltext.load(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except yamltext.YamlError as error:
        raise ConfigError(f"{path}: {error}") from None
    if document is None:
        return Source({})
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected a mapping of options")
    try:
        ours = {name for name in OPTIONS if "." not in name}
        return preparer.translate(document, ours) if preparer.is_p2s(document) else Source(document)
    except PreparerError as error:
        raise ConfigError(f"{path}: {error}") from None


def _set(document: dict[str, Any], path: list[str], value: object) -> None:
    """Sets a dotted field. A value in place of a section is kept, so that the validation reports it."""
    for name in path[:-1]:
        section = document.get(name)
        if section is None:
            section = document[name] = {}
        if not isinstance(section, dict):
            return
        document = section
    document[path[-1]] = value


def _problem(source: Source, error: ErrorDetails) -> str:
    location, value = error["loc"], error["input"]
    field = ".".join(map(str, location))
    name = source.name(field)
    message = expectation(error["type"], error["msg"])
    if error["type"] == "extra_forbidden":
        meant = nearest(".".join(map(str, location[:-1])), str(location[-1]), OPTIONS)
        return f"{name}: {message}{did_you_mean(source.name(meant) if meant else '')}"
    secret = (
        isinstance(value, dict | list)
        or "token" in field
        or ".headers" in field
        or "http_auth" in field
        or field in {"consul", "consul.address"}
    )
    shown = "" if secret else f", got {str(value)[:60]!r}"
    return f"{name}: {message}{shown}" if field else message
