"""Reads untrusted YAML.

Only this file imports yaml. It builds dicts and lists from libyaml's events, without recursion. An alias, a tag, a
second document, too much depth or too many events end the reading: no alias is expanded, and no tag builds an object.

Scalars stay text, because YAML 1.1 gives them a type by their form (`010` is 8, `22:22` is 1342, `no` is false). The
field that receives a scalar decides its type. It can tell whether the scalar was quoted: a `Plain` one was not.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NoReturn, Protocol

import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentStartEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceStartEvent,
)
from yaml.reader import ReaderError

from reconcilers.escaping import quoted

Value = dict[str, "Value"] | list["Value"] | str | None

MAX_BYTES = 64 * 1024
MAX_DEPTH = 20
MAX_EVENTS = 40_000
"""The limit bounds the time: an event costs about a microsecond, so at most 50 ms on one core of a usual server. 64 KiB
of short keys and values are about 15,000 events. Only a hostile text has more than 40,000."""

NULLS = frozenset({"", "~", "null", "Null", "NULL"})

ENDS_EARLY = re.compile(r":(?![ \t\r\n\x85\u2028\u2029]|\Z)|\?")
ESCAPED_SLASH = re.compile(r'"(?:[^\\]|\\[^/])*\\/', re.DOTALL)
"""The texts that go-yaml refuses in a scalar: in flow style without quotes, and with double quotes."""


class Plain(str):
    """A scalar without quotes. Only this kind can be a number, a boolean or null."""

    __slots__ = ()


class _Mark(Protocol):
    """A place in the text, counted from 0. libyaml and PyYAML have different classes for it."""

    line: int
    column: int
    index: int


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a key and its value, in characters from the beginning of the text. The key is [`start`, `end`). The
    value is within [`end`, `next`), together with punctuation and comments. `next` is where the next event begins."""

    start: int
    end: int
    next: int


class YamlError(ValueError):
    """A text is not acceptable YAML. The message says what was found, where, and what was expected."""


def load(data: bytes, *, exact: bool = False) -> Value:
    """Reads one YAML document.

    Returns dicts with text keys, lists, `Plain` or `str` scalars, and None for an unquoted null or an empty document.
    With `exact`, an unquoted null stays `Plain` text, and unquoted keys are `Plain` too. Raises YamlError if the text
    is not one small, plain document.
    """
    builder = _Builder(exact)
    _read(data, builder.handle)
    return builder.document


def places(data: bytes, *names: str) -> list[Place]:
    """Returns the places of each key with one of these names in a document, at any depth and in any spelling.

    Keys within the value of another such key are left out. A byte order mark at the beginning is not counted. Raises
    YamlError as `load`.
    """
    finder = _Finder(names)
    _read(data, finder.handle)
    return finder.places


def refused_by_go(data: bytes) -> str:
    """Returns the first part of a text that `load` reads but go-yaml v2 refuses, with its place; "" if there is none.

    go-yaml's scanner is an older libyaml. It knows YAML 1.1 only. In flow style, a scalar without quotes ends at a
    colon or a question mark. A byte order mark within the text may cause a panic. Raises YamlError as `load`.
    """
    scanner = _OldScanner(_decode(data))
    _read(data, scanner.handle)
    return scanner.found


def _read(data: bytes, take: Callable[[yaml.Event], None]) -> None:
    text = _decode(data)
    try:
        for event in yaml.parse(text, Loader=yaml.CBaseLoader):
            take(event)
    except yaml.YAMLError as error:
        raise YamlError(_explain(error)) from None
    except UnicodeDecodeError:
        raise YamlError("a tag that is not UTF-8; tags are not accepted") from None


def _decode(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise YamlError(f"{len(data)} bytes; expected at most {MAX_BYTES}")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise YamlError("UTF-16 byte order mark; expected UTF-8")
    try:
        return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError as error:
        raise YamlError(f"byte {error.start} is not UTF-8") from None


def _explain(error: yaml.YAMLError) -> str:
    if isinstance(error, ReaderError):
        return f"byte {error.position}: {error.reason}"
    return _at(getattr(error, "problem_mark", None), getattr(error, "problem", None) or "not YAML")


class _Builder:
    """Turns events into values, with a stack instead of recursion."""

    def __init__(self, exact: bool) -> None:
        self.document: Value = None
        self._exact = exact
        self._stack: list[dict[str, Value] | list[Value]] = []
        self._key: str | None = None
        self._events = 0
        self._documents = 0

    @property
    def depth(self) -> int:
        """The number of mappings and lists around the next event."""
        return len(self._stack)

    def handle(self, event: yaml.Event) -> None:
        self._events += 1
        if self._events > MAX_EVENTS:
            self._refuse(event, f"more than {MAX_EVENTS} YAML events")
        match event:
            case DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    self._refuse(event, "a second document; expected one")
            case AliasEvent():
                self._refuse(event, "an alias; aliases and merge keys are not accepted")
            case ScalarEvent():
                self._scalar(event)
            case MappingStartEvent():
                self._open(event, {})
            case SequenceStartEvent():
                self._open(event, [])
            case CollectionEndEvent():
                self._stack.pop()

    def _scalar(self, event: ScalarEvent) -> None:
        self._refuse_tag(event)
        plain = not event.style
        if self.expects_key():
            self._take_key(event)
        elif plain and event.value in NULLS and not self._exact:
            self._add(None)
        else:
            self._add(Plain(event.value) if plain else event.value)

    def _open(self, event: MappingStartEvent | SequenceStartEvent, value: dict[str, Value] | list[Value]) -> None:
        self._refuse_tag(event)
        if self.expects_key():
            self._refuse(event, "a mapping or a list as a key; expected text")
        if len(self._stack) == MAX_DEPTH:
            self._refuse(event, f"nested deeper than {MAX_DEPTH}")
        self._add(value)
        self._stack.append(value)

    def expects_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1], dict) and self._key is None

    def _take_key(self, event: ScalarEvent) -> None:
        mapping = self._stack[-1]
        if event.value == "<<" and not event.style:
            self._refuse(event, "a merge key; aliases and merge keys are not accepted")
        if event.value in mapping:
            self._refuse(event, f"the key {quoted(event.value)} appears twice")
        self._key = Plain(event.value) if self._exact and not event.style else event.value

    def _add(self, value: Value) -> None:
        match self._stack[-1:], self._key:
            case [dict() as mapping], str() as key:
                mapping[key] = value
                self._key = None
            case [list() as items], _:
                items.append(value)
            case _:
                self.document = value

    def _refuse_tag(self, event: ScalarEvent | MappingStartEvent | SequenceStartEvent) -> None:
        if event.tag is not None:
            self._refuse(event, f"the tag {quoted(event.tag)}; tags are not accepted")

    @staticmethod
    def _refuse(event: yaml.Event, what: str) -> NoReturn:
        raise YamlError(_at(event.start_mark, what))


class _Finder:
    """Finds the keys of some names by the marks of events. A `_Builder` tells which events are keys."""

    def __init__(self, names: Collection[str]) -> None:
        self.places: list[Place] = []
        self._names = names
        self._builder = _Builder(exact=False)
        self._key: ScalarEvent | None = None
        self._depth = 0

    def handle(self, event: yaml.Event) -> None:
        builder = self._builder
        if self._key is not None and builder.depth == self._depth and builder.expects_key():
            marks = (self._key.start_mark, self._key.end_mark, event.start_mark)
            self.places.append(Place(*map(_index, marks)))
            self._key = None
        if (
            self._key is None
            and builder.expects_key()
            and isinstance(event, ScalarEvent)
            and event.value in self._names
        ):
            self._key, self._depth = event, builder.depth
        builder.handle(event)


class _OldScanner:
    """Searches events for the first text that libyaml's scanner of 2006 refuses."""

    def __init__(self, text: str) -> None:
        self.found = ""
        self._text = text
        self._flows = 0

    def handle(self, event: yaml.Event) -> None:
        match event:
            case DocumentStartEvent(version=(int(), int()) as version) if version != (1, 1):
                self._refuse(event, f"%YAML {version[0]}.{version[1]}; expected no directive, or %YAML 1.1")
            case MappingStartEvent() | SequenceStartEvent():
                self._flows += bool(self._flows or event.flow_style)
            case CollectionEndEvent():
                self._flows -= bool(self._flows)
            case ScalarEvent():
                self._scalar(event)

    def _scalar(self, event: ScalarEvent) -> None:
        written = self._text[_index(event.start_mark) : _index(event.end_mark)]
        if self._flows and not event.style and (found := ENDS_EARLY.search(written)):
            self._refuse(event, f"a {found[0]!r} in {quoted(written)} within {{}} or []; expected quotes")
        elif event.style == '"' and ESCAPED_SLASH.match(written):
            self._refuse(event, f"the escape '\\/' in {quoted(written)}; expected '/'")
        elif "\ufeff" in written:
            self._refuse(event, "a byte order mark within the text")

    def _refuse(self, event: yaml.Event, what: str) -> None:
        self.found = self.found or _at(event.start_mark, what)


def _index(mark: _Mark | None) -> int:
    """libyaml marks every event."""
    return mark.index if mark else 0


def _at(mark: _Mark | None, what: str) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}: {what}" if mark else what
