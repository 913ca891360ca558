"""The steps of a check of the kind tcp: their validators and texts.

A character of `send` or `expect` is one byte, U+0000 to U+00FF, so a manifest can say any byte with YAML's escapes.
"""

from collections.abc import Mapping
from typing import Annotated

import re2
from pydantic import BeforeValidator

from reconcilers.escaping import quoted
from reconcilers.fields import MAX_REGEX, Expression, regex_of
from reconcilers.request_fields import digest
from reconcilers.spec import Step

MAX_SENT = 4 * 1024
MAX_STEPS = 16
LINES = "(?m)"
NOT_BYTES = 'expected characters up to U+00FF, each of which is one byte; write UTF-8 as bytes, as in "\\xc3\\xa9"'


def sent(value: object) -> bytes:
    """Reads bytes to send."""
    if not isinstance(value, str) or len(value) > MAX_SENT:
        raise ValueError(f"expected text of at most {MAX_SENT} bytes")
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(NOT_BYTES) from None


def expectation(value: object) -> str:
    """Reads a regular expression in RE2's syntax, which is Go's, for bytes; see `in_lines`."""
    if not isinstance(value, str) or len(value) > MAX_REGEX:
        raise ValueError(f"expected a regular expression of at most {MAX_REGEX} characters")
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(NOT_BYTES) from None
    try:
        return regex_of(value, in_lines)
    except ValueError as error:
        raise ValueError(str(error).replace(f": {LINES}", ": ", 1)) from None


def in_lines(pattern: str) -> Expression:
    """Returns the expression, ready to search bytes. `^` and `$` match at each line. `re2` caches the last ones."""
    expression: Expression = re2.compile((LINES + pattern).encode("latin-1"), _OPTIONS)
    return expression


def steps(value: object) -> tuple[Step, ...]:
    """Reads a list of steps."""
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_STEPS:
        raise ValueError(f"expected a list of 1 to {MAX_STEPS} steps")
    return tuple(_step(f"step {number}", each) for number, each in enumerate(value, 1))


def _step(name: str, value: object) -> Step:
    said = {key: each for key, each in value.items() if each is not None} if isinstance(value, dict) else {}
    if wrong := sorted(said.keys() - {"send", "expect"}):
        raise ValueError(f"{name}: expected send, expect or both, found {quoted(wrong[0])}")
    try:
        step = Step(sent(said.get("send", "")), expectation(said.get("expect", "")))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if step == Step():
        raise ValueError(f"{name}: expected a mapping with send, expect or both")
    return step


def sent_text(data: bytes) -> str:
    """Returns the size of bytes to send and their digest: they may have a secret in them."""
    return f"{len(data)} bytes {digest(data.decode('latin-1'))}"


def step_texts(steps: tuple[Step, ...]) -> Mapping[str, str]:
    """Returns the text of each part of each step, by its number and name."""
    texts: dict[str, str] = {}
    for number, step in enumerate(steps, 1):
        texts |= {f"{number}.send": sent_text(step.send)} if step.send else {}
        texts |= {f"{number}.expect": step.expect} if step.expect else {}
    return texts


_OPTIONS = re2.Options()
_OPTIONS.encoding = re2.Options.Encoding.LATIN1
_OPTIONS.log_errors = False
_OPTIONS.never_capture = True
_OPTIONS.max_mem = 1 << 20

Sent = Annotated[bytes, BeforeValidator(sent)]
Expectation = Annotated[str, BeforeValidator(expectation)]
Steps = Annotated[tuple[Step, ...], BeforeValidator(steps)]
