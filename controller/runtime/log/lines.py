"""What an event looks like: one line, as text or JSON, with control characters made visible.

Whatever comes from a pod or from Consul may stand in a message; a line feed in it must not forge a second line.
"""

import json
import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from reconcilers.visible import json_visible, visible, visible_lines

FIELDS = ("node", "pod", "state", "reason", "repeated", "seconds")
"""What an event may carry beside its message, as `extra` of the call: a field of its own in JSON."""

PRIORITIES = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "INFO": 6, "DEBUG": 7}
"""syslog's, by our levels."""


class LineFormatter(logging.Formatter):
    """`time level logger: message` on one line; a traceback follows on lines of its own."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        return visible(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's own name
        return visible_lines(super().formatException(ei))


class JsonFormatter(logging.Formatter):
    """One object a line: time (RFC 3339), level, logger, message, then what there is of `FIELDS` and traceback."""

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
        return json_visible(json.dumps(line))


class JournalFormatter(logging.Formatter):
    """What another formatter says, each line with the priority that journald takes off: `journalctl -p warning`."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{PRIORITIES.get(record.levelname, 6)}>"
        return "\n".join(prefix + line for line in self._inner.format(record).splitlines())


def journal_reads(descriptor: int, environ: Mapping[str, str]) -> bool:
    """Whether what is written there goes to systemd's journal, which says so in JOURNAL_STREAM."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
