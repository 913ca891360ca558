"""What the controller needs of libcurl, checked at the start.

pycurl is built against one libcurl and loads the one that it finds. An option that the loaded one does not know is an
error only when it is used.
"""

import re

import pycurl

from controller.runtime.start_error import StartError

MINIMUM = (7, 87, 0)
"""The first release with CURLOPT_CA_CACHE_TIMEOUT, the newest option that is set. Source: its manual page."""
TLS_BACKEND = "OpenSSL/"
"""Certificates and keys in memory are given to libcurl as it takes them with OpenSSL."""


def check_libcurl() -> None:
    """Raises StartError when the loaded libcurl cannot do what Consul's client needs.

    The message names what is needed and what was found.
    """
    _, version, _, _, _, tls, *_ = pycurl.version_info()
    if _numbers(version) < MINIMUM or not str(tls).startswith(TLS_BACKEND):
        raise StartError(
            f"libcurl: expected {'.'.join(map(str, MINIMUM))} or later with OpenSSL, "
            f"got {version} with {tls or 'no TLS'}"
        )


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers of a release; a suffix such as -DEV is ignored."""
    return tuple(map(int, re.findall(r"\d+", version.partition("-")[0])))
