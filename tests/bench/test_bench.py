"""A small run of the benchmark: one command measures all probers, by the probes that the targets count."""

import io
import json
import sys
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.bench import endurance, programs, steady
from tests.bench.__main__ import SCENARIOS
from tests.bench.measure import Figures, Work
from tests.support import program
from tests.support.net import Certificates

FIGURES = {"cpu_ms_per_1000_probes", "peak_rss_mb", "probes", "failed", "lateness_p99_ms"}
PEERS = {"consul": programs.consul, "blackbox_exporter": programs.blackbox_exporter}


def bench(*arguments: str, within: float = 100.0) -> CompletedProcess[str]:
    """Runs `tests/bench/run` without its set-up."""
    return program.run([sys.executable, "-m", "tests.bench", *arguments], within=within, cwd=programs.ROOT)


def measured(*arguments: str, within: float = 100.0) -> dict[str, Any]:
    done = bench(*arguments, "--json", within=within)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def is_there(name: str) -> bool:
    try:
        PEERS[name]()
    except programs.Missing:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_podpulse_and_its_peers_are_measured_on_the_same_targets_and_no_probe_fails(scheme: str) -> None:
    document = measured("--checks", "50", "--interval", "1", "--seconds", "3", "--scheme", scheme)

    assert document["work"] | {"checks": 50, "interval": 1, "seconds": 3, "scheme": scheme} == document["work"]
    assert document["results"].keys() == {"podpulse", *PEERS}
    assert document["ratio"].keys() == PEERS.keys()
    for name, figures in document["results"].items():
        if name in PEERS and not is_there(name):
            assert figures.keys() == {"missing"}
            continue
        assert figures.keys() == FIGURES
        assert figures["failed"] == 0
        assert 100 <= figures["probes"] <= 200
        assert figures["cpu_ms_per_1000_probes"] > 0
        assert figures["peak_rss_mb"] > 5


def test_a_peer_that_is_not_there_is_named_in_the_table_and_the_json() -> None:
    ours = Figures(0.5, 60.0, 2_000, 0, [0.001], 0, 0, 1.5)
    why = "no prometheus-blackbox-exporter here"
    report = steady.report(Work(100, 5.0, 100.0), {"podpulse": ours, "blackbox_exporter": steady.Missing(why)}, [])

    shown = io.StringIO()
    report.tables[0].write(shown)

    assert report.document["results"]["podpulse"]["cpu_ms_per_1000_probes"] == 250
    assert report.document["results"]["blackbox_exporter"] == {"missing": why}
    assert report.document["ratio"] == {"blackbox_exporter": None}
    assert why in shown.getvalue()


@pytest.mark.parametrize(
    ("scenario", "checks"),
    [
        *((each, 20) for each in ("workers", "intent", "hang", "page", "changes", "quiet", "endurance", "overload")),
        pytest.param("floor", 500, id="floor: the bare loop takes less than a clock tick for 20"),
    ],
)
def test_a_scenario_gives_its_figures_beside_their_limits(scenario: str, checks: int) -> None:
    document = measured("--scenario", scenario, "--checks", str(checks), "--interval", "1", "--seconds", "2")

    assert document["work"]["scenario"] == scenario
    assert all(figure["seen"] is not None for figure in document["results"])
    assert any(figure["limit"] is not None for figure in document["results"])


FLEET_SCENARIOS = [
    ("fleet", 120),
    ("fleet-intent", 200),
    pytest.param("fleet-size", 2_000, marks=pytest.mark.long),
    pytest.param("fleet-page", 2_000, marks=pytest.mark.long),
]


@pytest.mark.slow
@pytest.mark.parametrize(("scenario", "checks"), FLEET_SCENARIOS)
def test_a_scenario_of_a_fleet_gives_its_figures_beside_their_limits(scenario: str, checks: int) -> None:
    options = ("--checks", str(checks), "--interval", "1", "--seconds", "3", "--members", "2")
    document = measured("--scenario", scenario, *options)

    assert document["work"]["scenario"] == scenario
    figures = {figure["what"]: figure for figure in document["results"]}
    assert [what for what, figure in figures.items() if figure["seen"] is None] == []
    if scenario == "fleet":
        assert figures["member1: checks"]["seen"] + figures["member2: checks"]["seen"] == checks
        assert figures["probes that failed"]["seen"] == 0
    if scenario == "fleet-size":
        assert 100 < figures["checks of the member"]["seen"] < 300
        assert figures["another member is gone: pods that are gained"]["seen"] > 0
    if scenario == "fleet-page":
        assert figures["/fleet: size"]["seen"] > 10
        assert figures["10 searches at once: requests to Consul"]["seen"] > 0
        assert figures["podpulse fleet: lines"]["seen"] == figures["podpulse fleet --url: lines"]["seen"] > 100


def test_more_checks_than_ports_are_refused_where_each_check_has_a_port() -> None:
    done = bench("--scenario", "page", "--checks", "20000")
    assert done.returncode == 2
    assert "at most 16000 in the scenario page" in done.stderr


def test_a_figure_above_its_limit_is_an_error_where_that_is_asked_for() -> None:
    """With one probe at a time those that hang hold up the others."""
    work = ("--checks", "4", "--interval", "0.5", "--seconds", "1", "--set", "max_in_flight=1")
    done = bench("--scenario", "hang", *work, "--enforce")
    assert done.returncode == 3
    assert "above the limit: " in done.stderr


@pytest.mark.parametrize("scheme", ["grpc", "grpcs"])
def test_grpc_targets_are_serving(scheme: str) -> None:
    work = ("--checks", "20", "--interval", "1", "--seconds", "2", "--peers", "none")
    figures = measured(*work, "--scheme", scheme)["results"]["podpulse"]
    assert figures["probes"] > 0
    assert figures["failed"] == 0


def test_kept_connections_are_measured() -> None:
    work = ("--checks", "20", "--interval", "1", "--seconds", "2", "--peers", "none", "--scheme", "https", "--reuse")
    document = measured(*work)
    assert document["work"]["options"] == {"defaults.connection": "reuse"}
    assert document["results"]["podpulse"]["failed"] == 0


def test_more_certificates_can_be_trusted(tmp_path: Path) -> None:
    more = Certificates.issue(tmp_path).ca
    work = ("--checks", "20", "--interval", "1", "--seconds", "2", "--peers", "none", "--scheme", "https")
    assert measured(*work, "--bundle", str(more))["results"]["podpulse"]["failed"] == 0


def test_the_scenarios_are_listed() -> None:
    assert bench("--list").stdout.split() == [*SCENARIOS]


@pytest.mark.faults
@pytest.mark.timeout(400)
def test_nothing_grows_while_manifests_change_and_one_thing_after_the_other_breaks() -> None:
    document = measured("--scenario", "endurance", "--checks", "1000", "--seconds", "105", within=380)

    assert [figure for figure in document["results"] if figure["met"] is False] == []
    assert {figure["what"]: figure["seen"] for figure in document["results"]}["faults"] == len(endurance.FAULTS)


@pytest.mark.parametrize(
    "arguments", [["--checks", "many"], ["--peers", "nagios"], ["--seconds", "-1"], ["--scenario", "x"]]
)
def test_an_argument_that_makes_no_sense_is_refused_with_what_was_expected(arguments: list[str]) -> None:
    done = bench(*arguments)

    assert done.returncode == 2
    assert arguments[0] in done.stderr
    assert not done.stdout
