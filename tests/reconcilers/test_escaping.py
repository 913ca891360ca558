"""Text for a terminal has no control characters, and JSON keeps its value."""

import json
import re
import sys
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from reconcilers.escaping import quoted, safe_json, safe_line, safe_lines, safe_utf8, safe_words

OBEYED = frozenset(
    letter
    for letter in map(chr, range(sys.maxunicode + 1))
    if unicodedata.category(letter) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
)
"""C0, U+007F, C1, format characters, lone surrogates, and the separators of lines and paragraphs."""

HALVES = re.compile("[\ud800-\udbff][\udc00-\udfff]")
"""Two lone surrogates that JSON's readers take for one character, whoever wrote them."""

TEXT = st.text(st.characters() | st.sampled_from(sorted(OBEYED))).filter(lambda text: not HALVES.search(text))
DOCUMENT = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(TEXT)
def test_a_safe_line_has_no_control_characters(text: str) -> None:
    assert OBEYED.isdisjoint(safe_line(text))


@given(TEXT)
def test_safe_lines_have_only_line_feeds_and_tabs_as_control_characters(text: str) -> None:
    assert OBEYED & set(safe_lines(text)) <= {"\n", "\t"}


def test_every_control_character_is_escaped() -> None:
    for letter in OBEYED:
        assert OBEYED.isdisjoint(safe_line(letter)), hex(ord(letter))
        assert letter == "\n" or OBEYED.isdisjoint(safe_json(letter)), hex(ord(letter))


@given(DOCUMENT, st.sampled_from([None, 2]), st.booleans())
def test_safe_json_keeps_its_value_and_has_no_control_characters(
    document: object, indent: int | None, ascii_only: bool
) -> None:
    shown = safe_json(json.dumps(document, indent=indent, ensure_ascii=ascii_only))
    assert OBEYED & set(shown) <= {"\n"}
    assert json.loads(shown) == document


def test_printable_text_is_unchanged() -> None:
    text = "Grüße, 漢字, 🆎 and \\x1b"
    assert safe_line(text) == safe_json(text) == safe_lines(text) == text


def test_an_escape_names_the_character() -> None:
    assert safe_line("a\x1b[2Jb\u202ec\n") == "a\\x1b[2Jb\\u202ec\\n"
    assert safe_json('"\x7f\u009b2J\U000e0001"') == '"\\u007f\\u009b2J\\udb40\\udc01"'


def test_crlf_is_a_line_ending() -> None:
    assert safe_lines("one\r\ntwo\rthree") == "one\ntwo\\rthree"


def test_lone_surrogates_are_replaced_and_a_limit_keeps_characters_whole() -> None:
    assert safe_utf8("\ud800ü") == "?ü"
    assert safe_utf8("aü", 2) == "a"


def test_words_are_on_one_line_with_single_spaces() -> None:
    assert safe_words(" a\n\tb  \x1b[2J ") == r"a b \x1b[2J"


def test_a_quoted_text_is_short_and_escaped() -> None:
    assert quoted("a\x1b") == r"'a\x1b'"
    assert quoted("x" * 50, 3) == "'xxx…'"
