"""Fields of the configuration: what each accepts, and what it says it expected."""

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, InstanceOf

from controller.keyring import Keyring
from controller.regular import unreadable
from reconcilers.fields import headers
from reconcilers.guard import Allowance
from reconcilers.spec import is_name

META_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")


def _node(text: object) -> object:
    if isinstance(text, str) and is_name(text):
        return str(text)
    raise ValueError("expected a node's name of letters, digits, dots, dashes and underscores, at most 128")


def _address(text: object) -> object:
    if not isinstance(text, str):
        raise ValueError("expected name, catalog or an IP address")
    if text not in {"name", "catalog"}:
        try:
            ip_address(text)
        except ValueError:
            raise ValueError("expected name, catalog or an IP address") from None
    return str(text)


def _listen(text: object) -> object:
    host_and_port(text, "HOST:PORT")
    return str(text)


def _canary(text: object) -> object:
    if not isinstance(text, str) or text not in {"consul", "none"}:
        host_and_port(text, "consul, none or HOST:PORT")
    return str(text)


def host_and_port(text: object, expected: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":") if isinstance(text, str) else ("", "", "")
    if not (host and colon and port.isascii() and port.isdigit() and int(port) <= 65_535):
        raise ValueError(f"expected {expected}")
    if not _is_encodable(host):
        raise ValueError(f"expected {expected}, the host in labels of 1 to 63 characters")
    return host.strip("[]"), int(port)


def _is_encodable(host: str) -> bool:
    """Whether a resolver can be asked for it at all: `socket` answers another name by an error of its own."""
    try:
        return bool(host.encode("idna"))
    except UnicodeError:
        return False


def _allowances(value: object) -> tuple[Allowance, ...]:
    return tuple(Allowance.parse(str(each)) for each in (value if isinstance(value, list | tuple) else [value]))


def _readable(value: object) -> Path:
    if problem := unreadable(str(value)):
        raise ValueError(f"expected a readable file: {problem}")
    return Path(str(value))


def _keyring(value: object) -> object:
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError("expected the path of a keyring")
    return Keyring(Path(value))


def _publish(value: object) -> tuple[str, ...]:
    wanted = tuple(str(each) for each in (value if isinstance(value, list | tuple) else [value]))
    if not wanted or len(set(wanted)) < len(wanted) or set(wanted) - {"kv", "agent"}:
        raise ValueError("expected kv, agent, or both")
    return wanted


def _meta(value: object) -> dict[str, str]:
    """Meta of a Consul service: Consul's own limits."""
    if not isinstance(value, dict) or len(value) > 60:
        raise ValueError("expected a mapping of at most 60 names to values")
    for name, content in value.items():
        if not META_NAME.fullmatch(str(name)) or not isinstance(content, str) or len(content) > 512:
            raise ValueError(f"expected names of letters, digits, - and _, and values of up to 512, found {name!r:.60}")
    return {str(name): str(content) for name, content in value.items()}


def _consul_headers(value: object) -> tuple[tuple[str, str], ...]:
    found = headers(value)
    if any(name.lower() == "x-consul-token" for name, _ in found):
        raise ValueError("expected headers other than the token's, which has an option of its own")
    return found


NodeName = Annotated[str, BeforeValidator(_node)]
PodAddress = Annotated[str, BeforeValidator(_address)]
HostPort = Annotated[str, BeforeValidator(_listen)]
CanaryTarget = Annotated[str, BeforeValidator(_canary)]
Allowances = Annotated[tuple[Allowance, ...], BeforeValidator(_allowances)]
ReadableFile = Annotated[Path, BeforeValidator(_readable)]
KeyringFile = Annotated[InstanceOf[Keyring], BeforeValidator(_keyring)]
Publish = Annotated[tuple[str, ...], BeforeValidator(_publish)]
ConsulHeaders = Annotated[tuple[tuple[str, str], ...], BeforeValidator(_consul_headers)]
Meta = Annotated[dict[str, str], BeforeValidator(_meta)]
