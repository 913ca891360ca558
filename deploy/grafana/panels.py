"""The kinds of panel in the dashboards.

Each panel has a title, PromQL, and a description: the meaning and what to do. The title's "i" shows the description.
"""

from collections.abc import Iterable, Mapping, Sequence
from string import ascii_uppercase

from grafana_foundation_sdk.builders import common as shared
from grafana_foundation_sdk.builders import prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from deploy.grafana import look
from deploy.grafana.links import Link, what_to_do
from deploy.grafana.variables import DATASOURCE

Properties = Mapping[str, object]
"""The properties of one field's configuration that differ from the panel's, by their ids."""

VALUE = "Value"
HEIGHT = 8


def now(expression: str, legend: str = "") -> prometheus.Dataquery:
    """Returns a query for the end of the shown time range."""
    return _query(expression, legend).instant()


def over_time(expression: str, legend: str) -> prometheus.Dataquery:
    """Returns a query for the whole shown time range."""
    return _query(expression, legend).range()


def number(
    title: str,
    description: str,
    query: prometheus.Dataquery,
    *,
    alert: str = "",
    mappings: Iterable[dashboard.ValueMapping] = (),
    nothing: str = "no data",
) -> stat.Panel:
    """Returns a panel with one number on a coloured background. It links to the documentation of `alert`. `nothing` is
    shown if there is no number."""
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .targets(_referred([query]))
        .reduce_options(shared.ReduceDataOptions().calcs(["lastNotNull"]))
        .color_mode(common.BigValueColorMode.BACKGROUND)
        .graph_mode(common.BigValueGraphMode.NONE)
        .text_mode(common.BigValueTextMode.VALUE)
        .mappings([*mappings, look.nothing(nothing)])
        .height(4)
    )
    return panel.data_links([what_to_do(alert)]) if alert else panel


def uptime(title: str, description: str, series: str, span: str) -> stat.Panel:
    """Returns a panel with the share of `span` in which pods were passing or warning; unknown is not counted.

    `series` is the selector of a series for each state, with `%s` for the matcher of the state.
    """

    def counted(states: str) -> str:
        chosen = series % f'state=~"{states}"'
        return f"sum(sum_over_time({chosen}[{span}]))"

    query = now(f"{counted('passing|warning')} / ({counted('passing|warning|critical')} > 0)")
    limits = look.thresholds(((0.99, look.NOTE), (0.999, look.GOOD)), look.BAD)
    return number(title, description, query).unit("percentunit").decimals(3).thresholds(limits)


def listing(
    title: str,
    description: str,
    queries: Mapping[str, str],
    *,
    columns: Sequence[str],
    order: str,
    fields: Mapping[str, Properties] | None = None,
) -> table.Panel:
    """Returns a table of labels and current values.

    `queries` maps the name of a column to the expression of its values. A name that is not in `columns` is hidden.
    `columns` is the order of the columns. Rows are sorted by the column `order`. With a leading `-`, the highest value
    is first. `fields` has the properties of some columns.
    """
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .targets(_referred(now(expression).format(PromQueryFormat.TABLE) for expression in queries.values()))
        .transformations([dashboard.DataTransformerConfig("merge", options={}), _arranged(queries, columns)])
        .sort_by([shared.TableSortByFieldState().display_name(order.removeprefix("-")).desc(order.startswith("-"))])
        .no_value("none")
        .height(HEIGHT)
    )
    for name, ref in zip(queries, _values_of(queries), strict=True):
        panel.override_by_name(ref, _values({"displayName": name, **(fields or {}).get(name, {})}))
    for name, properties in (fields or {}).items():
        if name not in queries:
            panel.override_by_name(name, _values(properties))
    return panel


def graph(
    title: str, description: str, unit: str, *queries: prometheus.Dataquery, nothing: str = "no data"
) -> timeseries.Panel:
    """Returns a panel of lines over time, with all values in one tooltip. `nothing` is shown if there is no line."""
    return (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .targets(_referred(queries))
        .unit(unit)
        .no_value(nothing)
        .min(0)
        .fill_opacity(10)
        .show_points(common.VisibilityMode.NEVER)
        .legend(shared.VizLegendOptions().display_mode(common.LegendDisplayMode.LIST).show_legend(True))
        .tooltip(shared.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
        .height(HEIGHT)
    )


def stacked(panel: timeseries.Panel) -> timeseries.Panel:
    """Stacks the lines."""
    return panel.stacking(shared.StackingConfig().mode(common.StackingMode.NORMAL)).fill_opacity(60)


def coloured(panel: timeseries.Panel, colours: Mapping[str, str]) -> timeseries.Panel:
    """Sets the colours of lines by their names."""
    for name, colour in colours.items():
        panel.override_by_name(name, _values({"color": look.fixed(colour)}))
    return panel


def limited(panel: timeseries.Panel, steps: look.Steps, lowest: str = look.GOOD) -> timeseries.Panel:
    """Adds a line at each limit."""
    style = shared.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
    return panel.thresholds(look.thresholds(steps, lowest)).thresholds_style(style)


def timeline(
    title: str, description: str, mappings: list[dashboard.ValueMapping], *queries: prometheus.Dataquery
) -> statetimeline.Panel:
    """Returns a panel of bars over time. `mappings` gives each value its word and colour."""
    return (
        statetimeline.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .targets(_referred(queries))
        .mappings(mappings)
        .merge_values(True)
        .show_value(common.VisibilityMode.AUTO)
        .row_height(0.8)
        .no_value("none")
        .height(6)
    )


def linked(*links: Link) -> Properties:
    """Returns the properties of a field with links."""
    return {"links": list(links)}


def worded(colours: Mapping[str, str]) -> Properties:
    """Returns the properties of a field with coloured words."""
    return {"mappings": look.words(colours), "custom.cellOptions": common.TableColorTextCellOptions()}


def measured(unit: str, steps: look.Steps = (), lowest: str = look.GOOD) -> Properties:
    """Returns the properties of a field with a unit, and with colours if there are limits."""
    field = {"unit": unit, "mappings": [look.nothing("-")]}
    if not steps:
        return field
    limits = look.thresholds(steps, lowest).build()
    return {**field, "thresholds": limits, "custom.cellOptions": common.TableColorTextCellOptions()}


def _query(expression: str, legend: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().datasource(DATASOURCE).expr(" ".join(expression.split())).legend_format(legend)


def _referred(queries: Iterable[prometheus.Dataquery]) -> list[Builder[Dataquery]]:
    """Gives each query a letter, its id in Grafana."""
    return [query.ref_id(letter) for letter, query in zip(ascii_uppercase, queries, strict=False)]


def _values_of(queries: Mapping[str, str]) -> list[str]:
    """Returns Grafana's name for the values of each query."""
    return (
        [VALUE]
        if len(queries) == 1
        else [f"{VALUE} #{letter}" for letter, _ in zip(ascii_uppercase, queries, strict=False)]
    )


def _arranged(queries: Mapping[str, str], columns: Sequence[str]) -> dashboard.DataTransformerConfig:
    """Orders the columns, and hides the time and the other queries."""
    called = dict(zip(queries, _values_of(queries), strict=True))
    hidden = ["Time", *(called[name] for name in queries if name not in columns)]
    options = {
        "excludeByName": dict.fromkeys(hidden, True),
        "indexByName": {called.get(name, name): place for place, name in enumerate(columns)},
    }
    return dashboard.DataTransformerConfig("organize", options=options)


def _values(properties: Properties) -> list[dashboard.DynamicConfigValue]:
    return [dashboard.DynamicConfigValue(name, value) for name, value in properties.items()]
