"""Single rules of go-yaml. tests/data/p2-sha has whole manifests that go-yaml itself wrote."""

import math
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcilers import yamltext
from reconcilers.p2.goscalars import Scalar, precedes, resolve, wrap, write
from reconcilers.p2.goyaml import GoMap, Value, emit, go_map

COST = 0.005


def written(value: Value) -> str:
    return emit(GoMap((("k", value),)))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("Null", None),
        ("y", True),
        ("Off", False),
        ("tRUE", "tRUE"),
        ("word", "word"),
        ("12:30", "12:30"),
        ("2001-01-01", "2001-01-01"),
        ("<<", "<<"),
        ("0", 0),
        ("-0", 0),
        ("+12", 12),
        ("1_000", 1000),
        ("0x_1F", 31),
        ("017", 15),
        ("0o17", 15),
        ("0B11", 3),
        ("18446744073709551615", 2**64 - 1),
        ("-9223372036854775808", -(2**63)),
        ("0b-101", -5),
        ("-0b-101", 5),
        ("-0b-1" + "0" * 63, -(2**63)),
        ("0b+1" + "0" * 63, "0b+1" + "0" * 63),
        ("0b2", "0b2"),
        ("_1", "_1"),
        ("+", "+"),
        ("1" * 5_000, "1" * 5_000),
    ],
)
def test_a_scalar_without_quotes_is_resolved_as_by_go_yaml(text: str, value: Scalar) -> None:
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18446744073709551616", 2.0**64),
        ("+18446744073709551615", 2.0**64),
        ("08", 8.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-.5e1", -5.0),
        ("1_0.5", 10.5),
        (".5_0", 0.5),
        ("0x1.8p1", 3.0),
        ("+.INF", math.inf),
        ("-infinity", -math.inf),
    ],
)
def test_a_fraction_or_a_large_integer_is_a_float(text: str, value: float) -> None:
    assert resolve(text) == value
    assert isinstance(resolve(text), float)


@pytest.mark.parametrize("text", ["1e400", "0x1p99999", ".", "._5", ".5_", "inf", "+nan", "1e", "--1"])
def test_text_that_only_resembles_a_float_stays_text(text: str) -> None:
    assert resolve(text) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (-12, "-12"),
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (0.1, "0.1"),
        (100.25, "100.25"),
        (999999.0, "999999"),
        (1000000.0, "1e+06"),
        (1234567.0, "1.234567e+06"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (math.pi, "3.1415927"),
        (1994827.75, "1.9948278e+06"),
        (2.0**-12, "0.00024414062"),
        (16777217.0, "1.6777216e+07"),
        (33554448.0, "3.355445e+07"),
        (118527536.0, "1.1852754e+08"),
        (1.4e-45, "1e-45"),
        (3.4028235e38, "3.4028235e+38"),
        (9.8607613e-32, "9.8607613e-32"),
        (1.22925315e-29, "1.22925315e-29"),
        (1e39, ".inf"),
        (-1e39, "-.inf"),
        (1e-46, "0"),
        (math.inf, ".inf"),
        (math.nan, ".nan"),
    ],
)
def test_a_value_other_than_text_is_formatted_as_by_go(value: bool | float | None, text: str) -> None:
    assert write(value) == text


SINGLES = st.floats(width=32, allow_nan=False)


@given(SINGLES)
def test_a_float_of_32_bits_survives_writing_and_reading(value: float) -> None:
    read = resolve(write(value))
    assert isinstance(read, int | float)
    assert struct.pack("<f", read) == struct.pack("<f", value) or value == 0


@given(st.integers())
def test_an_integer_overflows_as_in_go(value: int) -> None:
    assert struct.pack("<q", wrap(value)) == struct.pack("<Q", value % 2**64)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("word", "k: word"),
        ("", 'k: ""'),
        ("yes", 'k: "yes"'),
        ("12:30", 'k: "12:30"'),
        ("a: b", "k: 'a: b'"),
        ("it's # not", "k: 'it''s # not'"),
        ("a\tb", 'k: "a\\tb"'),
        ("😀", 'k: "\\U0001F600"'),
        ("\ufeff\x01", 'k: "\\uFEFF\\x01"'),
        ("a \u2028b", 'k: "a \\Lb"'),
        ("a\u2028b", "k: 'a\u2028  b'"),
        ("a\n", "k: |\n  a"),
        ("a \nb", 'k: "a \\nb"'),
    ],
)
def test_text_is_quoted_only_where_it_must_be(text: str, line: str) -> None:
    assert written(text) == line + "\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (GoMap(()), "k: {}\n"),
        ([], "k: []\n"),
        ([[], [1, [2]]], "k:\n- []\n- - 1\n  - - 2\n"),
        ([GoMap((("a", [1]), ("b", GoMap(()))))], "k:\n- a:\n  - 1\n  b: {}\n"),
        (GoMap((("a\nb", [1]), ("c", 2))), "k:\n  ? |-\n    a\n    b\n  : - 1\n  c: 2\n"),
    ],
)
def test_lists_and_maps_are_indented_as_by_go_yaml(value: Value, text: str) -> None:
    assert written(value) == text


def test_a_document_can_be_empty() -> None:
    assert emit(GoMap(())) == "{}\n"


@pytest.mark.parametrize(
    "keys",
    [
        [
            False,
            True,
            1,
            1.0,
            1.5,
            2,
            2**63 - 1,
            2**63,
            None,
            "",
            "-",
            "1",
            "02",
            "3",
            "10",
            "A",
            "a",
            "a b",
            "a1",
            "a10",
        ],
        ["9223372036854775808", "1"],  # the first overflows
        ["a2", "a02", "a10", "ab"],
    ],
)
def test_keys_are_written_in_natural_order(keys: list[Scalar]) -> None:
    assert [key for key, _ in go_map((key, None) for key in reversed(keys)).entries] == keys


@pytest.mark.parametrize("last", [101, 120, 1000])
def test_numbered_keys_beyond_a_hundred_are_in_the_usual_order_of_p2(last: int) -> None:
    keys = [f"web-{number}" for number in range(1, last + 1)]
    assert not precedes("web-100", "web-99")
    assert precedes("web-100", "web-11")
    assert [key for key, _ in go_map((key, None) for key in sorted(keys)).entries] == keys


def test_the_last_of_equal_keys_wins() -> None:
    assert emit(go_map([(1, "a"), (True, "b"), (1.0, "c"), (1, "d")])) == "true: b\n1: d\n1: c\n"


CIRCULAR: list[Scalar] = [1, True, None, 1.5, "10", "1b", "2", "a10", "a1b", "a2", ""]


@given(st.permutations(CIRCULAR))
def test_keys_have_one_order_even_if_go_yaml_orders_them_at_random(keys: list[Scalar]) -> None:
    assert emit(go_map((key, "") for key in keys)) == emit(go_map((key, "") for key in CIRCULAR))


def read(node: yamltext.Value) -> Value:
    match node:
        case dict():
            return GoMap(tuple((scalar(key), read(value)) for key, value in node.items()))
        case list():
            return [read(item) for item in node]
        case _:
            assert isinstance(node, str)
            return scalar(node)


def scalar(text: str) -> Scalar:
    value = resolve(text) if isinstance(text, yamltext.Plain) else text
    return str(value) if isinstance(value, str) else value


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.text(
    st.sampled_from(" \n\taA1:-#'\"é\u2028")
)
LONG = st.lists(st.sampled_from(["word", "it's", "a:", "#", "", "é", "\t"]), max_size=60).map(" ".join)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | TEXTS
    | LONG
    | st.sampled_from(["y", "0x1", ".5", "1e3"])
)
KEYS = TEXTS.filter(lambda text: text != "<<")
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.lists(st.tuples(KEYS, inner), max_size=4).map(go_map),
    max_leaves=12,
)


@given(st.lists(st.tuples(KEYS, VALUES), max_size=4).map(go_map))
def test_a_document_survives_writing_and_reading(document: GoMap) -> None:
    assert read(yamltext.load(emit(document).encode(), exact=True)) == document


def test_an_ordinary_document_is_written_fast() -> None:
    members = GoMap(tuple((f"name{number}", f"value {number}") for number in range(10)))
    document = GoMap(tuple((f"part{number}", members) for number in range(4)))
    costs = []
    for _ in range(20):
        began = time.process_time()
        emit(document)
        costs.append(time.process_time() - began)
    assert min(costs) < COST
