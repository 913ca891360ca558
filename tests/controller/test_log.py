"""One event is one line, whatever stands in it."""

import logging
import re
import subprocess
import sys

import pytest

from controller.log import LineFormatter


def line(message: str, *args: object) -> str:
    record = logging.LogRecord("controller.store", logging.WARNING, __file__, 1, message, args, None)
    return LineFormatter().format(record)


def test_a_line_has_time_level_logger_and_message() -> None:
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3} WARNING controller\.store: a is grün", line("%s is grün", "a")
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", r"a\nb"),
        ("a\r\nb", r"a\r\nb"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("nul\x00", r"nul\x00"),
        ("\u2028line", r"\u2028line"),
        ("\u202eright", r"\u202eright"),
        ("\x85next", r"\x85next"),
        ("\ud800", r"\ud800"),
        ("tab\t", r"tab\t"),
    ],
)
def test_control_characters_are_shown_and_not_sent(text: str, shown: str) -> None:
    assert line("%s", text).endswith(f": {shown}")
    assert len(line("%s", text).splitlines()) == 1


def test_a_traceback_follows_the_line() -> None:
    code = (
        "import logging; from controller import log; log.configure('info')\n"
        "try: 1/0\n"
        "except ZeroDivisionError: logging.getLogger('x').exception('it\\nfailed')\n"
        "logging.getLogger('x').debug('not shown')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, *rest = done.stderr.splitlines()
    assert first.endswith(r"ERROR x: it\nfailed")
    assert rest[0].startswith("Traceback")
    assert rest[-1] == "ZeroDivisionError: division by zero"
    assert done.stdout == ""
