"""Writes the dashboards: `python -m deploy.grafana.build`. The output is deterministic."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from deploy.grafana import controllers, links, overview, pod, variables

FOLDER = Path(__file__).parent / "dashboards"
RULES = Path(__file__).parents[1] / "prometheus" / "rules"

Rows = Sequence[tuple[str, Sequence[Builder[model.Panel]]]]


def dashboards() -> list[model.Dashboard]:
    """Returns all dashboards. The `uid` of a dashboard is also the name of its file."""
    return [
        _joined(
            links.OVERVIEW,
            "Podpulse",
            "Is anything wrong, with which pods, on which nodes?",
            overview.choices(),
            overview.annotations(),
            overview.rows(list(alerts())),
        ),
        _joined(
            links.POD,
            "Podpulse: one pod",
            "The status of one pod: since when, and why.",
            pod.choices(),
            pod.annotations(),
            pod.rows(),
        ),
        _joined(
            links.CONTROLLERS,
            "Podpulse: controllers",
            "The state of the controllers.",
            controllers.choices(),
            controllers.annotations(),
            controllers.rows(),
        ),
    ]


def alerts() -> Iterator[str]:
    """Returns the names of the alerts in deploy/prometheus/rules."""
    for file in sorted(RULES.glob("*.yml")):
        for group in yaml.safe_load(file.read_text())["groups"]:
            yield from (rule["alert"] for rule in group["rules"] if "alert" in rule)


def written() -> Mapping[Path, str]:
    """Returns the content of each file."""
    encoder = JSONEncoder(sort_keys=True, indent=2)
    return {FOLDER / f"{one.uid}.json": encoder.encode(one) + "\n" for one in dashboards()}


def _joined(
    uid: str,
    title: str,
    description: str,
    choices: Sequence[build.QueryVariable],
    annotations: Sequence[build.AnnotationQuery],
    rows: Rows,
) -> model.Dashboard:
    whole = (
        build.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([links.TAG])
        .time("now-1h", "now")
        .refresh("30s")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .link(links.between_dashboards())
        .variables([variables.datasource(), *choices, variables.scheme(), variables.runbook()])
        .annotations([*annotations])
    )
    for name, panels in rows:
        whole.with_row(build.Row(name))
        for panel in panels:
            whole.with_panel(panel)
    return _numbered(whole.build())


def _numbered(dashboard: model.Dashboard) -> model.Dashboard:
    """Numbers the panels, because links to single panels need their ids."""
    for number, panel in enumerate(dashboard.panels or (), start=1):
        panel.id_val = number
    return dashboard


def main() -> None:
    for file, text in written().items():
        file.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
