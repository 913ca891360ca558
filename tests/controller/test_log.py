"""One event is one line, whatever text it contains."""

import json
import logging
import os
import re
import subprocess
import sys

import pytest

from controller.runtime.log.lines import JournalFormatter, JsonFormatter, LineFormatter, journal_reads


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
        "import logging; from controller.runtime import log; log.configure('info')\n"
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


def test_a_traceback_and_json_are_nothing_that_a_terminal_obeys() -> None:
    try:
        raise ValueError("\x1b[2J\u009b31m\x7f\u202e")  # noqa: TRY301 - there is to be a traceback
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "%s", ("\x7f",), sys.exc_info())
    assert LineFormatter().format(record).endswith(r"\nValueError: \x1b[2J\x9b31m\x7f\u202e".replace(r"\n", "\n", 1))
    record.exc_text = None
    shown = JsonFormatter().format(record)
    assert shown.isprintable()
    assert json.loads(shown)["message"] == "\x7f"


def test_lines_are_written_where_not_one_descriptor_more_may_be_opened() -> None:
    code = (
        "import logging, resource; from controller.runtime import log; log.configure('info')\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        "try: open('/dev/null')\n"
        "except OSError: logging.getLogger('x').exception('no\\ndescriptor')\n"
        "logging.getLogger('x').info('going on')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, *_, last = done.stderr.splitlines()
    assert first.endswith(r"ERROR x: no\ndescriptor")
    assert last.endswith("INFO x: going on")


def parsed(level: int, message: str, *args: object, **facts: object) -> dict[str, object]:
    record = logging.LogRecord("controller.store", level, __file__, 1, message, args, None)
    vars(record).update(facts)
    line = JsonFormatter().format(record)
    assert len(line.splitlines()) == 1
    fields: dict[str, object] = json.loads(line)
    return fields


def test_json_is_one_object_a_line_with_time_level_logger_and_message() -> None:
    fields = parsed(logging.WARNING, "%s is\ngrün\u2028", "a")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(fields.pop("time")))
    assert fields == {"level": "warning", "logger": "controller.store", "message": "a is\ngrün\u2028"}


def test_json_has_what_an_event_is_about_in_fields_of_their_own() -> None:
    fields = parsed(logging.INFO, "down", node="web1", pod="a", state="critical", reason="refused", other=1)
    assert [fields[name] for name in ("node", "pod", "state", "reason")] == ["web1", "a", "critical", "refused"]
    assert "other" not in fields
    assert "reason" not in parsed(logging.INFO, "up", state="passing", reason="")


def test_the_journal_gets_the_priority_of_every_line() -> None:
    record = logging.LogRecord("x", logging.WARNING, __file__, 1, "a", (), None)
    record.exc_text = "Traceback\nValueError"
    lines = JournalFormatter(LineFormatter()).format(record).splitlines()
    assert [line[:3] for line in lines] == ["<4>", "<4>", "<4>"]


def test_the_journal_is_known_by_what_systemd_says_about_the_stream() -> None:
    out, into = os.pipe()
    stat = os.fstat(into)
    assert journal_reads(into, {"JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"})
    assert not journal_reads(into, {"JOURNAL_STREAM": f"{stat.st_dev}:1"})
    assert not journal_reads(into, {})
    os.close(out)
    os.close(into)
    assert not journal_reads(into, {"JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"})


def test_a_thread_that_ends_by_an_exception_is_in_the_log() -> None:
    code = (
        "import threading; from controller.runtime import log; log.configure('info', 'json')\n"
        "thread = threading.Thread(target=lambda: 1 / 0, name='probe'); thread.start(); thread.join()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    fields = json.loads(done.stderr)
    assert (fields["level"], fields["message"]) == ("critical", "thread probe has ended")
    assert "ZeroDivisionError" in fields["traceback"]
