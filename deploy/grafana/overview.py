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
    worded,
)
from deploy.grafana.variables import NODES, PODS

FIRING = 'ALERTS{alertname=~"Podpulse.+",alertstate="firing",node=~"$node|"}'
TO_POD = linked(TO_HISTORY, TO_POD_PAGE)
NOT_AT_ALL, BY_AN_OLDER = "not at all", "by an older version"
FORGOTTEN = 66
"""Hours, as PodpulsePodPaused has it."""
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
        # Off until it is wanted: it asks for every pod that is chosen.
        variables.transitions(PODS, most=20).enable(False),
    ]


def rows(alerts: Iterable[str]) -> list[tuple[str, list[stat.Panel | table.Panel | timeseries.Panel]]]:
    """Titles and panels; `alerts` are the names of all alerts that there are."""
    return [
        ("Is anything wrong?", [*_signs(), _firing(alerts), _states()]),
        ("Pods", [_not_well(), _changing(), _certificates(), _invalid(), _unreliable(), _paused(), _slow()]),
        ("Nodes", [_nodes(), _critical_by_node(), _success_by_node()]),
    ]


def _signs() -> list[stat.Panel]:
    def pods(state: str) -> str:
        return f'sum(node_state:podpulse_health:sum{{{NODES},state="{state}"}})'

    return [
        _sign(
            "Critical",
            "Pods whose probes fail. Below is which and why.",
            pods("critical"),
            "PodpulsePodCritical",
            look.NONE_IS_GOOD,
        ),
        _sign(
            "Unknown",
            "Pods that nobody can judge: not probed yet, or the controller's own trouble.",
            pods("unknown"),
            "PodpulsePodUnknown",
            ((1, look.NOBODY_KNOWS),),
        ),
        _sign(
            "Flapping",
            "Pods published as unknown because their status changes too often.",
            f"sum(podpulse_pods_damped{{{NODES}}})",
            "PodpulsePodFlapping",
            look.NONE_IS_BETTER,
        ),
        _sign(
            "Not checked",
            "Pods whose manifest is not understood, and of which no older version is known: nobody checks them.",
            f"count(podpulse_manifest_in_force{{{PODS}}} == 0) or vector(0)",
            "PodpulsePodNotChecked",
            look.NONE_IS_GOOD,
        ),
        _sign(
            "Invalid manifests",
            "Manifests that are not understood; the last good one is in force, if there was one.",
            f"sum(node:podpulse_manifest_invalid:sum{{{NODES}}})",
            "PodpulseManifestInvalid",
            look.NONE_IS_BETTER,
        ),
        _sign(
            "Paused",
            "Pods whose manifest says paused: they are not probed and have no health. Below is which.",
            f"sum(node:podpulse_paused:sum{{{NODES}}})",
            "PodpulsePodPaused",
            ((1, "blue"),),
        ),
        _sign(
            "Removals held",
            "Pods that vanished from Consul in a way that is not believed yet; they are still checked.",
            f"sum(podpulse_removals_held{{{NODES}}})",
            "PodpulseRemovalsHeld",
            look.NONE_IS_BETTER,
        ),
        _sign(
            "Controllers down",
            "Controllers that do not answer. Nobody checks the pods of their nodes, and no number here counts them.",
            f'sum(1 - up{{job="podpulse",{NODES}}})',
            "PodpulseControllerDown",
            look.NONE_IS_GOOD,
        ),
        _sign(
            "Overloaded",
            "Controllers that have more checks than they can probe in time: every check is probed less often.",
            f"count(podpulse_probes_kept_ratio{{{NODES}}} < 0.95) or vector(0)",
            "PodpulseOverloaded",
            look.NONE_IS_GOOD,
        ),
        _sign(
            "Cut off",
            "Nodes of which every check fails, and the canary too: their pods are unknown.",
            f"sum(podpulse_cut_off{{{NODES}}})",
            "PodpulseCutOff",
            look.NONE_IS_GOOD,
        ),
        _sign(
            "Certificates expiring",
            "Pods whose certificate is accepted for less than 14 days more. Where it is refused, the pod is critical.",
            f"sum(node:podpulse_certificates_expiring:sum{{{NODES}}})",
            "PodpulseCertificateExpiring",
            look.NONE_IS_BETTER,
        ).no_value("no TLS"),
        _sign(
            "Alerts firing",
            "Alerts about pods and controllers that fire now. Below is which, and what to do.",
            f"count({FIRING}) or vector(0)",
            "PodpulsePodCritical",
            look.NONE_IS_GOOD,
        ),
    ]


def _sign(title: str, description: str, expression: str, alert: str, steps: look.Steps) -> stat.Panel:
    return number(title, description, now(expression), alert=alert).thresholds(look.thresholds(steps)).span(2)


def _firing(alerts: Iterable[str]) -> table.Panel:
    expression = f'label_replace(count by (alertname, severity) ({FIRING}), "todo", "$1", "alertname", "(.+)")'
    headings = look.texts({alert: anchor(alert) for alert in alerts})
    return listing(
        "What fires",
        "What fires, how often, and a link to the section of deploy/operations.md that says what to do.",
        {"count": expression},
        columns=["severity", "alertname", "count", "todo"],
        order="severity",
        fields={"severity": worded(look.SEVERITIES), "todo": {"mappings": headings, **linked(TO_WHAT_TO_DO)}},
    ).span(12)


def _states() -> timeseries.Panel:
    panel = graph(
        "Pods by state",
        "How many pods are in each state. A step down of all of them is a controller that went, not a recovery.",
        "short",
        over_time(f"sum by (state) (node_state:podpulse_health:sum{{{NODES}}})", "{{state}}"),
    )
    return coloured(stacked(panel), look.STATES).span(12)


def _not_well() -> table.Panel:
    critical = f'2 * (podpulse_health{{{PODS},state="critical"}} == 1)'
    others = f'podpulse_health{{{PODS},state=~"unknown|warning"}} == 1'
    why = f"podpulse_probe_failure_reason{{{PODS}}} == 1"
    bad = f"topk(50, {critical} or {others})"
    explained = f"{bad} * on (instance, node, pod) group_left (reason) ({why})"
    unexplained = f"{bad} unless on (instance, node, pod) ({why})"
    return listing(
        "Pods that are not well",
        "At most 50, the critical ones first, with the reason of the last probe, which deploy/operations.md explains. "
        "A click on the pod leads to its history and to its page.",
        {"rank": f"max by (instance, node, pod, state, reason) ({explained} or {unexplained})"},
        columns=["state", "pod", "node", "reason", "instance"],
        order="state",
        fields={"state": worded(look.STATES), "pod": TO_POD, "node": linked(TO_NODE, TO_NODES_CONTROLLER)},
    ).span(14)


def _changing() -> table.Panel:
    changes = f"increase(podpulse_health_transitions_total{{{PODS}}}[15m])"
    return listing(
        "Pods that change most",
        "Changes of state in the last 15 minutes. Few and regular ones are hidden by a failure_threshold of 2 or 3.",
        {"changes": f"topk(20, max by (instance, node, pod) ({changes}) > 0.5)"},
        columns=["changes", "pod", "node", "instance"],
        order="-changes",
        fields={"pod": TO_POD, "changes": {"decimals": 0}},
    ).span(10)


def _certificates() -> table.Panel:
    left = f"probe_ssl_last_chain_expiry_timestamp_seconds{{{PODS}}} - time()"
    return listing(
        "Certificates that expire first",
        "Until when each is accepted, by the chain that verifies it. Renew what is not green.",
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
        "Manifests that are not understood",
        "At most 50, and whether an older version is in force. The page says which field; mend it and schedule it.",
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
        "At most 50, and for how many of the last 72 hours. Take paused out of a manifest to check the pod again.",
        {"hours of 72": f"topk(50, max by (instance, node, pod) ({paused}))"},
        columns=["hours of 72", "pod", "node", "instance"],
        order="-hours of 72",
        fields={"pod": linked(TO_POD_PAGE), "hours of 72": measured("short", ((FORGOTTEN, look.NOTE),), "blue")},
    ).span(8)


def _unreliable() -> table.Panel:
    return listing(
        "Pods whose probes fail most",
        "The share of probes that succeeded in the last five minutes, the lowest first.",
        {"succeed": f"bottomk(20, node_pod:podpulse_probes_success:ratio_rate5m{{{PODS}}} < 1)"},
        columns=["succeed", "pod", "node"],
        order="succeed",
        fields={"pod": linked(TO_HISTORY), "succeed": measured("percentunit", ((0.9, look.NOTE),), look.BAD)},
    ).span(8)


def _slow() -> table.Panel:
    return listing(
        "Slowest pods",
        "How long the last probe took. One that comes near its timeout is about to be critical.",
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
        "At most 50, those with most critical and unknown pods. 10 s late says ten seconds or more.",
        {
            "pods": pods(".+"),
            "critical": pods("critical"),
            "unknown": pods("unknown"),
            "succeed": of_worst(_success(NODES)),
            "late (p99)": of_worst(f"node:podpulse_probe_lateness_seconds:p99_5m{{{NODES}}}"),
            "skipped": of_worst(f"node:podpulse_probes_skipped:ratio_rate5m{{{NODES}}}"),
        },
        columns=["node", "critical", "unknown", "pods", "succeed", "late (p99)", "skipped"],
        order="-critical",
        fields={
            "node": linked(TO_NODE, TO_NODES_CONTROLLER),
            "critical": measured("short", look.NONE_IS_GOOD),
            "unknown": measured("short", ((1, look.NOBODY_KNOWS),)),
            "succeed": measured("percentunit"),
            "late (p99)": measured("s", ((0.5, look.BAD),)),
            "skipped": measured("percentunit", ((0.01, look.BAD),)),
        },
    ).span(24)


def _critical_by_node() -> timeseries.Panel:
    return graph(
        "Critical pods by node",
        "The ten nodes that have most. One line that rises is a node; all of them together are what they share.",
        "short",
        over_time(f'topk(10, node_state:podpulse_health:sum{{{NODES},state="critical"}})', "{{node}}"),
    ).span(12)


def _success_by_node() -> timeseries.Panel:
    panel = graph(
        "Share of probes that succeed, by node",
        "The ten lowest, over five minutes; the controllers' own failures are left out.",
        "percentunit",
        over_time(f"bottomk(10, {_success(NODES)})", "{{node}}"),
    )
    return limited(panel, ((0.9, look.GOOD),), look.BAD).max(1).span(12)


def _success(selector: str) -> str:
    def rate(results: str) -> str:
        return f'sum by (node) (node_result:podpulse_probes:rate5m{{{selector},result=~"{results}"}})'

    return f"{rate('success')} / ({rate('success|failure')} > 0)"
