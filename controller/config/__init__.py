"""The configuration: one YAML file, checked as a whole before anything starts.

Command-line options win over the file, and the file wins over Consul's usual environment variables.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from controller.config.model import Config, ConfigError
from reconcilers import yamltext

__all__ = ["Config", "ConfigError", "load"]


def load(path: Path | None, overrides: Mapping[str, Any]) -> Config:
    """Read and check a configuration file; `overrides` are dotted fields (`consul.address`) of the command line.

    Raises:
        ConfigError: naming the file, the field and what was expected.
    """
    where = str(path) if path else "command line"
    document = _read(path) if path else {}
    for name, value in overrides.items():
        if value is not None:
            _set(document, name.split("."), value)
    try:
        return Config.model_validate(document)
    except ValidationError as error:
        problems = (_problem(each["loc"], each["msg"], each["input"]) for each in error.errors(include_url=False))
        raise ConfigError("\n".join(f"{where}: {problem}" for problem in problems)) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        document = yamltext.load(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except yamltext.YamlError as error:
        raise ConfigError(f"{path}: {error}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected a mapping of options")
    return document


def _set(document: dict[str, Any], path: list[str], value: object) -> None:
    """Set a dotted field. What stands where a section belongs stays, for the check of the whole to complain about."""
    for name in path[:-1]:
        section = document.get(name)
        if section is None:
            section = document[name] = {}
        if not isinstance(section, dict):
            return
        document = section
    document[path[-1]] = value


def _problem(location: tuple[int | str, ...], message: str, value: object) -> str:
    field = ".".join(map(str, location))
    if "Extra inputs" in message:
        return f"{field}: no such option"
    message = message.removeprefix("Value error, ").replace("Input should be", "expected")
    secret = isinstance(value, dict | list) or "token" in field or field == "consul"
    shown = "" if secret else f", got {str(value)[:60]!r}"
    return f"{field}: {message}{shown}" if field else message
