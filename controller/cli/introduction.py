"""The first lines of `run` on a terminal: what is checked, where from and where to, and where to look."""

import os
from collections.abc import Mapping
from importlib.metadata import version

from controller.config import Config
from controller.config.fields import PLACES

WIDTH = 10


def introduction(config: Config, environ: Mapping[str, str], page: str) -> str:
    """Returns five lines. `page` is the URL of the page."""
    rows = {"manifests": _manifests(config, environ), "health": _health(config), "page": page, "stop": "Ctrl-C"}
    title = f"Podpulse {version('podpulse')} checks {config.checked}"
    return "\n".join([title, *(f"  {name:{WIDTH}}{text}" for name, text in rows.items())])


def _manifests(config: Config, environ: Mapping[str, str]) -> str:
    if config.has_urls:
        return f"the URLs of the command line and of {config.urls_file}" if config.urls_file else "the URLs given"
    if config.intent_dir:
        return str(config.intent_dir)
    nodes = "" if config.fleet else f"{config.node_name}/"
    return f"Consul at {config.consul_settings(environ).address}, {config.tree}/{nodes}"


def _health(config: Config) -> str:
    if config.has_urls:
        return "on the page and in the metrics; published nowhere else"
    if config.health_dir:
        return str(config.health_dir)
    return ", ".join(PLACES[place] for place in config.publish)


def has_terminal() -> bool:
    """Returns whether this process has a controlling terminal. It has none any more once the terminal was closed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
