"""The state of the controllers: do they answer, keep their schedule, reach Consul, and have enough resources?"""

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import table, timeseries

from deploy.grafana import look, variables
from deploy.grafana.links import TO_CONTROLLER_PAGE, TO_NODE
from deploy.grafana.panels import coloured, graph, limited, linked, listing, over_time, stacked
from deploy.grafana.variables import INSTANCES, NODES

SESSION = f"podpulse_session_expires_timestamp_seconds{{{INSTANCES}}}"
WATCH = f"podpulse_watch_last_success_timestamp_seconds{{{INSTANCES}}}"
CHANGED = f"podpulse_manifest_last_change_timestamp_seconds{{{INSTANCES}}}"
AT_ONCE = 'op!~"list_manifests|list_keys|members"'
CLOCK = f"podpulse_time_seconds{{{INSTANCES}}}"


def choices() -> list[build.QueryVariable]:
    return [
        variables.several("node", variables.NODES_OF_CONTROLLERS),
        variables.several("instance", variables.INSTANCE_VALUES),
    ]


def annotations() -> list[build.AnnotationQuery]:
    return [
        build.AnnotationQuery()
        .name("Restarts")
        .datasource(variables.DATASOURCE)
        .enable(True)
        .icon_color("blue")
        .expr(f'topk(20, changes(process_start_time_seconds{{job="podpulse",{INSTANCES}}}[{variables.LOOK_BACK}]) > 0)')
        .step(variables.STEP)
        .title_format("The controller was restarted")
        .text_format("{{instance}}")
    ]


def rows() -> list[tuple[str, list[table.Panel | timeseries.Panel]]]:
    return [
        ("Is a controller in trouble?", [_trouble(), _versions()]),
        ("Schedule", [_kept(), _lateness(), _skipped(), _probes()]),
        ("Consul", [_session(), _watch(), _changed(), _calls(), _refused(), _call_time()]),
        ("Fleet", [_members(), _shares(), _takeovers()]),
        ("Work queues", [_depth(), _waiting()]),
        ("Resource use", [_cpu(), _memory(), _descriptors()]),
    ]


def _trouble() -> table.Panel:
    troubles = {
        "does not answer": f'up{{job="podpulse",{INSTANCES}}} == 0',
        "a thread hangs": f"podpulse_healthy{{{INSTANCES}}} == 0",
        "its node is cut off": f"podpulse_cut_off{{{INSTANCES}}} == 1",
        "overloaded": f"podpulse_probes_kept_ratio{{{INSTANCES}}} < 0.95",
        "not ready": f"podpulse_ready{{{INSTANCES}}} == 0",
        "its configuration failed to reload": f"podpulse_config_last_reload_successful{{{INSTANCES}}} == 0",
    }
    named = [f'label_replace({test}, "trouble", "{name}", "", "")' for name, test in troubles.items()]
    return listing(
        "Controllers in trouble",
        "At most 50. A controller that is not ready cannot read manifests or publish health. Its page, its log and "
        "/-/ready show why.",
        {"is": f"topk(50, max by (instance, node, trouble) ({' or '.join(named)}))"},
        columns=["trouble", "instance", "node"],
        order="trouble",
        fields={"instance": linked(TO_CONTROLLER_PAGE), "node": linked(TO_NODE)},
    ).span(16)


def _versions() -> table.Panel:
    return listing(
        "Versions",
        "The number of controllers of each version.",
        {"controllers": f"count by (version, python, libcurl) (podpulse_build_info{{{INSTANCES}}})"},
        columns=["controllers", "version", "python", "libcurl"],
        order="-controllers",
    ).span(8)


def _kept() -> timeseries.Panel:
    panel = graph(
        "Probes on schedule",
        "The share of the probes due in the last minute that were started; the ten lowest. Below 95 % a controller is "
        "overloaded. At 50 % it could keep intervals twice as long.",
        "percentunit",
        over_time(f"bottomk(10, podpulse_probes_kept_ratio{{{INSTANCES}}})", "{{instance}}"),
    )
    return limited(panel, ((0.95, look.GOOD),), look.BAD).max(1).span(6)


def _lateness() -> timeseries.Panel:
    panel = graph(
        "How late probes start (p99)",
        "The ten worst nodes. Above half a second: check the load of the node and the number of checks. 10 s means ten "
        "seconds or more.",
        "s",
        over_time(f"topk(10, node:podpulse_probe_lateness_seconds:p99_5m{{{NODES}}})", "{{node}}"),
    )
    return limited(panel, ((0.5, look.BAD),)).span(6)


def _skipped() -> timeseries.Panel:
    panel = graph(
        "Skipped probes",
        "The ten worst nodes. Above one in a hundred: raise max_in_flight and the descriptors, or lower the timeouts.",
        "percentunit",
        over_time(f"topk(10, node:podpulse_probes_skipped:ratio_rate5m{{{NODES}}})", "{{node}}"),
    )
    return limited(panel, ((0.01, look.BAD),)).span(6)


def _probes() -> timeseries.Panel:
    panel = graph(
        "Probes by result",
        "Probes per second of all controllers. Local failures are failures of the controller: descriptors, memory, "
        "the resolver.",
        "ops",
        over_time(f"sum by (result) (node_result:podpulse_probes:rate5m{{{NODES}}})", "{{result}}"),
    )
    return coloured(stacked(panel), look.RESULTS).span(6)


def _session() -> timeseries.Panel:
    panel = graph(
        "Remaining time of the session",
        "The ten shortest. A session is renewed long before it ends. Below three seconds the published health is "
        "about to vanish.",
        "s",
        over_time(f"bottomk(10, clamp_min({SESSION} - {CLOCK}, 0))", "{{instance}}"),
        nothing="no session",
    )
    return limited(panel, ((3, look.GOOD),), look.BAD).span(8)


def _watch() -> timeseries.Panel:
    panel = graph(
        "Time since manifests were read",
        "The time since the last listing, changed or not; the ten longest. Above a minute Consul does not answer, and "
        "changes are not seen.",
        "s",
        over_time(f"topk(10, {CLOCK} - {WATCH})", "{{instance}}"),
    )
    return limited(panel, ((60, look.BAD),)).span(8)


def _changed() -> timeseries.Panel:
    return graph(
        "Time since a manifest changed",
        "The time since the controller last read that a manifest was added, changed or removed; the ten shortest. It "
        "has no line until the first change after its start.",
        "s",
        over_time(f"bottomk(10, {CLOCK} - ({CHANGED} > 0))", "{{instance}}"),
        nothing="none seen",
    ).span(8)


def _calls() -> timeseries.Panel:
    panel = graph(
        "Requests to Consul, by outcome",
        "Requests per second. Refused: usually because of the token. Unavailable: the agent does not answer, or there "
        "is no leader.",
        "ops",
        over_time(
            f"sum by (outcome) (rate(podpulse_consul_requests_total{{{INSTANCES}}}[$__rate_interval]))", "{{outcome}}"
        ),
    )
    return coloured(stacked(panel), look.OUTCOMES).span(8)


def _refused() -> timeseries.Panel:
    return graph(
        "Failed requests to Consul",
        "The share of each operation, over five minutes; the ten highest.",
        "percentunit",
        over_time(f"topk(10, node_op:podpulse_consul_requests_failed:ratio_rate5m{{{NODES}}})", "{{node}} {{op}}"),
    ).span(8)


def _call_time() -> timeseries.Panel:
    return graph(
        "Duration of requests to Consul (p99)",
        "By operation, without those that wait for a change (list_manifests, list_keys, members). 15 s means 15 "
        "seconds or more.",
        "s",
        over_time(
            "histogram_quantile(0.99, sum by (le, op) "
            f"(rate(podpulse_consul_request_duration_seconds_bucket{{{INSTANCES},{AT_ONCE}}}[$__rate_interval])))",
            "{{op}}",
        ),
    ).span(8)


def _members() -> timeseries.Panel:
    return graph(
        "Members of the fleet",
        "As each controller sees them. Controllers of one fleet that differ for long do not read the same Consul.",
        "short",
        over_time(f"podpulse_fleet_members{{{INSTANCES}}}", "{{instance}}"),
        nothing="no fleet",
    ).span(8)


def _shares() -> timeseries.Panel:
    return graph(
        "Nodes of each member",
        "The nodes that each member of a fleet checks. The shares are about even: within a quarter of the average at a "
        "hundred nodes for each member.",
        "short",
        over_time(f"podpulse_fleet_nodes_owned{{{INSTANCES}}}", "{{instance}}"),
        nothing="no fleet",
    ).span(8)


def _takeovers() -> timeseries.Panel:
    return graph(
        "Takeovers",
        "Health keys per second that each member took over from others: after a member joins, leaves or dies, not "
        "otherwise.",
        "ops",
        over_time(f"rate(podpulse_fleet_takeovers_total{{{INSTANCES}}}[$__rate_interval])", "{{instance}}"),
        nothing="no fleet",
    ).span(8)


def _depth() -> timeseries.Panel:
    return graph(
        "Queued keys",
        "The ten longest queues. If a queue stays long, its control loop makes no progress: see the errors in the log.",
        "short",
        over_time(f"topk(10, workqueue_depth{{{INSTANCES}}})", "{{instance}} {{name}}"),
    ).span(12)


def _waiting() -> timeseries.Panel:
    return graph(
        "Time in the queue (p99)",
        "By queue. checks: changed manifests, whose checks are started or stopped. publication-kv and the others: "
        "health to be published in this place. 60 s means a minute or more.",
        "s",
        over_time(
            "histogram_quantile(0.99, sum by (le, name) "
            f"(rate(workqueue_queue_duration_seconds_bucket{{{INSTANCES}}}[$__rate_interval])))",
            "{{name}}",
        ),
    ).span(12)


def _cpu() -> timeseries.Panel:
    panel = graph(
        "CPU",
        "The share of one core; the ten highest. Near 1 the probes become late, because the interpreter uses only one "
        "core.",
        "percentunit",
        over_time(
            f'topk(10, rate(process_cpu_seconds_total{{job="podpulse",{INSTANCES}}}[$__rate_interval]))', "{{instance}}"
        ),
    )
    return limited(panel, ((0.8, look.NOTE),)).span(8)


def _memory() -> timeseries.Panel:
    return graph(
        "Memory",
        "Resident memory; the ten highest. It grows with the number of checks, not with time.",
        "bytes",
        over_time(f'topk(10, process_resident_memory_bytes{{job="podpulse",{INSTANCES}}})', "{{instance}}"),
    ).span(8)


def _descriptors() -> timeseries.Panel:
    own = f'{{job="podpulse",{INSTANCES}}}'
    panel = graph(
        "Descriptors in use",
        "The share of the limit; the ten highest. At the limit probes fail with the reason local: raise LimitNOFILE.",
        "percentunit",
        over_time(f"topk(10, process_open_fds{own} / process_max_fds{own})", "{{instance}}"),
    )
    return limited(panel, ((0.8, look.BAD),)).span(8)
