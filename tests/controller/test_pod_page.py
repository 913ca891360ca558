"""A query selects and sorts pods, and has a URL."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from controller.web.pod_page import KEYS, in_order, listing
from controller.web.pod_views import PodState, PodView
from controller.web.query import COLUMNS, Paging, PodQuery, QueryError
from reconcilers.health import Reason
from reconcilers.spec import PodKey


def sight(
    pod: str,
    state: PodState = PodState.PASSING,
    reason: Reason = Reason.NONE,
    since: float = 0.0,
    took: float = 0.0,
    node: str = "web1",
) -> PodView:
    return PodView(PodKey(node, pod), state, reason, since, since, took, None, None, None, None)


PODS = [
    sight("billing-api", since=30.0, took=0.2),
    sight("Checkout", PodState.CRITICAL, Reason.STATUS, since=20.0, took=0.1, node="web2"),
    sight("mailer", PodState.CRITICAL, Reason.REFUSED, since=10.0, took=0.3),
    sight("search", PodState.UNKNOWN, Reason.FLAPPING, since=40.0, took=-1.0),
    sight("batch", PodState.PAUSED, took=-1.0),
]


def query(text: str = "") -> PodQuery:
    return PodQuery.parse(QueryParams(text))


def names(text: str, pods: Sequence[PodView] = PODS) -> list[str]:
    return [each.key.pod for each in listing(pods, query(text)).pods]


@pytest.mark.parametrize(
    ("text", "pods"),
    [
        ("", ["Checkout", "mailer", "search", "billing-api", "batch"]),
        ("sort=-state", ["batch", "billing-api", "search", "mailer", "Checkout"]),
        ("sort=pod", ["Checkout", "batch", "billing-api", "mailer", "search"]),
        ("sort=node", ["batch", "billing-api", "mailer", "search", "Checkout"]),
        ("sort=-since", ["search", "billing-api", "Checkout", "mailer", "batch"]),
        ("sort=probed", ["batch", "mailer", "Checkout", "billing-api", "search"]),
        ("sort=-took", ["mailer", "billing-api", "Checkout", "search", "batch"]),
        ("sort=reason", ["search", "mailer", "Checkout", "batch", "billing-api"]),
        ("state=critical", ["Checkout", "mailer"]),
        ("state=critical&state=paused", ["Checkout", "mailer", "batch"]),
        ("state=", ["Checkout", "mailer", "search", "billing-api", "batch"]),
        ("q=check", ["Checkout"]),
        ("q=WEB2", ["Checkout"]),
        ("q=flap", ["search"]),
        ("q=web1+mail", ["mailer"]),
        ("q=nobody", []),
        ("per_page=2", ["Checkout", "mailer"]),
        ("per_page=2&page=2", ["search", "billing-api"]),
        ("per_page=2&page=99", ["batch"]),
    ],
)
def test_a_query_filters_sorts_and_selects_a_page_of_pods(text: str, pods: list[str]) -> None:
    assert names(text) == pods


def test_pods_can_be_sorted_by_every_column() -> None:
    assert set(KEYS) == set(COLUMNS)
    for column in COLUMNS:
        assert names(f"sort={column}") == list(reversed(names(f"sort=-{column}")))


def test_totals_count_all_pods() -> None:
    seen = listing(PODS, query("state=critical&per_page=1"))
    assert (seen.matching, seen.pages, seen.total) == (2, 2, 5)
    assert seen.totals[PodState.CRITICAL] == 2
    assert seen.worst is PodState.CRITICAL
    assert listing([], query()).worst is None


@given(st.lists(st.integers(0, 50), max_size=2_000), st.integers(0, 2_000), st.integers(1, 300), st.booleans())
def test_a_page_of_pods_is_a_slice_of_all_sorted_pods(
    times: list[int],
    start: int,
    count: int,
    reverse: bool,
) -> None:
    pods = [sight(f"pod-{place}", since=float(since)) for place, since in enumerate(times)]
    everything = sorted(pods, key=KEYS["since"], reverse=reverse)
    assert in_order(pods, KEYS["since"], start, count, reverse=reverse) == everything[start : start + count]


@pytest.mark.parametrize(
    ("text", "parameter"),
    [
        ("state=ill", "state"),
        ("sort=age", "sort"),
        ("page=0", "page"),
        ("page=one", "page"),
        ("per_page=501", "per_page"),
        ("q=" + "x" * 201, "q"),
        ("colour=red", "colour"),
    ],
)
def test_an_invalid_parameter_is_named_or_ignored(text: str, parameter: str) -> None:
    with pytest.raises(QueryError) as error:
        query(text)
    assert list(error.value.problems) == [parameter]
    assert str(error.value).startswith(f"{parameter}: ")
    assert PodQuery.lenient(QueryParams(f"{text}&sort=pod" if parameter != "sort" else text)) == (
        query("sort=pod") if parameter != "sort" else query()
    )


def test_a_url_contains_only_parameters_that_differ_from_the_default() -> None:
    asked = query("state=critical&q=a+b&sort=-took&page=3&per_page=50")
    assert asked.url() == "?per_page=50&state=critical&q=a+b&sort=-took"
    assert asked.url(page=4, q="") == "?page=4&per_page=50&state=critical&sort=-took"
    assert query(asked.url(page=4).removeprefix("?")) == asked.model_copy(update={"page": 4})
    assert query().url() == "?"
    assert Paging(page=2).url(page=3) == "?page=3"


def test_the_second_click_on_a_column_reverses_the_order() -> None:
    assert query().sorted_by("pod") == "?sort=pod"
    assert query("sort=pod").sorted_by("pod") == "?sort=-pod"
    assert query().sorted_by("took") == "?sort=-took"
    assert query("sort=-took").sorted_by("took") == "?sort=took"
    assert query("sort=-took").sorted_by("state") == "?"


def test_repeated_values_of_a_parameter_count_once() -> None:
    asked = query("state=critical&state=passing&state=critical")
    assert asked.state == ("critical", "passing")
    assert asked.url() == "?state=critical&state=passing"
    assert names("q=web1+mail+web1+mail") == names("q=web1+mail")
