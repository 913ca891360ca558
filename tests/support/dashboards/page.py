"""Draws a dashboard as a page of HTML."""

import time
from collections.abc import Mapping
from html import escape
from pathlib import Path

from tests.support.dashboards import panels
from tests.support.dashboards.frames import Data, Period
from tests.support.dashboards.shown import Config, colour
from tests.support.grafana import Choice, Dashboard
from tests.support.prometheus import Prometheus

COLUMN, CELL, GAP, TITLE, HEAD = 59, 38, 8, 30, 86
"""Pixels. Grafana's cell is 30 high with a gap of 8."""
WIDTH = 24 * COLUMN
SHOWN, STEP = 180.0, 2.0
MACROS = {"$__rate_interval": "16s", "$__interval": "2s", "$__range": f"{SHOWN:.0f}s"}
STYLE = (Path(__file__).parent / "page.css").read_text("utf-8")


def drawn(dashboard: Dashboard, prometheus: Prometheus, chosen: Mapping[str, Choice]) -> str:
    """Returns the page of a dashboard with these values of its variables, for the last minutes."""
    end = time.time()
    data = Data(dashboard, prometheus, chosen, Period(end - SHOWN, end, STEP))
    annotated = {
        one["iconColor"]: data.annotations(one) for one in dashboard.document["annotations"]["list"] if one["enable"]
    }
    parts = [_panel(panel, data, annotated, chosen) for panel in dashboard.document["panels"]]
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard.document["panels"])
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><style>{STYLE}</style>"
        f"<h1>{escape(dashboard.document['title'])}</h1>{_bar(dashboard, chosen)}{''.join(parts)}"
        f'<div style="position:absolute;top:{HEAD + bottom * CELL}px;height:8px;width:1px"></div>'
    )


def _bar(dashboard: Dashboard, chosen: Mapping[str, Choice]) -> str:
    """Returns the variables and the links above the panels."""
    texts = {name: "All" if choice == "$__all" else str(choice) for name, choice in chosen.items()}
    variables = [
        f"<span>{escape(one.get('label') or one['name'])}<b>{escape(texts.get(one['name'], _current(one)))}</b></span>"
        for one in dashboard.variables
        if one["type"] != "constant"
    ]
    links = [f"<span><u>{escape(each['title'])}</u></span>" for each in dashboard.document["links"]]
    return f'<div class="bar">{"".join(variables + links)}</div>'


def _current(variable: Config) -> str:
    return "Prometheus" if variable["type"] == "datasource" else str(variable.get("current", {}).get("text", ""))


def _panel(panel: Config, data: Data, annotated: Mapping[str, list[float]], chosen: Mapping[str, Choice]) -> str:
    place = panel["gridPos"]
    left, top = place["x"] * COLUMN, HEAD + place["y"] * CELL
    width, height = place["w"] * COLUMN - GAP, place["h"] * CELL - GAP
    title = panel["title"]
    for name, choice in chosen.items():
        title = title.replace(f"${name}", str(choice))
    at = f'style="left:{left + GAP // 2}px;top:{top}px;width:{width}px;height:{height}px"'
    if panel["type"] == "row":
        return f'<div class="row" {at}>{escape(title)}</div>'
    notes = {colour(name): times for name, times in annotated.items()}
    body = panels.body(panel, data, width - 2, height - TITLE, notes)
    has_links = "<small>↗</small>" if panel["fieldConfig"]["defaults"].get("links") else ""
    return f'<div class="panel" {at}><h2>{has_links}{escape(title)}</h2><div class="body">{body}</div></div>'
