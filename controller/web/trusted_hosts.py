"""Checks the framing, the form and the Host of each request before anything else sees it.

Another site can point its own name to our address (DNS rebinding). The browser then treats our answers as answers of
that site, and its scripts can read them. `Host` still has the name of that site. So a request over loopback is answered
only if its Host is an address, a name of this machine, or a name that the configuration allows. A server for other
machines has names that are not known here, so it checks the Host only if `allowed_hosts` is set.
"""

import re
import socket
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from urllib.parse import unquote

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

ABSOLUTE = re.compile(rb"https?://(?:[^/@]*@)?([^/@]*)(/.*)?", re.IGNORECASE | re.DOTALL)
"""A request target in absolute form, as sent to a proxy (RFC 9112, 3.2.2). Its host overrides the header."""
HOSTS = Path("/etc/hosts")
HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::[0-9]*)?")
EVERY_HOST = "*"
MISDIRECTED = (
    "the Host of this request is not a name of this machine\n"
    "use localhost or an IP address, or add the name to allowed_hosts in the configuration and restart\n"
)
CLOSE = {"Connection": "close", "Cache-Control": "no-store"}
NO_STORE = {"Cache-Control": "no-store"}


class TrustedHosts:
    """An ASGI application in front of another.

    `names` are the names of this machine. `allowed` are further names; `.example.com` allows every name below
    example.com, and `*` every name.
    """

    def __init__(self, app: ASGIApp, names: Collection[str], allowed: Collection[str]) -> None:
        self._app = app
        own = {name.lower() for name in (*names, "localhost", *_host_names())}
        self._names = own | {name.partition(".")[0] for name in own}
        self._allowed = tuple(name.lower() for name in allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer: ASGIApp = self._app
        if scope["type"] == "http":
            scope = _in_origin_form(scope)
            headers = dict(scope["headers"])
            host = headers.get(b"host", b"").decode("latin-1")
            if b"content-length" in headers and b"transfer-encoding" in headers:
                answer = PlainTextResponse("expected Content-Length or Transfer-Encoding, not both\n", 400, CLOSE)
            elif not self._is_meant(host, scope):
                answer = PlainTextResponse(MISDIRECTED, 421, NO_STORE)
        await answer(scope, receive, send)

    def _is_meant(self, host: str, scope: Scope) -> bool:
        if not self._allowed and not _is_loopback((scope.get("server") or ("",))[0]):
            return True
        found = HOST.fullmatch(host)
        name = found[1].lower().removesuffix(".") if found else "?"
        is_own = name == "" or name in self._names or self._is_allowed(name)
        return is_own or _address(name.removeprefix("[").removesuffix("]")) is not None

    def _is_allowed(self, name: str) -> bool:
        return name.endswith(".localhost") or any(
            each in {EVERY_HOST, name} or (each.startswith(".") and name.endswith(each)) for each in self._allowed
        )


def _host_names() -> set[str]:
    """Returns this host's name and the names on the same lines of /etc/hosts, which may be of a loopback address.

    No name is resolved, because that can take long.
    """
    name = socket.gethostname()
    try:
        lines = [line.partition("#")[0].split()[1:] for line in HOSTS.read_text("utf-8", "replace").splitlines()]
    except OSError:
        lines = []
    return {name}.union(*(names for names in lines if name in names))


def is_from_here(scope: Scope) -> bool:
    """Returns whether a request comes from this machine: over loopback, or from the address at which it arrived."""
    client, server = (scope.get("client") or ("",))[0], (scope.get("server") or ("",))[0]
    return client != "" and (client == server or _is_loopback(client))


def _in_origin_form(scope: Scope) -> Scope:
    """Returns the request in origin form, as sent to a server and not to a proxy."""
    if not (found := ABSOLUTE.fullmatch(scope["raw_path"])):
        return scope
    host, raw_path = found[1], found[2] or b"/"
    headers = [(b"host", host), *((name, text) for name, text in scope["headers"] if name != b"host")]
    return {**scope, "raw_path": raw_path, "path": unquote(raw_path.decode("ascii")), "headers": headers}


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return (isinstance(found, IPv6Address) and found.ipv4_mapped) or found


def _is_loopback(text: str) -> bool:
    address = _address(text)
    return address is not None and address.is_loopback
