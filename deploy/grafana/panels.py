"""The kinds of panel that the dashboards are made of.

Each has a title, a description (what it means and what to do, shown behind the title's "i"), and PromQL.
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
"""What is different about one field: properties of a field's configuration, by their ids."""

VALUE = "Value"
HEIGHT = 8


def now(expression: str, legend: str = "") -> prometheus.Dataquery:
    """A query for one point in time: the end of what is shown."""
    return _query(expression, legend).instant()


def over_time(expression: str, legend: str) -> prometheus.Dataquery:
    """A query for all that is shown."""
    return _query(expression, legend).range()


def number(title: str, description: str, query: prometheus.Dataquery, *, alert: str = "") -> stat.Panel:
    """One number on its colour; a click leads to what to do, where there is an alert about it."""
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
        .no_value("no data")
        .height(4)
    )
    return panel.data_links([what_to_do(alert)]) if alert else panel


def listing(
    title: str,
    description: str,
    queries: Mapping[str, str],
    *,
    columns: Sequence[str],
    order: str,
    fields: Mapping[str, Properties] | None = None,
) -> table.Panel:
    """A table of labels and values, as they are now.

    `queries` are expressions by the name of the column that their value gets; a name that is not in `columns` is not
    shown. `columns` are in order. `order` is the column that sorts the rows; with a `-` in front the highest are first.
    `fields` says what is different about some columns.
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


def graph(title: str, description: str, unit: str, *queries: prometheus.Dataquery) -> timeseries.Panel:
    """Lines over time, with all of their values in one tooltip."""
    return (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .targets(_referred(queries))
        .unit(unit)
        .min(0)
        .fill_opacity(10)
        .show_points(common.VisibilityMode.NEVER)
        .legend(shared.VizLegendOptions().display_mode(common.LegendDisplayMode.LIST).show_legend(True))
        .tooltip(shared.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
        .height(HEIGHT)
    )


def stacked(panel: timeseries.Panel) -> timeseries.Panel:
    """Lines that add up."""
    return panel.stacking(shared.StackingConfig().mode(common.StackingMode.NORMAL)).fill_opacity(60)


def coloured(panel: timeseries.Panel, colours: Mapping[str, str]) -> timeseries.Panel:
    """Lines whose names say their colours."""
    for name, colour in colours.items():
        panel.override_by_name(name, _values({"color": look.fixed(colour)}))
    return panel


def limited(panel: timeseries.Panel, steps: look.Steps, lowest: str = look.GOOD) -> timeseries.Panel:
    """With a line where it gets bad."""
    style = shared.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
    return panel.thresholds(look.thresholds(steps, lowest)).thresholds_style(style)


def timeline(
    title: str, description: str, mappings: list[dashboard.ValueMapping], *queries: prometheus.Dataquery
) -> statetimeline.Panel:
    """Bars over time, in the colours of the words that `mappings` has for their values."""
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
    """A field that leads somewhere."""
    return {"links": list(links)}


def worded(colours: Mapping[str, str]) -> Properties:
    """A field whose words have colours."""
    return {"mappings": look.words(colours), "custom.cellOptions": common.TableColorTextCellOptions()}


def measured(unit: str, steps: look.Steps = (), lowest: str = look.GOOD) -> Properties:
    """A field with a unit, and colours where there are limits."""
    if not steps:
        return {"unit": unit}
    limits = look.thresholds(steps, lowest).build()
    return {"unit": unit, "thresholds": limits, "custom.cellOptions": common.TableColorTextCellOptions()}


def _query(expression: str, legend: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().datasource(DATASOURCE).expr(" ".join(expression.split())).legend_format(legend)


def _referred(queries: Iterable[prometheus.Dataquery]) -> list[Builder[Dataquery]]:
    """Each with the letter that Grafana knows it by."""
    return [query.ref_id(letter) for letter, query in zip(ascii_uppercase, queries, strict=False)]


def _values_of(queries: Mapping[str, str]) -> list[str]:
    """What Grafana calls the values of each query."""
    return (
        [VALUE]
        if len(queries) == 1
        else [f"{VALUE} #{letter}" for letter, _ in zip(ascii_uppercase, queries, strict=False)]
    )


def _arranged(queries: Mapping[str, str], columns: Sequence[str]) -> dashboard.DataTransformerConfig:
    """Columns in order, and without what nobody wants to read."""
    called = dict(zip(queries, _values_of(queries), strict=True))
    hidden = ["Time", *(called[name] for name in queries if name not in columns)]
    options = {
        "excludeByName": dict.fromkeys(hidden, True),
        "indexByName": {called.get(name, name): place for place, name in enumerate(columns)},
    }
    return dashboard.DataTransformerConfig("organize", options=options)


def _values(properties: Properties) -> list[dashboard.DynamicConfigValue]:
    return [dashboard.DynamicConfigValue(name, value) for name, value in properties.items()]
