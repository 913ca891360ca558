"""A diff turns the running checks into the desired checks, and changes nothing else."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from reconcilers.diff import Diff, diff
from reconcilers.spec import CheckSpec, ManifestVersion, PodKey
from tests.reconcilers.fakes import check

A, B, C = (PodKey("web1", pod) for pod in "abc")

SPECS = st.dictionaries(
    st.sampled_from([PodKey("web1", f"pod{number}") for number in range(6)]),
    st.sampled_from([8000, 8001]),
).map(lambda ports: {key: check(key, port) for key, port in ports.items()})


def apply(steps: Diff, actual: dict[PodKey, CheckSpec]) -> dict[PodKey, CheckSpec]:
    left = {key: spec for key, spec in actual.items() if key not in steps.stop}
    for spec in steps.start:
        assert spec.key not in left, "started while it still runs"
        left[spec.key] = spec
    return left


def test_missing_checks_start_surplus_checks_stop_and_changed_checks_do_both() -> None:
    steps = diff({A: check(A), B: check(B, 8001)}, {B: check(B), C: check(C)})
    assert steps == Diff(stop=(B, C), start=(check(A), check(B, 8001)))
    assert steps


def test_a_diff_without_steps_is_false() -> None:
    assert not diff({A: check(A)}, {A: check(A)})
    assert not diff({}, {})
    assert Diff((A,), ())
    assert Diff((), (check(A),))
    assert Diff((), (), (check(A),))


def test_each_field_of_a_check_counts_as_a_change() -> None:
    assert diff({A: check(A, address="10.0.0.1")}, {A: check(A, address="10.0.0.2")}) == Diff(
        (A,), (check(A, address="10.0.0.1"),)
    )


def test_another_version_of_the_same_check_is_an_update_and_no_restart() -> None:
    old, new = (replace(check(A), version=ManifestVersion(serial, b"%d" % serial)) for serial in (1, 2))
    assert diff({A: new, B: check(B)}, {A: old, B: check(B)}) == Diff((), (), (new,))
    assert diff({A: new}, {A: old}).update[0].version.data == b"2"
    assert not diff({A: new}, {A: new})
    assert diff({A: replace(new, interval=9.0)}, {A: old}).update == ()


@given(SPECS, SPECS)
def test_a_diff_turns_the_running_checks_into_the_desired_checks(
    desired: dict[PodKey, CheckSpec], actual: dict[PodKey, CheckSpec]
) -> None:
    assert apply(diff(desired, actual), actual) == desired


@given(SPECS, SPECS)
def test_a_diff_does_not_restart_equal_checks(
    desired: dict[PodKey, CheckSpec], actual: dict[PodKey, CheckSpec]
) -> None:
    steps = diff(desired, actual)
    equal = {key for key in desired.keys() & actual.keys() if desired[key] == actual[key]}
    assert equal.isdisjoint(steps.stop)
    assert equal.isdisjoint(spec.key for spec in steps.start)
