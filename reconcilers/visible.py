"""Text of others, made safe to show: what a terminal would obey, or what reorders or hides text, becomes an escape.

A pod's answer, a name that a controller gave or a file's name may hold an escape sequence, or its 8-bit form (C1),
which clears a screen; a format character (Cf) turns the direction of what follows. `visible` is for people,
`json_visible` for JSON.
"""

import re
from collections.abc import Callable
from unicodedata import category

NOT_ASCII = re.compile(r"[^ -~]+")
"""Runs that have to be looked at letter by letter; all others can be printed."""


def visible(text: str) -> str:
    """`text` on one line: each character that cannot be printed as Python escapes it (`\\x9b`, `\\u202e`, `\\n`)."""
    return text if text.isprintable() else NOT_ASCII.sub(lambda run: _each(run[0], _python_escape), text)


def visible_lines(text: str) -> str:
    """The same of a text of several lines, whose line feeds and tabs stay."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join("\t".join(map(visible, line.split("\t"))) for line in lines)


def json_visible(text: str) -> str:
    """JSON of the same value, in which no character stands that cannot be printed; line feeds between values stay."""
    return text if text.isprintable() else NOT_ASCII.sub(lambda run: _each(run[0], _json_escape), text)


def _each(run: str, escape: Callable[[str], str]) -> str:
    return "".join(letter if _is_shown(letter) else escape(letter) for letter in run)


def _is_shown(letter: str) -> bool:
    """What can be printed, and spaces of any width."""
    return letter.isprintable() or category(letter) == "Zs"


def _python_escape(letter: str) -> str:
    return repr(letter)[1:-1]


def _json_escape(letter: str) -> str:
    """Beyond the first 65,536 characters it is a pair of halves, as JSON has it."""
    if letter == "\n":
        return letter
    return re.sub("....", r"\\u\g<0>", letter.encode("utf-16-be", "surrogatepass").hex())
