"""Requests of verbs to the page of a controller."""

from collections.abc import Mapping
from pathlib import Path

import pycurl

from controller.runtime.bounded import BoundedBody
from reconcilers.escaping import safe_line


class NoController(Exception):
    """The controller did not answer as expected. The message says why."""


NOBODY = "none"
"""As the URL of a controller: no controller is asked."""
CONNECT_WITHIN = 1
"""Seconds for the connection to a controller that may be gone, where others can be asked instead."""


def get(
    url: str,
    path: str,
    *,
    timeout: int,
    limit: int,
    connect: int = 0,
    ca_file: Path | None = None,
    options: Mapping[int, object] | None = None,
) -> tuple[int, bytes]:
    """Returns status and body of `path` below `url`. Raises NoController if it takes too long or is too long.

    The connection may take `connect` of the `timeout` seconds, if that is not 0. `options` are further ones of libcurl.
    """
    answer = BoundedBody(limit)
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, f"{url.rstrip('/')}{path}")
    curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    curl.setopt(pycurl.NOPROXY, "*")
    curl.setopt(pycurl.TIMEOUT, timeout)
    curl.setopt(pycurl.WRITEFUNCTION, answer.write)
    curl.setopt(pycurl.CONNECTTIMEOUT, connect)
    if ca_file:
        curl.setopt(pycurl.CAINFO, str(ca_file))
    for option, value in (options or {}).items():
        curl.setopt(option, value)
    try:
        curl.perform()
        return curl.getinfo(pycurl.RESPONSE_CODE), bytes(answer.data)
    except pycurl.error as error:
        if answer.overflow:
            raise NoController(f"{without_user(url)} answered with more than {limit} bytes") from None
        why = safe_line(str(error.args[-1]))
        raise NoController(f"no controller answers at {without_user(url)}: {why}") from None
    finally:
        curl.close()


def without_user(url: str) -> str:
    """Returns the URL without the part before an @, which may be a password."""
    scheme, _, rest = url.rpartition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if scheme else rest.rpartition("@")[2]
