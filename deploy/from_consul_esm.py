#!/usr/bin/env python3
"""Makes manifests of the checks that consul-esm runs: what the catalog says about external nodes.

    curl -s 'http://127.0.0.1:8500/v1/health/state/any?node-meta=external-node:true' >checks.json
    deploy/from_consul_esm.py FOLDER <checks.json

Each HTTP and TCP check becomes FOLDER/<node>/<pod>.yaml; the pod is named after the check. What a manifest cannot say
is told on standard error. A check that would be another one without it is left out, and then the exit code is 1.

It needs nothing but Python, so that it runs where Consul is.
"""

import ipaddress
import json
import posixpath
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

INTERVAL = "30s"
"""consul-esm's, where a check does not say one."""

PING = "externalNodeHealth"
"""consul-esm's own check of a node, by ICMP."""

PORTS = {"http": 80, "https": 443}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
OF_CONSUL = {"Accept", "User-Agent"}
"""Headers that Consul adds itself."""


class Untranslatable(ValueError):
    """A check that no manifest can ask for; the message says why."""


def manifest(check: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The manifest that asks for `check` (one of /v1/health/state), and what it does not say.

    Raises:
        Untranslatable: it would ask for something else.
    """
    definition = check.get("Definition") or {}
    if definition.get("HTTP"):
        document, notes = _http(definition)
    elif definition.get("TCP"):
        document, notes = _tcp(definition["TCP"]), []
    else:
        raise Untranslatable("neither an HTTP nor a TCP check")
    document["status"] |= _times(definition)
    if _given(definition.get("DeregisterCriticalServiceAfter")):
        notes.append("DeregisterCriticalServiceAfter: a pod goes when its manifest does, and not before")
    return {"id": pod(check), **document}, notes


def pod(check: Mapping[str, Any]) -> str:
    """The check's id as a pod's name: without Consul's `service:`, and with dashes for what no name may have.

    Raises:
        Untranslatable: nothing of it is left.
    """
    name = re.sub(r"[^A-Za-z0-9._-]", "-", str(check["CheckID"]).removeprefix("service:"))
    if not NAME.fullmatch(name):
        raise Untranslatable(f"CheckID: {name!r} cannot be the name of a pod")
    return name


def _http(definition: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    url = urlsplit(definition["HTTP"])
    method = definition.get("Method") or "GET"
    if method not in {"GET", "HEAD"}:
        raise Untranslatable(f"Method: {method}; a probe is GET or HEAD")
    if url.scheme not in PORTS:
        raise Untranslatable(f"HTTP: {url.scheme!r} is neither http nor https")
    if url.username is not None:
        raise Untranslatable("HTTP: a probe sends no user and password; a manifest's `headers` may say Authorization")
    status: dict[str, Any] = {"path": _path(url), "expect_status": "200-299"}
    notes = [f"{url.hostname}: the node's address in the catalog is asked, with the node's name as Host"]
    if method != "GET":
        status["method"] = method
    if url.scheme == "https":
        status |= _tls(definition, url)
    if headers := _headers(definition.get("Header") or {}):
        status["headers"] = headers
        notes.append("Header: only where the controller's configuration says `allow_headers: true`")
    plain = {"status_http": True} if url.scheme == "http" else {}
    return {"status_port": _port(url.port, PORTS[url.scheme]), **plain, "status": status}, notes


def _path(url: SplitResult) -> str:
    """A manifest's path and query are those of a URL; the path is cleaned as p2 does it."""
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


def _headers(said: Mapping[str, list[str]]) -> dict[str, str]:
    return {name: ", ".join(values) for name, values in said.items() if name not in OF_CONSUL}


def _times(definition: Mapping[str, Any]) -> dict[str, str]:
    interval = definition.get("Interval")
    times = {"interval": str(interval) if _given(interval) else INTERVAL}
    return times | ({"timeout": str(definition["Timeout"])} if _given(definition.get("Timeout")) else {})


def _given(duration: object) -> bool:
    return duration not in {None, "", "0s", 0}


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def convert(checks: list[Mapping[str, Any]], folder: Path) -> Iterator[str]:
    """Write the manifests; a line for each thing that a manifest does not say. Those that begin with `left out` are
    checks without one."""
    written: set[Path] = set()
    for check in checks:
        name = f"{check['Node']} {check['CheckID']}"
        if check["CheckID"] == PING:
            yield f"note: {name}: nodes are not pinged; a pod with `kind: tcp` says as much"
            continue
        try:
            document, notes = manifest(check)
            _write(document, _file(folder, check["Node"], document["id"]), written)
        except ValueError as error:
            yield f"left out: {name}: {error}"
        else:
            yield from (f"note: {name}: {note}" for note in notes)


def _file(folder: Path, node: str, name: str) -> Path:
    if not NAME.fullmatch(node):
        raise Untranslatable(f"Node: {node!r} cannot be the name of a node")
    return folder / node / f"{name}.yaml"


def _write(document: Mapping[str, Any], file: Path, written: set[Path]) -> None:
    if file in written:
        raise Untranslatable(f"another check of this node is called {document['id']} as well")
    written.add(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=2) + "\n")


def main() -> int:
    if len(sys.argv) != 2:
        sys.stderr.write(__doc__ or "")
        return 2
    lines = list(convert(json.load(sys.stdin), Path(sys.argv[1])))
    sys.stderr.writelines(f"{line}\n" for line in lines)
    return int(any(line.startswith("left out") for line in lines))


if __name__ == "__main__":
    sys.exit(main())
