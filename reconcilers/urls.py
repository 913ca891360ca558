"""Checks from URLs, for use without manifests. Each URL becomes the manifest of a pod on the node that it names.

`https://shop.example/health` is the pod `https-health` on the node `shop.example`. Pure.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from urllib.parse import SplitResult, urlsplit

from reconcilers.spec import PodKey, is_name

PORTS: Mapping[str, int] = {"http": 80, "https": 443, "tcp": 0, "tls": 0, "grpc": 0, "grpcs": 0}
"""By scheme, the default port; 0 if there is none."""
EXPECTED = "expected a URL such as https://shop.example/health, tcp://db.example:5432 or grpc://search.example:9000"
MAX_URL = 2_000
MAX_SLUG = 60
NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9]+")


class UrlError(ValueError):
    """A URL that cannot be checked. The message has the URL and what was expected."""


@dataclass(frozen=True, slots=True)
class UrlCheck:
    """The pod of one URL, and its manifest."""

    key: PodKey
    manifest: bytes


def checks_of(urls: Iterable[str]) -> Mapping[PodKey, UrlCheck]:
    """Returns the check of each URL, by pod. A URL that is given twice is checked once.

    If several URLs would be the same pod, the name of each ends in a digest of its URL, so that it does not depend on
    the other URLs' order. Raises UrlError.
    """
    parts = {url: _parts(url) for url in dict.fromkeys(urls)}
    keys = {url: _key(each) for url, each in parts.items()}
    named = list(keys.values())
    checks = [_check(key if named.count(key) == 1 else _distinct(key, url), parts[url]) for url, key in keys.items()]
    return {check.key: check for check in checks}


def _parts(url: str) -> SplitResult:
    if len(url) > MAX_URL or not url.isprintable() or " " in url:
        raise UrlError(f"{url[:80]!r}: expected at most {MAX_URL} printable characters without blanks")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UrlError(f"{url!r}: {error}") from None
    if parts.scheme not in PORTS or not parts.hostname:
        raise UrlError(f"{url!r}: {EXPECTED}")
    if "@" in parts.netloc:
        raise UrlError(f"{parts.scheme}://***@{parts.netloc.rpartition('@')[2]}: expected no user or password")
    if not is_name(parts.hostname):
        raise UrlError(f"{url!r}: expected the name or IPv4 address of a host, got {parts.hostname!r}")
    if not (PORTS[parts.scheme] if port is None else port):
        raise UrlError(f"{url!r}: expected a port, as in {parts.scheme}://{parts.hostname}:9000")
    if parts.scheme in {"tcp", "tls"} and (parts.path.strip("/") or parts.query):
        raise UrlError(f"{url!r}: expected no path, because {parts.scheme.upper()} has none")
    return parts


def _key(parts: SplitResult) -> PodKey:
    port = "" if parts.port in {None, PORTS[parts.scheme]} else str(parts.port)
    words = (parts.scheme, port, *NOT_IN_NAMES.split(f"{parts.path} {parts.query}"))
    return PodKey(str(parts.hostname), "-".join(filter(None, words))[:MAX_SLUG])


def _distinct(key: PodKey, url: str) -> PodKey:
    return PodKey(key.node, f"{key.pod}-{blake2b(url.encode(), digest_size=4).hexdigest()}")


def _check(key: PodKey, parts: SplitResult) -> UrlCheck:
    lines = [f"id: {key.pod}", f"status_port: {parts.port or PORTS[parts.scheme]}"]
    path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    match parts.scheme:
        case "http" | "https":
            options = [f"path: {json.dumps(path, ensure_ascii=False)}"]
        case "tcp":
            options = ["kind: tcp"]
        case "tls":
            options = ["kind: tcp", "tls: {}"]
        case _:
            service = parts.path.strip("/")
            options = ["kind: grpc", *([f"service: {json.dumps(service, ensure_ascii=False)}"] if service else [])]
    if parts.scheme in {"http", "grpc"}:
        lines.append("status_http: true")
    return UrlCheck(key, "\n".join([*lines, "status:", *(f"  {option}" for option in options), ""]).encode())


def listed(text: str) -> list[str]:
    """Returns the URLs in a text with one URL on each line. Blank lines and those that begin with # are skipped."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]
