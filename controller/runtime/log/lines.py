"""Formats an event as one line of text or JSON, with control characters escaped.

A message may contain text from a pod or from Consul. A line feed in that text must not forge a second line.
"""

import json
import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from reconcilers.escaping import safe_json, safe_line, safe_lines

FIELDS = ("node", "pod", "state", "reason", "repeated", "seconds")
"""What an event may have in addition to its message, as `extra` of the call. In JSON each is a separate field."""

PRIORITIES = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "INFO": 6, "DEBUG": 7}
"""syslog's priorities by level name."""


class LineFormatter(logging.Formatter):
    """`time level logger: message` on one line; a traceback follows on separate lines."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        return safe_line(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's own name
        return safe_lines(super().formatException(ei))


class JsonFormatter(logging.Formatter):
    """One object per line: time (RFC 3339), level, logger, message, the `FIELDS` that are set, traceback."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name in FIELDS if (value := getattr(record, name, "")) not in {"", None}}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return safe_json(json.dumps(line))


class JournalFormatter(logging.Formatter):
    """Puts the priority that journald reads before each line of another formatter, for `journalctl -p warning`."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{PRIORITIES.get(record.levelname, 6)}>"
        return "\n".join(prefix + line for line in self._inner.format(record).splitlines())


def journal_reads(descriptor: int, environ: Mapping[str, str]) -> bool:
    """Returns whether a descriptor leads to systemd's journal. systemd sets JOURNAL_STREAM to its device and inode."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
