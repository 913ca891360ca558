"""Requests of verbs to the page of a controller."""

from collections.abc import Mapping

import pycurl

from controller.runtime.bounded import BoundedBody
from reconcilers.escaping import safe_line


class NoController(Exception):
    """The controller did not answer as expected. The message says why."""


def get(url: str, path: str, *, timeout: int, limit: int, options: Mapping[int, object]) -> tuple[int, bytes]:
    """Returns status and body of `path` below `url`. Raises NoController if it takes too long or is too long."""
    answer = BoundedBody(limit)
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, f"{url.rstrip('/')}{path}")
    curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    curl.setopt(pycurl.NOPROXY, "*")
    curl.setopt(pycurl.TIMEOUT, timeout)
    curl.setopt(pycurl.WRITEFUNCTION, answer.write)
    for option, value in options.items():
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
