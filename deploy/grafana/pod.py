"""The history of one pod: its status, the reasons, the duration of each phase of a probe, and its certificate."""

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import stat, statetimeline, timeseries
from grafana_foundation_sdk.models import common

from deploy.grafana import look, variables
from deploy.grafana.links import page_of_this_pod
from deploy.grafana.panels import coloured, graph, limited, now, number, over_time, stacked, timeline, uptime
from deploy.grafana.variables import ONE_POD

OF_POD = "instance, node, pod"
SAME = f"on ({OF_POD})"
FOUND = f"""sum by (instance, node, pod) (
    podpulse_health{{{ONE_POD},state="warning"}}
    or 2 * podpulse_health{{{ONE_POD},state="unknown"}}
    or 3 * podpulse_health{{{ONE_POD},state="critical"}})"""
"""The index of the pod's state in `look.NUMBERED_STATES`."""
PUBLISHED = f"""({FOUND}) * {SAME} (1 - podpulse_flapping{{{ONE_POD}}}) + {SAME} 4 * podpulse_flapping{{{ONE_POD}}}"""
NO_REASON = f'label_replace(0 * podpulse_check_interval_seconds{{{ONE_POD}}}, "reason", "none", "", "")'
REASON = f"podpulse_probe_failure_reason{{{ONE_POD}}} == 1 or podpulse_probe_warning_reason{{{ONE_POD}}} == 1"


def choices() -> list[build.QueryVariable]:
    return [variables.one("node", variables.NODES_OF_PODS), variables.one("pod", variables.PODS_OF_NODE)]


def annotations() -> list[build.AnnotationQuery]:
    return [variables.transitions(ONE_POD).enable(True)]


def rows() -> list[tuple[str, list[stat.Panel | statetimeline.Panel | timeseries.Panel]]]:
    return [
        ("$pod on $node, now", [_state(), _reason(), _status(), _last(), _succeeded(), _certificate(), _manifest()]),
        ("Uptime of $pod on $node", [*_uptimes()]),
        ("History", [_states(), _reasons(), _phases(), _results(), _certificate_over_time()]),
    ]


def _state() -> stat.Panel:
    return (
        number(
            "State",
            "The state according to the probes and the thresholds of the check. A flapping pod is published as "
            "unknown.",
            now(PUBLISHED),
            mappings=look.numbered_states(),
        )
        .data_links([page_of_this_pod()])
        .span(4)
    )


def _reason() -> stat.Panel:
    return (
        number(
            "Reason",
            "Why the last probe failed or is a warning. deploy/operations.md says what to do for each reason.",
            now(f"{REASON} or on ({OF_POD}) {NO_REASON}", "{{reason}}"),
        )
        .text_mode(common.BigValueTextMode.NAME)
        .thresholds(look.thresholds(look.NONE_IS_GOOD))
        .data_links([page_of_this_pod()])
        .span(4)
    )


def _status() -> stat.Panel:
    query = now(f"probe_http_status_code{{{ONE_POD}}}")
    return (
        number("HTTP status", "The status code of the last answer; 0 if no answer was read.", query)
        .thresholds(look.thresholds((), "blue"))
        .span(3)
    )


def _last() -> stat.Panel:
    panel = number(
        "Last probe",
        "The time since the last probe started, in intervals. Above 3 the check is late, or its controller is gone.",
        now(
            f"(timestamp(podpulse_last_probe_timestamp_seconds{{{ONE_POD}}}) "
            f"- podpulse_last_probe_timestamp_seconds{{{ONE_POD}}}) / podpulse_check_interval_seconds{{{ONE_POD}}}"
        ),
        alert="PodpulseProbesMissing",
    )
    return panel.unit("suffix:intervals").decimals(1).thresholds(look.thresholds(((3, look.BAD),))).span(3)


def _succeeded() -> stat.Panel:
    def probes(results: str) -> str:
        return f'sum(increase(podpulse_probes_total{{{ONE_POD},result=~"{results}"}}[$__range]))'

    panel = number(
        "Probes that succeeded",
        "The share in the shown time range, also of those with a warning. Failures of the controller are not counted.",
        now(f"{probes('success|warning')} / ({probes('success|warning|failure')} > 0)"),
    )
    return (
        panel.unit("percentunit").thresholds(look.thresholds(((0.9, look.NOTE), (0.999, look.GOOD)), look.BAD)).span(4)
    )


def _certificate() -> stat.Panel:
    panel = number(
        "Certificate expires in",
        "The time until the verified chain expires. There is none with insecure_skip_verify, or if the certificate is "
        "rejected.",
        now(f"probe_ssl_last_chain_expiry_timestamp_seconds{{{ONE_POD}}} - time()"),
        alert="PodpulseCertificateExpiring",
        nothing="none verified",
    )
    return panel.unit("dtdurations").thresholds(look.thresholds(look.TIME_LEFT, look.BAD)).span(3)


def _manifest() -> stat.Panel:
    return number(
        "Manifest",
        "Whether the newest version is valid. If it is invalid, the last valid version is in force.",
        now(f"podpulse_manifest_invalid{{{ONE_POD}}}"),
        alert="PodpulseManifestInvalid",
        mappings=look.flag(yes=("invalid", look.NOTE), no=("valid", look.GOOD)),
    ).span(3)


def _uptimes() -> list[stat.Panel]:
    return [
        uptime(
            f"Uptime, {shown}",
            f"The share of the last {shown} in which the pod was passing or warning, as far as Prometheus knows. "
            "Unknown is not counted.",
            f"podpulse_health{{{ONE_POD},%s}}",
            span,
        ).span(8)
        for shown, span in (("24 h", "24h"), ("7 d", "7d"), ("30 d", "30d"))
    ]


def _states() -> statetimeline.Panel:
    return timeline(
        "State over time",
        "The state found by probes, and the published state. They differ only if the pod flaps. In a gap there were "
        "no probes.",
        look.numbered_states(),
        over_time(FOUND, "found"),
        over_time(PUBLISHED, "published"),
    ).span(24)


def _reasons() -> statetimeline.Panel:
    return (
        timeline(
            "Why probes failed or warned",
            "One line for each reason.",
            look.flag(yes=("seen", look.BAD), no=("", look.GOOD)),
            over_time(REASON, "{{reason}}"),
        )
        .show_value(common.VisibilityMode.NEVER)
        .span(24)
    )


def _phases() -> timeseries.Panel:
    panel = graph(
        "Latency by phase",
        "The duration of each phase of the last probe: resolving the name, connecting, the TLS handshake, waiting for "
        "the answer (processing), reading it (transfer). A phase that grows shows where the problem is.",
        "s",
        over_time(f"probe_http_duration_seconds{{{ONE_POD}}}", "{{phase}}"),
    )
    return stacked(panel).span(12)


def _results() -> timeseries.Panel:
    panel = graph(
        "Probes by result",
        "Probes per second. Local failures are failures of the controller: descriptors, memory, the resolver.",
        "ops",
        over_time(f"sum by (result) (rate(podpulse_probes_total{{{ONE_POD}}}[$__rate_interval]))", "{{result}}"),
    )
    return coloured(stacked(panel), look.RESULTS).span(6)


def _certificate_over_time() -> timeseries.Panel:
    panel = graph(
        "Certificate",
        "The days until the verified chain expires, and until the first of all certificates that the pod sends "
        "expires. "
        "A step up is a renewal. Below the line the certificate must be renewed.",
        "suffix:days",
        over_time(f"(probe_ssl_last_chain_expiry_timestamp_seconds{{{ONE_POD}}} - time()) / 86400", "verified chain"),
        over_time(f"(probe_ssl_earliest_cert_expiry{{{ONE_POD}}} - time()) / 86400", "first certificate to expire"),
        nothing="no TLS",
    )
    limits = [(limit / look.DAY, colour) for limit, colour in look.TIME_LEFT]
    return limited(panel, limits, look.BAD).span(6)
