"""The text of a scrape, read by the parsers of prometheus_client and checked by promtool."""

import gzip
import platform
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pycurl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from controller.consul.operations import CONTROLLER_OPERATIONS
from controller.health.store import HealthStore
from controller.intent.manifest_store import ManifestStore
from controller.runtime.metrics import REQUEST_OUTCOMES, Metrics
from controller.runtime.work_queue import WorkQueue
from controller.web.exposition import Exposition, Format
from controller.web.gzip_stream import HEADER, GzipStream
from reconcilers.gate import Entry, Listing
from reconcilers.health import Certificate, HealthState, Outcome, Phases, ProbeResult, Reason
from reconcilers.options import Rules
from reconcilers.spec import CheckSpec, HttpGet, PodKey, Tls, Unprobed

ROOT = Path(__file__).resolve().parents[2]
ISUP = PodKey("web1.example.com", "isup")
ISUP_LABELS = {"node": "web1.example.com", "pod": "isup"}
STARTED = 1_790_000_000.25


def render(
    registry: CollectorRegistry,
    healths: HealthStore,
    manifests: ManifestStore,
    damped: Collection[PodKey] = (),
    form: Format = Format.TEXT,
) -> bytes:
    return b"".join(Exposition(registry, healths, manifests, lambda: damped).text(form))


def spec(key: PodKey) -> CheckSpec:
    return CheckSpec(key, HttpGet(key.node, 8000, "/_status", Tls()), interval=5.0, timeout=2.0)


def result(
    key: PodKey, outcome: Outcome = Outcome.SUCCESS, reason: Reason = Reason.NONE, status: int = 200
) -> ProbeResult:
    return ProbeResult(key, 1, outcome, STARTED, 0.0125, reason, status_code=status)


def healths(keys: Collection[PodKey], results: Sequence[ProbeResult] = ()) -> HealthStore:
    store = HealthStore(lambda _: None)
    store.follow((spec(key), 1) for key in keys)
    store.observe(results)
    return store


def manifests(texts: Mapping[PodKey, bytes] | None = None) -> ManifestStore:
    store = ManifestStore(Rules())
    store.replace(Listing(1, {key: Entry((1,), text) for key, text in (texts or {}).items()}))
    return store


def scrape(
    store: HealthStore,
    registry: CollectorRegistry | None = None,
    intents: ManifestStore | None = None,
    damped: Collection[PodKey] = (),
) -> dict[str, Metric]:
    text = render(registry or CollectorRegistry(), store, intents or manifests(), damped).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def values(family: Metric) -> dict[frozenset[tuple[str, str]], float]:
    return {frozenset(sample.labels.items()): sample.value for sample in family.samples}


def value(families: Mapping[str, Metric], name: str, **labels: str) -> float:
    return values(families[name])[frozenset((ISUP_LABELS | labels).items())]


def by_label(family: Metric, label: str) -> dict[str, float]:
    return {sample.labels[label]: sample.value for sample in family.samples}


def test_the_last_probe_of_a_check_is_shown() -> None:
    families = scrape(healths([ISUP], [result(ISUP)]))
    assert value(families, "probe_success") == 1
    assert value(families, "probe_duration_seconds") == 0.0125
    assert value(families, "probe_http_status_code") == 200
    assert value(families, "podpulse_last_probe_timestamp_seconds") == STARTED


def test_the_phases_of_the_last_probe_have_the_names_of_blackbox_exporter() -> None:
    phases = Phases(dns=0.5, connect=0.001, tls=0.02, first_byte=0.25, transfer=0.125)
    families = scrape(healths([ISUP], [replace(result(ISUP), phases=phases)]))
    assert by_label(families["probe_http_duration_seconds"], "phase") == {
        "resolve": 0.5,
        "connect": 0.001,
        "tls": 0.02,
        "processing": 0.25,
        "transfer": 0.125,
    }


def test_the_expiry_of_a_received_certificate_is_shown_even_if_it_was_refused() -> None:
    other = PodKey(ISUP.node, "plain")
    refused = replace(result(ISUP, Outcome.FAILURE, Reason.CERTIFICATE, 0), certificate=Certificate(1_767_225_599.0))
    families = scrape(healths([ISUP, other], [refused, result(other)]))
    assert values(families["probe_ssl_earliest_cert_expiry"]) == {frozenset(ISUP_LABELS.items()): 1_767_225_599.0}


def test_the_expiry_of_the_verified_chain_and_the_earliest_of_all_certificates_are_shown() -> None:
    refused = PodKey(ISUP.node, "refused")
    accepted = replace(result(ISUP), certificate=Certificate(1_700_000_000.0, chain_expires=1_900_000_000.0))
    shown = replace(result(refused, Outcome.FAILURE, Reason.CERTIFICATE, 0), certificate=Certificate(1_700_000_000.0))
    families = scrape(healths([ISUP, refused], [accepted, shown]))
    earliest, chain = "probe_ssl_earliest_cert_expiry", "probe_ssl_last_chain_expiry_timestamp_seconds"
    assert by_label(families[earliest], "pod") == {"isup": 1_700_000_000, "refused": 1_700_000_000}
    assert by_label(families[chain], "pod") == {"isup": 1_900_000_000}


def test_probes_are_counted_by_result_and_every_result_is_there_from_the_start() -> None:
    store = healths([ISUP])
    assert by_label(scrape(store)["podpulse_probes"], "result") == dict.fromkeys(Outcome, 0)
    store.observe([result(ISUP), result(ISUP), result(ISUP, Outcome.FAILURE, Reason.STATUS, 503)])
    store.observe([result(ISUP, Outcome.LOCAL, Reason.LOCAL, 0)])
    counts = {"success": 2, "warning": 0, "failure": 1, "local": 1}
    assert by_label(scrape(store)["podpulse_probes"], "result") == counts


def test_a_check_without_a_probe_has_no_values_of_a_probe() -> None:
    families = scrape(healths([ISUP]))
    for name in (
        "probe_success",
        "probe_duration_seconds",
        "probe_http_status_code",
        "probe_http_duration_seconds",
        "probe_ssl_earliest_cert_expiry",
    ):
        assert families[name].samples == []
    assert families["podpulse_last_probe_timestamp_seconds"].samples == []
    assert by_label(families["podpulse_health"], "state")["unknown"] == 1


OTHERS = {Reason.NONE, Reason.FLAPPING, Reason.DEPLOYING, Reason.SLOW, Reason.EXPIRY}
OF_PROBES = [reason for reason in Reason if reason not in OTHERS]
"""The reasons of failed probes. The other reasons are those of pods and of warnings."""


@pytest.mark.parametrize("reason", OF_PROBES)
def test_exactly_the_reason_of_the_last_probe_is_one(reason: Reason) -> None:
    families = scrape(healths([ISUP], [result(ISUP, Outcome.FAILURE, reason, 0)]))
    expected = {each.value: float(each is reason) for each in OF_PROBES}
    assert by_label(families["podpulse_probe_failure_reason"], "reason") == expected


def test_after_a_success_no_reason_is_one() -> None:
    families = scrape(healths([ISUP], [result(ISUP, Outcome.FAILURE, Reason.DNS), result(ISUP)]))
    assert set(by_label(families["podpulse_probe_failure_reason"], "reason").values()) == {0}


def test_exactly_the_present_state_is_one_and_its_changes_are_counted() -> None:
    families = scrape(healths([ISUP], [result(ISUP), result(ISUP, Outcome.FAILURE, Reason.STATUS, 500)]))
    expected = {state.value: float(state is HealthState.CRITICAL) for state in HealthState}
    assert by_label(families["podpulse_health"], "state") == expected
    assert value(families, "podpulse_health_transitions") == 2


def test_a_pod_that_is_passing_without_a_probe_has_a_state_and_no_values_of_a_probe() -> None:
    store = HealthStore(lambda _: None)
    store.follow([(replace(spec(ISUP), probe=Unprobed()), 1)])
    store.observe([result(ISUP)])
    families = scrape(store)
    assert by_label(families["podpulse_health"], "state")["passing"] == 1
    assert set(by_label(families["podpulse_probes"], "result").values()) == {0}
    for name in (
        "probe_success",
        "probe_duration_seconds",
        "podpulse_last_probe_timestamp_seconds",
        "podpulse_check_interval_seconds",
    ):
        assert families[name].samples == []


def test_the_series_of_a_removed_pod_are_gone_at_the_next_scrape() -> None:
    other = PodKey(ISUP.node, "other")
    store = healths([ISUP, other], [result(ISUP), result(other)])
    assert b'pod="isup"' in render(CollectorRegistry(), store, manifests())
    store.forget([ISUP])
    text = render(CollectorRegistry(), store, manifests())
    assert b'pod="isup"' not in text
    assert b'pod="other"' in text


def test_every_manifest_has_a_metric_of_its_validity() -> None:
    bad = PodKey(ISUP.node, "bad")
    store = manifests({ISUP: b"id: isup\nstatus_port: 80\n", bad: b"id: [bad]\n"})
    families = scrape(healths([]), intents=store)
    assert by_label(families["podpulse_manifest_invalid"], "pod") == {"isup": 0, "bad": 1}
    ((error, one),) = by_label(families["podpulse_manifest_error_info"], "error").items()
    assert (error.partition(" ")[0], one) == ("id:", 1)


def test_a_check_that_is_not_passing_has_a_metric_with_the_sentence_that_says_why() -> None:
    detail = 'to "\\\n\udcff' + "x" * 999
    hostile = replace(result(ISUP), outcome=Outcome.FAILURE, reason=Reason.REDIRECT, detail=detail)
    families = scrape(healths([ISUP], [hostile]))
    assert by_label(families["podpulse_health_info"], "detail") == {('to "\\' + "\ufffd" * 2 + "x" * 999)[:300]: 1}
    assert scrape(healths([ISUP], [result(ISUP)]))["podpulse_health_info"].samples == []


def test_an_invalid_manifest_has_another_metric_if_an_older_version_is_in_force() -> None:
    other = PodKey(ISUP.node, "other")
    store = manifests({ISUP: b"id: isup\nstatus_port: 80\n", other: b"id: [bad]\n"})
    store.replace(Listing(2, {ISUP: Entry((2,), b"id: [bad]\n")}))
    families = scrape(healths([]), intents=store)
    assert by_label(families["podpulse_manifest_invalid"], "pod") == {"isup": 1, "other": 1}
    assert by_label(families["podpulse_manifest_in_force"], "pod") == {"isup": 1, "other": 0}


def test_a_paused_pod_has_a_metric_of_its_own() -> None:
    other = PodKey(ISUP.node, "other")
    paused = b"id: isup\nstatus_port: 80\nstatus: {paused: true}\n"
    store = manifests({ISUP: paused, other: b"id: other\nstatus_port: 80\n"})
    assert by_label(scrape(healths([]), intents=store)["podpulse_paused"], "pod") == {"isup": 1, "other": 0}
    store.replace(Listing(2, {ISUP: Entry((2,), b"id: [bad]\n")}))
    assert by_label(scrape(healths([]), intents=store)["podpulse_paused"], "pod") == {"isup": 1, "other": 0}, (
        "the version in force pauses it"
    )
    store.remove([ISUP])
    assert by_label(scrape(healths([]), intents=store)["podpulse_paused"], "pod") == {"other": 0}


def test_every_manifest_has_the_number_of_its_ignored_fields() -> None:
    odd, bad, many = (PodKey(ISUP.node, pod) for pod in ("odd", "bad", "many"))
    fields = b"".join(b"k%d: 1\n" % number for number in range(300))
    texts = {odd: b"id: odd\nport: 80\nstatus: {kin: tcp}\n", bad: b"id: [bad]\n", many: b"id: many\n" + fields}
    families = scrape(healths([]), intents=manifests({ISUP: b"id: isup\n"} | texts))
    seen = by_label(families["podpulse_manifest_warnings"], "pod")
    assert seen == {"isup": 0, "odd": 2, "bad": 0, "many": 300}


def test_every_check_has_metrics_of_its_flapping_and_its_interval() -> None:
    shaky = PodKey(ISUP.node, "shaky")
    families = scrape(healths([ISUP, shaky]), damped=[shaky])
    assert by_label(families["podpulse_flapping"], "pod") == {"isup": 0, "shaky": 1}
    assert by_label(families["podpulse_check_interval_seconds"], "pod") == {"isup": 5, "shaky": 5}


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_any_name_is_one_label_value(node: str, pod: str) -> None:
    key = PodKey(node, pod)
    registry = CollectorRegistry()
    lines = render(registry, healths([key], [result(key)]), manifests()).decode().split("\n")
    [line] = [line for line in lines if line.startswith("probe_success{")]
    [family] = text_string_to_metric_families(line + "\n")
    assert [sample.labels for sample in family.samples] == [{"node": node, "pod": pod}]


def test_families_are_contiguous_with_one_header_for_many_checks() -> None:
    keys = [PodKey("web1", f"pod-{number}") for number in range(1_234)]
    text = render(CollectorRegistry(), healths(keys, [result(key) for key in keys]), manifests()).decode()
    types = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")]
    assert len(types) == len(set(types))
    seen: list[str] = []
    for line in text.splitlines():
        name = line.split()[2] if line.startswith("#") else line.partition("{")[0]
        if not seen or seen[-1] != name:
            seen.append(name)
    assert len(seen) == len(set(seen))
    assert text.count("\nprobe_success{") == 1_234


def test_promtool_finds_no_problem(promtool: Path) -> None:
    metrics, store, intents = populated()
    text = render(metrics.registry, store, intents)
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout.decode(), checked.stderr.decode()) == (0, "", "")


def populated() -> tuple[Metrics, HealthStore, ManifestStore]:
    """A scrape with every kind of series."""
    metrics = Metrics(CollectorRegistry(), "0.1.0")
    metrics.queue("checks").added()
    metrics.loop("checks").reconciled("error", 1)
    metrics.lease(lambda: STARTED, lambda: "no_answer")
    metrics.removals_held(lambda: 12, lambda: "12 of 30 pods gone at once")
    metrics.consul.expect(["transaction"])
    metrics.consul.request("transaction", "ok", 0.02)
    metrics.probes.started(0.004)
    bad = PodKey(ISUP.node, "bad")
    store = healths([ISUP, bad], [replace(result(ISUP), certificate=Certificate(1_767_225_599.0))])
    return metrics, store, manifests({bad: b"id: ["})


def test_openmetrics_is_valid_for_a_strict_parser_and_has_the_same_values() -> None:
    metrics, store, intents = populated()
    text = render(metrics.registry, store, intents, (), Format.OPENMETRICS).decode()
    assert text.endswith("\n# EOF\n")
    assert "# TYPE podpulse_probes counter\n" in text
    assert f'podpulse_probes_total{{node="{ISUP.node}",pod="isup",result="success"}} 1\n' in text
    strict = {family.name: family for family in openmetrics_families(text)}  # type: ignore[no-untyped-call]
    plain_text = render(metrics.registry, store, intents).decode()
    plain = {family.name: family for family in text_string_to_metric_families(plain_text)}
    assert strict.keys() == plain.keys()
    still = [name for name in strict if not name.startswith(("process_", "python_gc"))]
    assert {name: values(strict[name]) for name in still} == {name: values(plain[name]) for name in still}
    assert {name: strict[name].type for name in strict} == {name: plain[name].type for name in plain}


def test_requests_to_consul_are_counted_from_zero() -> None:
    metrics = Metrics(CollectorRegistry(), "0")
    metrics.consul.expect(CONTROLLER_OPERATIONS)
    shown = [
        (sample.labels["op"], sample.labels["outcome"], sample.value)
        for sample in scrape(healths([]), metrics.registry)["podpulse_consul_requests"].samples
    ]
    assert sorted(shown) == sorted((op, outcome, 0) for op in CONTROLLER_OPERATIONS for outcome in REQUEST_OUTCOMES)


def test_without_a_lease_there_is_no_series_of_its_end() -> None:
    metrics = Metrics(CollectorRegistry(), "0")
    assert "podpulse_session_expires_timestamp_seconds" not in scrape(healths([]), metrics.registry)
    why = [""]
    metrics.lease(lambda: STARTED, lambda: why[0])
    assert metrics.registry.get_sample_value("podpulse_session_expires_timestamp_seconds") == STARTED
    failure = "podpulse_session_failure_reason"
    assert scrape(healths([]), metrics.registry)[failure].samples == []
    why[0] = "permission_denied"
    assert metrics.registry.get_sample_value(failure, {"reason": "permission_denied"}) == 1


def test_the_metrics_of_the_controller_are_scraped_without_created_series() -> None:
    metrics = Metrics(CollectorRegistry(), "1.2.3")
    metrics.intents.set(7)
    metrics.probes.started(0.004)
    metrics.probes.started(-0.001)
    metrics.probes.skipped(3)
    metrics.consul.request("txn", "ok", 0.2)
    text = render(metrics.registry, healths([]), manifests()).decode()
    facts = {"version": "1.2.3", "python": platform.python_version(), "libcurl": pycurl.version_info()[1]}
    assert metrics.registry.get_sample_value("podpulse_build_info", facts) == 1
    assert "podpulse_intents 7.0\n" in text
    assert 'podpulse_probe_lateness_seconds_bucket{le="0.001"} 1.0\n' in text
    assert "podpulse_probe_lateness_seconds_count 2.0\n" in text
    assert "podpulse_probes_skipped_total 3.0\n" in text
    assert 'podpulse_consul_requests_total{op="txn",outcome="ok"} 1.0\n' in text
    assert "process_open_fds" in text
    assert "_created" not in text


def test_a_queue_has_metrics_with_the_names_of_client_go() -> None:
    now = [100.0]
    metrics = Metrics(CollectorRegistry(), "0")
    counted = metrics.queue("checks")
    queue: WorkQueue[str] = WorkQueue("checks", counted, lambda: now[0])
    counted.read(queue.__len__, lambda: [1.5, 4.0])
    queue.add(["a", "b", "c", "a"])
    now[0] += 0.5
    taken = queue.get_batch(2, 0.0, 0.0)
    now[0] += 2
    queue.done(taken)
    queue.retry("a")
    families = scrape(healths([]), metrics.registry)
    named = {"name": "checks"}
    sample = metrics.registry.get_sample_value
    assert sample("workqueue_depth", named) == 1
    assert sample("workqueue_adds_total", named) == 3
    assert sample("workqueue_retries_total", named) == 1
    assert sample("workqueue_queue_duration_seconds_sum", named) == 1.0
    assert sample("workqueue_work_duration_seconds_sum", named) == 4.0
    assert sample("workqueue_unfinished_work_seconds", named) == 5.5
    assert sample("workqueue_longest_running_processor_seconds", named) == 4.0
    assert "workqueue_depth" in families


def test_a_queue_with_nothing_in_work_has_0_as_its_longest_work() -> None:
    metrics = Metrics(CollectorRegistry(), "0")
    metrics.queue("checks").read(lambda: 0, list)
    assert metrics.registry.get_sample_value("workqueue_longest_running_processor_seconds", {"name": "checks"}) == 0


def test_a_loop_has_every_result_from_the_start() -> None:
    metrics = Metrics(CollectorRegistry(), "0")
    loop = metrics.loop("publication")
    families = scrape(healths([]), metrics.registry)
    results = by_label(families["controller_runtime_reconcile"], "result")
    assert results == {"success": 0, "error": 0, "requeue": 0, "requeue_after": 0}
    loop.reconciled("success", 5)
    loop.reconciled("error", 2)
    loop.took(0.25)
    families = scrape(healths([]), metrics.registry)
    results = by_label(families["controller_runtime_reconcile"], "result")
    assert results == {"success": 5, "error": 2, "requeue": 0, "requeue_after": 0}
    assert [sample.value for sample in families["controller_runtime_reconcile_errors"].samples] == [2]


def test_ten_thousand_checks_are_rendered_in_little_time() -> None:
    keys = [PodKey("web1.example.com", f"checkout-service-{number:05d}") for number in range(10_000)]
    store = healths(keys, [result(key) for key in keys])
    started = time.thread_time()
    text = render(CollectorRegistry(), store, manifests())
    took = time.thread_time() - started
    assert text.count(b"\n") > 200_000
    assert took < 1.0  # seconds of CPU; usually 0.04


@given(
    st.lists(
        st.lists(
            st.tuples(
                st.integers(0, 599),
                st.sampled_from(Outcome),
                st.sampled_from(OF_PROBES),
                st.sampled_from([0, 200, 503]),
                st.sampled_from([0.0, STARTED, 1e10]),
            ),
            max_size=5,
        ),
        max_size=3,
    ),
    st.lists(st.integers(0, 599), max_size=3),
    st.sampled_from(Format),
)
@settings(max_examples=30, deadline=None)
def test_a_later_scrape_is_equal_to_a_first_one_compressed_or_not(
    turns: list[list[tuple[int, Outcome, Reason, int, float]]], removed: list[int], form: Format
) -> None:
    keys = [PodKey("100%s\n", f"pod-{number}") for number in range(600)]
    store, intents = healths(keys, [result(key) for key in keys[::2]]), manifests(dict.fromkeys(keys[:300], b"id: ["))
    damped: set[PodKey] = set()
    kept = Exposition(CollectorRegistry(), store, intents, lambda: damped)
    for results in turns:
        b"".join(kept.gzipped(form))
        store.observe(
            replace(result(keys[at], outcome, reason, status), certificate=Certificate(expires, chain_expires=expires))
            for at, outcome, reason, status, expires in results
        )
        damped ^= {keys[at] for at, *_ in results}
        text = render(CollectorRegistry(), store, intents, damped, form)
        assert b"".join(kept.text(form)) == text
        assert gzip.decompress(b"".join(kept.gzipped(form))) == text
    store.forget([keys[at] for at in removed])
    intents.remove([keys[at] for at in removed])
    intents.replace(Listing(2, {keys[at]: Entry((2,), b"id: isup\n") for at in removed[:1]}))
    text = render(CollectorRegistry(), store, intents, damped, form)
    assert b"".join(kept.text(form)) == text
    assert gzip.decompress(b"".join(kept.gzipped(form))) == text


@given(st.lists(st.tuples(st.binary(max_size=300), st.sampled_from([0, 1, 700]), st.booleans()), max_size=8))
def test_compressed_pieces_can_be_copied_into_any_file(parts: list[tuple[bytes, int, bool]]) -> None:
    texts = [part * (1 + times) for part, times, _ in parts]
    first, second = GzipStream(), GzipStream()
    pieces = [first.piece(text) for text in texts]
    copied = [
        second.copy(piece) if is_piece else second.add(text)
        for (*_, is_piece), piece, text in zip(parts, pieces, texts, strict=True)
    ]
    assert gzip.decompress(HEADER + b"".join(copied) + second.end()) == b"".join(texts)
    again = [first.copy(piece) for piece in reversed(pieces)]
    assert gzip.decompress(HEADER + b"".join(again) + first.end()) == b"".join(reversed(texts))


def test_suppressed_changes_are_counted() -> None:
    metrics = Metrics(CollectorRegistry(), "1.2.3")
    metrics.pods_damped.set_function(lambda: 2)
    metrics.changes_suppressed.read(lambda: {"": 7})
    text = render(metrics.registry, healths([]), manifests()).decode()
    assert "podpulse_pods_damped 2.0\n" in text
    assert "podpulse_changes_suppressed_total 7.0\n" in text
