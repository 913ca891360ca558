"""In which order the addresses of a name are tried."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.probes.target import in_turns

A, B, C, X, Y, Z = "10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "fd00::2", "fd00::3"


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        ((A,), (A,)),
        ((A, B), (A, B)),
        ((A, X), (A, X)),
        ((X, A), (X, A)),
        ((A, B, X), (A, X, B)),
        ((A, X, Y), (A, X, Y)),
        ((X, Y, Z, A), (X, A, Y, Z)),
        ((A, B, C, X, Y), (A, X, B, Y, C)),
        ((A, X, Y, Z), (A, X, Y, Z)),
    ],
)
def test_both_families_are_tried_in_turn(addresses: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert in_turns(addresses) == expected


@given(st.lists(st.sampled_from([A, B, C, X, Y, Z]), min_size=1, unique=True))
def test_each_address_is_tried_once_and_the_first_one_first(addresses: list[str]) -> None:
    turns = in_turns(tuple(addresses))
    assert sorted(turns) == sorted(addresses)
    assert turns[0] == addresses[0]
    for family in (False, True):
        assert [each for each in turns if (":" in each) is family] == [
            each for each in addresses if (":" in each) is family
        ]
