"""The options of a controller that matter to a probe, for `podpulse probe` on the same machine or on another one.

The controller tells them through its API, by the dotted names of the configuration, as text in YAML's flow style. There
are no secrets among them. The folder of credentials is not among them either: whoever answers in place of a controller
could otherwise make a probe by hand send the credentials of this machine.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from controller.config.effective import HEADERS, leaves, text_of
from controller.config.model import Config
from controller.runtime.plain_files import unreadable
from reconcilers import yamltext

OPTIONS = frozenset({
    "node_name", "fleet", "tree", "address", "ca_file", "p2_compat", "allow_headers", "allow_methods", "allow_send",
    "max_redirects", "allow_output", "labels", "require_signature", "allow_addresses", "urls", "urls_file",
    "intent_dir", "health_dir",
})  # fmt: skip
"""The options outside of `defaults` that matter to a probe."""
DEFAULTS = "defaults."
FOLDERS = ("intent_dir", "health_dir")
FILES = (
    ("ca_file",),
    ("defaults.tls.ca_file",),
    ("defaults.tls.cert_file", "defaults.tls.key_file"),
    ("require_signature",),
    ("urls_file",),
)
"""The options that are files. Those of one entry go together."""


class OptionsError(ValueError):
    """Text that is not the options of a controller."""


class TakenOptions(NamedTuple):
    """The options of a controller by their dotted names, and one sentence about each that cannot be used here."""

    values: Mapping[str, Any]
    notes: Sequence[str]


def probe_options(config: Config) -> Mapping[str, str]:
    """Returns the options that matter to a probe, as text. Values of headers are hidden."""
    return {
        name: text_of(name, _absolute(name, value))
        for name, value in leaves(config)
        if (name in OPTIONS or name.startswith(DEFAULTS)) and value is not None and value != ""
    }


def taken(texts: Mapping[str, str]) -> TakenOptions:
    """Returns the options of a controller as far as they can be used here. Raises OptionsError."""
    try:
        values = {name: yamltext.load(text.encode()) for name, text in texts.items()}
    except yamltext.YamlError as error:
        raise OptionsError(str(error)) from None
    known = {name: value for name, value in values.items() if name in OPTIONS or name.startswith(DEFAULTS)}
    headers = {name: known[name] for name in sorted(HEADERS & known.keys()) if known[name]}
    files = list(_unusable(known))
    unusable = HEADERS.union(*(names for _, names in files))
    return TakenOptions(
        {name: value for name, value in known.items() if name not in unusable},
        [
            *(f"without the {name} of the controller, because it does not tell their values" for name in headers),
            *(f"without the {' and '.join(names)} of the controller: {why}" for why, names in files),
        ],
    )


def _absolute(name: str, value: Any) -> Any:
    """Returns the absolute path of a file or folder, because another process has another working directory."""
    is_path = name in FOLDERS or any(name in names for names in FILES)
    return Path(os.path.abspath(str(value))) if is_path else value  # noqa: PTH100 - the path need not exist


def _unusable(options: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[str]]]:
    """Yields why files cannot be used here, and the options that name them."""
    for names in FILES:
        paths = [str(options[name]) for name in names if name in options]
        if problem := next(filter(None, map(_problem, paths)), ""):
            yield problem, names


def _problem(path: str) -> str:
    return f"{path} cannot be read here: {problem}" if (problem := unreadable(path)) else ""
