"""Untrusted YAML: plain documents are read as text, and others are refused in a bounded time."""

import json
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reconcilers.yamltext import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_EVENTS,
    Place,
    Plain,
    Value,
    YamlError,
    load,
    places,
    refused_by_go,
)

COST = 0.5
"""Seconds; the slowest of the hostile texts below takes some milliseconds."""


def refusal(data: bytes) -> str:
    """Returns why `data` is refused; "" if it is accepted."""
    try:
        load(data)
    except YamlError as error:
        return str(error) or "no words"
    return ""


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"", None),
        (b"# a comment\n", None),
        (b"---\n...\n", None),
        (b"a", "a"),
        (b"''", ""),
        (b"[]", []),
        (b"{}", {}),
        (b"a: 1\nb: [x, {c: d}, []]\ne: {f: {g: h}}\n", {"a": "1", "b": ["x", {"c": "d"}, []], "e": {"f": {"g": "h"}}}),
        (b"a:\nb: ~\nc: null\nd: Null\ne: NULL\n", dict.fromkeys("abcde")),
        (b"a: ''\nb: '~'\nc: \"null\"\n", {"a": "", "b": "~", "c": "null"}),
        (b"- nULL\n- none\n- .nan\n", ["nULL", "none", ".nan"]),
        (b"? a\n: b\n? c\n", {"a": "b", "c": None}),
        (b"~: a\n'': b\nno: c\n010: d\n", {"~": "a", "": "b", "no": "c", "010": "d"}),
        (b"a: |\n  two\n  lines\nb: >\n  one\n  line\n", {"a": "two\nlines\n", "b": "one line\n"}),
        (b"'<<': {a: b}\n", {"<<": {"a": "b"}}),
        (b"a: <<\n", {"a": "<<"}),
        (b"a: &x b\nc: &y [d]\n", {"a": "b", "c": ["d"]}),
        (b"\xef\xbb\xbfa: b\r\nc: d\r\n", {"a": "b", "c": "d"}),
        (b"a: \xf0\x9f\x98\x80\n", {"a": "\U0001f600"}),
    ],
)
def test_a_plain_document_is_read_as_dicts_lists_and_text(data: bytes, value: Value) -> None:
    assert load(data) == value


@pytest.mark.parametrize(
    "scalar", ["010", "22:22", "8_0_80", "no", "true", "2020-01-01", "1e3", "0x50", "80", "=", ".inf"]
)
def test_every_scalar_stays_text(scalar: str) -> None:
    assert load(scalar.encode()) == scalar
    assert isinstance(load(scalar.encode()), Plain)


@pytest.mark.parametrize("scalar", ["'80'", '"80"', "|\n  80", ">\n  80"])
def test_a_quoted_scalar_is_not_plain(scalar: str) -> None:
    assert not isinstance(load(scalar.encode()), Plain)


def test_exact_keeps_nulls_and_keys_plain() -> None:
    document = load(b"{a: ~, 'b': , null: [NULL, 'null']}", exact=True)
    assert document == {"a": "~", "b": "", "null": ["NULL", "null"]}
    assert isinstance(document, dict)
    assert [isinstance(key, Plain) for key in document] == [True, False, True]
    assert [isinstance(value, Plain) for value in document.values()] == [True, True, False]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a: &x b\nc: *x", "line 2, column 4: an alias; aliases and merge keys are not accepted"),
        (b"a:\n  <<: b", "line 2, column 3: a merge key; aliases and merge keys are not accepted"),
        (b"a: 1\n'a': 2", "line 2, column 1: the key 'a' appears twice"),
        (b"? [a]\n: b", "line 1, column 3: a mapping or a list as a key; expected text"),
        (b"{{a: b}: c}", "line 1, column 2: a mapping or a list as a key; expected text"),
        (b"a: !!int 1", "line 1, column 4: the tag 'tag:yaml.org,2002:int'; tags are not accepted"),
        (b"!x {a: b}", "line 1, column 1: the tag '!x'; tags are not accepted"),
        (b"- !x [a]", "line 1, column 3: the tag '!x'; tags are not accepted"),
        (b"!x a: b", "line 1, column 1: the tag '!x'; tags are not accepted"),
        (b"!<tag:%ED%A0%80> a", "a tag that is not UTF-8; tags are not accepted"),
        (b"a\n---\nb", "line 2, column 1: a second document; expected one"),
        (b"a: [b", "line 2, column 1: did not find expected ',' or ']'"),
        (b"a: \x00", "byte 3: control characters are not allowed"),
        (b"a: \xff", "byte 3 is not UTF-8"),
        (b"\xff\xfea\x00", "UTF-16 byte order mark; expected UTF-8"),
        (b"\xfe\xff\x00a", "UTF-16 byte order mark; expected UTF-8"),
    ],
)
def test_an_error_names_the_place(data: bytes, message: str) -> None:
    assert refusal(data) == message


def test_an_error_shows_long_or_unprintable_text_cut_and_escaped() -> None:
    key = b'"' + b"k\\n" * 100 + b'"'
    message = refusal(key + b": 1\n" + key + b": 2")
    assert 0 < len(message) < 140
    assert message.isprintable()


@pytest.mark.parametrize(
    ("opening", "closing"), [("[", "]"), ("{a: ", "}"), ("- ", "")], ids=["lists", "mappings", "dashes"]
)
def test_the_depth_is_limited_and_the_limit_itself_is_accepted(opening: str, closing: str) -> None:
    def nested(depth: int) -> bytes:
        return f"{opening * depth}x{closing * depth}".encode()

    load(nested(MAX_DEPTH))
    with pytest.raises(YamlError, match=f"nested deeper than {MAX_DEPTH}"):
        load(nested(MAX_DEPTH + 1))


def test_the_number_of_events_is_limited() -> None:
    frame = 6  # start and end of the stream, of the document and of the list

    def events(number: int) -> bytes:
        return b"[" + b"a," * (number - frame - 30_000) + b"[]," * 15_000 + b"]"

    load(events(MAX_EVENTS))
    with pytest.raises(YamlError, match=f"more than {MAX_EVENTS} YAML events"):
        load(events(MAX_EVENTS + 1))


@pytest.mark.parametrize("line", ["  key{}: v\n", "  k{}: 1\n", "  - {}\n"])
def test_short_keys_or_items_are_read_up_to_the_size_limit(line: str) -> None:
    document = load(b"config:\n" + "".join(line.format(number) for number in range(5_000)).encode())
    assert isinstance(document, dict)
    config = document["config"]
    assert isinstance(config, dict | list)
    assert len(config) == 5_000


GO_REFUSES = {
    "a: {b: https://x/y}": "line 1, column 8: a ':' in 'https://x/y' within {} or []; expected quotes",
    "- [a,\n  b::c]": "line 2, column 3: a ':' in 'b::c' within {} or []; expected quotes",
    "a: {b: [c, {d: e?f}]}": "line 1, column 16: a '?' in 'e?f' within {} or []; expected quotes",
    "{a?: b}": "line 1, column 2: a '?' in 'a?' within {} or []; expected quotes",
    "%YAML 1.2\n---\na: b": "line 1, column 1: %YAML 1.2; expected no directive, or %YAML 1.1",
    'a: "b\\/c"': "line 1, column 4: the escape '\\/' in '\"b\\\\/c\"'; expected '/'",
    "a: {b:c}\nd: {e:f}": "line 1, column 5: a ':' in 'b:c' within {} or []; expected quotes",
    "a: \ufeff": "line 1, column 4: a byte order mark within the text",
}
GO_READS = [
    "a: https://x/y?z",
    "a: {b: 'https://x?y', c: \"d:e\"}",
    "a: {b: c}\nd: e:f?",
    "- [{a: b}]\n- c:d",
    "%YAML 1.1\n---\na: b",
    'a: "b\\\\/c"',
    "a: 'b\\/c'",
    "\ufeffa: b",
    "",
]


@pytest.mark.parametrize(("text", "why"), GO_REFUSES.items())
def test_a_text_that_only_go_yaml_refuses_is_explained(text: str, why: str) -> None:
    """Tried with gopkg.in/yaml.v2 of p2's version."""
    load(text.encode())
    assert refused_by_go(text.encode()) == why


@pytest.mark.parametrize("text", GO_READS)
def test_a_text_that_go_yaml_reads_is_not_refused(text: str) -> None:
    assert refused_by_go(text.encode()) == ""


def test_the_size_is_limited() -> None:
    load(b"a" * MAX_BYTES)
    with pytest.raises(YamlError, match=f"^{MAX_BYTES + 1} bytes; expected at most {MAX_BYTES}$"):
        load(b"a" * (MAX_BYTES + 1))


def filled(piece: bytes, head: bytes = b"") -> bytes:
    """Returns `piece` repeated up to the size limit."""
    return head + piece * ((MAX_BYTES - len(head)) // len(piece))


HOSTILE = {
    "1 MB": b"a" * 1_000_000,
    "100,000 lists": b"[" * 100_000,
    "as many lists as are read": filled(b"["),
    "as many mappings": filled(b"{"),
    "as many mappings with keys": filled(b"{a: "),
    "as many dashes": filled(b"- "),
    "as many dashes in lines": b"".join(b" " * depth + b"-\n" for depth in range(350)),
    "as many complex keys": filled(b"? "),
    "quotes": filled(b"'"),
    "an open quote": filled(b"a ", b'"'),
    "escapes": filled(b"\\x41", b'"'),
    "anchors": filled(b"&a "),
    "anchored items": filled(b"- &a b\n"),
    "exclamation marks": filled(b"!"),
    "an endless tag": filled(b"%41", b"!<"),
    "tag directives": b"".join(b"%%TAG !%x! x\n" % number for number in range(4_000)),
    "comments": filled(b"#\n"),
    "blank lines": filled(b"\n"),
    "spaces": filled(b" "),
    "tabs": filled(b"\t"),
    "a plain scalar over many lines": filled(b"a\n"),
    "a folded scalar": filled(b" a\n\n", b">\n"),
    "a literal of blanks": filled(b"\n \n", b"|\n"),
    "colons": filled(b":"),
    "empty keys": filled(b": "),
    "commas": filled(b",", b"["),
    "documents": filled(b"---\n"),
    "document ends": filled(b"...\n"),
    "percent signs": filled(b"%"),
    "one long key": filled(b"a") + b": b",
    "distinct keys": b"".join(b"k%d: v\n" % number for number in range(6_000)),
    "items of a list": filled(b"a,", b"["),
    "lists in a list": filled(b"[],", b"["),
    "mappings in a list": filled(b"a: ,", b"["),
    "lists in lists": filled(b"- - - - - - - - - - a\n"),
    "byte order marks": filled(b"\xef\xbb\xbf"),
    "merge bomb": b"a0: &a0 {k: v}\n"
    + b"".join(b"a%d: &a%d {<<: [%s]}\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 12)),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_text_is_read_fast_and_raises_only_yaml_errors(data: bytes) -> None:
    began = time.process_time()
    assert len(refusal(data)) < 200
    assert time.process_time() - began < COST


PIECES = st.sampled_from(
    [
        *":-?[]{},'\"|>#&*!~\\%<\n\t \0\x85\ufeff",
        *("a", "id", ": ", "- ", "? ", "\n  ", "\n    ", "&a ", "*a", "<<", "!!str ", "!<%ED%A0%80>", "\\uD800"),
        *("%TAG ! x\n", "%YAML 1.1\n", "---\n", "...\n"),
    ]
)
ARBITRARY = (
    st.binary()
    | st.text().map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.lists(PIECES, max_size=40).map(lambda pieces: "".join(pieces).encode())
)


@given(ARBITRARY)
def test_arbitrary_input_raises_only_yaml_errors(data: bytes) -> None:
    refusal(data)


TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xD7FF, exclude_categories=["Cc"]), max_size=10)
DOCUMENTS = st.recursive(
    TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)


@given(DOCUMENTS)
def test_json_is_read_like_a_json_parser(document: Value) -> None:
    assert load(json.dumps(document, ensure_ascii=False).encode()) == document


@given(DOCUMENTS)
def test_text_written_by_pyyaml_is_read(document: Value) -> None:
    assert load(yaml.safe_dump(document, default_style='"', allow_unicode=True, encoding="utf-8")) == document


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a: 1\n", []),
        ("- k\n- [k, v]\n- a: k\n", []),
        ("k: v\n", [("k", ": v\n", "")]),
        ("k:\na: 1\n", [("k", ":\n", "a: 1\n")]),
        ("k: 'v\n\nw' # c\n# d\na: 1\n", [("k", ": 'v\n\nw' # c\n# d\n", "a: 1\n")]),
        ("a:\n  'k':\n    k: 1\n    b: {k: []}\n  c: 2\n", [("'k'", ":\n    k: 1\n    b: {k: []}\n  ", "c: 2\n")]),
        (
            '[{k: [1, {}], b: 2}, {"\\x6b": é}]',
            [("k", ": [1, {}], ", 'b: 2}, {"\\x6b": é}]'), ('"\\x6b"', ": é", "}]")],
        ),
        ("\ufeffé: 1\nk: v\r\n...\n", [("k", ": v\r\n", "...\n")]),
    ],
)
def test_the_place_of_a_key_and_its_value_is_found_at_any_depth(text: str, found: list[tuple[str, str, str]]) -> None:
    bare = text.removeprefix("\ufeff")
    there = [
        (bare[each.start : each.end], bare[each.end : each.next], bare[each.next :])
        for each in places(text.encode(), "k")
    ]
    assert there == found


@given(DOCUMENTS)
def test_every_outermost_key_of_a_name_is_found(document: Value) -> None:
    text = json.dumps({"a": [document], "kkkk": document}, ensure_ascii=False)
    start = text.rindex('"kkkk"')
    assert places(text.encode(), "kkkk")[-1] == Place(start, start + len('"kkkk"'), len(text) - 1)


def test_places_refuses_what_load_refuses() -> None:
    with pytest.raises(YamlError):
        places(b"k: v\na: *b\n", "k")
