"""The fields of the configuration: what each accepts, and the message for other values."""

import re
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BeforeValidator, InstanceOf

from controller.config.keyring import Keyring
from controller.consul.settings import ADDRESS, NAME, settings_from_environment
from controller.runtime.plain_files import unreadable
from reconcilers import labels, yamltext
from reconcilers.fields import is_host
from reconcilers.request_fields import headers
from reconcilers.spec import Method, is_name
from reconcilers.target_guard import Allowance
from reconcilers.urls import checks_of

HOST_AND_PORT = "HOST:PORT"
METHODS = frozenset(get_args(Method))
PLACES = {"kv": "health/ in Consul", "agent": "services of Consul's agent", "catalog": "Consul's catalog"}
"""By name, the places in Consul where health can be published, in words."""
META_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")


def yaml_document(path: Path, error: type[ValueError]) -> Any:
    """Returns the document of a YAML file. Raises `error` if it cannot be read or is not YAML."""
    try:
        return yamltext.load(path.read_bytes())
    except OSError as problem:
        raise error(f"{path}: cannot be read: {problem.strerror}") from None
    except yamltext.YamlError as problem:
        raise error(f"{path}: {problem}") from None


def _text(expected: str, is_valid: Callable[[str], object]) -> BeforeValidator:
    """Returns a validator of text, whose error names what was `expected`."""

    def read(value: object) -> str:
        if isinstance(value, str) and is_valid(value):
            return str(value)
        raise ValueError(f"expected {expected}")

    return BeforeValidator(read)


def _is_pod_address(text: str) -> bool:
    try:
        return text in {"name", "catalog"} or bool(ip_address(text))
    except ValueError:
        return False


def _listen(text: object) -> object:
    listening(text)
    return str(text)


def _canary(text: object) -> object:
    if not isinstance(text, str) or text not in {"consul", "none"}:
        host_and_port(text, f"consul, none or {HOST_AND_PORT}")
    return str(text)


def listening(text: object) -> tuple[str, int]:
    """Returns host ("" for all addresses) and port. Raises ValueError if the text is neither HOST:PORT nor :PORT."""
    expected = f"{HOST_AND_PORT}, or :PORT for every address"
    if isinstance(text, str) and text.startswith(":") and text.count(":") == 1:
        return "", host_and_port(f"localhost{text}", expected)[1]
    return host_and_port(text, expected)


def host_and_port(text: object, expected: str = HOST_AND_PORT) -> tuple[str, int]:
    """Returns host and port of HOST:PORT. Raises ValueError, which names what was `expected`, for another text."""
    host, _, port = text.rpartition(":") if isinstance(text, str) else ("", "", "")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not (bare and port.isascii() and port.isdigit() and int(port) <= 65_535) or (":" in bare) != (bare != host):
        raise ValueError(f"expected {expected}")
    if not is_host(bare):
        raise ValueError(f"expected {expected}, the host being an IP address or a name in labels of 1 to 63 characters")
    return bare, int(port)


def _allowances(value: object) -> tuple[Allowance, ...]:
    return tuple(Allowance.parse(str(each)) for each in _listed(value))


def _listed(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else [value]


def _path(value: object) -> Path:
    if not isinstance(value, str | Path) or not str(value) or not str(value).isprintable():
        raise ValueError("expected a path")
    return Path(str(value))


def _readable(value: object) -> Path:
    path = _path(value)
    if problem := unreadable(str(path)):
        raise ValueError(f"expected a readable file: {problem}")
    return path


def _folder(value: object) -> Path:
    path = _path(value)
    if not path.is_absolute():
        raise ValueError("expected the absolute path of a folder")
    return path


def _keyring(value: object) -> object:
    try:
        path = _path(value)
    except ValueError:
        raise ValueError("expected the path of a keyring") from None
    return Keyring(path)


def _host_names(value: object) -> tuple[str, ...]:
    names = _listed(value)
    if not all(isinstance(name, str) and (name == "*" or is_host(name.removeprefix("."))) for name in names):
        raise ValueError("expected names of hosts without a port, .example.com for all below it, or *")
    return tuple(map(str, names))


def _publish(value: object) -> tuple[str, ...]:
    wanted = tuple(map(str, _listed(value)))
    if not wanted or len(set(wanted)) < len(wanted) or set(wanted) - PLACES.keys():
        raise ValueError("expected kv, agent or catalog, or a list of kv and one of the others")
    if {"agent", "catalog"} <= set(wanted):
        raise ValueError("agent is for nodes with a Consul agent and catalog for nodes without: expected one of them")
    return wanted


def _methods(value: object) -> tuple[str, ...]:
    methods = tuple(map(str, _listed(value)))
    if not methods or len(set(methods)) < len(methods) or set(methods) - METHODS:
        raise ValueError("expected a list of GET, HEAD, POST, PUT and OPTIONS, each at most once")
    return methods


def _urls(value: object) -> tuple[str, ...]:
    found = tuple(map(str, _listed(value)))
    checks_of(found)
    return found


def _meta(value: object) -> dict[str, str]:
    """Checks the meta of a Consul service by Consul's own limits."""
    if not isinstance(value, dict) or len(value) > 60:
        raise ValueError("expected a mapping of at most 60 names to values")
    for name, content in value.items():
        if not META_NAME.fullmatch(str(name)) or not isinstance(content, str) or len(content) > 512:
            raise ValueError(f"expected names of letters, digits, - and _, and values of up to 512, found {name!r:.60}")
    return {str(name): str(content) for name, content in value.items()}


def _label_names(value: object) -> tuple[str, ...]:
    names = list(value) if isinstance(value, list | tuple) else [value]
    if len(names) > labels.MAX_LABELS or len({*map(str, names)}) < len(names):
        raise ValueError(f"expected a list of at most {labels.MAX_LABELS} names of labels, each once")
    for name in names:
        if not isinstance(name, str) or not labels.is_name(name):
            taken = ", ".join(sorted(labels.RESERVED))
            expected = "up to 63 letters, digits and _, beginning with neither a digit nor __"
            raise ValueError(f"expected names of labels ({expected}; {taken} are taken), found {str(name)!r:.60}")
    return tuple(map(str, names))


def _consul_address(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected host:port, {ADDRESS}")
    settings_from_environment({}, address=value)
    return str(value)


def _consul_headers(value: object) -> tuple[tuple[str, str], ...]:
    found = headers(value)
    if any(name.lower() == "host" for name, _ in found):
        raise ValueError("expected headers other than those of the connection itself, found 'Host'")
    if any(name.lower() == "x-consul-token" for name, _ in found):
        raise ValueError("expected headers other than the token's, which has an option of its own")
    return found


FleetName = Annotated[str, _text("a name of letters, digits, dots, dashes and underscores, at most 128", is_name)]
NodeName = Annotated[str, _text("a node's name of letters, digits, dots, dashes and underscores, at most 128", is_name)]
PodAddress = Annotated[str, _text("name, catalog or an IP address", _is_pod_address)]
HostPort = Annotated[str, BeforeValidator(_listen)]
CanaryTarget = Annotated[str, BeforeValidator(_canary)]
Allowances = Annotated[tuple[Allowance, ...], BeforeValidator(_allowances)]
ReadableFile = Annotated[Path, BeforeValidator(_readable)]
KeyringFile = Annotated[InstanceOf[Keyring], BeforeValidator(_keyring)]
Urls = Annotated[tuple[str, ...], BeforeValidator(_urls)]
HostNames = Annotated[tuple[str, ...], BeforeValidator(_host_names)]
Methods = Annotated[tuple[str, ...], BeforeValidator(_methods)]
Publish = Annotated[tuple[str, ...], BeforeValidator(_publish)]
ConsulHeaders = Annotated[tuple[tuple[str, str], ...], BeforeValidator(_consul_headers)]
Folder = Annotated[Path, BeforeValidator(_folder)]
FilePath = Annotated[Path, BeforeValidator(_path)]
NamePrefix = Annotated[str, _text("at most 64 letters, digits and dashes", re.compile(r"[A-Za-z0-9-]{0,64}").fullmatch)]
MetaPrefix = Annotated[
    str, _text("at most 64 letters, digits, dashes and underscores", re.compile(r"[A-Za-z0-9_-]{0,64}").fullmatch)
]
Token = Annotated[str, _text("a token of printable ASCII without blanks", re.compile(r"[!-~]{0,4096}").fullmatch)]
HttpAuth = Annotated[str, _text("user:password", lambda text: text.isprintable() and text.partition(":")[0])]
ConsulName = Annotated[str, _text("up to 64 letters, digits and dashes", NAME.fullmatch)]
ConsulAddress = Annotated[str, BeforeValidator(_consul_address)]
LabelNames = Annotated[tuple[str, ...], BeforeValidator(_label_names)]
Meta = Annotated[dict[str, str], BeforeValidator(_meta)]
