"""The queries that Grafana sends to Prometheus when it shows a dashboard, with the variables replaced as Grafana does.

Sources: Grafana's Prometheus data source (escaping of variables, `$__rate_interval`) and its documentation of global
variables.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser

MACROS = {"$__rate_interval": "1m0s", "$__interval": "15s", "$__range": "300s"}
"""For a scrape interval of 15 s, as the data source is provisioned, and five minutes that are shown."""

LABEL_VALUES = re.compile(r"label_values\((?P<selector>.+), (?P<label>\w+)\)")
LEFT_OVER = re.compile(r"\$\{?[A-Za-z_]\w*")
Choice = str | Sequence[str]
"""A value, or several; `$__all` is what "All" stands for."""


@dataclass(frozen=True, slots=True)
class Query:
    """One expression, ready for Prometheus, and its place in the dashboard. `instant`: the query is for one point in
    time."""

    place: str
    expression: str
    instant: bool

    def metrics(self) -> set[str]:
        """Returns the names of the metrics in the expression."""
        names: set[str] = set()

        def visit(expression: promql_parser.Expr) -> None:
            if isinstance(expression, promql_parser.MatrixSelector):
                expression = expression.vector_selector
            if isinstance(expression, promql_parser.VectorSelector):
                matchers = expression.matchers.matchers
                several = next((one.value.split("|") for one in matchers if one.name == "__name__"), [])
                assert expression.name or several, f"{self.place}: a selector without the name of a metric"
                names.update([expression.name] if expression.name else several)

        promql_parser.walk(promql_parser.parse(self.expression), visit)
        return names


class Dashboard:
    """One dashboard as it is shipped."""

    def __init__(self, file: Path, macros: Mapping[str, str] = MACROS) -> None:
        self.document: dict[str, Any] = json.loads(file.read_text("utf-8"))
        self._macros = macros

    @property
    def uid(self) -> str:
        return str(self.document["uid"])

    @property
    def panels(self) -> list[dict[str, Any]]:
        """All panels, without the titles of rows."""
        return [panel for panel in self.document["panels"] if panel["type"] != "row"]

    @property
    def variables(self) -> list[dict[str, Any]]:
        return list(self.document["templating"]["list"])

    def queries(self, chosen: Mapping[str, Choice]) -> Iterator[Query]:
        """Yields the queries of every panel and of every annotation."""
        for panel in self.panels:
            for target in panel["targets"]:
                expression = self._filled(target["expr"], chosen)
                yield Query(f"{self.uid}: {panel['title']} {target['refId']}", expression, bool(target.get("instant")))
        for annotation in self.document["annotations"]["list"]:
            yield Query(f"{self.uid}: {annotation['name']}", self._filled(annotation["expr"], chosen), instant=False)

    def values(self, chosen: Mapping[str, Choice]) -> Iterator[tuple[Query, str]]:
        """Yields the query of every variable: a selector, and the label whose values can be chosen."""
        for variable in self.variables:
            if variable["type"] == "query":
                match = LABEL_VALUES.fullmatch(variable["query"])
                assert match, f"{self.uid}: {variable['query']}"
                selector = self._filled(match["selector"], chosen)
                yield Query(f"{self.uid}: variable {variable['name']}", selector, instant=True), match["label"]

    def _filled(self, expression: str, chosen: Mapping[str, Choice]) -> str:
        for macro, text in self._macros.items():
            expression = expression.replace(macro, text)
        for variable in self.variables:
            if variable["type"] == "query":
                parts = re.split(rf"\${variable['name']}\b", expression)
                expression = _interpolated(variable, chosen[variable["name"]]).join(parts)
        assert not LEFT_OVER.search(expression), f"a variable that is not known: {expression}"
        return expression


def _interpolated(variable: Mapping[str, Any], choice: Choice) -> str:
    if choice == "$__all":
        return str(variable["allValue"])
    if not variable.get("multi") and not variable.get("includeAll"):
        return re.sub(r"([\\\"])", r"\\\1", str(choice))
    escaped = [_escaped(value) for value in ([choice] if isinstance(choice, str) else choice)]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def _escaped(value: str) -> str:
    """Escapes a value for a regular expression inside a string of PromQL."""
    return re.sub(r"[$^*{}\[\]'+?.()|]", r"\\\\\g<0>", value.replace("\\", "\\\\\\\\"))
