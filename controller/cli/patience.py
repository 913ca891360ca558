"""What a person sees who waits at a terminal."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

SOON = 1.0
"""Seconds within which an answer needs no excuse."""


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
