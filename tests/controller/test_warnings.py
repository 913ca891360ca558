"""Probes that succeed with a warning: which ones, by real targets, and how metrics, page and API show them."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from controller.health.store import HealthStore
from reconcilers.health import Outcome, ProbeResult, Reason
from reconcilers.spec import CheckSpec, ManifestVersion, Output, PodKey, TcpConnect, Tls
from tests.support import targets
from tests.support.authority import Authority
from tests.support.checks import JudgedResults, check, grpc, http, https, probe_all, tcp
from tests.support.health_server import HealthServer, healthy
from tests.support.net import until
from tests.support.probing import Bench
from tests.support.recorders import FakeClock
from tests.support.site import NODE, NOW, Site
from tests.support.targets import Connection, Target

AGES = 2_000 * 365 * 86_400.0
TEEMING = ((429, 429), (503, 503))
SUCCESS, WARNING, FAILURE = Outcome.SUCCESS, Outcome.WARNING, Outcome.FAILURE


def warned_for_status(port: int, pod: str, status: int, **options: Any) -> CheckSpec:
    return http(port, pod, path=f"/{status}", warn_status=TEEMING, **options)


def test_a_status_that_warns_is_a_warning_whatever_the_body(bench: Bench, target: Target) -> None:
    for status in (200, 429, 503, 404, 207):
        target.behave(targets.answer(status, b"busy\n"), f"/{status}")
    found = probe_all(
        bench,
        [
            warned_for_status(target.port, "well", 200),
            warned_for_status(target.port, "busy", 429),
            warned_for_status(target.port, "head", 503, method="HEAD"),
            warned_for_status(target.port, "body", 429, expect_body="never"),
            warned_for_status(target.port, "other", 404),
            http(target.port, "both", path="/207", expect_status=((200, 299),), warn_status=((207, 207),)),
            warned_for_status(target.port, "silent", 429, output=Output.NEVER),
            warned_for_status(target.port, "failures", 429, output=Output.FAILURES),
            http(target.port, "default", path="/429"),
        ],
    )
    assert {name: (result.outcome, result.reason, result.detail, result.output) for name, result in found.items()} == {
        "well": (SUCCESS, Reason.NONE, "", "busy\n"),
        "busy": (WARNING, Reason.STATUS, "answered with status 429 (warn_status)", "busy\n"),
        "head": (WARNING, Reason.STATUS, "answered with status 503 (warn_status)", ""),
        "body": (WARNING, Reason.STATUS, "answered with status 429 (warn_status)", "busy\n"),
        "other": (FAILURE, Reason.STATUS, "answered with status 404", "busy\n"),
        "both": (WARNING, Reason.STATUS, "answered with status 207 (warn_status)", "busy\n"),
        "silent": (WARNING, Reason.STATUS, "answered with status 429 (warn_status)", ""),
        "failures": (WARNING, Reason.STATUS, "answered with status 429 (warn_status)", "busy\n"),
        "default": (FAILURE, Reason.STATUS, "answered with status 429", "busy\n"),
    }
    assert found["busy"].status_code == 429


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 429 Too Many\r\nContent-Length: 100\r\n\r\nbusy",
        b"HTTP/1.1 429 Too Many\r\nX: 1",
        b"HTTP/1.1 4290 Too Many\r\n\r\n",
    ],
)
def test_a_broken_answer_with_a_status_that_warns_is_a_failure(bench: Bench, target: Target, data: bytes) -> None:
    target.behave(targets.raw(data))
    result = bench.result(warned_for_status(target.port, "broken", 429))
    assert (result.outcome, result.reason) == (FAILURE, Reason.PROTOCOL)


def test_a_probe_that_takes_too_long_is_a_warning_in_every_kind_of_check(bench: Bench, authority: Authority) -> None:
    """A stand-still of this process looks like a delay of its own, so a later probe may be the first warning."""
    with Target() as plain, Target(authority.server()) as secure, HealthServer(healthy()) as server:
        plain.behave(targets.slow(0.3))
        secure.behave(targets.slow(0.3))
        specs = [
            http(plain.port, "http", interval=0.5, warn_above=0.1),
            https(secure.port, "https", interval=0.5, warn_above=0.1),
            http(plain.port, "patient", interval=0.5, warn_above=19.0),
            grpc(server.port, "grpc", interval=0.5, warn_above=1e-9),
            tcp(plain.port, "tcp", interval=0.5, warn_above=1e-9),
        ]
        bench.engine.start(specs)
        warned: dict[str, ProbeResult] = {}

        def all_warned() -> bool:
            warned.update({each.key.pod: each for each in bench.results.all() if each.outcome is WARNING})
            return warned.keys() == {"http", "https", "grpc", "tcp"}

        until(all_warned, 20)
        bench.engine.stop([spec.key for spec in specs])
    assert {result.reason for result in warned.values()} == {Reason.SLOW}
    assert warned["http"].detail.endswith(" ms, more than 100ms (warn_above)")
    assert "patient" not in warned


def test_time_that_this_controller_used_up_is_no_warning(authority: Authority) -> None:
    """Every jump of this clock looks like a stand-still of the probe thread."""
    clock = FakeClock()

    def answer_after_a_jump(connection: Connection) -> None:
        clock.advance(0.6)
        targets.answer()(connection)

    bench = Bench(authority.file, clock=clock)
    with Target() as target:
        target.behave(answer_after_a_jump)
        result = bench.result(http(target.port, "held-up", warn_above=0.1))
    bench.engine.close(10)
    assert (result.outcome, result.reason) == (SUCCESS, Reason.NONE)
    assert result.duration >= 0.6


def test_a_certificate_that_expires_soon_is_a_warning(bench: Bench, authority: Authority) -> None:
    with Target(authority.server()) as secure, HealthServer(healthy(), certificate=authority.files()) as server:
        found = probe_all(
            bench,
            [
                https(secure.port, "soon", warn_expiry=AGES),
                https(secure.port, "kept", warn_expiry=AGES, reuse=True),
                https(secure.port, "late", warn_expiry=1.0),
                https(secure.port, "refused", path="/404", warn_expiry=AGES, expect_status=((404, 404),)),
                https(secure.port, "busy", warn_expiry=AGES, warn_status=((200, 200),)),
                replace(grpc(server.port, "grpc", tls=Tls()), warn_expiry=AGES),
                check("tcp", TcpConnect("localhost", secure.port, Tls()), warn_expiry=AGES),
                http(1, "closed", warn_expiry=AGES),
            ],
        )
    assert {name: (result.outcome, result.reason) for name, result in found.items()} == {
        "soon": (WARNING, Reason.EXPIRY),
        "kept": (WARNING, Reason.EXPIRY),
        "late": (SUCCESS, Reason.NONE),
        "refused": (FAILURE, Reason.STATUS),
        "busy": (WARNING, Reason.STATUS),
        "grpc": (WARNING, Reason.EXPIRY),
        "tcp": (WARNING, Reason.EXPIRY),
        "closed": (FAILURE, Reason.REFUSED),
    }
    assert found["soon"].detail.endswith(" UTC: less than 730000d are left (warn_expiry)")
    assert found["busy"].detail.startswith("answered with status 200 (warn_status); the certificate expires at ")


@pytest.fixture
def judged(authority: Authority) -> Iterator[tuple[Bench, JudgedResults]]:
    """An engine whose results a real store judges."""
    results = JudgedResults()
    bench = Bench(authority.file, results=results)
    yield bench, results
    bench.engine.close(10)


def test_a_pod_goes_from_passing_to_warning_to_critical_and_back(
    judged: tuple[Bench, JudgedResults], target: Target
) -> None:
    bench, results = judged
    spec = warned_for_status(target.port, "pod", 200, interval=0.1, failure_threshold=2, success_threshold=2)
    states = ["pod passing", "pod warning", "pod critical", "pod warning", "pod passing"]
    statuses = [200, 429, 500, 429, 200]
    bench.engine.start([spec])
    for seen, status in enumerate(statuses, 1):
        target.behave(targets.answer(status))
        until(lambda seen=seen: results.states == states[:seen])  # type: ignore[misc]


class Deployments:
    """Records the pods whose deployment has ended."""

    def __init__(self) -> None:
        self.ended: list[PodKey] = []

    def succeeded(self, key: PodKey, version: ManifestVersion) -> None:  # noqa: ARG002 - see `Deploying`
        self.ended.append(key)

    def excuses(self, key: PodKey, started: float) -> bool:  # noqa: ARG002 - see `Deploying`
        return False


def test_a_warning_ends_a_deployment_and_proves_that_the_pod_serves() -> None:
    deployments, now = Deployments(), 1_000.0
    store = HealthStore(lambda _: None, wall_clock=lambda: now, deployments=deployments)
    spec = http(80, "isup")
    store.follow([(spec, 1)])
    store.observe([ProbeResult(spec.key, 1, WARNING, now, 0.6, Reason.SLOW, "the probe took 600 ms")])
    assert deployments.ended == [spec.key]
    assert store.is_proven(spec.key)
    now += 3_600.0
    assert not store.is_proven(spec.key), "nothing is known of the last hour"


# What is shown


def warns(site: Site, pod: str) -> None:
    started = NOW - 5.0
    detail = "the probe took 612 ms, more than 500ms (warn_above)"
    site.healths.observe([ProbeResult(PodKey(NODE, pod), 1, WARNING, started, 0.612, Reason.SLOW, detail, "late")])


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        site.follow("good", "slow", "bad", failure_threshold=1)
        site.passes("good", "slow")
        warns(site, "slow")
        site.fails("bad")
        yield site


def test_the_page_lists_counts_and_filters_pods_with_a_warning(site: Site) -> None:
    html = site.get("/?state=warning")[1]
    assert '<tr role="row" class="warning" id="pod-' in html
    assert "<b>slow</b> the probe took 612 ms, more than 500ms (warn_above)" in html
    assert '<a class="warning" href="?state=warning" aria-current="true"><b>1</b> warning</a>' in html
    assert 'aria-label="2 of 2 probes succeeded, 1 with a warning, in 4 ms to 612 ms"' in html
    assert '<path class="warning"' in html
    everything = site.get("/")[1]
    assert [everything.index(f'id="pod-{NODE}/{pod}"') for pod in ("bad", "slow", "good")] == sorted(
        everything.index(f'id="pod-{NODE}/{pod}"') for pod in ("bad", "slow", "good")
    ), "the worst first"


def test_the_page_of_a_pod_shows_its_limits_and_the_warning(site: Site) -> None:
    limited = http(81, "limited", warn_status=TEEMING, warn_above=0.5, warn_expiry=14 * 86_400.0)
    limited = replace(limited, key=PodKey(NODE, "limited"))
    site.healths.follow([(limited, 1)])
    warns(site, "limited")
    html = site.get(f"/pods/{NODE}/limited")[1]
    assert "It is warning, because the last probe was a warning with the reason slow: the probe took 612 ms" in html
    assert '<dd class="warning">warning (slow)</dd>' in html
    assert re.findall("<dt>(Warning .*?)</dt><dd>(.*?)</dd>", html) == [
        ("Warning for status", "429, 503"),
        ("Warning above", "500ms"),
        ("Warning before the certificate&#39;s end", "14d"),
    ]
    assert site.get(f"/pods/{NODE}/good")[1].count("<dt>Warning") == 0


def test_the_api_shows_warnings_and_limits(site: Site) -> None:
    seen = json.loads(site.get("/api/v1/pods?state=warning")[1])
    assert (seen["totals"]["warning"], [pod["pod"] for pod in seen["pods"]]) == (1, ["slow"])
    assert (seen["pods"][0]["state"], seen["pods"][0]["reason"]) == ("warning", "slow")
    pod = json.loads(site.get(f"/api/v1/pods/{NODE}/slow")[1])
    assert (pod["probe"]["outcome"], pod["history"][-1]["outcome"]) == ("warning", "warning")
    limits = {name: value for name, value in pod["check"].items() if name.startswith("warn_")}
    assert limits == {"warn_status": "", "warn_above": 0.0, "warn_expiry": 0.0}


def test_the_metrics_show_the_state_and_the_reason_of_a_warning(site: Site) -> None:
    lines = site.get("/metrics")[1].splitlines()
    pod = f'node="{NODE}",pod="slow"'
    assert f'podpulse_health{{{pod},state="warning"}} 1' in lines
    assert f'podpulse_probe_warning_reason{{{pod},reason="slow"}} 1' in lines
    assert [line for line in lines if line.startswith("podpulse_probe_warning_reason{") and pod not in line] == []
    assert f'podpulse_probes_total{{{pod},result="warning"}} 1' in lines
    assert f"probe_success{{{pod}}} 1" in lines
    failures = [line for line in lines if line.startswith(f"podpulse_probe_failure_reason{{{pod},")]
    assert failures
    assert {line.rpartition(" ")[2] for line in failures} == {"0"}
