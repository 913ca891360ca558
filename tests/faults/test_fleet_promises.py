"""For every promise of a fleet: histories that keep it, up to its bound, and histories that break it. And what a fleet
changes in the other promises."""

import math
from collections.abc import Sequence

import pytest

from tests.faults import test_promises
from tests.faults.checker import PROMISES
from tests.faults.fleet_tales import PIDS, FleetTale
from tests.faults.history import Intent, PodSeries, Record, Request, Scrape, Stall
from tests.faults.moves import combined
from tests.faults.spans import Span, common
from tests.faults.tales import SESSION, Tale, passing, steadily
from tests.faults.test_promises import names

HEIR = "he1r"
SESSIONS = ((0.0, 40.0, SESSION), (0.0, math.inf, HEIR))
HELD_ON = [(1.3, 27.5, passing(flags=5)), (27.5, math.inf, passing(11, session=HEIR, flags=7))]


def taken_over(
    heir: float = 27.0, shown: Sequence[tuple[float, float, Record]] = HELD_ON, last: float = 20.0
) -> FleetTale:
    """m1 is killed at 20 s. m2 probes its pod from `heir` on."""
    tale = FleetTale(end=60.0, sessions=SESSIONS, owners=((0.0, heir, "m1"), (heir, math.inf, "m2"))).killed("m1", 20.0)
    tale.pod("a", probed=[*steadily(1.1, last), *steadily(heir, 60.0)], shown=shown)
    return tale


def probed_by_both(until: float) -> FleetTale:
    """m1 is frozen until 26.1 s, and probes until then, although m2 probes from 26.3 s on."""
    owners = ((0.0, 26.3, "m1"), (26.3, math.inf, "m2"))
    tale = FleetTale(end=60.0, sessions=SESSIONS, owners=owners).frozen("m1", 20.0, 26.1)
    tale.pod("a", probed=[*steadily(1.1, 20.0), *steadily(26.3, 60.0)], shown=HELD_ON)
    tale.also(*(Request(at, "a", 1, good=True, member="m1") for at in steadily(26.2, until)))
    return tale


def left(heir: float) -> FleetTale:
    """m1 leaves at 20 s, and probes for the last time at 20.1 s."""
    tale = FleetTale(sessions=SESSIONS, owners=((0.0, heir, "m1"), (heir, math.inf, "m2"))).terminated("m1", 20.0)
    shown = [(1.3, heir + 0.5, passing(flags=5)), (heir + 0.5, math.inf, passing(11, session=HEIR, flags=7))]
    tale.pod("a", probed=[*steadily(1.1, 20.5), *steadily(heir, 40.0)], shown=shown)
    return tale


KEEPS: dict[str, list[FleetTale]] = {
    "H2": [taken_over()],
    "H3": [taken_over(heir=31.0)],
    "H4": [probed_by_both(until=27.3), taken_over()],
    "H5": [taken_over()],
}

GONE = [HELD_ON[0], (29.0, math.inf, passing(11, session=HEIR, flags=7))]
LOCAL = Record("unknown", "local", HEIR, 11, 1, 1000.0, 7)
OLDER = [(1.3, 27.5, passing(flags=7)), (27.5, math.inf, passing(11, session=HEIR, flags=5))]

BREAKS: dict[str, list[FleetTale]] = {
    "H2": [
        taken_over(shown=GONE),
        taken_over(shown=[HELD_ON[0], (27.5, 28.5, LOCAL), (28.5, math.inf, passing(12, session=HEIR, flags=7))]),
    ],
    "H3": [taken_over(heir=32.5)],
    "H4": [probed_by_both(until=29.3)],
    "H5": [taken_over(shown=OLDER)],
}


@pytest.mark.parametrize("promise", KEEPS)
def test_a_history_that_keeps_a_promise_is_not_said_to_break_anything(promise: str) -> None:
    for tale in KEEPS[promise]:
        assert names(tale.told()) == set()


@pytest.mark.parametrize(
    ("promise", "number"), [(promise, number) for promise, tales in BREAKS.items() for number in range(len(tales))]
)
def test_a_history_that_breaks_a_promise_is_said_to_break_it(promise: str, number: int) -> None:
    assert promise in names(BREAKS[promise][number].told())


def test_every_promise_has_histories() -> None:
    assert {*KEEPS, *test_promises.KEEPS} == {*BREAKS, *test_promises.BREAKS} == {*PROMISES}


def test_the_promises_of_a_fleet_are_not_those_of_one_controller() -> None:
    shown = [(1.3, 20, passing()), (23, math.inf, passing(12))]
    assert "H2" not in names(Tale().pod(shown=shown).told())


def test_a_member_that_leaves_hands_its_pods_over_within_an_interval() -> None:
    assert names(left(heir=22.0).told()) == set()
    assert names(left(heir=23.5).told()) == {"A2"}


def test_a_pod_that_no_member_shows_although_nothing_moves_is_lost() -> None:
    tale = FleetTale().pod("a")
    gone = [Scrape(at, at + 0.02, pid, {}) for at, pid in ((30.5, PIDS["m1"]), (30.5, PIDS["m2"]))]
    assert "E1" in names(tale.also(*gone).told())


def test_a_broken_manifest_is_shown_by_the_member_that_has_the_node() -> None:
    assert names(FleetTale().pod("a").also(Intent(29.9, 30.0, "a", 2, valid=False)).told()) == {"E2"}


def test_a_removal_is_accepted_when_all_members_have_accepted_it() -> None:
    late = [Scrape(at, at + 0.02, PIDS["m1"], {"a": PodSeries(success=19)}) for at in (21.0, 22.0, 23.0)]
    tale = FleetTale().pod("a", end=20.0, probed=steadily(1.1, 22.5), series_until=23.9).also(*late)
    assert "C1" not in names(tale.told())


def test_a_member_that_wakes_up_must_not_ask_a_removed_pod() -> None:
    for at in (40.1, 42.0):
        owners = ((0.0, 27.0, "m1"), (27.0, math.inf, "m2"))
        tale = FleetTale(end=60.0, sessions=SESSIONS, owners=owners).frozen("m1", 20.0, 40.0)
        tale.pod(
            "a",
            end=35.0,
            probed=[*steadily(1.1, 20), *steadily(27.0, 35.0)],
            shown=[HELD_ON[0], (27.5, 35.3, HELD_ON[1][2])],
        )
        tale.also(Request(at, "a", 1, good=True, member="m1"))
        assert "C1" in names(tale.told())


def test_a_member_that_wakes_up_must_not_ask_its_old_pods_twice_at_once() -> None:
    tale = probed_by_both(until=27.3)
    assert names(tale.told()) == set()
    assert "A2" in names(tale.also(Request(26.3, "a", 1, good=True, member="m1")).told())


def test_a_member_that_is_cut_off_while_another_joins_stops_before_that_one_probes() -> None:
    for until, broken in ((21.9, set()), (23.0, {"H4"})):
        tale = FleetTale(sessions=SESSIONS, owners=((0.0, 20.5, "m2"), (20.5, math.inf, "m1")))
        shown = [(1.3, 21.0, passing(flags=5)), (21.0, math.inf, passing(11, session=HEIR, flags=7))]
        tale.pod("a", probed=[*steadily(1.1, 20.5), *steadily(20.5, 40.0)], shown=shown).fault(20.0, 29.0, "cut")
        tale.affects("m2").also(*(Request(at, "a", 1, good=True, member="m2") for at in steadily(20.7, until)))
        assert names(tale.told()) == broken


def test_a_member_that_loses_a_pod_for_two_intervals_did_not_ask_meanwhile() -> None:
    times = [*steadily(1.1, 20.2), 20.6, 21.3, 22.1, *steadily(22.2, 40.0)]
    for stays, broken in ((False, set()), (True, {"H4"})):
        tale = FleetTale(sessions=SESSIONS, owners=((0.0, 20.2, "m1"), (20.2, 22.15, "m2"), (22.15, math.inf, "m1")))
        tale.pod("a", probed=times, shown=[(1.3, math.inf, passing())])
        tale.also(*(Request(at, "a", 1, good=True, member="m1") for at in [21.2] * stays))
        assert names(tale.told()) & {"H4"} == broken


def test_no_write_from_before_a_cut_may_be_executed_after_it_but_one_that_creates_a_key() -> None:
    for begin, at, broken in ((1.3, 28.3, {"C1"}), (22.0, 28.3, set()), (22.0, 31.0, {"C1"})):
        tale = FleetTale(sessions=SESSIONS)
        tale.fault(20.0, 28.0, "cut")
        tale.affects("m1").pod("a", end=25.0, shown=[(begin, 25.3, passing()), (at, at + 1.0, passing(12))])
        assert names(tale.told()) & {"C1", "D3"} == broken


def test_an_older_record_must_not_replace_a_newer_one_after_a_cut() -> None:
    tale = FleetTale(sessions=SESSIONS)
    tale.fault(20.0, 28.0, "cut")
    newer, older = passing(11, last_probe=1020.0), passing(12, last_probe=1010.0)
    tale.affects("m1").pod("a", shown=[(1.3, 22.0, passing()), (22.0, 28.3, newer), (28.3, math.inf, older)])
    assert "D3" in names(tale.told())


def test_the_loss_of_all_members_puts_off_what_the_loss_of_one_had_made_late() -> None:
    for back, broken in ((46.0, set()), (59.5, {"A2", "H3"})):
        sessions = ((0.0, 40.0, SESSION), (45.0, math.inf, HEIR))
        tale = FleetTale(end=80.0, sessions=sessions).killed("m1", 20.0, 45.0).killed("m2", 21.5, 48.0)
        shown = [(1.3, 40.0, passing()), (back + 0.2, math.inf, passing(12, session=HEIR))]
        tale.pod("a", probed=[*steadily(1.1, 20.0), *steadily(back, 80.0)], shown=shown)
        assert names(tale.told()) == broken


def test_a_member_may_lose_and_gain_a_node_between_two_scrapes_that_are_far_apart() -> None:
    owners = ((0.0, 16.3, "m1"), (16.3, 20.0, "m2"), (20.0, 20.5, "m1"), (20.5, math.inf, "m2"))
    tale = FleetTale(end=60.0, sessions=SESSIONS, owners=owners).killed("m1", 10.0, 12.0)
    tale.away["m2"] = [(17.5, 23.7)]
    shown = [(1.3, 16.8, passing()), (16.8, math.inf, passing(11, session=HEIR))]
    tale.pod("a", probed=[*steadily(1.1, 10.0), *steadily(16.3, 20.0), *steadily(20.5, 60.0)], shown=shown)
    assert names(tale.told()) == set()


def test_a_member_that_is_cut_off_must_say_so_and_no_other_member() -> None:
    def cut_off(member: str) -> FleetTale:
        tale = FleetTale(end=60.0, sessions=SESSIONS, ready=[(0, 22), (41, 99)])
        tale.pod("a").fault(10, 40, "cut")
        return tale.affects(member)

    assert "G2" not in names(cut_off("").told())
    assert "G2" in names(cut_off("m1").told())


def test_the_machine_takes_time_from_each_member_at_the_same_time() -> None:
    tale = FleetTale().pod(probed=[*steadily(1.1, 30), *steadily(30.6, 40)])
    assert names(tale.told()) == {"A2"}
    stalls = [Stall(30.5, 0.2, "controller", pid) for pid in PIDS.values()]
    assert names(tale.also(*stalls).told()) == {"A2"}
    assert names(tale.also(Stall(30.5, 0.4, "controller", PIDS["m1"])).told()) == set()


def test_a_member_that_the_machine_does_not_let_renew_its_check_may_lose_its_nodes() -> None:
    for taken, broken in ((4.2, set()), (2.0, {"A2", "E1"})):
        tale = FleetTale(end=60.0, sessions=SESSIONS, owners=((0.0, 26.0, "m1"), (26.0, math.inf, "m2")))
        tale.pod("a", probed=[*steadily(1.1, 20.0), *steadily(26.0, 60.0)], shown=HELD_ON)
        tale.also(Stall(24.5, taken, "controller", PIDS["m1"]))
        assert names(tale.told()) == broken


def test_metrics_are_combined_when_every_running_member_has_just_been_asked() -> None:
    members = {PIDS["m1"]: "m1", PIDS["m2"]: "m2"}

    def scrape(at: float, member: str, pod: str) -> Scrape:
        return Scrape(at, at, PIDS[member], {pod: PodSeries()})

    scrapes = [scrape(1.0, "m1", "a"), scrape(1.1, "m2", "b"), scrape(9.0, "m1", "a"), scrape(20.0, "m2", "b")]
    found = combined(scrapes, members.__getitem__, {"m1": [Span(15, 25)], "m2": []})
    assert [(each.at, sorted(each.pods)) for each in found] == [(1.1, ["a", "b"]), (20.0, ["b"])]


def test_common_time_lies_in_all_spans() -> None:
    assert common([[Span(1, 5), Span(7, 9)], [Span(3, 8)], [Span(0, 4), Span(7.5, 99)]]) == (Span(3, 4), Span(7.5, 8))
    assert common([[Span(5, 7), Span(1, 6)]]) == (Span(1, 7),)
    assert common([]) == ()


def test_the_wrong_clock_of_one_member_proves_nothing_about_the_records_of_another() -> None:
    shown = [
        (1.3, 21.0, passing(10)),
        (21.0, 26.0, passing(11, last_probe=87_400.0)),
        (26.0, math.inf, passing(12, last_probe=1025.0)),
    ]
    assert "D3" in names(FleetTale().pod("a", shown=shown).told())
    tale = FleetTale()
    tale.pod("a", shown=shown).fault(20, 25, "clock")
    assert "D3" not in names(tale.affects("m1").told())


def test_the_scrapes_of_a_member_do_not_tell_that_another_has_noticed_a_removal() -> None:
    tale = FleetTale().pod("a", end=20.0, probed=steadily(1.1, 40.0), series_until=math.inf)
    tale.also(Intent(21.0, 21.1, "a", 2))
    assert "H1" not in names(tale.told())
