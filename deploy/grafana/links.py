"""The links of panels: to a pod's history, to the page of its controller, and to the documentation of an alert.

Two variables: `runbook` is the URL of deploy/operations.md, and `scheme` is the scheme of the controllers' pages.
"""

from typing import TypedDict

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models.dashboard import DashboardLinkType

TAG = "podpulse"
OVERVIEW, POD, CONTROLLERS = "podpulse", "podpulse-pod", "podpulse-controllers"
"""The uid of each dashboard, which is also part of its URL."""


class Link(TypedDict):
    """A link of a field, in the format of an override."""

    title: str
    url: str


TO_HISTORY: Link = {
    "title": "History of this pod",
    "url": f"/d/{POD}?${{datasource:queryparam}}&var-node=${{__data.fields.node}}&var-pod=${{__data.fields.pod}}"
    "&${__url_time_range}",
}
TO_POD_PAGE: Link = {
    "title": "Pod page of the controller",
    "url": "${scheme}://${__data.fields.instance}/pods/${__data.fields.node}/${__data.fields.pod}",
}
TO_NODE: Link = {
    "title": "Only this node",
    "url": f"/d/{OVERVIEW}?${{datasource:queryparam}}&var-node=${{__data.fields.node}}&${{__url_time_range}}",
}
TO_NODES_CONTROLLER: Link = {
    "title": "Controller of this node",
    "url": f"/d/{CONTROLLERS}?${{datasource:queryparam}}&var-node=${{__data.fields.node}}&${{__url_time_range}}",
}
TO_CONTROLLER_PAGE: Link = {"title": "Page of the controller", "url": "${scheme}://${__data.fields.instance}/"}
TO_WHAT_TO_DO: Link = {"title": "What to do", "url": "${runbook}#${__value.text}"}
"""For a field whose text is the anchor of a heading."""


def anchor(alert: str) -> str:
    """Returns the anchor of the section of deploy/operations.md that explains an alert."""
    return alert.lower()


def what_to_do(alert: str) -> build.DashboardLink:
    """Returns a link to the section of deploy/operations.md that explains an alert."""
    return build.DashboardLink("What to do").url(f"${{runbook}}#{anchor(alert)}").target_blank(True)


def page_of_this_pod() -> build.DashboardLink:
    """Returns a link to the controller's page of the dashboard's pod. The series must have the label `instance`."""
    url = "${scheme}://${__field.labels.instance}/pods/${node}/${pod}"
    return build.DashboardLink("Pod page of the controller").url(url).target_blank(True)


def between_dashboards() -> build.DashboardLink:
    """Returns links to all dashboards about Podpulse. A link keeps the chosen variables and time."""
    return (
        build.DashboardLink("Podpulse")
        .type(DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .placement("")
        .include_vars(True)
        .keep_time(True)
    )
