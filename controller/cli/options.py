"""What the verbs share: the options for Consul, the key of a pod, and the report of errors.

The functions import the configuration and Consul's client only when they are called. A verb that needs neither starts
in a third of the time.
"""

import functools
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from controller.cli.terminal import is_lost, patience
from reconcilers.spec import PodKey, is_name

if TYPE_CHECKING:
    from controller.config import Config
    from controller.consul.client import ConsulClient
    from reconcilers.labels import Selector

F = TypeVar("F", bound=Callable[..., Any])

MAX_WAIT = 10.0
"""Seconds. p2's tools wait longer. But a Consul whose index was reset answers only at the end of the wait."""

HEADER = re.compile(r"([^=:]+)[=:] *(.*)", re.DOTALL)

USUAL = Path("/etc/podpulse/config.yaml")
"""The configuration that the systemd unit uses."""

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


def _duration(_context: click.Context, _option: click.Parameter, text: str | None) -> float | None:
    from reconcilers.fields import duration  # noqa: PLC0415 - see above

    try:
        return None if text is None else min(MAX_WAIT, duration(1, 3600)(text))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _selector(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> "Selector":
    from reconcilers.labels import selector  # noqa: PLC0415 - see above

    try:
        return selector(given)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


label_option = click.option(
    "--label",
    "selector",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_selector,
    help="Only pods with this label in their manifest; NAME= for those without it. Repeatable: one of the values of "
    "each name.",
)
"""The function gets the condition as `selector`, see `reconcilers.labels`."""


def _states(_context: click.Context, _option: click.Parameter, text: str | None) -> frozenset[str]:
    from controller.cli.condition import STATES  # noqa: PLC0415 - see above

    given = frozenset(filter(None, (each.strip().lower() for each in (text or "").split(","))))
    if wrong := sorted(given.difference(STATES)):
        raise click.BadParameter(f"expected some of {', '.join(STATES)}, got {wrong[0][:60]!r}")
    return given


state_option = click.option(
    "--state",
    "states",
    metavar="STATE,...",
    callback=_states,
    help="Only pods in these states: critical, unknown, warning, passing, paused, unchecked [all].",
)
"""The function gets the states as `states`; an empty set is all of them."""


def _headers(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> dict[str, str] | None:
    """Parses `K=V` and `K: V`. No error shows a value, because it may be a secret."""
    pairs = [(match[1], match[2]) for text in given if (match := HEADER.fullmatch(text))]
    if len(pairs) < len(given):
        raise click.BadParameter("expected NAME=VALUE or 'NAME: VALUE'")
    if len(dict(pairs)) < len(pairs):
        raise click.BadParameter("expected each header once")
    return dict(pairs) or None


CONSUL_OPTIONS = {
    "address": click.option(
        "--consul", "address", metavar="ADDR", help="Consul's address [env CONSUL_HTTP_ADDR; 127.0.0.1:8500]."
    ),
    "token": click.option(
        "--token", metavar="TOKEN", help="ACL token, visible in the process list [env CONSUL_HTTP_TOKEN]."
    ),
    "token_file": click.option("--token-file", type=FILE, help="File with the ACL token [env CONSUL_HTTP_TOKEN_FILE]."),
    "namespace": click.option(
        "--namespace", metavar="NAME", help="Namespace of Consul Enterprise [env CONSUL_NAMESPACE; default]."
    ),
    "partition": click.option(
        "--partition", metavar="NAME", help="Admin partition of Consul Enterprise [env CONSUL_PARTITION; default]."
    ),
    "https": click.option("--https", is_flag=True, help="Use TLS to Consul [env CONSUL_HTTP_SSL]."),
    "ca_file": click.option("--tls-ca-file", "ca_file", type=FILE, help="CA bundle for Consul [env CONSUL_CACERT]."),
    "cert_file": click.option(
        "--tls-cert-file", "cert_file", type=FILE, help="Client certificate [env CONSUL_CLIENT_CERT]."
    ),
    "key_file": click.option("--tls-key-file", "key_file", type=FILE, help="Its key [env CONSUL_CLIENT_KEY]."),
    "headers": click.option(
        "--header",
        "headers",
        metavar="NAME=VALUE",
        multiple=True,
        callback=_headers,
        help="Send this header with every request to Consul, for a proxy; repeatable.",
    ),
    "wait": click.option(
        "--wait",
        metavar="DURATION",
        callback=_duration,
        help="How long Consul may hold a request that waits for a change, at most 10s [10s].",
    ),
}


def consul_options(function: F) -> F:
    """Adds the options for Consul. The function gets them as one mapping, `consul`, for `load`."""

    @functools.wraps(function)
    def wrapper(**kwargs: Any) -> Any:
        given = {name: kwargs.pop(name) for name in CONSUL_OPTIONS}
        return function(consul=consul_fields(given), **kwargs)

    for option in reversed(CONSUL_OPTIONS.values()):
        wrapper = option(wrapper)
    return wrapper  # type: ignore[return-value]


def consul_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of the options for Consul by the names of the configuration's fields."""
    fields = {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}
    if fields.pop("https", False):
        address = fields["address"] or os.environ.get("CONSUL_HTTP_ADDR") or "127.0.0.1:8500"
        fields["address"] = f"https://{address.split('://', 1)[-1]}"
    return fields


@contextmanager
def explained(*kinds: type[Exception]) -> Iterator[None]:
    """Reports OSError and errors of these kinds as one message on standard error, with exit code 1."""
    expected: tuple[type[Exception], ...] = (OSError, *kinds)
    try:
        yield
    except expected as error:
        if isinstance(error, OSError) and is_lost():
            raise
        raise click.ClickException(str(error)) from error


def client(consul: Mapping[str, Any]) -> "AbstractContextManager[ConsulClient]":
    """Returns a client for these options; see `client_of`."""
    return client_of(load(None, consul, {}))


@contextmanager
def client_of(config: "Config") -> "Iterator[ConsulClient]":
    """Yields a client for a few requests. A terminal shows when a request takes long. Consul's errors are reported."""
    from controller.config import ConfigError  # noqa: PLC0415 - see above
    from controller.consul.client import ConsulClient, ConsulError  # noqa: PLC0415

    with explained(ConfigError, ConsulError):
        settings = config.consul_settings(os.environ)
        with ConsulClient(settings) as consul_client, patience(f"waiting for Consul at {settings.address}"):
            yield consul_client


def load(file: Path | None, consul: Mapping[str, Any], options: Mapping[str, Any]) -> "Config":
    """Reads the configuration. The options override it. Errors in it are reported."""
    from controller import config as configuration  # noqa: PLC0415 - see above

    with explained(configuration.ConfigError):
        return configuration.load(file, overrides(consul, options))


def usual_file(given: Path | None) -> Path | None:
    """Returns the configuration file that was given, else the usual one if this user may read it, else None."""
    return given or (USUAL if os.access(USUAL, os.R_OK) else None)


def overrides(consul: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options by the dotted names of their fields in the configuration."""
    names = {"node": "node_name", "node_address": "address"}
    return {
        **{names.get(name, name): value for name, value in options.items()},
        **{f"consul.{name}": value for name, value in consul.items()},
    }


def check_names(options: Mapping[str, str | None]) -> None:
    """Refuses values that cannot be the name of a node or pod. None stands for an option that was not given."""
    for option, name in options.items():
        if name is not None and not is_name(name):
            raise click.UsageError(f"{option}: expected a name, got {name[:60]!r}")


def key_of(pod: str, node: str | None) -> PodKey:
    """Returns the pod's key. Names that could lead to other keys are refused."""
    node = socket.gethostname() if node is None else node
    for what, name in (("node", node), ("pod", pod)):
        if not is_name(name):
            raise click.ClickException(
                f"{what}: expected letters, digits, dots, dashes and underscores, got {name[:60]!r}"
            )
    return PodKey(node, pod)
