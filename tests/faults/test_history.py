"""A history is read as it was written, a plan is the same for the same seed, and the observer has its own parsers."""

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from reconcilers.manifest import ManifestError, parse
from reconcilers.options import Rules
from reconcilers.spec import PodKey
from tests.faults import plan
from tests.faults.catalogue import FAULTS
from tests.faults.history import PodSeries, Recorder, read, write
from tests.faults.observer import record_of
from tests.faults.pods import BROKEN, broken
from tests.faults.scraping import samples, scrape_of
from tests.faults.spans import Lengths, Span, merged, put_off
from tests.faults.tales import Tale

METRICS = r"""# HELP podpulse_probes_total Probes.
# TYPE podpulse_probes_total counter
podpulse_probes_total{node="web1",pod="a",result="success"} 7
podpulse_probes_total{node="web1",pod="a",result="failure"} 2
podpulse_health{node="web1",pod="a",state="critical"} 1
podpulse_health{node="web1",pod="a",state="passing"} 0
podpulse_manifest_invalid{node="web1",pod="b"} 1
podpulse_manifest_invalid{node="web1",pod="c"} 0
podpulse_probe_failure_reason{node="web1",pod="a",reason="of its own"} 0
podpulse_intents 3
odd{text="a \"b\" \\ c\nd"} NaN
"""
NAMES = [f"pod-{number}" for number in range(20)]


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    told = Tale().pod("a").pod("b", end=20.0).fault(5, 6, "cut", "leader").told()
    write(tmp_path / "one", told)
    recorder = Recorder(tmp_path / "two")
    for event in told:
        recorder.note(event)
    recorder.close()
    assert read(tmp_path / "one") == read(tmp_path / "two") == recorder.events() == told


def test_a_line_that_is_no_event_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad").write_text('{"kind": "finished", "at": 1.0}\n{"kind": "rumour"}\n')
    with pytest.raises(ValueError, match=r"bad:2: not an event"):
        read(tmp_path / "bad")


def test_metrics_are_read() -> None:
    scrape = scrape_of(METRICS, 1.0, 2.0, 7)
    assert scrape.pods == {"a": PodSeries(7, 2, 0, "critical")}
    assert scrape.invalid == ("b",)
    assert scrape.values == {"podpulse_intents": 3}
    assert scrape.strange == ("reason=of its own",)
    assert [labels for name, labels, _ in samples(METRICS) if name == "odd"] == [{"text": 'a "b" \\ c\nd'}]


def test_a_record_is_read_whatever_stands_there() -> None:
    entry = {"Key": "health/a/web1", "Value": "e30=", "Session": "s", "ModifyIndex": 5, "CreateIndex": 4}
    assert record_of(entry).status == "?"
    assert record_of(entry | {"Value": None}).status == "?"
    assert record_of(entry | {"Value": "bnVsbA=="}).status == "?"
    value = "eyJTdGF0dXMiOiAicGFzc2luZyIsICJMYXN0UHJvYmUiOiAiMTk3MC0wMS0wMVQwMDowMDowMS4xMjM0NTY3ODlaIn0="
    assert record_of(entry | {"Value": value}).status == "passing"
    assert record_of(entry | {"Value": value}).last_probe == pytest.approx(1.123456)


def test_the_same_seed_gives_the_same_plan() -> None:
    faults = tuple(FAULTS.values())
    plans = [plan.make(seed, 180, NAMES, faults, plan.Pace()) for seed in (1, 1, 2)]
    assert plans[0] == plans[1] != plans[2]


def test_a_plan_comes_to_every_fault_before_it_repeats_one() -> None:
    faults = [fault for fault in FAULTS.values() if not fault.only_long][:10]
    made = plan.make(3, 1_000, NAMES, faults, plan.Pace())
    assert {each.fault for each in made.faults[:10]} == set(faults)


def test_spans_are_merged_and_put_off_what_is_due() -> None:
    spans = merged([Span(5, 7), Span(1, 2), Span(6, 9)])
    assert spans == (Span(1, 2), Span(5, 9))
    assert put_off(0, 4, spans, 4) == 13
    assert put_off(3, 1, spans, 3) == 4
    assert put_off(3, 3, [Span(5, float("inf"))], 3) == float("inf")


def test_lengths_are_those_before_a_moment() -> None:
    lengths = Lengths([Span(6, 9), Span(1, 2), Span(5, 7)])
    assert [lengths.before(moment) for moment in (0, 1.5, 2, 5, 6.5, 8, 9, float("inf"))] == [0, 0.5, 1, 1, 3, 5, 6, 6]
    assert Lengths([]).before(3) == 0
    assert (lengths.between(1.5, 6.5), lengths.between(6.5, 1.5)) == (2.5, 0)
    for spans in (random_spans(1), random_spans(2)):
        for moment in range(100):
            slow = sum(max(0.0, min(span.end, moment) - span.begin) for span in spans)
            assert Lengths(spans).before(moment) == pytest.approx(slow)


def random_spans(seed: int) -> list[Span]:
    random = Random(seed)
    begins = [random.uniform(0, 100) for _ in range(50)]
    return [Span(begin, begin + random.expovariate(1)) for begin in begins]


def test_observer_and_checker_share_no_code_with_the_controller() -> None:
    modules = "tests.faults.observer, tests.faults.checker, tests.faults.scraping, tests.faults.procfs"
    code = f"import sys, {modules}; print([n for n in sys.modules if n.split('.')[0] in ('controller', 'reconcilers')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _unreadable(path: str) -> str:
    return "" if path.startswith("/etc/podpulse/") else "No such file or directory"


@pytest.mark.parametrize("number", range(len(BROKEN)))
def test_a_broken_manifest_is_broken(number: int) -> None:
    with pytest.raises(ManifestError):
        parse(PodKey("web1", "pod-0"), broken("pod-0", number) + b"\n#1", Rules(unreadable=_unreadable))
