"""The shipped rules and configurations of Prometheus are valid, tested and explained, and use exported metrics."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.consul import Agent
from tests.support.documents import OPERATIONS, sections
from tests.support.fleet import Fleet
from tests.support.net import until
from tests.support.rules import ALERTS, FOLDER, RECORDED, RULES, hasty, rules
from tests.system.conftest import Launch

TESTS = sorted((FOLDER / "tests").glob("*.yml"))
SEVERITIES = {"critical", "warning"}
METRIC = re.compile(r"\b(?:podpulse|probe|controller_runtime|workqueue|process)_[a-z0-9_]+\b")
FEWEST_LINES = 2
WITHOUT_PAGE = {"PodpulseControllerGone"}
"""There is no controller whose page could be linked."""


def promtool_says(promtool: Path, *arguments: str | Path) -> tuple[int, str]:
    done = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_promtool_understands_the_rules_and_the_configurations(promtool: Path, consul_prometheus: Path) -> None:
    code, said = promtool_says(promtool, "check", "rules", *RULES)
    assert code == 0, said
    code, said = promtool_says(promtool, "check", "config", FOLDER / "prometheus.static.yml")
    assert code == 0, said
    code, said = promtool_says(consul_prometheus.with_name("promtool"), "check", "config", FOLDER / "prometheus.yml")
    assert code == 0, said


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_the_rules_pass_their_promtool_tests(promtool: Path, file: Path) -> None:
    code, said = promtool_says(promtool, "test", "rules", file)
    assert code == 0, said


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    fires: set[str] = set()
    stays_silent: set[str] = set()
    for case in (case for file in TESTS for case in yaml.safe_load(file.read_text())["tests"]):
        for test in case.get("alert_rule_test", ()):
            (fires if test["exp_alerts"] else stays_silent).add(test["alertname"])
    assert fires == stays_silent == set(ALERTS)


def test_the_tests_of_every_alert_detect_a_missing_for_clause(promtool: Path, tmp_path: Path) -> None:
    hasty(tmp_path)
    tests = yaml.safe_load((FOLDER / "tests" / "alerts.yml").read_text())
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(tests | {"rule_files": [file.name for file in RULES]}))
    code, said = promtool_says(promtool, "test", "rules", tmp_path / "tests.yml")
    assert code != 0
    assert set(re.findall(r"alertname: ?(\w+), time", said)) == {name for name, rule in ALERTS.items() if "for" in rule}


def test_every_recording_rule_has_a_test() -> None:
    text = (FOLDER / "tests" / "recording.yml").read_text()
    assert [name for name in RECORDED if f"- expr: {name}" not in text] == []


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_has_a_description_and_a_runbook_link(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in SEVERITIES
    links = {"runbook_url"} if name in WITHOUT_PAGE else {"runbook_url", "page_url"}
    assert rule["annotations"].keys() == {"summary", "description"} | links
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert (page, anchor) == ("deploy/operations.md", name.lower())
    assert len(sections(OPERATIONS)[anchor].strip().splitlines()) >= FEWEST_LINES


def test_every_alert_says_what_is_not_affected() -> None:
    words = re.compile(r"not affected|still|continue|that pass|succeed|do not fail|No pod|as old|stays|go on")
    assert [name for name, rule in ALERTS.items() if not words.search(rule["annotations"]["description"])] == []


def test_the_alerts_use_only_words_that_the_documents_explain() -> None:
    texts = " ".join(text for rule in ALERTS.values() for text in rule["annotations"].values())
    assert "lease" not in texts


def test_the_links_to_pages_become_https_by_the_command_in_the_file(tmp_path: Path) -> None:
    (source,) = (file for file in RULES if "page_url" in file.read_text())
    (command,) = re.findall(r"sed -i '(/.+)' podpulse", source.read_text())
    changed = subprocess.run(["sed", command, source], capture_output=True, text=True, check=True).stdout
    pages = [
        rule["annotations"].get("page_url", "")
        for group in yaml.safe_load(changed)["groups"]
        for rule in group["rules"]
    ]
    assert sum("https://{{" in page for page in pages) == len(ALERTS) - len(WITHOUT_PAGE)


def test_the_rules_use_only_exported_metrics(consul: Agent, launch: Launch, fleet: Fleet) -> None:
    fleet.schedule("a")
    controller = launch(consul)
    until(lambda: fleet.status("a") == "passing")
    member = launch(consul, ready=False, node_name="m1", fleet="f")
    scrapes = (one.get("/metrics").text for one in (controller, member))
    exported = {name for scrape in scrapes for name in re.findall(r"^# TYPE (\S+)", scrape, re.MULTILINE)}
    recorded = {part for name in RECORDED for part in METRIC.findall(name)}
    asked = {name for rule in rules() for name in METRIC.findall(rule["expr"])} - recorded
    assert {name for name in asked if name.removesuffix("_bucket").removesuffix("_count") not in exported} == set()
