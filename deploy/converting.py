"""What the scripts share that make manifests from the configuration of other health checkers."""

import ipaddress
import json
import posixpath
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
try:
    from reconcilers.manifest import ManifestError, parse
    from reconcilers.options import Rules
    from reconcilers.spec import PodKey, is_name
except ModuleNotFoundError as missing:
    sys.exit(f"expected the Python that Podpulse is installed for, such as .venv/bin/python: {missing}")

__all__ = [
    "ManifestError",
    "Untranslatable",
    "Writer",
    "follow_redirects",
    "is_address",
    "path_of",
    "port_of",
    "split_url",
]

REDIRECTS = 10
RULES = Rules(
    allow_headers=True,
    allow_methods=frozenset({"GET", "HEAD", "POST", "PUT", "OPTIONS"}),
    allow_send=True,
    credentials_dir="/",
    max_redirects=REDIRECTS,
    labels=None,
)
"""What an operator can permit."""
PORTS: Mapping[str, int] = {"http": 80, "https": 443}
STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


class Untranslatable(ValueError):
    """A manifest cannot express the check. The message says why."""


class Writer:
    """Writes manifests below `folder`, as <node>/<pod>.yaml."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: set[Path] = set()

    def write(self, node: str, document: Mapping[str, Any]) -> None:
        """Writes a manifest that Podpulse's own parser accepts.

        Raises:
            ManifestError: The manifest is invalid.
            Untranslatable: The name of the node or of the pod is invalid, or another check has it.
            OSError: The file cannot be written.
        """
        pod = document["id"]
        for what, name in (("node", node), ("pod", pod)):
            if not is_name(name):
                raise Untranslatable(f"{name!r} cannot be the name of a {what}")
        data = (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
        parse(PodKey(node, pod), data, RULES)
        file = self._folder / node / f"{pod}.yaml"
        if file in self._written:
            raise Untranslatable(f"another check of this node has the name {pod} too")
        self._written.add(file)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def follow_redirects(document: Mapping[str, Any]) -> bool:
    """Lets a check over HTTP follow redirects. Returns whether it does: only GET and HEAD can."""
    status = document["status"]
    if "path" not in status or status.get("method", "GET") not in {"GET", "HEAD"}:
        return False
    status["follow_redirects"] = REDIRECTS
    return True


def split_url(text: str) -> SplitResult:
    """Returns the parts of an URL for http or https. Raises Untranslatable for any other text."""
    if not text.isprintable() or STRAY_PERCENT.search(text):
        raise Untranslatable(f"expected a URL, got {text!r}, which nobody can request")
    url = urlsplit(text)
    if url.scheme not in PORTS:
        raise Untranslatable(f"{url.scheme!r} is neither http nor https")
    if url.username is not None:
        raise Untranslatable("a probe takes user and password from files; use `basic_auth` in the manifest")
    return url


def path_of(url: SplitResult) -> str:
    """Returns the URL's path and query. p2 cleans a path, so the path must already be clean."""
    path, query = url.path or "/", f"?{url.query}" if url.query else ""
    cleaned = posixpath.normpath(path) + ("/" if query and path.endswith("/") and path != "/" else "")
    if cleaned != path or path.startswith("//"):
        raise Untranslatable(f"a probe asks for {cleaned}, not for {path}")
    return path + query


def port_of(port: int | None, default: int = 0) -> int:
    """Returns the port, or the default one. Raises Untranslatable if there is none."""
    if port is not None and not 0 < port < 65536:
        raise Untranslatable(f"expected a port from 1 to 65535, got {port}")
    if not port and not default:
        raise Untranslatable("expected a port")
    return port or default


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
