"""The output of the verbs, and its differences on a terminal.

All output of a verb goes through this module. `say` escapes control characters, `say_json` does so in JSON, and
`console` interprets no text as markup or an emoji. A console is given only text that is safe already.
"""

import codecs
import errno
import gc
import io
import json
import locale
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn, TextIO

import click

from controller.runtime.standard_streams import STANDARD_ERROR, STANDARD_OUTPUT, keep_standard_streams
from reconcilers.escaping import safe_json, safe_lines

if TYPE_CHECKING:
    from rich.console import Console

SOON = 1.0
"""Seconds before a wait is shown."""
LOOKALIKES = {"█": "#", "…": "...", "━": "-", "╸": "-", "╺": "-"}
"""Replacements of our own characters where only ASCII can be written."""
ASCII = "podpulse.ascii"


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Writes `text`, one line or several."""
    click.echo(safe_lines(text), err=err, nl=nl)


def say_json(value: object, *, compact: bool = False) -> None:
    """Writes `value` as JSON: indented, or `compact` on one line."""
    separators = (",", ":") if compact else None
    text = json.dumps(
        value, indent=None if compact else 2, separators=separators, ensure_ascii=_has_ascii_only(sys.stdout)
    )
    click.echo(safe_json(text))


def console(*, stderr: bool = False, soft_wrap: bool = False) -> "Console":
    """Returns a console of rich that prints text as it is: `[::]` is not markup, and `:ab:` is not an emoji."""
    from rich.console import Console  # noqa: PLC0415 - most verbs do not need rich

    return Console(stderr=stderr, soft_wrap=soft_wrap, highlight=False, markup=False, emoji=False)


@contextmanager
def patience(what: str) -> Iterator[None]:
    """On a terminal, shows what is waited for after a second, and removes that at the end."""
    if not sys.stderr.isatty():
        yield
        return
    spinner = "line" if _has_ascii_only(sys.stderr) else "dots"
    from rich.text import Text  # noqa: PLC0415

    status = console(stderr=True).status(Text(safe_lines(what)), spinner=spinner)
    soon = threading.Timer(SOON, status.start)
    soon.daemon = True
    soon.start()
    try:
        yield
    finally:
        soon.cancel()
        soon.join()
        status.stop()


class _Output(io.TextIOWrapper):
    """Replaces a standard stream. `lost` is the error of a write that failed."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        said = os.environ.get("PYTHONIOENCODING") or os.environ.get("PYTHONUTF8")
        self.ascii_only = not (_is_utf8(stream.encoding) and (said or _is_utf8(locale.getencoding())))
        """Whether the reader can read ASCII only. Python itself writes UTF-8 in the locale C too."""
        self.lost: OSError | None = None
        at_once, through = stream.line_buffering, stream.write_through
        super().__init__(stream.detach(), "utf-8", "backslashreplace", line_buffering=at_once, write_through=through)

    def write(self, text: str) -> int:
        if self.ascii_only:
            text = text.encode("ascii", ASCII).decode()
        with self._noticing():
            return super().write(text)

    def flush(self) -> None:
        with self._noticing():
            super().flush()

    @contextmanager
    def _noticing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.lost = error
            raise


def ended_well(verbs: Callable[[], None]) -> NoReturn:
    """Runs the command line and exits. If standard output cannot be written, this is reported on standard error, with
    the exit code 1. A reader that has gone is not reported. Neither causes a traceback."""
    output, errors = _prepared()
    code: str | int | None = None
    try:
        verbs()
    except SystemExit as end:
        code = end.code
    except OSError:
        if not output.lost:
            raise
    with suppress(OSError):
        output.flush()
    if output.lost:
        code = code or 1
        if output.lost.errno != errno.EPIPE:
            with suppress(OSError):
                say(f"Error: standard output cannot be written: {output.lost.strerror}", err=True)
    with suppress(OSError):
        errors.flush()
    for stream, number in ((output, STANDARD_OUTPUT), (errors, STANDARD_ERROR)):
        if stream.lost:
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)  # or the interpreter's end tries again
    gc.freeze()  # the interpreter searches all objects at its end
    sys.exit(code)


def is_lost() -> bool:
    """Whether standard output cannot be written."""
    return getattr(sys.stdout, "lost", None) is not None


def _prepared() -> tuple[_Output, _Output]:
    """Replaces standard output and standard error. Closed streams lead to /dev/null."""
    keep_standard_streams()
    codecs.register_error(ASCII, _in_ascii)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - until the end
    output = _Output(_stream(sys.stdout, STANDARD_OUTPUT))
    errors = _Output(_stream(sys.stderr, STANDARD_ERROR))
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__ = output, errors  # type: ignore[misc]
    return output, errors


def _stream(stream: TextIO | None, number: int) -> io.TextIOWrapper:
    if isinstance(stream, io.TextIOWrapper):
        return stream
    return open(number, "w", encoding="utf-8", closefd=False)


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """An error handler for codecs: characters that look alike, else Python's escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(LOOKALIKES.get(each) or ascii(each)[1:-1] for each in letters), error.end


def _has_ascii_only(stream: object) -> bool:
    return getattr(stream, "ascii_only", False)


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name == "utf-8"
