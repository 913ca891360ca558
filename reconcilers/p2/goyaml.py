"""Text as go-yaml v2 writes it, byte for byte: the block style into which p2 marshals a manifest before it hashes it.

For the manifest's SHA only (`p2manifest`); whatever a person or another program is to read is not written here. It need
not look well, it must look the same: also where go-yaml breaks long lines, escapes an emoji or indents oddly.

Source: the behaviour of gopkg.in/yaml.v2 at a5b47d31c556 (2016-09-28), the version in p2's go.mod; it is libyaml's
emitter with a width of 80 and an indentation of 2, without document markers.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cmp_to_key
from typing import TypeAlias

from reconcilers.p2.goscalars import Scalar, natural, precedes, resolve, write

WIDTH = 80
INDENTATION = 2
MAX_SIMPLE_KEY = 128

SPECIAL = re.compile(r"[^\n\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd]")
ESCAPED = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd]")
BREAK = re.compile(r"[\n\r\x85\u2028\u2029]")
NOT_PLAIN = re.compile(
    r"\A(?:[ #,\[\]{}&*!|>'\"%@`]|---|\.\.\.|[?:-](?: |\Z))"  # a first letter that means something else
    r"|:(?: |\Z)|[ \n\u2028\u2029]#"  # what would be a key, or a comment
    r"|[\n\u2028\u2029]| \Z"
)
NOT_SINGLE_QUOTED = re.compile(r" [\n\u2028\u2029]|[\n\u2028\u2029] ")
NOT_LITERAL = re.compile(r" (?:[\n\u2028\u2029]|\Z)")
SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
SINGLE_SPACE = re.compile(r"(?<=[^ ]) (?=[^ ])")
ESCAPES = {
    "\0": "0",
    "\a": "a",
    "\b": "b",
    "\t": "t",
    "\n": "n",
    "\v": "v",
    "\f": "f",
    "\r": "r",
    "\x1b": "e",
    '"': '"',
    "\\": "\\",
    "\x85": "N",
    "\xa0": "_",
    "\u2028": "L",
    "\u2029": "P",
}
BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True, slots=True)
class GoMap:
    """A mapping in the order in which it is written. Not a dict: in Go the keys 1, 1.0 and true are three."""

    entries: tuple[tuple[Scalar, "Value"], ...]


Value: TypeAlias = Scalar | list["Value"] | GoMap


def in_order(entries: Iterable[tuple[Scalar, Value]]) -> GoMap:
    """A Go map of these entries: of equal keys the last one counts, and they are written in go-yaml's order.

    go-yaml's comparison is circular for some keys (`web-99` < `web-100` < `web-11`), and p2 sorts from a random order,
    so its answer varies. Sorting from the natural order gives the answer that p2 gives most of the time.
    """
    distinct = {(type(key), key): (key, value) for key, value in entries}
    return GoMap(tuple(sorted(sorted(distinct.values(), key=_natural), key=cmp_to_key(_compare))))


def emit(document: GoMap) -> str:
    """The YAML text of a mapping, its line breaks `\\n`; lines from text with other line breaks keep those."""
    writer = _Writer()
    writer.node(document, -INDENTATION, below_key=False)
    writer.line(0)
    return "".join(writer.pieces)


def _natural(entry: tuple[Scalar, Value]) -> tuple[str, object]:
    key = entry[0]
    return type(key).__name__, natural(key) if isinstance(key, str) else str(key)


def _compare(one: tuple[Scalar, Value], other: tuple[Scalar, Value]) -> int:
    return -1 if precedes(one[0], other[0]) else 1


class _Writer:
    """libyaml's emitter: what was written last, and where on the line we are, decide how the next piece is joined."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self._column = 0
        self._after_space = True
        self._only_indented = True

    def node(self, value: Value, indent: int, *, below_key: bool) -> None:
        match value:
            case GoMap(entries=()):
                self._mark("{}")
            case []:
                self._mark("[]")
            case GoMap():
                self._mapping(value, indent + INDENTATION)
            case list():
                hanging = below_key and not self._only_indented
                self._sequence(value, indent if hanging else indent + INDENTATION)
            case _:
                self._scalar(value, indent + INDENTATION, foldable=True)

    def line(self, indent: int) -> None:
        """Go to column `indent`, of the next line unless nothing but indentation stands on this one."""
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
                self._mark("?", indents=True)
                self._scalar(key, indent + INDENTATION, foldable=True)
                self.line(indent)
                self._mark(":", indents=True)
            self.node(value, indent, below_key=True)

    def _sequence(self, items: list[Value], indent: int) -> None:
        for item in items:
            self.line(indent)
            self._mark("-", indents=True)
            self.node(item, indent, below_key=False)

    def _scalar(self, value: Scalar, indent: int, *, foldable: bool) -> None:
        if not isinstance(value, str):
            self._mark(write(value))
        elif not isinstance(resolve(value), str) or SEXAGESIMAL.fullmatch(value) or SPECIAL.search(value):
            self._double_quoted(value, indent, foldable=foldable)
        elif not NOT_PLAIN.search(value):
            self._plain(value, indent, foldable=foldable)
        elif "\n" in value:
            self._of_lines(value, indent, foldable=foldable)
        elif not NOT_SINGLE_QUOTED.search(value):
            self._single_quoted(value, indent, foldable=foldable)
        else:
            self._double_quoted(value, indent, foldable=foldable)

    def _of_lines(self, text: str, indent: int, *, foldable: bool) -> None:
        if NOT_LITERAL.search(text):
            self._double_quoted(text, indent, foldable=foldable)
        else:
            self._literal(text, indent)

    def _plain(self, text: str, indent: int, *, foldable: bool) -> None:
        self._mark("")
        self._folded(text, indent, foldable=foldable)

    def _single_quoted(self, text: str, indent: int, *, foldable: bool) -> None:
        self._mark("'")
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
        """At a single space between words beyond the width a new line begins."""
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
        self._mark('"')
        everything = text.startswith(BYTE_ORDER_MARK)
        spaced = False
        for place, letter in enumerate(text):
            if everything or ESCAPED.match(letter):
                self._put(_escape(letter))
                spaced = False
            elif letter != " ":
                self._put(letter)
                spaced = False
            elif foldable and not spaced and self._column > WIDTH and 0 < place < len(text) - 1:
                self.line(indent)
                if text[place + 1] == " ":
                    self._put("\\")
                spaced = True
            else:
                self._put(letter)
                spaced = True
        self._put('"')
        self._after_space = self._only_indented = False

    def _literal(self, text: str, indent: int) -> None:
        self._mark("|")
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

    def _mark(self, text: str, *, indents: bool = False) -> None:
        """An indicator or a whole word, after a space where one is needed; `indents`: what follows may stand beside."""
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
