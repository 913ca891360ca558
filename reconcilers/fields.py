"""Validators of the fields of a manifest or a configuration. They raise only `ValueError`.

Scalars of YAML arrive as unchanged text (`reconcilers.yamltext`); a `Plain` scalar was not quoted. Numbers and booleans
of Python come only from code.
"""

import posixpath
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Protocol, Self
from urllib.parse import quote

import re2
from pydantic import BeforeValidator

from reconcilers.p2.goscalars import resolve
from reconcilers.spec import is_name
from reconcilers.target_guard import is_address
from reconcilers.yamltext import Plain

MAX_TEXT = 2_048
MAX_REGEX = 1_024
MAX_PROGRAM = 2_000
MAX_STATUSES = 32

DECIMAL = re.compile(r"0|[1-9][0-9]{0,8}")
PART = r"([0-9]+(?:\.[0-9]+)?)"
DURATION = re.compile(rf"0|(?=.)(?:{PART}h)?(?:{PART}m)?(?:{PART}s)?(?:{PART}ms)?")
DAYS = re.compile(rf"(?:{PART}d)?(.*)")
DAY = 86_400
STATUS = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?")
EXPECTED = {
    "extra_forbidden": "no such option",
    "missing": "missing",
    "model_type": "expected a mapping",
    "dict_type": "expected a mapping",
    "string_type": "expected text",
    "tuple_type": "expected a list",
}
PATH_AND_REST = re.compile(r"\A([^?#]*)(.*)\Z", re.DOTALL)
STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
UNESCAPED = "/?:@!$&'()*+,;=~%"
FILE = re.compile(rf"(?:/[ -~]{{0,{MAX_TEXT - 1}}})?")
HOST = re.compile(r"(?=.*[A-Za-z_-])[A-Za-z0-9_.-]{1,254}")
"""Names that are not taken for an IP address: they have other characters than digits and dots."""


class FieldError(ValueError):
    """A wrong field. `field` is its path, "" for the whole document.

    The message is about the first wrong field. `others` are the errors of the other fields.
    """

    def __init__(self, field: str, problem: str, others: Sequence[Self] = ()) -> None:
        super().__init__(f"{field}: {problem}" if field else problem)
        self.field = field
        self.problem = problem
        self.others = tuple(others)

    @classmethod
    def of(cls, errors: Sequence[Self]) -> Self:
        """Combines errors, of which there is at least one."""
        return cls(errors[0].field, errors[0].problem, errors[1:])

    @property
    def every(self) -> tuple[Self, ...]:
        return (self, *self.others)


class Match(Protocol):
    def end(self) -> int: ...


class Expression(Protocol):
    """A compiled regular expression. `programsize` is the maximum number of steps for each byte."""

    @property
    def programsize(self) -> int: ...

    def search(self, text: bytes, pos: int = 0, endpos: int | None = None) -> Match | None: ...


def expectation(kind: str, message: str) -> str:
    """Returns what was expected of a field, in plain words, from the `kind` and `message` of pydantic's error."""
    return EXPECTED.get(kind) or message.removeprefix("Value error, ").replace("Input should be", "expected")


def boolean(value: object) -> bool:
    found = resolve(value) if isinstance(value, Plain) else value
    if isinstance(found, bool):
        return found
    raise ValueError("expected true or false")


def number(low: int, high: int) -> Callable[[object], int]:
    """Returns a reader of plain decimal numbers, which no YAML reader takes for octal, a time, or text."""

    def read(value: object) -> int:
        found = int(value) if isinstance(value, Plain) and DECIMAL.fullmatch(value) else value
        if isinstance(found, int) and not isinstance(found, bool) and low <= found <= high:
            return found
        raise ValueError(f"expected a plain decimal number from {low} to {high}")

    return read


def port(value: object) -> int:
    """Reads a port as p2 reads a number: `8000`, `8_000`, `0x1f40`, `8000.0`, and `010` for 8."""
    found = resolve(value) if isinstance(value, Plain) else value
    if isinstance(found, int | float) and not isinstance(found, bool) and 0 <= found < 65_536:
        return int(found)
    raise ValueError("expected a port from 1 to 65535 (0: none)")


def duration(low: float, high: float) -> Callable[[object], float]:
    """A reader of durations as Go writes them (`500ms`, `5s`, `1m30s`, `0`), in seconds; code may give a number."""
    expected = f"expected a duration from {go_duration(low)} to {go_duration(high)}, such as 500ms, 5s or 1m30s"

    def read(value: object) -> float:
        found = _seconds(value) if isinstance(value, str) else value
        if isinstance(found, int | float) and not isinstance(found, bool) and low <= found <= high:
            return float(found)
        raise ValueError(expected)

    return read


def go_duration(seconds: float) -> str:
    """Returns `seconds`, to the millisecond, as a manifest writes a duration."""
    whole, milli = divmod(round(seconds * 1000), 1000)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"), (milli, "ms"))
    return "".join(f"{amount}{unit}" for amount, unit in parts if amount) or "0s"


def days(low: float, high: float) -> Callable[[object], float]:
    """A reader of durations like `duration`, also with days: `14d`, `1d12h`."""
    expected = f"expected a duration from {in_days(low)} to {in_days(high)}, such as 14d or 36h"

    def read(value: object) -> float:
        found = _seconds_with_days(value) if isinstance(value, str) else value
        if isinstance(found, int | float) and not isinstance(found, bool) and low <= found <= high:
            return float(found)
        raise ValueError(expected)

    return read


def in_days(seconds: float) -> str:
    """Returns `seconds` like `go_duration`, with days."""
    whole, rest = divmod(seconds, DAY)
    return f"{whole:.0f}d{go_duration(rest) if rest else ''}" if whole else go_duration(rest)


def _text_that(is_valid: Callable[[str], object], expected: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if isinstance(value, str) and is_valid(value):
            return str(value)
        raise ValueError(f"expected {expected}")

    return read


def _is_line(text: str) -> bool:
    return len(text) <= MAX_TEXT and text.isprintable()


name = _text_that(is_name, "a name of letters, digits, '.', '_' and '-', at most 128 characters long")
host = _text_that(lambda text: not text or is_name(text), "a host's name of letters, digits, '.', '_' and '-'")
"""Reads the name of a host, which may become part of a URL; "" for none."""
text = _text_that(_is_line, f"text of one line, of at most {MAX_TEXT} characters")
file = _text_that(FILE.fullmatch, f"a file's absolute path in ASCII, of at most {MAX_TEXT} characters")
"""Reads the path of a file of this host; "" for none. The libraries that open the file accept ASCII only."""


def is_host(text: str) -> bool:
    """Whether `text` is an IP address, or a name that a resolver accepts: labels of 1 to 63 characters."""
    if is_address(text):
        return True
    try:
        return HOST.fullmatch(text.encode("idna").decode("ascii")) is not None
    except UnicodeError:
        return False


def path(value: object) -> str:
    """Reads the path of a URL, with or without a query; escapes such as `%2F` are kept.

    The path is cleaned as p2 does it: `..`, `//`, and a slash at the end of the text. A fragment (`#...`) is cut.
    Characters that a request may not have are escaped. "" is kept and means the default, as in p2.
    """
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise ValueError(f"expected a path of at most {MAX_TEXT} characters")
    if any(ord(letter) < 0x20 or 0x7F <= ord(letter) < 0xA0 for letter in value):
        raise ValueError("expected a path without control characters")
    if not value:
        return ""
    start, rest = PATH_AND_REST.findall(value)[0]
    cleaned = posixpath.normpath(f"/{start.lstrip('/')}")
    slash = "/" if rest and start.endswith("/") and cleaned != "/" else ""
    return quote(STRAY_PERCENT.sub("%25", cleaned + slash + rest.partition("#")[0]), safe=UNESCAPED)


def regex(value: object) -> str:
    """Reads a regular expression in RE2's syntax, which is Go's. A search takes linear time.

    The time is also linear in the size of the compiled program, which may be much longer than the expression.
    """
    if not isinstance(value, str) or len(value) > MAX_REGEX:
        raise ValueError(f"expected a regular expression of at most {MAX_REGEX} characters")
    return regex_of(value, compiled)


def regex_of(pattern: str, compiles: Callable[[str], Expression]) -> str:
    """Returns the pattern. Raises ValueError if it is no regular expression, or one that is too complex."""
    try:
        size = compiles(pattern).programsize
    except re2.error as error:
        raise ValueError(f"expected a regular expression (RE2): {_message(error)}") from None
    if size > MAX_PROGRAM:
        raise ValueError(f"expected a simpler regular expression: {size} steps, of which {MAX_PROGRAM} are allowed")
    return str(pattern)


def compiled(pattern: str) -> Expression:
    """Returns the expression, ready to search UTF-8. `re2` caches the last expressions."""
    expression: Expression = re2.compile(pattern.encode(), _OPTIONS)
    return expression


def statuses(value: object) -> tuple[tuple[int, int], ...]:
    """Reads ranges of HTTP status codes: one or a list of `200` and `200-299`."""
    items = value if isinstance(value, list) else [value]
    if not 1 <= len(items) <= MAX_STATUSES:
        raise ValueError(f"expected from 1 to {MAX_STATUSES} status codes or ranges of them")
    return tuple(_range(item) for item in items)


def statuses_or_none(value: object) -> tuple[tuple[int, int], ...]:
    """Reads ranges of HTTP status codes like `statuses`; an empty list is none."""
    return () if value == [] else statuses(value)


def http_version(value: object) -> str:
    """Reads a version of HTTP: 1.1 or 2, as a number or as text."""
    found = {"1.1": "1.1", "2": "2", "2.0": "2"}.get(str(value))
    if found is None or isinstance(value, bool):
        raise ValueError("expected 1.1 or 2")
    return found


def status_ranges(ranges: tuple[tuple[int, int], ...]) -> str:
    """Ranges of status codes as a manifest has them: `200-204, 301`."""
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)


def _seconds(value: str) -> float | None:
    match = DURATION.fullmatch(value) if len(value) <= 32 else None
    if match is None:
        return None
    hours, minutes, seconds, milli = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds + milli / 1000


def _seconds_with_days(value: str) -> float | None:
    match = DAYS.fullmatch(value) if len(value) <= 32 else None
    if match is None or match[1] is None:
        return _seconds(value)
    rest = _seconds(match[2]) if match[2] else 0.0
    return None if rest is None else float(match[1]) * DAY + rest


def _range(item: object) -> tuple[int, int]:
    match = STATUS.fullmatch(str(item)) if isinstance(item, str | int) else None
    if match and (low := int(match[1])) <= (high := int(match[2] or low)):
        return low, high
    raise ValueError('expected status codes from 100 to 599, such as 200 or "200-299"')


def _message(error: re2.error) -> str:
    reason: str = error.args[0].decode("utf-8", "replace")
    return reason if len(reason) <= 60 and reason.isprintable() else reason.partition(":")[0]


_OPTIONS = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.never_capture = True
_OPTIONS.max_mem = 1 << 20

Boolean = Annotated[bool, BeforeValidator(boolean)]
Port = Annotated[int, BeforeValidator(port)]
Name = Annotated[str, BeforeValidator(name)]
Host = Annotated[str, BeforeValidator(host)]
Text = Annotated[str, BeforeValidator(text)]
File = Annotated[str, BeforeValidator(file)]
Path = Annotated[str, BeforeValidator(path)]
Regex = Annotated[str, BeforeValidator(regex)]
Statuses = Annotated[tuple[tuple[int, int], ...], BeforeValidator(statuses)]
StatusesOrNone = Annotated[tuple[tuple[int, int], ...], BeforeValidator(statuses_or_none)]
