#!/usr/bin/env python3
"""Converts the checks that consul-esm runs, from the catalog's external nodes, to manifests.

    curl -s 'http://127.0.0.1:8500/v1/health/state/any?node-meta=external-node:true' >checks.json
    deploy/from_consul_esm.py FOLDER <checks.json

Each HTTP and TCP check becomes FOLDER/<node>/<pod>.yaml; the pod is named after the check. Podpulse's own parser
validates every manifest before it is written. For each option that a manifest cannot express, standard error gets one
line. A check that would change its meaning without the option is left out.

Two differences apply to every check and are not reported: consul-esm follows redirects, but a probe does not; and the
thresholds are taken from the controller's configuration, not from the manifests.

Exit codes:
  0  every check has its manifest
  1  a check was left out, or a file could not be written
  2  wrong use, or standard input is not an answer of Consul

Run it with the Python environment in which Podpulse is installed.
"""

import argparse
import ipaddress
import json
import posixpath
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
try:
    from reconcilers.fields import duration, go_duration
    from reconcilers.manifest import ManifestError, parse
    from reconcilers.options import Rules
    from reconcilers.spec import PodKey, is_name
except ModuleNotFoundError as missing:
    sys.exit(f"expected the Python that Podpulse is installed for, such as .venv/bin/python: {missing}")

INTERVAL = "30s"
TIMEOUT = 10.0
"""consul-esm's default timeout. It is never longer than the interval."""

YEAR = 366 * 86_400
RULES = Rules(allow_headers=True)

PING = "externalNodeHealth"
"""The check with which consul-esm pings a node, by ICMP."""

PORTS = {"http": 80, "https": 443}
STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
ADDED_BY_CONSUL = {("Accept", "text/plain, text/*, */*"), ("User-Agent", "Consul Health Check")}
"""Headers that Consul adds itself."""


class Untranslatable(ValueError):
    """A manifest cannot express the check. The message says why."""


def manifest(check: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Returns the manifest for `check` (an item of /v1/health/state), and a note for each option that it lacks.

    Raises:
        Untranslatable: No manifest has the same meaning.
    """
    definition = check.get("Definition") or {}
    for option in ("Body", "TCPUseTLS"):
        if definition.get(option):
            raise Untranslatable(f"{option}: no probe does that")
    if definition.get("HTTP"):
        document, notes = _http(definition)
    elif definition.get("TCP"):
        document, notes = _tcp(definition["TCP"]), []
    else:
        raise Untranslatable("neither an HTTP nor a TCP check")
    document["status"] |= _times(definition)
    if _given(definition.get("DeregisterCriticalServiceAfter")):
        notes.append("DeregisterCriticalServiceAfter: a pod is removed only when its manifest is removed")
    return {"id": pod(check), **document}, notes


def pod(check: Mapping[str, Any]) -> str:
    """Returns the check's id as a pod's name: without Consul's `service:`, and with dashes for invalid characters.

    Raises:
        Untranslatable: The result is not a valid name.
    """
    name = re.sub(r"[^A-Za-z0-9._-]", "-", str(check["CheckID"]).removeprefix("service:"))
    if not is_name(name):
        raise Untranslatable(f"CheckID: {name!r} cannot be the name of a pod")
    return name


def _http(definition: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    url = _url(definition["HTTP"])
    method = definition.get("Method") or "GET"
    if method not in {"GET", "HEAD"}:
        raise Untranslatable(f"Method: {method}; a probe is GET or HEAD")
    if url.scheme not in PORTS:
        raise Untranslatable(f"HTTP: {url.scheme!r} is neither http nor https")
    if url.username is not None:
        raise Untranslatable(
            "HTTP: a probe sends no user and password; use `headers` with Authorization in the manifest"
        )
    status: dict[str, Any] = {"path": _path(url), "expect_status": "200-299"}
    notes = [f"{url.hostname}: the probe uses the node's address in the catalog, with the node's name as Host"]
    if method != "GET":
        status["method"] = method
    if url.scheme == "https":
        status |= _tls(definition, url)
    if headers := _headers(definition.get("Header") or {}):
        status["headers"] = headers
        notes.append("Header: requires `allow_headers: true` in the controller's configuration")
    plain = {"status_http": True} if url.scheme == "http" else {}
    return {"status_port": _port(url.port, PORTS[url.scheme]), **plain, "status": status}, notes


def _url(text: str) -> SplitResult:
    if not text.isprintable() or STRAY_PERCENT.search(text):
        raise Untranslatable(f"HTTP: expected a URL, got {text!r}, which consul-esm cannot request either")
    return urlsplit(text)


def _path(url: SplitResult) -> str:
    """Returns the URL's path and query. p2 cleans a path, so the path must already be clean."""
    path, query = url.path or "/", f"?{url.query}" if url.query else ""
    cleaned = posixpath.normpath(path) + ("/" if query and path.endswith("/") and path != "/" else "")
    if cleaned != path or path.startswith("//"):
        raise Untranslatable(f"HTTP: a probe asks for {cleaned}, not for {path}")
    return path + query


def _port(port: int | None, default: int) -> int:
    if port is not None and not 0 < port < 65536:
        raise Untranslatable(f"expected a port from 1 to 65535, got {port}")
    return port or default


def _tls(definition: Mapping[str, Any], url: SplitResult) -> dict[str, Any]:
    name = definition.get("TLSServerName") or (url.hostname if not _is_address(url.hostname or "") else "")
    tls = ({"server_name": name} if name else {}) | (
        {"insecure_skip_verify": True} if definition.get("TLSSkipVerify") else {}
    )
    return {"tls": tls} if tls else {}


def _tcp(address: str) -> dict[str, Any]:
    if not (port := address.rpartition(":")[2]).isdigit() or len(port) > 5:
        raise Untranslatable(f"TCP: expected host:port, got {address!r}")
    return {"status_port": _port(int(port), 0), "status": {"kind": "tcp"}}


def _headers(headers: Mapping[str, list[str]]) -> dict[str, str]:
    joined = {name: ", ".join(values) for name, values in headers.items()}
    return dict(joined.items() - ADDED_BY_CONSUL)


def _times(definition: Mapping[str, Any]) -> dict[str, str]:
    interval, timeout = (definition.get(name) for name in ("Interval", "Timeout"))
    every = str(interval) if _given(interval) else INTERVAL
    return {"interval": every, "timeout": str(timeout) if _given(timeout) else _longest(every)}


def _longest(interval: str) -> str:
    """Returns the timeout of a check without one."""
    try:
        return go_duration(min(TIMEOUT, duration(0, YEAR)(interval)))
    except ValueError:
        return go_duration(TIMEOUT)


def _given(duration: object) -> bool:
    return duration not in {None, "", "0s", 0}


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def convert(checks: list[Mapping[str, Any]], folder: Path) -> Iterator[str]:
    """Writes the manifests, and yields the lines to report. A line that begins with `left out` names a check without a
    manifest."""
    written: set[Path] = set()
    for check in checks:
        name = f"{check['Node']} {check['CheckID']}"
        if check["CheckID"] == PING:
            yield f"note: {name}: Podpulse does not ping nodes; use a pod with `kind: tcp` instead"
            continue
        try:
            document, notes = manifest(check)
            text = _validated(check["Node"], document)
            _write(text, _file(folder, check["Node"], document["id"]), written)
        except ManifestError as error:
            yield from (f"left out: {name}: {each}" for each in error.every)
        except ValueError as error:
            yield f"left out: {name}: {error}"
        except (AttributeError, TypeError):
            yield f"left out: {name}: expected a definition in the format of Consul"
        else:
            yield from (f"note: {name}: {note}" for note in notes)


def _validated(node: str, document: Mapping[str, Any]) -> bytes:
    """Returns the bytes of a valid manifest.

    Raises:
        ManifestError: The manifest is invalid.
        Untranslatable: The node's name is invalid.
    """
    if not is_name(node):
        raise Untranslatable(f"Node: {node!r} cannot be the name of a node")
    data = (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
    parse(PodKey(node, document["id"]), data, RULES)
    return data


def _file(folder: Path, node: str, name: str) -> Path:
    return folder / node / f"{name}.yaml"


def _write(data: bytes, file: Path, written: set[Path]) -> None:
    if file in written:
        raise Untranslatable(f"another check of this node has the name {file.stem} too")
    written.add(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


def _checks(text: bytes) -> list[Mapping[str, Any]]:
    """Returns the checks in an answer of Consul.

    Raises:
        ValueError: The text is not such an answer.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"standard input: expected JSON: {error}") from None
    names = ("Node", "CheckID")
    if not isinstance(found, list) or not all(
        isinstance(each, dict) and all(isinstance(each.get(name), str) for name in names) for each in found
    ):
        raise ValueError("standard input: expected a list of checks from /v1/health/state")
    return found


def main() -> int:
    summary, _, details = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="where the manifests are written")
    folder = parser.parse_args().folder
    try:
        checks = _checks(sys.stdin.buffer.read())
    except ValueError as error:
        parser.error(str(error))
    left_out = False
    try:
        for line in convert(checks, folder):
            left_out |= line.startswith("left out")
            sys.stderr.write(f"{line}\n")
    except OSError as error:
        sys.stderr.write(f"cannot write {error.filename}: {error.strerror}\n")
        return 1
    return int(left_out)


if __name__ == "__main__":
    sys.exit(main())
