"""Makes text from outside safe to write: for a terminal, a log and a page, for JSON, and for UTF-8.

A pod's answer, a controller's name or a file's name may contain an escape sequence, or its 8-bit form (C1), which
clears a terminal's screen. A format character (Cf) reverses the direction of the text that follows.
"""

import re
from collections.abc import Callable
from unicodedata import category

NOT_ASCII = re.compile(r"[^ -~]+")
"""The runs of characters that are examined one by one; every other character is printable."""


def safe_line(text: str) -> str:
    """Returns `text` on one line, with Python's escapes for unprintable characters (`\\x9b`, `\\u202e`, `\\n`)."""
    return text if text.isprintable() else NOT_ASCII.sub(lambda run: _escape_unprintable(run[0], _python_escape), text)


def safe_lines(text: str) -> str:
    """Like `safe_line`, but keeps line feeds and tabs."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join("\t".join(map(safe_line, line.split("\t"))) for line in lines)


def safe_words(text: str) -> str:
    """Like `safe_line`, with one space in place of each run of white space."""
    return safe_line(" ".join(text.split()))


def safe_json(text: str) -> str:
    """Returns JSON of the same value, with escapes for unprintable characters. Line feeds between values stay."""
    return text if text.isprintable() else NOT_ASCII.sub(lambda run: _escape_unprintable(run[0], _json_escape), text)


def safe_utf8(text: str, limit: int | None = None) -> str:
    """Returns `text` with `?` for each lone surrogate, which UTF-8 cannot encode. `limit` is in bytes of UTF-8."""
    return text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")


def quoted(text: str, limit: int = 40) -> str:
    """Returns the first `limit` characters of `text` in quotes and escaped, for an error message."""
    return repr(text if len(text) <= limit else f"{text[:limit]}…")


def _escape_unprintable(run: str, escape: Callable[[str], str]) -> str:
    """Escapes the characters that are neither printable nor a space of any width."""
    return "".join(each if each.isprintable() or category(each) == "Zs" else escape(each) for each in run)


def _python_escape(letter: str) -> str:
    return repr(letter)[1:-1]


def _json_escape(letter: str) -> str:
    """A character above U+FFFF becomes a pair of surrogates, as JSON defines it."""
    if letter == "\n":
        return letter
    return re.sub("....", r"\\u\g<0>", letter.encode("utf-16-be", "surrogatepass").hex())
