"""The configuration in force: each option with its value and where the value comes from."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from controller.config import load, read_file
from controller.config.live import option_name
from controller.config.model import Config
from controller.config.preparer import Source, is_set
from controller.consul.settings import VARIABLES
from reconcilers.fields import go_duration, status_ranges
from reconcilers.p2.goscalars import resolve
from reconcilers.yamltext import Plain

HIDDEN = "(set, not shown)"
SECRETS = frozenset({"consul.token", "consul.http_auth"})
HEADERS = frozenset({"defaults.headers", "consul.headers"})
"""Mappings whose values may be secrets."""
WORD = re.compile(r"[A-Za-z/][A-Za-z0-9/._-]*")
"""Text that needs no quotation marks, unless YAML takes it for another type."""
OF_FOLDERS = ("STATE_DIRECTORY", "XDG_STATE_HOME", "HOME")
OF_CONSUL = {
    **{f"consul.{name}": (variable,) for name, variable in VARIABLES.items()},
    "consul.address": ("CONSUL_HTTP_ADDR", "CONSUL_HTTP_SSL"),
    "consul.insecure_skip_verify": ("CONSUL_HTTP_SSL_VERIFY",),
}
"""By option, the variables that supply it when neither the file nor the command line does."""


class Setting(NamedTuple):
    """One option by its dotted name. `text` is its value in YAML's flow style, `origin` where it comes from."""

    name: str
    text: str
    origin: str


def effective(path: Path | None, flags: Mapping[str, Any], environ: Mapping[str, str]) -> list[Setting]:
    """Returns every option of the configuration that `load` makes of a file and of `flags`.

    Raises ConfigError like `load`.
    """
    config = load(path, flags)
    source = read_file(path) if path else Source({})
    return [
        Setting(name, text_of(name, value), _origin(name, path, source, flags, environ, config))
        for name, value in _values(config, environ)
    ]


def _values(config: Config, environ: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    of_consul = None if config.is_embedded else config.consul_settings(environ)
    for name, value in leaves(config):
        section, _, field = name.rpartition(".")
        if name == "state_dir":
            yield name, config.state_folder(environ)
        elif section == "consul" and field != "wait":
            yield name, getattr(of_consul, field, "") or None
        else:
            yield name, value


def leaves(section: BaseModel, above: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the dotted name and the value of every option."""
    for field, value in section:
        name = f"{above}{option_name(type(section), field)}"
        if isinstance(value, BaseModel):
            yield from leaves(value, f"{name}.")
        else:
            yield name, value


def _origin(
    name: str, path: Path | None, source: Source, flags: Mapping[str, Any], environ: Mapping[str, str], config: Config
) -> str:
    if flags.get(name) is not None:
        return "the command line"
    if path and is_set(source.document, name) and not (name == "consul.token_file" and flags.get("consul.token")):
        theirs = source.name(name)
        return f"{path}" if theirs == name else f"{path}: {theirs}"
    if used := _variable(name, environ, config):
        return f"the environment, {used}"
    return "the default of p2_compat" if config.p2_compat and name.startswith("defaults.") else "the default"


def _variable(name: str, environ: Mapping[str, str], config: Config) -> str:
    """Returns the variable that supplied an option which nothing else set; "" for none."""
    if name == "state_dir" and not config.health_dir:
        return next((each for each in OF_FOLDERS if environ.get(each)), "")
    if name == "ca_file" and str(config.ca_file) == environ.get("SSL_CERT_FILE"):
        return "SSL_CERT_FILE"
    if config.is_embedded:
        return ""
    return next((each for each in OF_CONSUL.get(name, ()) if environ.get(each)), "")


def text_of(name: str, value: Any) -> str:
    """Returns the value of an option in YAML's flow style. Secrets are hidden."""
    if name in SECRETS and value:
        return json.dumps(HIDDEN)
    if name in HEADERS:
        return json.dumps({header: HIDDEN for header, _ in value or ()})
    match value:
        case float():
            return go_duration(value)
        case [(int(), int()), *_]:
            shown: Any = status_ranges(value).split(", ")
        case tuple() | list():
            shown = [str(each) for each in value]
        case None | bool() | int() | dict():
            shown = value
        case _:
            shown = str(value)
    is_plain = isinstance(shown, str) and WORD.fullmatch(shown) and resolve(Plain(shown)) == shown
    return str(shown) if is_plain else json.dumps(shown, ensure_ascii=False)
