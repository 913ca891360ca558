"""The removal gate: believes additions at once, removals only after proof, mass removals only after a quiet minute."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcilers.gate import FILTERED, LOST, UNCONFIRMED, Entry, GateDecision, Listing, RemovalGate
from reconcilers.spec import PodKey


def pods(count: int, first: int = 0) -> frozenset[PodKey]:
    return frozenset(PodKey("web1", f"pod{number:04}") for number in range(first, first + count))


def listing(index: int, keys: Iterable[PodKey], doubt: str = "", *, filtered: bool = False) -> Listing:
    return Listing(index, {key: Entry((index,), b"id: x") for key in keys}, doubt, filtered=filtered)


def judge(gate: RemovalGate, shown: Listing, *, confirmed: bool, now: float) -> GateDecision:
    """Judges a listing. Single reads confirm all absences that they are asked for, or none."""
    return gate.judge(shown, gate.sample(shown) if confirmed else (), now)


def gate_that_saw(keys: Iterable[PodKey], index: int = 10) -> RemovalGate:
    gate = RemovalGate()
    assert judge(gate, listing(index, keys), confirmed=False, now=0.0) == GateDecision()
    return gate


def test_additions_and_changes_need_no_proof() -> None:
    gate = gate_that_saw(pods(3))
    assert gate.suspects(listing(11, pods(50))) == frozenset()
    assert judge(gate, listing(11, pods(50)), confirmed=False, now=1.0) == GateDecision()
    assert judge(gate, listing(5, pods(50), "no leader"), confirmed=False, now=2.0) == GateDecision()
    assert gate.recheck_in(2.0) is None


def test_a_confirmed_removal_goes_at_once_and_is_then_forgotten() -> None:
    gate = gate_that_saw(pods(3))
    after = listing(11, pods(2))
    assert gate.suspects(after) == pods(1, 2)
    assert judge(gate, after, confirmed=True, now=1.0) == GateDecision(removed=pods(1, 2))
    assert gate.suspects(after) == frozenset()
    assert judge(gate, after, confirmed=False, now=2.0) == GateDecision()


def test_known_are_the_pods_that_were_seen_or_expected_and_not_removed() -> None:
    gate = gate_that_saw(pods(3))
    gate.expect(pods(1, first=7))
    assert gate.known() == pods(3) | pods(1, first=7)
    judge(gate, listing(11, pods(3)), confirmed=True, now=1.0)
    assert gate.known() == pods(3)


def test_the_only_pod_may_go_at_once() -> None:
    gate = gate_that_saw(pods(1))
    assert judge(gate, listing(11, ()), confirmed=True, now=1.0) == GateDecision(removed=pods(1))


@pytest.mark.parametrize(
    ("index", "doubt", "confirmed", "reason"),
    [
        (11, "no leader", True, "no leader"),
        (9, "no answer", False, "no answer"),
        (10, "", True, "the index did not grow"),
        (9, "", True, "the index did not grow"),
        (0, "", True, "the index did not grow"),
        (11, "", False, "a single read did not confirm it"),
    ],
)
def test_a_listing_without_proof_removes_nothing(index: int, doubt: str, confirmed: bool, reason: str) -> None:
    gate = gate_that_saw(pods(3))
    verdict = judge(gate, listing(index, pods(2), doubt), confirmed=confirmed, now=1.0)
    assert verdict == GateDecision(held=pods(1, 2), reason=reason)
    assert gate.recheck_in(1.0) is None
    assert judge(gate, listing(12, pods(2)), confirmed=True, now=2.0).removed == pods(1, 2)


def test_the_index_must_pass_the_last_listing_that_showed_the_pod_not_an_older_one() -> None:
    gate = gate_that_saw(pods(3), index=10)
    judge(gate, listing(20, pods(3)), confirmed=False, now=1.0)
    assert judge(gate, listing(15, pods(2)), confirmed=True, now=2.0).removed == frozenset()
    assert judge(gate, listing(21, pods(2)), confirmed=True, now=3.0).removed == pods(1, 2)


def gate_whose_index_went_back() -> RemovalGate:
    """It knows five pods, of which the last two were missing when the index went back from 10 to 5."""
    gate = gate_that_saw(pods(5))
    assert judge(gate, listing(5, pods(3)), confirmed=True, now=1.0).reason == "the index did not grow"
    return gate


def test_what_was_lost_when_the_index_went_back_is_held_until_that_passes_the_old_one() -> None:
    gate = gate_whose_index_went_back()
    for index in (5, 6, 10):
        assert judge(gate, listing(index, pods(3)), confirmed=True, now=2.0) == GateDecision(
            held=pods(2, 3), reason=LOST
        )
    assert judge(gate, listing(11, pods(3)), confirmed=True, now=3.0) == GateDecision(removed=pods(2, 3))


def test_what_was_lost_when_the_index_went_back_keeps_no_other_pod_from_going() -> None:
    gate = gate_whose_index_went_back()
    assert judge(gate, listing(6, pods(2)), confirmed=True, now=2.0) == GateDecision(pods(1, 2), pods(2, 3), LOST)
    assert judge(gate, listing(6, pods(1)), confirmed=True, now=3.0).removed == frozenset()
    assert judge(gate, listing(7, pods(1)), confirmed=True, now=4.0).removed == pods(1, 1)


def test_what_was_lost_and_is_back_is_judged_like_any_other() -> None:
    gate = gate_whose_index_went_back()
    assert judge(gate, listing(6, pods(5)), confirmed=True, now=2.0) == GateDecision()
    assert judge(gate, listing(7, pods(4)), confirmed=True, now=3.0) == GateDecision(removed=pods(1, 4))


def test_all_that_was_lost_is_kept_for_longer_than_the_fuse_holds_anything() -> None:
    gate = gate_that_saw(pods(5))
    assert judge(gate, listing(5, ()), confirmed=True, now=1.0).held == pods(5)
    assert judge(gate, listing(6, ()), confirmed=True, now=1_000.0) == GateDecision(held=pods(5), reason=LOST)
    assert gate.recheck_in(1_000.0) is None


def test_a_person_may_release_what_was_lost() -> None:
    gate = gate_whose_index_went_back()
    assert gate.release() == pods(2, 3)
    assert judge(gate, listing(6, pods(3)), confirmed=False, now=2.0).held == pods(2, 3)
    assert judge(gate, listing(6, pods(3)), confirmed=True, now=3.0) == GateDecision(removed=pods(2, 3))


def test_the_fuse_counts_without_what_was_lost() -> None:
    gate = gate_that_saw(pods(30))
    judge(gate, listing(5, pods(18)), confirmed=True, now=1.0)
    assert judge(gate, listing(6, pods(17)), confirmed=True, now=2.0).removed == pods(1, 17)
    held = judge(gate, listing(7, pods(5)), confirmed=True, now=3.0)
    assert held.held == pods(25, 5) - pods(1, 17)
    assert held.reason == "12 of 17 pods gone at once"
    assert judge(gate, listing(7, pods(5)), confirmed=True, now=63.0).removed == pods(12, 5)


def test_a_listing_without_a_leader_does_not_make_the_index_go_back() -> None:
    gate = gate_that_saw(pods(5))
    judge(gate, listing(5, pods(3), "no leader"), confirmed=True, now=1.0)
    assert judge(gate, listing(10, pods(3)), confirmed=True, now=2.0).reason == "the index did not grow"
    assert judge(gate, listing(11, pods(3)), confirmed=True, now=3.0).removed == pods(2, 3)


def test_the_same_listing_read_again_still_proves_what_it_proved() -> None:
    gate = gate_that_saw(pods(3))
    judge(gate, listing(11, pods(2)), confirmed=False, now=1.0)
    assert judge(gate, listing(11, pods(2)), confirmed=True, now=2.0).removed == pods(1, 2)


def test_pods_of_an_earlier_run_are_judged_like_any_other() -> None:
    gate = RemovalGate()
    gate.expect(pods(2))
    assert judge(gate, listing(1, pods(1)), confirmed=False, now=0.0).held == pods(1, 1)
    assert judge(gate, listing(1, pods(1)), confirmed=True, now=1.0).removed == pods(1, 1)


def test_all_pods_of_an_earlier_run_at_once_blow_the_fuse() -> None:
    gate = RemovalGate()
    gate.expect(pods(2))
    assert judge(gate, listing(1, ()), confirmed=True, now=0.0).held == pods(2)


@pytest.mark.parametrize(
    ("total", "gone", "held"),
    [
        (1, 1, False),
        (2, 1, False),
        (2, 2, True),
        (3, 2, False),
        (3, 3, True),
        (11, 10, False),
        (12, 11, True),
        (50, 10, False),
        (50, 11, True),
        (54, 11, True),
        (55, 11, False),
        (100, 20, False),
        (100, 21, True),
        (1_000, 200, False),
        (1_000, 201, True),
    ],
)
def test_the_fuse_blows_for_over_ten_and_over_a_fifth_or_for_all_of_several(total: int, gone: int, held: bool) -> None:
    gate = gate_that_saw(pods(total))
    verdict = judge(gate, listing(11, pods(total - gone)), confirmed=True, now=0.0)
    lost = pods(gone, total - gone)
    if held:
        assert verdict == GateDecision(held=lost, reason=f"{gone} of {total} pods gone at once")
    else:
        assert verdict == GateDecision(removed=lost)


def test_what_a_person_releases_passes_with_the_next_sound_listing() -> None:
    gate = gate_that_saw(pods(20))
    assert judge(gate, listing(11, ()), confirmed=True, now=1.0).held == pods(20)
    assert gate.release() == pods(20)
    assert judge(gate, listing(12, (), "no leader"), confirmed=True, now=2.0).held == pods(20)
    assert judge(gate, listing(13, ()), confirmed=True, now=3.0) == GateDecision(removed=pods(20))


def test_a_release_is_for_what_is_held_now_and_for_no_later_mistake() -> None:
    gate = gate_that_saw(pods(20))
    assert judge(gate, listing(11, ()), confirmed=True, now=1.0).held == pods(20)
    gate.release()
    assert judge(gate, listing(12, pods(20)), confirmed=False, now=2.0) == GateDecision()
    assert judge(gate, listing(13, ()), confirmed=True, now=3.0).held == pods(20)
    assert gate_that_saw(pods(20)).release() == frozenset()


def test_the_fuse_gives_way_after_a_minute_of_confirmation() -> None:
    gate = gate_that_saw(pods(5))
    empty = listing(11, ())
    assert judge(gate, empty, confirmed=True, now=100.0).held == pods(5)
    assert gate.recheck_in(100.0) == 60.0
    assert judge(gate, empty, confirmed=True, now=159.9).held == pods(5)
    assert gate.recheck_in(159.9) == pytest.approx(0.1)
    assert gate.recheck_in(170.0) == 0.0
    assert judge(gate, empty, confirmed=True, now=160.0) == GateDecision(removed=pods(5))
    assert gate.recheck_in(160.0) is None
    assert gate.suspects(empty) == frozenset()


def test_the_minute_can_be_another_time() -> None:
    gate = RemovalGate(fuse_seconds=5.0)
    judge(gate, listing(10, pods(2)), confirmed=False, now=0.0)
    assert judge(gate, listing(11, ()), confirmed=True, now=0.0).held == pods(2)
    assert judge(gate, listing(11, ()), confirmed=True, now=5.0).removed == pods(2)


@pytest.mark.parametrize(
    ("index", "doubt", "confirmed"), [(12, "no leader", True), (12, "", False), (10, "", True), (9, "", True)]
)
def test_a_doubtful_listing_starts_the_minute_again(index: int, doubt: str, confirmed: bool) -> None:
    gate = gate_that_saw(pods(5))
    judge(gate, listing(11, ()), confirmed=True, now=0.0)
    assert judge(gate, listing(index, (), doubt), confirmed=confirmed, now=30.0).held == pods(5)
    assert gate.recheck_in(30.0) is None
    assert judge(gate, listing(13, ()), confirmed=True, now=70.0).held == pods(5)
    assert gate.recheck_in(70.0) == 60.0
    assert judge(gate, listing(13, ()), confirmed=True, now=129.0).held == pods(5)
    assert judge(gate, listing(13, ()), confirmed=True, now=130.0).removed == pods(5)


def test_a_source_that_failed_meanwhile_starts_the_minute_again() -> None:
    gate = gate_that_saw(pods(5))
    assert judge(gate, listing(11, ()), confirmed=True, now=100.0).held == pods(5)
    gate.disturb()
    assert gate.recheck_in(130.0) is None
    assert judge(gate, listing(11, ()), confirmed=True, now=165.0).held == pods(5)
    assert judge(gate, listing(11, ()), confirmed=True, now=225.0).removed == pods(5)


def test_a_new_pod_does_not_end_the_holding_of_the_others() -> None:
    gate = gate_that_saw(pods(3))
    new = pods(1, 3)
    assert judge(gate, listing(11, new), confirmed=True, now=0.0).held == pods(3)
    assert judge(gate, listing(11, new), confirmed=True, now=10.0).held == pods(3)
    assert judge(gate, listing(11, new), confirmed=True, now=60.0).removed == pods(3)


def test_a_doubt_does_not_let_held_pods_slip_by_a_new_one() -> None:
    gate = gate_that_saw(pods(3))
    new = pods(1, 3)
    judge(gate, listing(11, new), confirmed=True, now=0.0)
    judge(gate, listing(12, new, "no leader"), confirmed=False, now=10.0)
    assert judge(gate, listing(13, new), confirmed=True, now=20.0).held == pods(3)
    assert gate.recheck_in(20.0) == 60.0


def test_held_pods_that_come_back_are_held_no_more_and_the_others_go_on_waiting() -> None:
    gate = gate_that_saw(pods(30))
    judge(gate, listing(11, pods(5)), confirmed=True, now=0.0)
    assert judge(gate, listing(12, pods(27)), confirmed=True, now=30.0).held == pods(3, 27)
    assert judge(gate, listing(13, pods(27)), confirmed=True, now=60.0).removed == pods(3, 27)


def test_a_pod_that_came_back_and_goes_again_is_a_new_case() -> None:
    gate = gate_that_saw(pods(3))
    judge(gate, listing(11, ()), confirmed=True, now=0.0)
    assert judge(gate, listing(12, pods(3)), confirmed=True, now=1.0) == GateDecision()
    assert gate.recheck_in(1.0) is None
    assert judge(gate, listing(13, pods(2)), confirmed=True, now=2.0).removed == pods(1, 2)


def test_pods_that_go_later_wait_for_their_own_minute() -> None:
    gate = gate_that_saw(pods(100))
    judge(gate, listing(11, pods(70)), confirmed=True, now=0.0)
    assert judge(gate, listing(12, pods(40)), confirmed=True, now=30.0).held == pods(60, 40)
    verdict = judge(gate, listing(12, pods(40)), confirmed=True, now=60.0)
    assert (verdict.removed, verdict.held) == (pods(30, 70), pods(30, 40))
    assert gate.recheck_in(60.0) == 30.0
    assert judge(gate, listing(12, pods(40)), confirmed=True, now=90.0).removed == pods(30, 40)


@pytest.mark.parametrize("count", [0, 1, 5, 19, 20])
def test_up_to_twenty_suspects_are_all_confirmed(count: int) -> None:
    assert gate_that_saw(pods(count)).sample(listing(11, ())) == tuple(sorted(pods(count)))


@pytest.mark.parametrize("count", [*range(21, 60), 10_000])
def test_of_more_five_are_confirmed_from_the_first_to_the_last(count: int) -> None:
    sample = gate_that_saw(pods(count)).sample(listing(11, ()))
    assert len(set(sample)) == 5
    assert (sample[0], sample[-1]) == (min(pods(count)), max(pods(count)))
    assert list(sample) == sorted(sample)


def test_a_removal_that_a_single_read_does_not_confirm_is_kept_for_itself() -> None:
    gate = gate_that_saw(pods(30))
    after = listing(11, pods(27))
    two = pods(2, 27)
    assert gate.judge(after, two, now=1.0) == GateDecision(two, pods(1, 29), UNCONFIRMED)
    assert gate.judge(after, (), now=2.0) == GateDecision(held=pods(1, 29), reason=UNCONFIRMED)
    assert gate.judge(after, pods(1, 29), now=3.0) == GateDecision(removed=pods(1, 29))


def test_where_only_a_sample_is_asked_for_one_that_is_not_confirmed_keeps_them_all() -> None:
    gate = gate_that_saw(pods(200))
    after = listing(11, pods(175))
    sample = gate.sample(after)
    assert gate.judge(after, sample[1:], now=1.0) == GateDecision(held=pods(25, 175), reason=UNCONFIRMED)
    assert gate.judge(after, sample, now=2.0) == GateDecision(removed=pods(25, 175))


def test_of_a_listing_that_acls_filtered_each_suspect_is_confirmed_for_itself() -> None:
    gate = gate_that_saw(pods(200))
    after = listing(11, pods(175), filtered=True)
    assert gate.sample(after) == tuple(sorted(pods(25, 175)))
    assert gate.judge(after, pods(24, 175), now=1.0) == GateDecision(pods(24, 175), pods(1, 199), FILTERED)
    assert gate.judge(after, (), now=2.0) == GateDecision(held=pods(1, 199), reason=FILTERED)
    assert gate.judge(after, pods(1, 199), now=3.0) == GateDecision(removed=pods(1, 199))


def test_the_fuse_counts_all_that_a_filtered_listing_lacks_where_one_look_may_not_ask_for_all() -> None:
    gate = gate_that_saw(pods(100))
    after = listing(11, pods(70), filtered=True)
    reason = "30 of 100 pods gone at once"
    assert gate.judge(after, pods(8, 70), now=1.0) == GateDecision(held=pods(30, 70), reason=reason)
    assert gate.judge(after, pods(8, 78), now=2.0) == GateDecision(held=pods(30, 70), reason=reason)
    gate.release()
    assert gate.judge(after, pods(8, 78), now=3.0).removed == pods(8, 78)


def test_the_fuse_counts_without_what_is_not_confirmed_and_goes_on_holding_it_later() -> None:
    gate = gate_that_saw(pods(50))
    after = listing(11, pods(36))
    assert gate.judge(after, pods(11, 36), now=0.0) == GateDecision(
        held=pods(14, 36), reason="11 of 50 pods gone at once"
    )
    assert gate.judge(after, pods(10, 36), now=30.0).held == pods(14, 36)
    assert gate.judge(after, pods(11, 36), now=60.0) == GateDecision(
        pods(10, 36), pods(4, 46), "11 of 50 pods gone at once"
    )
    assert gate.judge(after, pods(1, 46), now=89.0).held == pods(4, 46)
    assert gate.judge(after, pods(4, 46), now=149.0) == GateDecision(removed=pods(4, 46))


def test_what_was_lost_and_released_is_lost_until_it_is_confirmed() -> None:
    gate = gate_whose_index_went_back()
    gate.release()
    assert gate.judge(listing(6, pods(3)), pods(1, 3), now=2.0) == GateDecision(pods(1, 3), pods(1, 4), LOST)
    assert gate.judge(listing(6, pods(3)), pods(1, 4), now=3.0) == GateDecision(removed=pods(1, 4))


STEPS = st.lists(
    st.tuples(
        st.integers(0, 3).map(lambda number: 0 if number == 3 else number),
        st.sets(st.integers(0, 15)),
        st.sampled_from(["", "", "filtered", "no leader"]),
        st.one_of(st.just(set()), st.sets(st.integers(0, 15))),
        st.floats(0.0, 45.0),
    ),
    max_size=12,
)


def numbered(numbers: Iterable[int]) -> set[PodKey]:
    return {PodKey("web1", f"pod{number:04}") for number in numbers}


@given(STEPS)
def test_nothing_goes_without_proof_nor_in_a_mass_without_a_quiet_minute(
    steps: list[tuple[int, set[int], str, set[int], float]],
) -> None:
    gate, known, index, now = RemovalGate(), dict.fromkeys(pods(16), 10), 10, 0.0
    gate.judge(listing(10, pods(16)), (), now)
    fused: set[PodKey] = set()
    quiet: dict[PodKey, float] = {}
    for growth, numbers, doubt, standing, step in steps:
        index, now = index + growth, now + step
        shown = numbered(numbers)
        total, missing = len(known), known.keys() - shown
        sound = doubt in {"", "filtered"} and all(index > known[key] for key in missing)
        gone = missing - numbered(standing) if sound else set()

        answer = listing(index, shown, doubt.removeprefix("filtered"), filtered=doubt == "filtered")
        verdict = gate.judge(answer, missing - numbered(standing), now)

        assert verdict.removed | verdict.held == missing
        assert not verdict.removed & verdict.held
        assert bool(verdict.reason) == bool(verdict.held)
        fused -= shown
        quiet = {key: quiet.get(key, now) for key in gone}
        if (len(gone) > 10 and len(gone) > total / 5) or len(gone) == total > 1:
            fused |= gone
        assert verdict.removed == {key for key in gone if key not in fused or now - quiet[key] >= 60}
        known = {key: seen for key, seen in known.items() if key not in verdict.removed} | dict.fromkeys(shown, index)
        fused -= verdict.removed
