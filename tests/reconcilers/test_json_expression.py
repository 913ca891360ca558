"""JMESPath expressions on bodies: which are true and which are refused. No expression takes long or raises."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcilers.json_expression import (
    FUNCTIONS,
    MAX_DEPTH,
    MAX_VALUES,
    evaluate,
    fault,
    json_expression,
)

UP = b'{"status": "UP", "components": {"db": {"status": "UP"}, "disk": {"status": "DOWN"}}, "free": 0.2}'


@pytest.mark.parametrize(
    "expression",
    [
        "status == 'UP' && components.db.status == 'UP'",
        "components.*.status | [?@ == 'DOWN'] | length(@) == `1`",
        "free > `0.1`",
        "!missing",
        "contains(keys(components), 'db')",
        "starts_with(status, 'U') || status",
        "not_null(missing, status) == 'UP'",
        "sort_by(values(components), &status)[0].status == 'DOWN'",
        "type(free) == 'number'",
    ],
)
def test_a_body_is_healthy_if_the_expression_is_true(expression: str) -> None:
    assert json_expression(expression) == expression
    assert fault(expression, UP) == ""


@pytest.mark.parametrize(
    ("expression", "body", "problem"),
    [
        ("status == 'DOWN'", UP, "\"status == 'DOWN'\" is false instead of true (expect_json)"),
        ("status", UP, "'status' is \"UP\" instead of true (expect_json)"),
        ("missing", UP, "'missing' is null instead of true (expect_json)"),
        ("`1`", UP, "'`1`' is 1 instead of true (expect_json)"),
        ("&status", UP, "'&status' is no JSON value instead of true (expect_json)"),
        ("@", b'"a\\u0000\\u202eb\\n"', "'@' is \"a\\u0000\\u202eb\\n\" instead of true (expect_json)"),
        ("@", json.dumps("x" * 500).encode(), f"'@' is \"{'x' * 99}… instead of true (expect_json)"),
        (
            "length(missing) == `0`",
            UP,
            "expect_json cannot be evaluated: In function length(), invalid type for value: None",
        ),
        ("@", b"", "the body is not JSON: Input data was truncated"),
        ("@", b"<html>", "the body is not JSON: JSON is malformed: invalid character (byte 0)"),
        ("@", b"NaN", "the body is not JSON: JSON is malformed: invalid character (byte 0)"),
        ("@", b"\xff", "the body is not JSON: JSON is malformed: invalid character (byte 0)"),
        ("@", b"1" * 9_000, "the body is not JSON: Integer value out of range"),
        ("@", b"[" * 60_000, "the body is not JSON: it is nested too deeply"),
        ("@", b"[" * 60 + b"]" * 60, "the body is nested more than 32 deep, the limit for expect_json"),
        (
            "@",
            json.dumps([0] * MAX_VALUES).encode(),
            "the body has more than 2000 values, the limit for expect_json",
        ),
    ],
)
def test_any_other_value_and_any_other_body_is_a_fault(expression: str, body: bytes, problem: str) -> None:
    assert fault(expression, body)[: len(problem)] == problem


def test_odd_bodies_that_are_json() -> None:
    assert fault("@", b"\xef\xbb\xbftrue") == "", "a byte order mark"
    assert fault("a", b'{"a": false, "a": true}') == "", "the last of equal names counts"
    assert fault("@ == `18446744073709551615`", b"18446744073709551615") == ""
    deep = b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1)
    assert evaluate("@", deep) == json.loads(deep)
    many = json.dumps([0] * (MAX_VALUES - 1)).encode()
    assert evaluate("length(@)", many) == MAX_VALUES - 1


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("status == 'UP' status", "expected a JMESPath expression: error at column 16"),
        ("status ==", "expected a JMESPath expression: error at column 10"),
        ("'status", "expected a JMESPath expression: error at column 1"),
        ("\0", "expected a JMESPath expression: error at column 1"),
        (" ", "expected a JMESPath expression: error at column 2"),
        ("!" * 1_000 + "a", "expected a JMESPath expression: it is nested too deeply"),
        ("(" * 500 + "a" + ")" * 500, "expected a JMESPath expression: it is nested too deeply"),
        ("a||" * 70 + "a", "expected a simpler JMESPath expression: it is nested more than 64 deep"),
        ("[@, @]", "expected a simpler JMESPath expression: [...] is not supported"),
        ("{a: @}", "expected a simpler JMESPath expression: {...} is not supported"),
        ("join(',', @)", "expected a simpler JMESPath expression: the function join() is not supported"),
        ("nothing(@)", "expected a simpler JMESPath expression: the function nothing() is not supported"),
        ("length()", "expected a simpler JMESPath expression: length() needs 1 arguments, and has 0"),
        ("a" * 1_025, "expected a JMESPath expression of at most 1024 characters"),
    ],
)
def test_another_text_is_refused_as_an_expression(expression: str, problem: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared
        json_expression(expression)
    assert str(caught.value) == problem


@pytest.mark.parametrize("value", [None, 3, True, ["a"], {"a": "b"}])
def test_another_value_is_refused_as_an_expression(value: object) -> None:
    with pytest.raises(ValueError, match=r"^expected a JMESPath expression of at most 1024 characters$"):
        json_expression(value)


def test_no_expression_is_none() -> None:
    assert json_expression("") == ""


NUMBERS = json.dumps(list(range(MAX_VALUES - 1))).encode()
TEXTS = json.dumps([f"{number:030}" for number in range(1_900)]).encode()
OBJECTS = json.dumps([{"a": {"b": number}} for number in range(600)]).encode()
TWINS = json.dumps({"a": list(range(990)), "b": list(range(990))}).encode()
LONG = json.dumps("z" * 65_000).encode()


def often(term: str) -> str:
    """The longest expression of alternatives that is accepted."""
    return "||".join([term] * min(55, 1_024 // (len(term) + 2)))


@pytest.mark.parametrize(
    ("expression", "body"),
    [
        (f"[?{often('a.c')}]", OBJECTS),
        (f"[?{often('!(@==@)')}]", OBJECTS),
        (often("a!=b"), TWINS),
        (often("sort(@)==`1`"), TEXTS),
        (often("max(@)==`1`"), TEXTS),
        (often("sum(@)<`1`"), NUMBERS),
        (often("sort_by(@,&a.b)==`1`"), OBJECTS),
        (often("map(&a.b,@)==`1`"), OBJECTS),
        (often("contains(@,'y')"), TEXTS),
        (often("contains(@,'zzy')"), LONG),
        (often("reverse(@)==`1`"), LONG),
        (often("@[][]==`1`"), NUMBERS),
        (often("@[*]==`1`"), NUMBERS),
        (often("@[:]==`1`"), NUMBERS),
    ],
)
def test_no_expression_takes_long_on_any_body(expression: str, body: bytes) -> None:
    json_expression(expression)
    started = time.thread_time()
    assert fault(expression, body) != ""
    assert time.thread_time() - started < 0.1  # seconds of CPU; usually at most 0.004


VALUES: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
LEAVES = st.sampled_from(["@", "a", "b.c", "a[0]", "a[*].b", "a[]", "*", "`1`", "'x'", "`null`", "a[?b]", "a[-1:]"])
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["==", "<", "&&", "||", "|"]), inner)
        | st.builds("!{}".format, inner)
        | st.builds("{}({})".format, st.sampled_from(sorted(FUNCTIONS)), inner)
        | st.builds("{}(@, &{})".format, st.sampled_from(["sort_by", "max_by", "min_by"]), inner)
        | st.builds("map(&{}, {})".format, inner, inner)
    ),
    max_leaves=6,
)


def refusal(expression: str) -> str:
    """Returns why an expression is not accepted; "" if it is."""
    try:
        json_expression(expression)
    except ValueError as error:
        return str(error) or "no words"
    return ""


@given(EXPRESSIONS, VALUES)
def test_any_expression_has_a_value_or_a_short_fault(expression: str, value: object) -> None:
    refused = refusal(expression)
    assert len(refused) < 300
    assert refused or len(fault(expression, json.dumps(value).encode())) < 500


@given(st.text(max_size=30), st.binary(max_size=30))
def test_any_text_is_an_expression_or_refused_in_a_short_sentence(text: str, body: bytes) -> None:
    refused = refusal(text)
    assert not refused or refused.startswith("expected a ")
    assert refused or not text or len(fault(text, body)) < 500
