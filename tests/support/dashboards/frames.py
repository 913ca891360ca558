"""The answers to the queries of a panel, as its fields: series over time, or the rows of a table.

Sources: `result_transformer.ts` of grafana-prometheus, `merge.ts` and `organize.ts` of grafana-data.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

from tests.support.dashboards.shown import Config
from tests.support.grafana import Choice, Dashboard, Query
from tests.support.prometheus import Prometheus, Series

Row = Mapping[str, "float | str"]


@dataclass(frozen=True, slots=True)
class Period:
    """The time that a dashboard shows."""

    start: float
    end: float
    step: float


@dataclass(frozen=True, slots=True)
class Line:
    """One series: its name in the legend, its labels, and its points."""

    name: str
    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. `field` is the name in the rows."""

    field: str
    title: str
    config: Config


class Data:
    """Everything that a dashboard asks Prometheus for."""

    def __init__(
        self, dashboard: Dashboard, prometheus: Prometheus, chosen: Mapping[str, Choice], period: Period
    ) -> None:
        self.period = period
        self._prometheus = prometheus
        self._queries = {query.place: query for query in dashboard.queries(chosen)}
        self._uid = dashboard.uid

    def lines(self, panel: Config) -> list[Line]:
        """Returns the series of all queries, those of an instant query with one point."""
        return [
            Line(_legend(target.get("legendFormat", ""), series.labels), series.labels, points)
            for target in panel["targets"]
            for series in self._answer(self._query(panel["title"], target["refId"]))
            if (points := [point for point in series.samples if not isnan(point[1])])
        ]

    def annotations(self, annotation: Config) -> list[float]:
        """Returns the times at which an annotation begins."""
        answer = self._answer(self._queries[f"{self._uid}: {annotation['name']}"])
        return sorted({part[0][0] for series in answer for part in gaps(series.samples, self.period.step)})

    def table(self, panel: Config) -> tuple[list[Column], list[Row]]:
        """Returns the columns and the sorted rows. A label that the panel neither places nor hides is a column too."""
        rows = self._merged(panel)
        organized = panel["transformations"][-1]["options"]
        places, hidden = organized["indexByName"], organized["excludeByName"]
        names = dict.fromkeys(name for row in rows for name in row if name not in hidden)
        columns = [_column(panel, name) for name in sorted(names, key=lambda name: places.get(name, len(places)))]
        for order in panel["options"].get("sortBy", ()):
            sorted_by = [column.field for column in columns if column.title == order["displayName"]]
            for field in sorted_by:
                rows.sort(key=lambda row, field=field: (field in row, row.get(field)), reverse=order["desc"])  # type: ignore[misc]
        return columns, rows

    def _merged(self, panel: Config) -> list[Row]:
        """Joins the rows of the queries whose labels are the same."""
        targets = panel["targets"]
        rows: list[dict[str, float | str]] = []
        for target in targets:
            value = "Value" if len(targets) == 1 else f"Value #{target['refId']}"
            for series in self._answer(self._query(panel["title"], target["refId"])):
                new: dict[str, float | str] = {**series.labels, value: series.value}
                same = [row for row in rows if value not in row and _agree(row, series.labels)]
                if same:
                    same[0].update(new)
                else:
                    rows.append(new)
        return list[Row](rows)

    def _query(self, title: str, ref: str) -> Query:
        return self._queries[f"{self._uid}: {title} {ref}"]

    def _answer(self, query: Query) -> list[Series]:
        if query.instant:
            return self._prometheus.query(query.expression, self.period.end)
        return self._prometheus.query_range(query.expression, self.period.start, self.period.end, self.period.step)


def field_config(panel: Config, *names: str) -> dict[str, Any]:
    """Returns the configuration of the field that has one of these names."""
    config = {key: value for key, value in panel["fieldConfig"]["defaults"].items() if key != "custom"}
    for override in panel["fieldConfig"]["overrides"]:
        if override["matcher"]["options"] in names:
            config.update({one["id"]: one["value"] for one in override["properties"]})
    return config


def _column(panel: Config, name: str) -> Column:
    config = field_config(panel, name)
    return Column(name, config.get("displayName", name), config)


def _agree(row: Row, labels: Mapping[str, str]) -> bool:
    return all(row.get(name, value) == value for name, value in labels.items())


def _legend(template: str, labels: Mapping[str, str]) -> str:
    if not template:
        return "{" + ", ".join(f'{name}="{value}"' for name, value in labels.items()) + "}" if labels else "Value"
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), template)


def gaps(points: Sequence[tuple[float, float]], step: float) -> Iterator[list[tuple[float, float]]]:
    """Splits the points where at least one is missing."""
    part: list[tuple[float, float]] = []
    for point in points:
        if part and point[0] - part[-1][0] > 1.5 * step:
            yield part
            part = []
        part.append(point)
    if part:
        yield part
