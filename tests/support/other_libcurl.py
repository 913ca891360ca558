"""The program with another libcurl, as pycurl reports it: `python -m tests.support.other_libcurl VERSION TLS VERB`.

An empty TLS stands for a libcurl without TLS.
"""

import sys
from typing import Any

import pycurl

from controller.__main__ import main


def pretend(version: str, tls: str) -> None:
    """Replace what pycurl reports of the loaded libcurl."""
    facts: list[Any] = list(pycurl.version_info())
    facts[1], facts[5] = version, tls or None
    if not tls:
        facts[4] &= ~pycurl.VERSION_SSL
    pycurl.version_info = lambda: tuple(facts)  # type: ignore[misc,assignment]


if __name__ == "__main__":
    pretend(*sys.argv[1:3])
    del sys.argv[1:3]
    main()
