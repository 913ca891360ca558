"""Validators of the parts of an HTTP request that a manifest may set. They raise only `ValueError`.

No error shows a value, because a value may be a secret.
"""

import re
from contextlib import suppress
from hashlib import blake2b
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator

from reconcilers.escaping import quoted
from reconcilers.fields import MAX_TEXT

MAX_HEADERS = 32
MAX_BODY = 16 * 1024
DIGEST_BYTES = 6

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
HEADER_VALUE = re.compile(rf"[!-~](?:[ -~]{{0,{MAX_TEXT - 2}}}[!-~])?")
AUTHORITY = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
"""The value of Host: a name or an address, perhaps with a port (RFC 9110, 7.2)."""

OWN_HEADERS = frozenset(
    {
        *("connection", "keep-alive", "proxy-connection", "http2-settings"),
        *("content-length", "transfer-encoding", "te", "trailer", "expect"),
    }
)
"""Headers of the connection and of the framing of requests, which another value would break. With them, the author of a
manifest could hide a second request in the body of the first, or make the server wait for one."""


def headers(value: object) -> tuple[tuple[str, str], ...]:
    """Reads the headers of a request from a mapping of names to values."""
    if not isinstance(value, dict):
        raise ValueError("expected a mapping of header names to values")
    if len({header.lower() for header in value}) < len(value) or len(value) > MAX_HEADERS:
        raise ValueError(f"expected at most {MAX_HEADERS} headers, each once")
    return tuple(_header(header, content) for header, content in value.items())


def header_texts(headers: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Returns a digest of each header's value, by name: a value may be a secret, and its digest shows that it changed.
    Host is no secret and is shown."""
    return {name: value if name.lower() == "host" else digest(value) for name, value in headers}


def digest(secret: str) -> str:
    """Returns a short text that is the same for equal secrets."""
    return f"({blake2b(secret.encode('utf-8', 'replace'), digest_size=DIGEST_BYTES).hexdigest()})"


def _header(header: str, content: object) -> tuple[str, str]:
    shown = quoted(header)
    if not HEADER_NAME.fullmatch(header):
        raise ValueError(f"expected the name of a header, found {shown}")
    if header.lower() in OWN_HEADERS:
        raise ValueError(f"expected headers other than those of the connection itself, found {shown}")
    if not isinstance(content, str) or not HEADER_VALUE.fullmatch(content):
        raise ValueError(f"expected printable ASCII, at most {MAX_TEXT} characters, as the value of {shown}")
    if header.lower() == "host" and not _is_authority(content):
        raise ValueError(f"expected a host's name or address, perhaps with a port, as the value of {shown}")
    return str(header), str(content)


def body(value: object) -> str:
    """Reads the body of a request: text, of which the size in UTF-8 is limited."""
    if isinstance(value, str):
        with suppress(UnicodeEncodeError):
            if len(value.encode()) <= MAX_BODY:
                return str(value)
    raise ValueError(f"expected text of at most {MAX_BODY // 1024} KiB")


def body_text(body: str) -> str:
    """Returns the size of a body and its digest: a body may have a secret in it."""
    return f"{len(body.encode())} bytes {digest(body)}"


def _is_authority(text: str) -> bool:
    try:
        parts = urlsplit(f"//{text}")
        return AUTHORITY.fullmatch(text) is not None and parts.port != 0
    except ValueError:
        return False


Body = Annotated[str, BeforeValidator(body)]
Headers = Annotated[tuple[tuple[str, str], ...], BeforeValidator(headers)]
