"""The log of this process: one line per event on standard error, with a rate limit; no thread waits for the reader."""

import logging
import os
import threading

from controller.runtime.log.lines import JournalFormatter, JsonFormatter, LineFormatter, journal_reads
from controller.runtime.log.non_blocking import NonBlockingHandler
from controller.runtime.standard_streams import STANDARD_ERROR

__all__ = ["configure", "set_level"]


def configure(level: str, style: str = "text") -> None:
    """Sends the log of this process to standard error, as `text` or `json`. A second call replaces the first one."""
    formatter: logging.Formatter = JsonFormatter() if style == "json" else LineFormatter()
    if journal_reads(STANDARD_ERROR, os.environ):
        formatter = JournalFormatter(formatter)
    handler = NonBlockingHandler(STANDARD_ERROR)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    threading.excepthook = _log_uncaught
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.WARNING)


def set_level(level: str) -> None:
    """Drops the lines below this level from now on."""
    logging.getLogger().setLevel(level.upper())


def _log_uncaught(uncaught: threading.ExceptHookArgs) -> None:
    name = uncaught.thread.name if uncaught.thread else "?"
    value = uncaught.exc_value or uncaught.exc_type()
    logging.getLogger(__name__).critical("thread %s has ended", name, exc_info=value)
