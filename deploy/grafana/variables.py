"""The variables of the dashboards, and how queries use them.

A query uses a variable with several values as `node=~"$node"`. Grafana then escapes names for a regular expression in
a PromQL string, which it would not do for `${node:regex}`. "All" is `.+`, not a list of 5,000 names. The values are
loaded when a dashboard is opened, not at each refresh.
"""

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model

DATASOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")

NODES = 'node=~"$node"'
PODS = 'node=~"$node",pod=~"$pod"'
INSTANCES = 'node=~"$node",instance=~"$instance"'
ONE_POD = 'node="$node",pod="$pod"'

ALL = model.VariableOption(selected=True, text="All", value="$__all")

NODE_VALUES = 'label_values({__name__=~"up|node_state:podpulse_health:sum",job=~"podpulse|"}, node)'
"""Of pods and of controllers. In a fleet these have different nodes."""
NODES_OF_PODS = "label_values(node_state:podpulse_health:sum, node)"
NODES_OF_CONTROLLERS = 'label_values(up{job="podpulse"}, node)'
POD_VALUES = 'label_values(podpulse_check_interval_seconds{node=~"$node"}, pod)'
PODS_OF_NODE = 'label_values(podpulse_check_interval_seconds{node="$node"}, pod)'
INSTANCE_VALUES = 'label_values(up{job="podpulse",node=~"$node"}, instance)'


def datasource() -> build.DatasourceVariable:
    return build.DatasourceVariable("datasource").label("Prometheus").type("prometheus")


def several(name: str, values: str) -> build.QueryVariable:
    """Returns a variable for any number of values of a label."""
    return one(name, values).multi(True).include_all(True).all_value(".+").current(ALL)


def one(name: str, values: str) -> build.QueryVariable:
    """Returns a variable for one value of a label, initially the first."""
    return (
        build.QueryVariable(name)
        .label(name)
        .datasource(DATASOURCE)
        .query(values)
        .definition(values)
        .refresh(model.VariableRefresh.ON_DASHBOARD_LOAD)
        .sort(model.VariableSort.NATURAL_ASC)
    )


def scheme() -> build.CustomVariable:
    return (
        build.CustomVariable("scheme")
        .label("page")
        .description("The scheme of the controllers' pages; https if `web_config_file` requires TLS.")
        .values("http,https")
        .current(model.VariableOption(selected=True, text="http", value="http"))
    )


def runbook() -> build.ConstantVariable:
    """Returns the URL of deploy/operations.md. Set it when you provision the dashboards; the document says how."""
    return build.ConstantVariable("runbook").value("deploy/operations.md")


STEP = "60s"
LOOK_BACK = "75s"
"""One step and one scrape, so that a change between two steps is seen by one of them."""


def transitions(selector: str, most: int = 0) -> build.AnnotationQuery:
    """Returns annotations for changes of pods' states, for at most `most` pods at a time; 0 means all."""
    changed = f"increase(podpulse_health_transitions_total{{{selector}}}[{LOOK_BACK}]) > 0"
    chosen = f"topk({most}, {changed})" if most else f"({changed})"
    return (
        build.AnnotationQuery()
        .name("Transitions")
        .datasource(DATASOURCE)
        .icon_color("blue")
        .expr(f"(podpulse_health{{{selector}}} == 1) and on (instance, node, pod) {chosen}")
        .step(STEP)
        .title_format("{{pod}} on {{node}}: {{state}}")
        .tag_keys("state")
    )
