"""Evaluates a JMESPath expression on the body of an answer, with bounds on memory and time.

The library evaluates anything. An expression of 1 KiB could build a result of any size, for example by lists that
double a value again and again. So an expression has no construct that makes a value larger than its input, and an
evaluation has a number of steps. A body has a number of values and a depth. With all of that, an evaluation takes some
milliseconds at most.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import jmespath
import msgspec
from jmespath.exceptions import JMESPathError, ParseError
from jmespath.functions import Functions
from jmespath.visitor import Options, TreeInterpreter

from reconcilers.escaping import safe_words

MAX_EXPRESSION = 1_024
MAX_NESTING = 64
"""The depth of an expression."""
MAX_VALUES = 2_000
"""The number of values in a body: of lists, mappings, texts, numbers, and so on."""
MAX_DEPTH = 32
STEPS = 4_000
"""One step is about a microsecond."""
VALUES_A_STEP = 64
"""So many values of the body are compared in the time of a step."""
ELEMENTS_A_STEP = 4
CHARACTERS_A_STEP = 256
SHOWN = 100
"""Characters of a value or of an error that are shown."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

FUNCTIONS = frozenset(
    {
        *("abs", "avg", "ceil", "contains", "ends_with", "floor", "keys", "length", "map", "max", "max_by", "min"),
        *("min_by", "not_null", "reverse", "sort", "sort_by", "starts_with", "sum", "to_number", "type", "values"),
    }
)
"""The functions whose results are not larger than their arguments."""
GROWING = {"multi_select_list": "[...]", "multi_select_dict": "{...}"}
"""The constructs that can make a value larger, by the type of their node in a syntax tree."""

UNEXPECTED = (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError)
"""What the library raises for values that do not fit an expression."""


class JsonError(ValueError):
    """A body that an expression cannot be evaluated on. The message is a clause about the body or the expression."""


class _Exhausted(Exception):
    """An evaluation has used up its steps."""


class _Steps:
    """The steps that are left of one evaluation."""

    def __init__(self, values: int) -> None:
        self._left = STEPS
        self._of_container = 1 + values // VALUES_A_STEP

    def take(self, result: object) -> None:
        """Counts one step with this result. A list or a mapping may be compared as a whole."""
        self._left -= self._of_container if isinstance(result, list | dict) else 1
        if self._left < 0:
            raise _Exhausted

    def take_for(self, argument: object) -> None:
        """Counts the steps that a function needs for this argument."""
        if isinstance(argument, list | dict):
            self._left -= len(argument) // ELEMENTS_A_STEP
        elif isinstance(argument, str):
            self._left -= len(argument) // CHARACTERS_A_STEP


class _Interpreter(TreeInterpreter):  # type: ignore[misc]
    """Counts the nodes that are visited."""

    def __init__(self, steps: _Steps) -> None:
        super().__init__(Options(custom_functions=_Functions(steps)))
        self._steps = steps

    def visit(self, node: Any, *args: Any, **kwargs: Any) -> Any:
        result = super().visit(node, *args, **kwargs)
        self._steps.take(result)
        return result


class _Functions(Functions):  # type: ignore[misc]
    """Counts what is passed to functions."""

    def __init__(self, steps: _Steps) -> None:
        self._steps = steps

    def call_function(self, function_name: str, resolved_args: list[Any]) -> Any:
        for argument in resolved_args:
            self._steps.take_for(argument)
        return super().call_function(function_name, resolved_args)


def json_expression(value: object) -> str:
    """Reads a JMESPath expression; "" is none. Raises ValueError, which says what is wrong with it and where."""
    if not isinstance(value, str) or len(value) > MAX_EXPRESSION:
        raise ValueError(f"expected a JMESPath expression of at most {MAX_EXPRESSION} characters")
    if value:
        parsed(str(value))
    return str(value)


@lru_cache(maxsize=1_024)
def parsed(expression: str) -> Any:
    """Returns the syntax tree of an expression. Raises ValueError if it is not valid or not bounded."""
    try:
        tree = jmespath.compile(expression).parsed
    except ParseError as error:
        raise ValueError(f"expected a JMESPath expression: error at column {error.lex_position + 1}") from None
    except (JMESPathError, RecursionError) as error:
        words = "it is nested too deeply" if isinstance(error, RecursionError) else _brief(error)
        raise ValueError(f"expected a JMESPath expression: {words}") from None
    for node, depth in _nodes(tree):
        if problem := _problem(node, depth):
            raise ValueError(f"expected a simpler JMESPath expression: {problem}")
    return tree


def _nodes(tree: Any) -> Iterator[tuple[Any, int]]:
    """Yields every node of a syntax tree with its depth."""
    waiting = [(tree, 1)]
    while waiting:
        node, depth = waiting.pop()
        yield node, depth
        waiting += [(child, depth + 1) for child in node["children"] if isinstance(child, dict)]


def _problem(node: Any, depth: int) -> str:
    if depth > MAX_NESTING:
        return f"it is nested more than {MAX_NESTING} deep"
    if node["type"] in GROWING:
        return f"{GROWING[node['type']]} is not supported"
    if node["type"] != "function_expression":
        return ""
    name, given = str(node["value"]), len(node["children"])
    if name not in FUNCTIONS:
        return f"the function {safe_words(name[:SHOWN])}() is not supported"
    signature = Functions.FUNCTION_TABLE[name]["signature"]
    if given == len(signature) or (given > len(signature) and signature[-1].get("variadic")):
        return ""
    return f"{name}() needs {len(signature)} arguments, and has {given}"


def fault(expression: str, body: bytes) -> str:
    """Returns why the expression is not true for the body, as a clause; "" if it is."""
    try:
        result = evaluate(expression, body)
    except JsonError as error:
        return str(error)
    if result is True:
        return ""
    return f"{expression[: 2 * SHOWN]!r} is {_shown(result)} instead of true (expect_json)"


def evaluate(expression: str, body: bytes) -> object:
    """Returns the value of the expression. Raises JsonError if the body is not JSON, or if a bound is exceeded."""
    try:
        document = msgspec.json.decode(body.removeprefix(BYTE_ORDER_MARK))
    except (ValueError, RecursionError) as error:
        words = "it is nested too deeply" if isinstance(error, RecursionError) else _brief(error)
        raise JsonError(f"the body is not JSON: {words}") from None
    steps = _Steps(_count(document))
    try:
        return _Interpreter(steps).visit(parsed(expression), document)
    except _Exhausted:
        raise JsonError("expect_json needs too many steps for this body") from None
    except UNEXPECTED as error:
        raise JsonError(f"expect_json cannot be evaluated: {_brief(error)}") from None


def _count(document: object) -> int:
    """Returns the number of values in a document. Raises JsonError if it has too many, or is too deep."""
    count, level = 1, [document]
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for value in level:
            if isinstance(value, dict):
                below += value.values()
            elif isinstance(value, list):
                below += value
        count += len(below)
        if count > MAX_VALUES:
            raise JsonError(f"the body has more than {MAX_VALUES} values, the limit for expect_json")
        if not below:
            return count
        level = below
    raise JsonError(f"the body is nested more than {MAX_DEPTH} deep, the limit for expect_json")


def _shown(value: object) -> str:
    try:
        text = msgspec.json.encode(value).decode("utf-8", "replace")
    except (TypeError, RecursionError):
        return "no JSON value"
    return safe_words(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")


def _brief(error: Exception) -> str:
    return safe_words(str(error).partition("\n")[0][:SHOWN])
