"""The first dashboard to open: is anything wrong, with which pods, on which nodes?"""

from collections.abc import Iterable

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import stat, table, timeseries

from deploy.grafana import look, variables
from deploy.grafana.links import TO_HISTORY, TO_NODE, TO_NODES_CONTROLLER, TO_POD_PAGE, TO_WHAT_TO_DO, anchor
from deploy.grafana.panels import (
    coloured,
    graph,
    limited,
    linked,
    listing,
    measured,
    now,
    number,
    over_time,
    stacked,
    uptime,
    worded,
)
from deploy.grafana.variables import NODES, PODS

FIRING = 'ALERTS{alertname=~"Podpulse.+",alertstate="firing",node=~"$node|"}'
TO_POD = linked(TO_HISTORY, TO_POD_PAGE)
NOT_AT_ALL, BY_AN_OLDER = "not at all", "by an older version"
CHANGED = f"podpulse_manifest_last_change_timestamp_seconds{{{NODES}}}"
FORGOTTEN = 66
"""The limit of PodpulsePodPaused, in hours."""
WORST_NODES = f'topk(50, sum by (node) (node_state:podpulse_health:sum{{{NODES},state=~"critical|unknown"}}))'


def choices() -> list[build.QueryVariable]:
    return [variables.several("node", variables.NODE_VALUES), variables.several("pod", variables.POD_VALUES)]


def annotations() -> list[build.AnnotationQuery]:
    return [
        build.AnnotationQuery()
        .name("Alerts")
        .datasource(variables.DATASOURCE)
        .enable(True)
        .icon_color(look.BAD)
        .expr(f"count by (alertname) ({FIRING})")
        .step("60s")
        .title_format("{{alertname}}"),
        # Disabled by default, because its query reads the series of every chosen pod.
        variables.transitions(PODS, most=20).enable(False),
    ]


def rows(alerts: Iterable[str]) -> list[tuple[str, list[stat.Panel | table.Panel | timeseries.Panel]]]:
    """Returns titles and panels. `alerts` are the names of all alerts."""
    return [
        ("Is anything wrong?", [*_signs(), _firing(alerts), _states()]),
        ("How much, and how well?", [*_totals(), *_uptimes(), _latency()]),
        ("Pods", [_not_well(), _changing(), _certificates(), _invalid(), _unreliable(), _paused(), _slow()]),
        ("Nodes", [_nodes(), _critical_by_node(), _success_by_node()]),
    ]


def _signs() -> list[stat.Panel]:
    def pods(state: str) -> str:
        return f'sum(node_state:podpulse_health:sum{{{NODES},state="{state}"}})'

    return [
        _sign(
            "Critical",
            "Pods whose probes fail. The table below shows them with the reason.",
            pods("critical"),
            "PodpulsePodCritical",
            look.NONE_IS_GOOD,
        ),
        _sign(
            "Unknown",
            "Pods whose status is not known: they were not probed yet, or the controller has a problem.",
            pods("unknown"),
            "PodpulsePodUnknown",
            ((1, look.UNKNOWN),),
        ),
        _sign(
            "Flapping",
            "Pods published as unknown because their status flaps.",
            f"sum(podpulse_pods_damped{{{NODES}}})",
            "PodpulsePodFlapping",
            look.NONE_IS_BETTER,
        ),
        _sign(
            "Not checked",
            "Pods whose manifest is invalid, without an older valid version: they are not checked.",
            f"count(podpulse_manifest_in_force{{{PODS}}} == 0) or vector(0)",
            "PodpulsePodNotChecked",
            look.NONE_IS_GOOD,
        ),
        _sign(
            "Invalid manifests",
            "Manifests whose newest version is invalid. The last valid version is in force, if there is one.",
            f"sum(node:podpulse_manifest_invalid:sum{{{NODES}}})",
            "PodpulseManifestInvalid",
            look.NONE_IS_BETTER,
        ),
        _sign(
            "Paused",
            "Pods whose manifest says paused: they are not probed and have no health. The table below lists them.",
            f"sum(node:podpulse_paused:sum{{{NODES}}})",
            "PodpulsePodPaused",
            ((1, "blue"),),
        ),
        _sign(
            "Removals held",
            "Pods whose manifests vanished from Consul. Podpulse does not trust the removal yet, and still checks "
            "them.",
            f"sum(podpulse_removals_held{{{NODES}}})",
            "PodpulseRemovalsHeld",
            look.NONE_IS_BETTER,
        ),
        _sign(
            "Controllers down",
            "Controllers that do not answer. The pods of their nodes are not checked, and are missing in all other "
            "numbers.",
            f'sum(1 - up{{job="podpulse",{NODES}}})',
            "PodpulseControllerDown",
            look.NONE_IS_GOOD,
        ),
        _sign(
            "Overloaded",
            "Controllers with more checks than they can probe in time. They probe every check less often.",
            f"count(podpulse_probes_kept_ratio{{{NODES}}} < 0.95) or vector(0)",
            "PodpulseOverloaded",
            look.NONE_IS_GOOD,
        ),
        _sign(
            "Cut off",
            "Nodes on which every check and the canary fail. Their pods are unknown.",
            f"sum(podpulse_cut_off{{{NODES}}})",
            "PodpulseCutOff",
            look.NONE_IS_GOOD,
        ),
        _sign(
            "Certificates expiring",
            "Pods whose certificate expires in less than 14 days. A pod with a rejected certificate is critical.",
            f"sum(node:podpulse_certificates_expiring:sum{{{NODES}}})",
            "PodpulseCertificateExpiring",
            look.NONE_IS_BETTER,
            nothing="no TLS",
        ),
        _changed(),
    ]


def _sign(
    title: str, description: str, expression: str, alert: str, steps: look.Steps, nothing: str = "no data"
) -> stat.Panel:
    panel = number(title, description, now(expression), alert=alert, nothing=nothing)
    return panel.thresholds(look.thresholds(steps)).span(4).height(3)


def _changed() -> stat.Panel:
    panel = number(
        "Last change of a manifest",
        "The time since a controller last read that a manifest was added, changed or removed. Controllers count from "
        "their start. If pods fail since then, look at that change first.",
        now(f"time() - max({CHANGED} > 0)"),
        nothing="none seen",
    )
    return panel.unit("s").thresholds(look.thresholds((), "blue")).span(4).height(3)


def _totals() -> list[stat.Panel]:
    pods = number(
        "All pods",
        "The pods that have a check, whatever their state. Paused pods and invalid manifests are not counted.",
        now(f"sum(node_state:podpulse_health:sum{{{NODES}}})"),
    )
    controllers = number(
        "All controllers",
        "The controllers that Prometheus scrapes, whether they answer or not.",
        now(f'count(up{{job="podpulse",{NODES}}})'),
    )
    return [panel.thresholds(look.thresholds((), "blue")).span(6) for panel in (pods, controllers)]


def _uptimes() -> list[stat.Panel]:
    return [
        uptime(
            f"Uptime, {shown}",
            f"The share of {shown} in which the pods of all nodes were passing or warning. Unknown is not counted. "
            "It begins when Prometheus first had the recording rule.",
            "state:podpulse_health:sum{%s}",
            span,
        ).span(4)
        for shown, span in (("24 h", "24h"), ("7 d", "7d"), ("30 d", "30d"))
    ]


def _latency() -> timeseries.Panel:
    return graph(
        "Latency of all pods",
        "Percentiles of the duration of the last probe, over all pods on all nodes. If all rise together, the cause is "
        "something that the pods share, or the controllers.",
        "s",
        *(over_time(f"fleet:probe_duration_seconds:{name}", name) for name in ("p50", "p90", "p99")),
    ).span(24)


def _firing(alerts: Iterable[str]) -> table.Panel:
    expression = f'label_replace(count by (alertname, severity) ({FIRING}), "todo", "$1", "alertname", "(.+)")'
    headings = look.texts({alert: anchor(alert) for alert in alerts})
    return listing(
        "Firing alerts",
        "The number of each firing alert, and a link to the section of deploy/operations.md that says what to do.",
        {"count": expression},
        columns=["severity", "alertname", "count", "todo"],
        order="severity",
        fields={
            "severity": worded(look.SEVERITIES),
            "todo": {"displayName": "what to do", "mappings": headings, **linked(TO_WHAT_TO_DO)},
        },
    ).span(12)


def _states() -> timeseries.Panel:
    panel = graph(
        "Pods by state",
        "The number of pods in each state. If all states step down together, a controller vanished; no pod recovered.",
        "short",
        over_time(f"sum by (state) (node_state:podpulse_health:sum{{{NODES}}})", "{{state}}"),
    )
    return coloured(stacked(panel), look.STATES).span(12)


def _not_well() -> table.Panel:
    critical = f'2 * (podpulse_health{{{PODS},state="critical"}} == 1)'
    others = f'podpulse_health{{{PODS},state=~"unknown|warning"}} == 1'
    why = f"podpulse_probe_failure_reason{{{PODS}}} == 1 or podpulse_probe_warning_reason{{{PODS}}} == 1"
    bad = f"topk(50, {critical} or {others})"
    explained = f"{bad} * on (instance, node, pod) group_left (reason) ({why})"
    unexplained = f"{bad} unless on (instance, node, pod) ({why})"
    return listing(
        "Unhealthy pods",
        "At most 50, critical pods first, with the reason of the last failure or warning. deploy/operations.md "
        "explains the reasons. "
        "The links of a pod lead to its history and to its page.",
        {"rank": f"max by (instance, node, pod, state, reason) ({explained} or {unexplained})"},
        columns=["state", "pod", "node", "reason", "instance"],
        order="state",
        fields={"state": worded(look.STATES), "pod": TO_POD, "node": linked(TO_NODE, TO_NODES_CONTROLLER)},
    ).span(14)


def _changing() -> table.Panel:
    changes = f"increase(podpulse_health_transitions_total{{{PODS}}}[15m])"
    return listing(
        "Pods that change most",
        "Changes of state in the last 15 minutes. A failure_threshold of 2 or 3 hides short failures.",
        {"changes": f"topk(20, max by (instance, node, pod) ({changes}) > 0.5)"},
        columns=["changes", "pod", "node", "instance"],
        order="-changes",
        fields={"pod": TO_POD, "changes": {"decimals": 0}},
    ).span(10)


def _certificates() -> table.Panel:
    left = f"probe_ssl_last_chain_expiry_timestamp_seconds{{{PODS}}} - time()"
    return listing(
        "Certificates that expire first",
        "The time until the verified chain expires. Renew certificates that are not green.",
        {"expires in": f"bottomk(20, max by (instance, node, pod) ({left}))"},
        columns=["expires in", "pod", "node", "instance"],
        order="expires in",
        fields={"pod": TO_POD, "expires in": measured("dtdurations", look.TIME_LEFT, look.BAD)},
    ).span(12)


def _invalid() -> table.Panel:
    invalid = f"podpulse_manifest_invalid{{{PODS}}} == 1"
    none_in_force = f"on (instance, node, pod) podpulse_manifest_in_force{{{PODS}}} == 0"
    never = f'label_replace({invalid} and {none_in_force}, "checked", "{NOT_AT_ALL}", "", "")'
    older = f'label_replace({invalid} unless {none_in_force}, "checked", "{BY_AN_OLDER}", "", "")'
    return listing(
        "Pods with an invalid manifest",
        "At most 50, and whether an older version is in force. The page names the field. Correct the manifest and "
        "schedule it.",
        {"invalid": f"topk(50, max by (instance, node, pod, checked) ({never} or {older}))"},
        columns=["checked", "pod", "node", "instance"],
        order="-checked",
        fields={"pod": linked(TO_POD_PAGE), "checked": worded({NOT_AT_ALL: look.BAD, BY_AN_OLDER: look.NOTE})},
    ).span(12)


def _paused() -> table.Panel:
    hours = (
        f"count_over_time(node_pod:podpulse_paused:max{{{PODS}}}[3d:1h]) or 0 * node_pod:podpulse_paused:max{{{PODS}}}"
    )
    paused = f"(podpulse_paused{{{PODS}}} == 1) * on (node, pod) group_left () ({hours})"
    return listing(
        "Paused pods",
        "At most 50, with the paused hours of the last 72. Remove `paused` from the manifest to check the pod again.",
        {"hours of 72": f"topk(50, max by (instance, node, pod) ({paused}))"},
        columns=["hours of 72", "pod", "node", "instance"],
        order="-hours of 72",
        fields={"pod": linked(TO_POD_PAGE), "hours of 72": measured("short", ((FORGOTTEN, look.NOTE),), "blue")},
    ).span(8)


def _unreliable() -> table.Panel:
    return listing(
        "Pods whose probes fail most",
        "The share of probes that succeeded in the last five minutes, also with a warning; the lowest first.",
        {"succeed": f"bottomk(20, max by (node, pod) (node_pod:podpulse_probes_success:ratio_rate5m{{{PODS}}}) < 1)"},
        columns=["succeed", "pod", "node"],
        order="succeed",
        fields={"pod": linked(TO_HISTORY), "succeed": measured("percentunit", ((0.9, look.NOTE),), look.BAD)},
    ).span(8)


def _slow() -> table.Panel:
    return listing(
        "Slowest pods",
        "The duration of the last probe. A pod becomes critical when the duration reaches the timeout.",
        {"took": f"topk(20, max by (instance, node, pod) (probe_duration_seconds{{{PODS}}}))"},
        columns=["took", "pod", "node", "instance"],
        order="-took",
        fields={"pod": TO_POD, "took": measured("s")},
    ).span(8)


def _nodes() -> table.Panel:
    def of_worst(expression: str) -> str:
        return f"{expression} and on (node) {WORST_NODES}"

    def pods(states: str) -> str:
        return of_worst(f'sum by (node) (node_state:podpulse_health:sum{{{NODES},state=~"{states}"}})')

    return listing(
        "Nodes in most trouble",
        "At most 50, with the most critical and unknown pods. 10 s late means ten seconds or more.",
        {
            "pods": pods(".+"),
            "critical": pods("critical"),
            "unknown": pods("unknown"),
            "succeed": of_worst(_success(NODES)),
            "late (p99)": of_worst(f"max by (node) (node:podpulse_probe_lateness_seconds:p99_5m{{{NODES}}})"),
            "skipped": of_worst(f"max by (node) (node:podpulse_probes_skipped:ratio_rate5m{{{NODES}}})"),
        },
        columns=["node", "critical", "unknown", "pods", "succeed", "late (p99)", "skipped"],
        order="-critical",
        fields={
            "node": linked(TO_NODE, TO_NODES_CONTROLLER),
            "critical": measured("short", look.NONE_IS_GOOD),
            "unknown": measured("short", ((1, look.UNKNOWN),)),
            "succeed": measured("percentunit"),
            "late (p99)": measured("s", ((0.5, look.BAD),)),
            "skipped": measured("percentunit", ((0.01, look.BAD),)),
        },
    ).span(24)


def _critical_by_node() -> timeseries.Panel:
    return graph(
        "Critical pods by node",
        "The ten nodes with the most. If one line rises, the cause is on that node. If all rise, it is something that "
        "they share.",
        "short",
        over_time(f'topk(10, node_state:podpulse_health:sum{{{NODES},state="critical"}})', "{{node}}"),
    ).span(12)


def _success_by_node() -> timeseries.Panel:
    panel = graph(
        "Share of probes that succeed, by node",
        "The ten lowest, over five minutes. A warning is a success. Failures of the controllers are not counted.",
        "percentunit",
        over_time(f"bottomk(10, {_success(NODES)})", "{{node}}"),
    )
    return limited(panel, ((0.9, look.GOOD),), look.BAD).max(1).span(12)


def _success(selector: str) -> str:
    def rate(results: str) -> str:
        return f'sum by (node) (node_result:podpulse_probes:rate5m{{{selector},result=~"{results}"}})'

    return f"{rate('success|warning')} / ({rate('success|warning|failure')} > 0)"
