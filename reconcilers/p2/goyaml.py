"""Writes YAML as go-yaml v2 does, byte for byte: p2 marshals a manifest to this block style before it hashes it.

Only `reconcilers.p2.manifest` uses it. The text breaks long lines, escapes emojis and indents exactly as go-yaml does.

Source: the behaviour of gopkg.in/yaml.v2 at a5b47d31c556 (2016-09-28), the version in p2's go.mod. It is libyaml's
emitter with a width of 80 and an indentation of 2, without document markers.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cmp_to_key
from typing import TypeAlias

from reconcilers.p2.goscalars import Scalar, natural_key, precedes, resolve, write

WIDTH = 80
INDENTATION = 2
MAX_SIMPLE_KEY = 128

SPECIAL = re.compile(r"[^\n\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd]")
ESCAPED = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd]")
BREAK = re.compile(r"[\n\r\x85\u2028\u2029]")
NOT_PLAIN = re.compile(
    r"\A(?:[ #,\[\]{}&*!|>'\"%@`]|---|\.\.\.|[?:-](?: |\Z))"  # begins with an indicator
    r"|:(?: |\Z)|[ \n\u2028\u2029]#"  # would be read as a key or a comment
    r"|[\n\u2028\u2029]| \Z"
)
NOT_SINGLE_QUOTED = re.compile(r" [\n\u2028\u2029]|[\n\u2028\u2029] ")
NOT_LITERAL = re.compile(r" (?:[\n\u2028\u2029]|\Z)")
SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
SINGLE_SPACE = re.compile(r"(?<=[^ ]) (?=[^ ])")
ESCAPES = dict(zip('\0\a\b\t\n\v\f\r\x1b"\\\x85\xa0\u2028\u2029', '0abtnvfre"\\N_LP', strict=True))
"""By character, the letter of its escape sequence."""
BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True, slots=True)
class GoMap:
    """A mapping in the order of its text. It is not a dict, because 1, 1.0 and true are different keys in Go."""

    entries: tuple[tuple[Scalar, "Value"], ...]


Value: TypeAlias = Scalar | list["Value"] | GoMap


def go_map(entries: Iterable[tuple[Scalar, Value]]) -> GoMap:
    """Returns a map of these entries in go-yaml's order. The last of several equal keys wins.

    go-yaml's comparison is circular for some keys (`web-99` < `web-100` < `web-11`). p2 sorts these from a random
    order, so its result varies. A sort that starts from the natural order gives p2's most frequent result.
    """
    distinct = {(type(key), key): (key, value) for key, value in entries}
    return GoMap(tuple(sorted(sorted(distinct.values(), key=_natural_entry), key=cmp_to_key(_compare))))


def emit(document: GoMap) -> str:
    """Returns YAML with the line break `\\n`. Text with other line breaks keeps them."""
    writer = _Writer()
    writer.node(document, -INDENTATION, below_key=False)
    writer.line(0)
    return "".join(writer.pieces)


def _natural_entry(entry: tuple[Scalar, Value]) -> tuple[str, object]:
    key = entry[0]
    return type(key).__name__, natural_key(key) if isinstance(key, str) else str(key)


def _compare(one: tuple[Scalar, Value], other: tuple[Scalar, Value]) -> int:
    return -1 if precedes(one[0], other[0]) else 1


class _Writer:
    """libyaml's emitter. The piece before and the column decide how the next piece is joined."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self._column = 0
        self._after_space = True
        self._only_indented = True

    def node(self, value: Value, indent: int, *, below_key: bool) -> None:
        match value:
            case GoMap(entries=()):
                self._indicator("{}")
            case []:
                self._indicator("[]")
            case GoMap():
                self._mapping(value, indent + INDENTATION)
            case list():
                hanging = below_key and not self._only_indented
                self._sequence(value, indent if hanging else indent + INDENTATION)
            case _:
                self._scalar(value, indent + INDENTATION, foldable=True)

    def line(self, indent: int) -> None:
        """Moves to column `indent`: on this line if it has nothing but indentation, else on the next one."""
        if not self._only_indented or self._column > indent or (self._column == indent and not self._after_space):
            self._break("\n")
        self._put(" " * (indent - self._column))
        self._after_space = self._only_indented = True

    def _mapping(self, mapping: GoMap, indent: int) -> None:
        for key, value in mapping.entries:
            self.line(indent)
            if _is_simple(key):
                self._scalar(key, indent + INDENTATION, foldable=False)
                self._put(":")
                self._after_space = False
            else:
                self._indicator("?", indents=True)
                self._scalar(key, indent + INDENTATION, foldable=True)
                self.line(indent)
                self._indicator(":", indents=True)
            self.node(value, indent, below_key=True)

    def _sequence(self, items: list[Value], indent: int) -> None:
        for item in items:
            self.line(indent)
            self._indicator("-", indents=True)
            self.node(item, indent, below_key=False)

    def _scalar(self, value: Scalar, indent: int, *, foldable: bool) -> None:
        if not isinstance(value, str):
            self._indicator(write(value))
        elif not isinstance(resolve(value), str) or SEXAGESIMAL.fullmatch(value) or SPECIAL.search(value):
            self._double_quoted(value, indent, foldable=foldable)
        elif not NOT_PLAIN.search(value):
            self._indicator("")
            self._folded(value, indent, foldable=foldable)
        elif "\n" in value and not NOT_LITERAL.search(value):
            self._literal(value, indent)
        elif "\n" not in value and not NOT_SINGLE_QUOTED.search(value):
            self._single_quoted(value, indent, foldable=foldable)
        else:
            self._double_quoted(value, indent, foldable=foldable)

    def _single_quoted(self, text: str, indent: int, *, foldable: bool) -> None:
        self._indicator("'")
        for number, line in enumerate(text.splitlines(keepends=True)):
            content = line.rstrip("\u2028\u2029")
            if number and content:
                self.line(indent)
            self._folded(content.replace("'", "''"), indent, foldable=foldable)
            if content != line:
                self._break(line[len(content) :])
                self._only_indented = True
        self._put("'")
        self._after_space = self._only_indented = False

    def _folded(self, text: str, indent: int, *, foldable: bool) -> None:
        """Breaks the line at a single space between words beyond the width."""
        words = SINGLE_SPACE.split(text) if foldable and self._column + len(text) > WIDTH else [text]
        self._put(words[0])
        for word in words[1:]:
            if self._column > WIDTH:
                self.line(indent)
                self._put(word)
            else:
                self._put(f" {word}")
        self._after_space = self._only_indented = False

    def _double_quoted(self, text: str, indent: int, *, foldable: bool) -> None:
        self._indicator('"')
        escape_all = text.startswith(BYTE_ORDER_MARK)
        after_space = False
        for place, letter in enumerate(text):
            may_break = letter == " " and foldable and not after_space and 0 < place < len(text) - 1
            if escape_all or ESCAPED.match(letter):
                self._put(_escape(letter))
            elif may_break and self._column > WIDTH:
                self.line(indent)
                if text[place + 1] == " ":
                    self._put("\\")
            else:
                self._put(letter)
            after_space = letter == " " and not escape_all
        self._put('"')
        self._after_space = self._only_indented = False

    def _literal(self, text: str, indent: int) -> None:
        self._indicator("|")
        self._put(("2" if text[0] in " \n\u2028\u2029" else "") + _chomping(text))
        self._break("\n")
        for line in text.splitlines(keepends=True):
            content = line.rstrip("\n\u2028\u2029")
            if content:
                self._put(" " * indent + content)
            self._only_indented = content != line
            if self._only_indented:
                self._break(line[len(content) :])
        self._after_space = True

    def _indicator(self, text: str, *, indents: bool = False) -> None:
        """Writes an indicator or a word, after a space if needed. `indents`: it counts as indentation."""
        self._put(text if self._after_space else f" {text}")
        self._after_space = False
        self._only_indented = self._only_indented and indents

    def _put(self, text: str) -> None:
        self.pieces.append(text)
        self._column += len(text)

    def _break(self, text: str) -> None:
        self.pieces.append(text)
        self._column = 0


def _is_simple(key: Scalar) -> bool:
    return not isinstance(key, str) or (len(key.encode()) <= MAX_SIMPLE_KEY and not BREAK.search(key))


def _escape(letter: str) -> str:
    if letter in ESCAPES:
        return "\\" + ESCAPES[letter]
    code = ord(letter)
    if code <= 0xFF:
        return f"\\x{code:02X}"
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"


def _chomping(text: str) -> str:
    last = BREAK.match(text, len(text) - 1)
    if not last:
        return "-"
    return "+" if len(text) == 1 or BREAK.match(text, len(text) - 2) else ""
