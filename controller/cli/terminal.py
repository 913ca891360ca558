"""What is different where a person sits at a terminal."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

SOON = 1.0
"""Seconds within which an answer needs no excuse."""


def has_colours() -> bool:
    """Whether standard output is a terminal that can show colours, and they are wanted."""
    dumb = os.environ.get("TERM", "") in {"dumb", "unknown"}
    return sys.stdout.isatty() and not dumb and not os.environ.get("NO_COLOR")


@contextmanager
def patience(what: str) -> Iterator[None]:
    """On a terminal, say what is waited for when it takes its time, and wipe it away when it is over."""
    if not sys.stderr.isatty():
        yield
        return
    status = Console(stderr=True).status(Text(what))
    soon = threading.Timer(SOON, status.start)
    soon.daemon = True
    soon.start()
    try:
        yield
    finally:
        soon.cancel()
        soon.join()
        status.stop()
