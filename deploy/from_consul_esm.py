#!/usr/bin/env python3
"""Converts the checks that consul-esm runs, from the catalog's external nodes, to manifests.

    curl -s 'http://127.0.0.1:8500/v1/health/state/any?node-meta=external-node:true' >checks.json
    deploy/from_consul_esm.py FOLDER <checks.json

Each HTTP and TCP check becomes FOLDER/<node>/<pod>.yaml; the pod is named after the check. Podpulse's own parser
validates every manifest before it is written. For each option that a manifest cannot express, standard error gets one
line. A check that would change its meaning without the option is left out.

Two differences apply to every check and are not reported: consul-esm follows redirects, but a probe does so only with
--follow-redirects, to the same host and port, and as far as `max_redirects` of the controller's configuration allows;
and the thresholds are taken from the controller's configuration, not from the manifests.

Exit codes:
  0  every check has its manifest
  1  a check was left out, or a file could not be written
  2  wrong use, or standard input is not an answer of Consul

Run it with the Python environment in which Podpulse is installed.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deploy.converting import (
    PORTS,
    ManifestError,
    Untranslatable,
    Writer,
    follow_redirects,
    is_address,
    path_of,
    port_of,
    split_url,
)
from reconcilers.fields import duration, go_duration
from reconcilers.spec import is_name

INTERVAL = "30s"
TIMEOUT = 10.0
"""consul-esm's default timeout. It is never longer than the interval."""

YEAR = 366 * 86_400

WARNING = 429
"""The status that consul-esm counts as a warning."""

PING = "externalNodeHealth"
"""The check with which consul-esm pings a node, by ICMP."""

ADDED_BY_CONSUL = {("Accept", "text/plain, text/*, */*"), ("User-Agent", "Consul Health Check")}
"""Headers that Consul adds itself."""


def manifest(check: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Returns the manifest for `check` (an item of /v1/health/state), and a note for each option that it lacks.

    Raises:
        Untranslatable: No manifest has the same meaning.
    """
    definition = check.get("Definition") or {}
    if definition.get("HTTP"):
        document, notes = _http(definition)
    elif definition.get("TCP"):
        document, notes = _tcp(definition), []
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
    try:
        url = split_url(definition["HTTP"])
        path = path_of(url)
    except Untranslatable as error:
        raise Untranslatable(f"HTTP: {error}") from None
    status: dict[str, Any] = {"path": path, "expect_status": "200-299", "warn_status": WARNING}
    notes = []
    headers = _headers(definition.get("Header") or {})
    if "host" not in map(str.lower, headers):
        notes.append(f"{url.hostname}: the probe uses the node's address in the catalog, with the node's name as Host")
    if (method := definition.get("Method") or "GET") != "GET":
        status["method"] = method
        if method != "HEAD":
            notes.append(f"Method: requires {method} among `allow_methods` in the controller's configuration")
    if body := definition.get("Body"):
        status["body"] = body
    if url.scheme == "https" and (tls := _tls(definition, url.hostname or "")):
        status["tls"] = tls
    if headers:
        status["headers"] = headers
        notes.append("Header: requires `allow_headers: true` in the controller's configuration")
    plain = {"status_http": True} if url.scheme == "http" else {}
    return {"status_port": port_of(url.port, PORTS[url.scheme]), **plain, "status": status}, notes


def _tls(definition: Mapping[str, Any], host: str) -> dict[str, Any]:
    name = definition.get("TLSServerName") or (host if not is_address(host) else "")
    verify = {"insecure_skip_verify": True} if definition.get("TLSSkipVerify") else {}
    return ({"server_name": name} if name else {}) | verify


def _tcp(definition: Mapping[str, Any]) -> dict[str, Any]:
    address = definition["TCP"]
    host, _, port = address.rpartition(":")
    if not port.isdigit() or len(port) > 5:
        raise Untranslatable(f"TCP: expected host:port, got {address!r}")
    tls = {"tls": _tls(definition, host.strip("[]"))} if definition.get("TCPUseTLS") else {}
    return {"status_port": port_of(int(port)), "status": {"kind": "tcp", **tls}}


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


def convert(checks: list[Mapping[str, Any]], folder: Path, *, follow: bool = False) -> Iterator[str]:
    """Writes the manifests, and yields the lines to report. A line that begins with `left out` names a check without a
    manifest."""
    writer = Writer(folder)
    for check in checks:
        name = f"{check['Node']} {check['CheckID']}"
        if check["CheckID"] == PING:
            yield f"note: {name}: Podpulse does not ping nodes; use a pod with `kind: tcp` instead"
            continue
        try:
            document, notes = manifest(check)
            if follow:
                follow_redirects(document)
            writer.write(check["Node"], document)
        except ManifestError as error:
            yield from (f"left out: {name}: {each}" for each in error.every)
        except ValueError as error:
            yield f"left out: {name}: {error}"
        except (AttributeError, TypeError):
            yield f"left out: {name}: expected a definition in the format of Consul"
        else:
            yield from (f"note: {name}: {note}" for note in notes)


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


def main(arguments: Sequence[str] | None = None) -> int:
    summary, _, details = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="where the manifests are written")
    parser.add_argument("--follow-redirects", action="store_true", help="follow redirects of GET and HEAD")
    given = parser.parse_args(arguments)
    try:
        checks = _checks(sys.stdin.buffer.read())
    except ValueError as error:
        parser.error(str(error))
    left_out = False
    try:
        for line in convert(checks, given.folder, follow=given.follow_redirects):
            left_out |= line.startswith("left out")
            sys.stderr.write(f"{line}\n")
    except OSError as error:
        sys.stderr.write(f"cannot write {error.filename}: {error.strerror}\n")
        return 1
    return int(left_out)


if __name__ == "__main__":
    sys.exit(main())
