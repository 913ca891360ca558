"""For every promise: histories that keep it, up to its bound, and histories that break it."""

import math
from dataclasses import replace

import pytest

from tests.faults.checker import judge
from tests.faults.history import Event, Intent, PodSeries, Request, Scrape, Stall
from tests.faults.promises.bounds import CLIENTS, SPARE_DESCRIPTORS
from tests.faults.story import Broken
from tests.faults.tales import PID, SESSION, USAGE, Tale, critical, passing, steadily, warning

TURNED = [(1.3, 20.5, passing()), (20.5, math.inf, critical())]
DEAD = [(1.3, 20.0, passing())]


def names(events: list[Event]) -> set[str]:
    return {broken.promise for broken in judge(events)}


def session_ended(at: float, back: float) -> Tale:
    """Somebody ends the session, and the pod is probed at 20.1 and 20.3 s."""
    tale = Tale(sessions=[(0.0, at, SESSION), (back, math.inf, "other")]).fault(at, back, "foreign")
    shown = [(1.3, at, passing()), (back, math.inf, passing(12, session="other"))]
    return tale.pod(probed=[*steadily(1.1, 21), *steadily(20.3, 40)], shown=shown)


def restarted(at: float = 20.0, back: float = 22.0, **options: object) -> Tale:
    """A controller that is killed, and another that listens two seconds later."""
    tale = Tale(silent=[(at, back)])
    return tale.process(at, "KILL").process(at, "ended", -9).process(back, "listens", pid=PID)


def critical_after_a_restart(reason: str) -> Tale:
    """A pod is critical for a second, though its target was well."""
    shown = [(1.3, 24, passing()), (24, 25, replace(critical(), reason=reason)), (25, math.inf, passing(12))]
    return restarted().pod(probed=[*steadily(1.1, 20), *steadily(23.0, 40)], shown=shown)


def killed_after_a_slow_start(back: float, turned: float) -> Tale:
    """A controller is killed at 20 s, another listens `back` seconds later, is killed after 0.4 s, and the next one
    listens two seconds later. The target fails at `turned`, and is published as critical at the second kill."""
    killed = 20.0 + back + 0.4
    tale = Tale(silent=[(20, killed + 2)]).turns("a", turned, good=False)
    for at, listens in ((20.0, 20.0 + back), (killed, killed + 2.0)):
        tale.process(at, "KILL").process(at, "ended", -9).process(listens, "listens", pid=PID)
    probed = [*steadily(1.1, 20), killed - 0.1, *steadily(killed + 2.2, 40)]
    return tale.pod(probed=probed, shown=[(1.3, killed, passing()), (killed, math.inf, critical())])


def removed_and_written_late(seconds: float) -> Tale:
    """A pod is removed before a leader that stops for so long continues, and then its key is back for a moment."""
    back = 15 + seconds
    tale = Tale(end=60).fault(15, back, "cut", "leader", "late")
    return tale.pod(end=20.0, shown=[(1.3, 20.3, passing()), (back + 0.3, back + 2, critical(12))])


def replaced_late(seconds: float) -> Tale:
    """An older record replaces a newer one when a leader that stopped for so long continues."""
    back = 15 + seconds
    tale = Tale(end=60).fault(15, back, "cut", "leader", "late")
    return tale.pod(
        shown=[
            (1.3, back, passing()),
            (back, back + 2, passing(11, last_probe=990.0)),
            (back + 2, math.inf, passing(12)),
        ]
    )


def probed_at_once(at: float, *, services: bool = True) -> Tale:
    """Consul cannot be reached from 10 s to 50 s, and a pod is probed once more in addition to its steady probes."""
    probed = sorted([*steadily(1.1, 70), at])
    return Tale(end=70, services=services).fault(10, 50, "cut").pod(probed=probed)


def restarted_beside_a_broken_manifest(end: float) -> Tale:
    """A controller begins at 22 s, and never says that the manifest is broken."""
    tale = Tale(end=end, silent=[(9, 22)]).process(20, "KILL").process(20, "ended", -9).process(22, "listens", pid=PID)
    return tale.pod().also(Intent(9.9, 10.0, "a", 2, valid=False))


def overwritten(until: float) -> Tale:
    """Somebody writes `passing` over the `critical` of a pod, and that stands until then."""
    tale = Tale(end=70).turns("a", 5.0, good=False).fault(20, 21, "foreign")
    return tale.pod(
        shown=[
            (1.3, 6, passing()),
            (6, 20.2, critical()),
            (20.2, until, passing(12, last_probe=0.0)),
            (until, math.inf, critical(13, last_probe=1060.0)),
        ]
    )


def with_a_clock_that_jumps(forward: float, at: float = 30.0) -> Tale:
    """The wall clock is a day ahead from 20 s to 25 s; later a record is written whose probe is by so much later."""
    return (
        Tale()
        .fault(20, 25, "clock")
        .pod(
            shown=[
                (1.3, 21, passing(10)),
                (21, 26, passing(11, last_probe=87_400.0)),
                (26, at, passing(12, last_probe=1025.0)),
                (at, math.inf, passing(13, last_probe=1025.0 + forward)),
            ]
        )
    )


def frozen(again: float) -> Tale:
    """A process stands still for 25 seconds, in which its keys go; passing is said right after that, and the pod is
    probed `again` at some moment."""
    tale = Tale(end=60.0, silent=[(10, 35)]).process(10, "STOP").process(35, "CONT")
    shown = [(1.3, 30.0, passing()), (35.6, math.inf, passing(12))]
    return tale.pod(probed=[*steadily(1.1, 10), *steadily(again, 60)], shown=shown)


KEEPS: dict[str, list[Tale]] = {
    "A1": [
        Tale().pod(probed=steadily(1.95, 40)),
        Tale().fault(0.9, 5.0, "cut").pod(probed=steadily(28.0, 40), shown=[(28.3, math.inf, passing())]),
    ],
    "A2": [
        Tale().pod(probed=[*steadily(1.1, 20), *steadily(20.3, 40)]),
        Tale().pod(probed=[1.1, 1.7, *steadily(2.3, 40)]),
        session_ended(20.0, 20.5),
        restarted(20.15, 22.0).pod(probed=[*steadily(1.1, 20), *steadily(22.5, 40)]),
        Tale().turns("a", 9.9, good=False, heard=False).turns("a", 14.0, good=True).pod(
            probed=[*steadily(1.1, 9.9), *steadily(14.1, 40)],
            shown=[(1.3, 10.5, passing()), (10.5, 14.5, critical()), (14.5, math.inf, passing(12))],
        ),
        probed_at_once(21.15),
        probed_at_once(54.15),
    ],
    "A3": [Tale().fault(10, 20, "cut").pod()],
    "B1": [Tale().pod(end=20.0, shown=[(1.3, 23.9, passing())])],
    "B2": [Tale(silent=[(10, 40)]).process(10, "KILL").process(10, "ended", -9).pod(
        probed=steadily(1.1, 10), shown=[(1.3, 30.6, passing())])],
    "B3": [Tale().pod()],
    "C1": [
        Tale().pod(end=20.0, probed=steadily(1.1, 20.0)),
        Tale().pod(end=20.0, shown=[(1.3, 20.3, passing()), (21.01, 21.9, passing(12))]),
        removed_and_written_late(seconds=20),
    ],
    "D1": [
        Tale().turns("a", 20.0, good=False).pod(shown=[(1.3, 22.2, passing()), (22.2, math.inf, critical())]),
        overwritten(until=45.0),
        Tale().turns("a", 20.0, good=True, warns=True).turns("a", 30.0, good=True).pod(
            shown=[(1.3, 22.2, passing()), (22.2, 32.2, warning()), (32.2, math.inf, passing(12))]
        ),
    ],
    "D2": [Tale().turns("a", 20.0, good=False).turns("a", 25.0, good=True).pod(
        shown=[(1.3, 20.5, passing()), (20.5, 26.5, critical()), (26.5, math.inf, passing(12))]), frozen(again=35.2)],
    "D3": [
        Tale().pod(shown=[(1.3, 20, passing(10)), (20, math.inf, passing(11, last_probe=1019.0))]),
        with_a_clock_that_jumps(forward=5.0),
        replaced_late(seconds=20),
    ],
    "D4": [
        Tale().pod(services=[(1.3, math.inf, passing())]),
        Tale().turns("a", 20.0, good=False).pod(
            shown=TURNED, services=[(1.3, 22.2, passing()), (22.2, math.inf, critical())]
        ),
        Tale().pod(end=20.0, services=[(1.3, 23.9, passing())]),
        Tale().turns("a", 5.0, good=False).turns("a", 10.0, good=True).pod(
            shown=[(1.3, 5.5, passing()), (5.5, math.inf, passing(11, status="unknown", reason="flapping"))],
            services=[(1.3, math.inf, critical())],
        ),
        Tale(end=60).fault(18, 25, "cut").turns("a", 20.0, good=False).pod(
            shown=[(1.3, 30, passing()), (30, math.inf, critical())],
            services=[(1.3, 50, passing()), (50, math.inf, critical())],
        ),
    ],
    "E1": [
        Tale().fault(10, 20, "cut").pod(),
        Tale().also(Intent(20.5, 20.6, "a", 2)).pod(end=20.0, probed=[*steadily(1.1, 20), 20.7], series_until=20.8),
    ],
    "E2": [
        Tale().pod(),
        restarted_beside_a_broken_manifest(end=23.4),
    ],
    "F1": [Tale().pod()],
    "G1": [Tale(silent=[(20, 40)]).process(20, "TERM").process(24.5, "ended", 0).pod(
        probed=steadily(1.1, 20), shown=[(1.3, 24.0, passing())])],
    "G2": [Tale(end=60, ready=[(0, 22), (41, 99)]).fault(10, 40, "cut").pod()],
    "H1": [Tale().pod(end=20.0, series_until=23.9)],
    "I1": [
        Tale(end=70).fault(20, 60, "limited", "foreign").pod(shown=[(1.3, 20, passing()), (49, math.inf, passing(12))]),
        Tale(end=70).fault(20, 60, "foreign").pod(shown=[(1.3, 20, passing()), (60, math.inf, passing(12))]),
    ],
    "R1": [
        restarted().pod(probed=[*steadily(1.1, 20), *steadily(23.0, 40)]),
        critical_after_a_restart("timeout").also(Stall(23.9, 0.3, "harness")),
        killed_after_a_slow_start(back=5.6, turned=23.0),
    ],
}  # fmt: skip

BREAKS: dict[str, list[Tale]] = {
    "A1": [Tale().pod(probed=steadily(2.1, 40)), Tale().pod(probed=[], shown=[])],
    "A2": [
        Tale().pod(probed=[*steadily(1.1, 20), *steadily(20.4, 40)]),
        Tale().pod(probed=steadily(1.1, 30)),
        Tale().pod(probed=[1.1, 1.3, *steadily(2.3, 40)]),
        session_ended(16.0, 16.5),
        Tale(end=1200).pod(probed=[at + 0.07 * (number % 100 == 0) for number, at in enumerate(steadily(1.1, 1200))]),
        probed_at_once(19.15),
        probed_at_once(57.15),
        probed_at_once(25.15, services=False),
    ],
    "A3": [
        Tale().fault(10, 20, "cut").pod(probed=[*steadily(1.1, 12), *steadily(13.5, 40)]),
        Tale().fault(0.9, 5.0, "cut").pod(probed=steadily(29.5, 40), shown=[(29.8, math.inf, passing())]),
    ],
    "B1": [Tale().pod(end=20.0, shown=[(1.3, 24.7, passing())])],
    "B2": [
        Tale(silent=[(10, 40)])
        .process(10, "KILL")
        .process(10, "ended", -9)
        .pod(probed=steadily(1.1, 10), shown=[(1.3, 31.7, passing())]),
        Tale(silent=[(10, 35)])
        .process(10, "STOP")
        .process(35, "CONT")
        .pod(probed=[*steadily(1.1, 10), *steadily(35, 40)]),
    ],
    "B3": [
        Tale().pod(shown=[(1.3, 30, passing())]),
        Tale().pod().pod("ghost", begin=1.0, end=2.0, probed=[1.1], shown=[(30, math.inf, passing())]),
        Tale(sessions=[(0, 30, SESSION)]).pod(),
    ],
    "C1": [
        Tale().pod(end=20.0, probed=steadily(1.1, 23.0)),
        Tale().pod(end=20.0, shown=[(1.3, 20.3, passing()), (22.0, 23.0, passing(12))]),
        Tale().pod().also(Request(3.0, "stranger", 1, good=True)),
        removed_and_written_late(seconds=9),
    ],
    "D1": [
        overwritten(until=65.0),
        Tale().turns("a", 20.0, good=False).pod(),
        Tale().turns("a", 0.5, good=False).pod(),
        Tale().turns("a", 20.0, good=True, warns=True).pod(),
        Tale().turns("a", 20.0, good=True, warns=True).turns("a", 30.0, good=True).pod(
            shown=[(1.3, 20.5, passing()), (20.5, math.inf, warning())]
        ),
        Tale().turns("a", 20.0, good=False).pod(shown=[(1.3, 20.5, passing()), (20.5, math.inf, warning())]),
        Tale().also(Intent(19.9, 20.0, "a", 2)).turns("a", 10.0, good=False).pod(
            shown=[(1.3, 11, passing()), (11, 22, critical()), (22, math.inf, passing(12))]
        ),
    ],
    "D2": [
        frozen(again=36.5),
        Tale().pod(shown=[(1.3, 20, passing()), (20, 21, critical()), (21, math.inf, passing(12))]),
        Tale().fault(15, 25, "local").pod(
            shown=[(1.3, 20, passing()), (20, 21, critical()), (21, math.inf, passing(12))]
        ),
        Tale().turns("a", 20.0, good=False).turns("a", 25.0, good=True).pod(
            shown=[(1.3, 20.5, passing()), (20.5, math.inf, critical())]
        ),
        Tale().pod(shown=[(1.3, math.inf, passing(status="unknown", reason="timeout"))]),
    ],
    "D3": [
        Tale().pod(shown=[(1.3, math.inf, passing(session="dead"))]),
        Tale().pod(shown=[(1.3, math.inf, passing(session=""))]),
        Tale().pod(shown=[(1.3, 20, passing(10)), (20, math.inf, passing(11, last_probe=990.0))]),
        with_a_clock_that_jumps(forward=-5.0),
        replaced_late(seconds=9),
    ],
    "D4": [
        Tale().turns("a", 20.0, good=False).pod(shown=TURNED, services=[(1.3, math.inf, passing())]),
        Tale().turns("a", 20.0, good=False).turns("a", 25.0, good=True).pod(
            shown=[*TURNED[:1], (20.5, 26.5, critical()), (26.5, math.inf, passing(12))],
            services=[(1.3, 20.5, passing()), (20.5, math.inf, critical())],
        ),
        Tale().pod(end=20.0, services=[(1.3, 24.7, passing())]),
    ],
    "E1": [Tale().fault(10, 20, "cut").pod(series_until=15.0), Tale().fault(1.2, 5.0, "blind").pod(series_until=0.0)],
    "E2": [
        Tale().pod().also(Scrape(30.5, 30.6, PID, {"a": PodSeries(success=30, state="passing")}, invalid=("a",))),
        restarted_beside_a_broken_manifest(end=24.5),
    ],
    "F1": [
        Tale(usage=replace(USAGE, descriptors=80, probing=10)).pod(),
        Tale(usage=replace(USAGE, consul=11)).pod(),
        Tale(usage=replace(USAGE, descriptors=50, clients=20)).pod(),
        Tale().pod(shown=[(at, at + 0.5, passing(number)) for number, at in enumerate(steadily(1.5, 40, 0.5), 10)]),
    ],
    "G1": [
        Tale(silent=[(20, 40)]).process(20, "TERM").process(25.5, "ended", 0).pod(
            probed=steadily(1.1, 20), shown=[(1.3, 24.0, passing())]
        ),
        Tale(silent=[(20, 40)]).process(20, "TERM").process(21, "ended", 1).pod(
            probed=steadily(1.1, 20), shown=[(1.3, 24.0, passing())]
        ),
    ],
    "G2": [
        Tale().fault(10, 39, "cut").pod(),
        Tale(end=70).fault(10, 69, "blind").pod(),
        Tale(ready=[(0, 20)]).pod(),
        Tale(healthy=[(0, 20)]).pod(),
        Tale(end=60).fault(10, 59, "stuck").pod(),
    ],
    "H1": [
        Tale().pod(counted=3),
        Tale().pod(counted=-3),
        Tale().pod(end=20.0, series_until=25.5),
        Tale().pod().also(Scrape(30.5, 30.6, PID, {}, strange=("reason=whatever",))),
    ],
    "I1": [
        Tale(end=70).fault(20, 60, "limited", "foreign").pod(shown=[(1.3, 20, passing()), (52, math.inf, passing(12))]),
        Tale(end=99).fault(20, 80, "limited", "foreign").pod(begin=30.0, shown=[(80, math.inf, passing(12))]),
    ],
    "R1": [
        restarted().pod(
            probed=[*steadily(1.1, 20), *steadily(22.1, 40)],
            shown=[(1.3, 21, passing()), (23, math.inf, passing(12))],
        ),
        restarted().pod(probed=[*steadily(1.1, 20), *steadily(24.5, 40)]),
        critical_after_a_restart("timeout"),
        critical_after_a_restart("status").also(Stall(23.9, 0.3, "harness")),
        killed_after_a_slow_start(back=5.6, turned=17.0),
    ],
}  # fmt: skip


@pytest.mark.parametrize("promise", KEEPS)
def test_a_history_that_keeps_a_promise_is_not_said_to_break_it(promise: str) -> None:
    for tale in KEEPS[promise]:
        assert promise not in names(tale.told())


@pytest.mark.parametrize(
    ("promise", "number"), [(promise, number) for promise, tales in BREAKS.items() for number in range(len(tales))]
)
def test_a_history_that_breaks_a_promise_is_said_to_break_it(promise: str, number: int) -> None:
    assert promise in names(BREAKS[promise][number].told())


def test_a_quiet_history_breaks_nothing() -> None:
    assert judge(Tale().pod("a").pod("b").pod("c", end=30.0).told()) == []


def test_a_pod_goes_soon_after_the_thread_that_kept_it_turns_again() -> None:
    for gone, broken in ((33.5, set()), (35.0, {"B1"})):
        tale = (
            Tale(end=60.0)
            .fault(18, 30, "stuck")
            .pod(end=20.0, probed=steadily(1.1, 18), shown=[(1.3, gone, passing())], series_until=30.0)
        )
        assert names(tale.told()) & {"B1", "H1"} == broken


def test_a_manifest_that_was_broken_before_anybody_could_read_the_good_one_is_probed_or_not() -> None:
    for spoiled, broken in ((25.0, set()), (36.0, {"A3"})):
        tale = Tale(end=70.0).fault(20, 30, "blind").pod(begin=22.0, probed=[], shown=[], series_until=0.0)
        assert names(tale.also(Intent(spoiled, spoiled + 0.1, "a", 2, valid=False)).told()) & {"A1", "A3"} == broken


def test_what_is_written_right_after_an_outage_is_known_when_consul_is_asked_again() -> None:
    for at, broken in ((33.0, set()), (37.0, {"E2"})):
        tale = Tale(end=60.0).fault(20, 30, "blind").pod(begin=31.0)
        invalid = Scrape(at, at + 0.1, PID, {"a": PodSeries(success=3, state="passing")}, invalid=("a",))
        assert names(tale.also(invalid).told()) & {"E2"} == broken


def test_a_broken_promise_is_named_with_its_time_and_its_pod() -> None:
    tale = Tale().pod("a").pod("b", end=20.0, shown=[(1.3, 26.0, passing())])
    assert [(each.promise, each.pod) for each in judge(tale.told())] == [("B1", "b")]
    assert isinstance(judge(tale.told())[0], Broken)
    assert 24.0 <= judge(tale.told())[0].at <= 24.5


def test_what_the_machine_took_from_us_is_not_held_against_the_controller() -> None:
    tale = Tale().pod(probed=[*steadily(1.1, 20), *steadily(20.6, 40)])
    assert names(tale.told()) == {"A2"}
    assert names(tale.also(Stall(20.5, 0.4, "controller")).told()) == set()


def test_a_busy_machine_explains_a_probe_that_took_too_long_and_no_other_failure() -> None:
    for reason, broken in (("timeout", set()), ("connect", {"D2"})):
        shown = [
            (1.3, 20, passing()),
            (20, 21, passing(11, status="critical", reason=reason)),
            (21, math.inf, passing(12)),
        ]
        tale = Tale().pod(shown=shown).also(Stall(20.0, 0.3, "controller"))
        assert names(tale.told()) == broken


def test_a_probe_that_was_not_late_when_the_controller_was_stopped_is_due_after_it() -> None:
    for stop, broken in ((20.3, set()), (20.5, {"A2"})):
        stopped = Tale().process(stop, "STOP").process(24.0, "CONT")
        assert names(stopped.pod(probed=[*steadily(1.1, 20), *steadily(24.5, 40)]).told()) == broken


def test_sockets_without_another_end_are_those_of_probes_and_clients_and_no_more() -> None:
    def used(descriptors: int, nowhere: int) -> Tale:
        return Tale().pod().also(replace(USAGE, at=20.5, descriptors=descriptors, nowhere=nowhere))

    most = USAGE.probing + SPARE_DESCRIPTORS
    assert names(used(most, 0).told()) == set()
    assert names(used(most + 1, 0).told()) == {"F1"}
    assert names(used(most + 1 + CLIENTS, 1 + CLIENTS).told()) == set()
    assert names(used(most + 2 + CLIENTS, 2 + CLIENTS).told()) == {"F1"}


def test_a_promise_can_be_left_out() -> None:
    tale = Tale().pod("b", end=20.0, shown=[(1.3, 26.0, passing())])
    assert judge(tale.told(), frozenset({"B1"})) == []
