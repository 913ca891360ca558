"""The scalars of manifests and configurations: tables of what is read and refused, and properties of both."""

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcilers import fields
from reconcilers.request_fields import headers
from reconcilers.yamltext import Plain

DURATION = fields.duration(0, 3600)
NUMBER = fields.number(1, 1000)
LONG = fields.days(0, 3_650 * fields.DAY)
READERS: list[Callable[[object], object]] = [
    *(fields.boolean, fields.name, fields.host, fields.text, fields.file, fields.path, fields.regex, fields.port),
    *(fields.statuses, headers, fields.statuses_or_none, DURATION, NUMBER, LONG),
]
VALUES: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40) | st.text(max_size=40).map(Plain),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def refusal(read: Callable[[object], object], value: object) -> str:
    """Returns why `value` is not accepted; "" if it is."""
    try:
        read(value)
    except ValueError as error:
        return str(error) or "no words"
    return ""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("0s", 0.0),
        ("5s", 5.0),
        ("05s", 5.0),
        ("500ms", 0.5),
        ("1.5s", 1.5),
        ("1m30s", 90.0),
        ("0.5h", 1800.0),
        ("1h", 3600.0),
        ("59m59s999ms", 3599.999),
        ("2m5ms", 120.005),
    ],
)
def test_a_duration_is_written_as_go_writes_it(text: str, seconds: float) -> None:
    assert DURATION(text) == DURATION(Plain(text)) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            "5",
            "05",
            "00",
            "-1s",
            "+1s",
            "1e3s",
            "5 s",
            " 5s",
            "5s\n",
            "999h",
            "1h1ms",
            "s",
            ".5s",
            "5.s",
            "1,5s",
            "5S",
        ),
        *("30s1m", "5s5s", "1d", "1us", "\N{ARABIC-INDIC DIGIT ONE}s", "inf", "nan", "1" * 33 + "s", "1:30"),
        *(None, True, [5], {}, -0.1, 3600.5, float("nan"), float("inf"), 10**400),
    ],
)
def test_another_text_is_refused_as_a_duration(value: object) -> None:
    assert refusal(DURATION, value) == "expected a duration from 0s to 1h, such as 500ms, 5s or 1m30s"


@pytest.mark.parametrize(
    ("text", "seconds", "shown"),
    [
        ("14d", 14 * 86_400.0, "14d"),
        ("36h", 36 * 3_600.0, "1d12h"),
        ("1d12h", 36 * 3_600.0, "1d12h"),
        ("1.5d", 36 * 3_600.0, "1d12h"),
        ("90s", 90.0, "1m30s"),
        ("0", 0.0, "0s"),
    ],
)
def test_a_long_duration_may_have_days(text: str, seconds: float, shown: str) -> None:
    assert LONG(text) == LONG(seconds) == seconds
    assert fields.in_days(seconds) == shown


@pytest.mark.parametrize(
    "value", ["", "d", "14", "14 d", "1h1d", "1d1d", "-1d", "1d\n", "1d ", "9" * 40 + "d", True, ["1d"], {}]
)
def test_another_text_is_refused_as_a_long_duration(value: object) -> None:
    with pytest.raises(ValueError, match=r"^expected a duration from 0s to 3650d, such as 14d or 36h$"):
        LONG(value)


def test_statuses_may_be_none_where_that_means_something() -> None:
    assert fields.statuses_or_none([]) == ()
    assert fields.statuses_or_none("429") == ((429, 429),)
    with pytest.raises(ValueError, match="expected status codes"):
        fields.statuses_or_none("")


def test_code_gives_durations_and_numbers_as_numbers() -> None:
    assert (DURATION(5), DURATION(0.25), NUMBER(7), fields.port(0)) == (5.0, 0.25, 7, 0)
    assert refusal(fields.port, -1)
    assert refusal(NUMBER, 10**400)


@given(st.integers(0, 3_600_000))
def test_a_duration_that_is_shown_is_read_as_the_same(milliseconds: int) -> None:
    assert DURATION(fields.go_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (0.1, "100ms"), (5.0, "5s"), (90.5, "1m30s500ms"), (3600, "1h"), (86_400, "24h")]
)
def test_a_duration_is_shown_without_units_that_are_zero(seconds: float, text: str) -> None:
    assert fields.go_duration(seconds) == text


@given(st.integers(-10, 2_000))
def test_a_number_stays_within_its_bounds(number: int) -> None:
    assert bool(refusal(NUMBER, Plain(number))) == bool(refusal(NUMBER, number)) == (not 1 <= number <= 1000)


@pytest.mark.parametrize(
    "value",
    ["5", *map(Plain, ["", "05", "5.0", "1e1", "0x5", "5_0", "+5", " 5", "\N{ARABIC-INDIC DIGIT FIVE}", "9" * 99])],
)
def test_another_text_is_refused_as_a_number(value: str) -> None:
    assert refusal(NUMBER, value) == "expected a plain decimal number from 1 to 1000"


@pytest.mark.parametrize(
    ("text", "port"),
    [
        *(("8000", 8000), ("43_583", 43_583), ("0x1f40", 8000), ("8000.0", 8000), ("8000.9", 8000)),
        ("65535.9", 65_535),
        *(("8_0_80", 8080), ("010", 8), ("080", 80), ("0o17", 15), ("0b11", 3), ("+80", 80), ("8e1", 80), ("0", 0)),
    ],
)
def test_a_port_is_read_as_p2_reads_it(text: str, port: int) -> None:
    """Each as gopkg.in/yaml.v2 of p2's version reads it into an int."""
    assert fields.port(Plain(text)) == port


@pytest.mark.parametrize(
    "value",
    ["80", None, True, *map(Plain, ["", "yes", "22:22", "-80", "65536", "65536.0", "1e30", ".inf", ".nan", "9" * 99])],
)
def test_another_text_is_refused_as_a_port(value: object) -> None:
    assert refusal(fields.port, value) == "expected a port from 1 to 65535 (0: none)"


def test_a_truth_is_plain_or_pythons_own() -> None:
    assert [fields.boolean(value) for value in (True, False, Plain("yes"), Plain("off"))] == [True, False, True, False]
    for value in ("yes", Plain("maybe"), 1, None, Plain("")):
        assert refusal(fields.boolean, value) == "expected true or false"


@pytest.mark.parametrize(
    ("value", "ranges"),
    [
        (Plain("200"), ((200, 200),)),
        ("200-299", ((200, 299),)),
        ([200, "300-399", Plain("100")], ((200, 200), (300, 399), (100, 100))),
        (599, ((599, 599),)),
        (["100-599"] * 32, ((100, 599),) * 32),
    ],
)
def test_statuses_are_one_or_a_list_of_codes_and_ranges(value: object, ranges: object) -> None:
    assert fields.statuses(value) == ranges


@pytest.mark.parametrize(
    "value",
    [
        *(
            99,
            600,
            0,
            -200,
            True,
            None,
            200.0,
            "",
            "2xx",
            "300-200",
            "200-",
            "-200",
            "200-600",
            "200 - 299",
            [[200]],
            {},
        ),
        *([], [200] * 33, "0200", "\N{FULLWIDTH DIGIT TWO}00", "200\n"),
    ],
)
def test_other_statuses_are_refused(value: object) -> None:
    assert refusal(fields.statuses, value).startswith("expected ")


@given(VALUES)
def test_a_range_of_statuses_is_one(value: object) -> None:
    if not refusal(fields.statuses, value):
        assert all(100 <= low <= high <= 599 for low, high in fields.statuses(value))


@pytest.mark.parametrize("text", ["", "web1", "isup.example.com", "10.0.0.1"])
def test_a_hosts_name_may_stand_in_a_url(text: str) -> None:
    assert fields.host(text) == text


@pytest.mark.parametrize("value", ["a/b", "a@b", "a:1", "[::1]", "a#b", "a?b", "*", ".", " ", "ü", None, []])
def test_another_text_is_refused_as_the_name_of_a_host(value: object) -> None:
    assert refusal(fields.host, value).startswith("expected a host's name")


@pytest.mark.parametrize("text", ["", "/", "/etc/ca.pem", "/with space", "/" + "a" * 2047])
def test_a_file_is_named_by_its_absolute_path(text: str) -> None:
    assert fields.file(text) == text


@pytest.mark.parametrize("value", ["ca.pem", "./ca.pem", "~/ca.pem", "/ä", "/a\n", "/a\0", "/" + "a" * 2048, None, 5])
def test_another_text_is_refused_as_a_file(value: object) -> None:
    assert refusal(fields.file, value).startswith("expected a file's absolute path")


@pytest.mark.parametrize(
    ("pattern", "body", "matches"),
    [
        ("", b"", True),
        ("ok", b"it is ok", True),
        ("^ok$", b"it is ok", False),
        ("(?i)ZUSTÄNDE", "zustände".encode(), True),
        ("^[äö]$", "ö".encode(), True),
        ("^.$", "€".encode(), True),
        ("ok", b"\xff\x00ok\xfe", True),
        (r'"status":\s*"(ok|up)"', b'{"status": "up"}', True),
    ],
)
def test_an_expression_is_searched_in_utf_8(pattern: str, body: bytes, matches: bool) -> None:
    assert bool(fields.compiled(fields.regex(pattern)).search(body)) is matches


COSTLY = ["(x+x+)+y", "(a|b)*a(a|b){100}z", "a.{100}b.{100}c", "(?:.?){200}z", "(a?){400}z", "(?:a*)*z", r"(?i)\pL+z"]
BODIES = [b"a" * 65_536, b"xy" * 32_768, "ü€".encode() * 13_107]


@pytest.mark.parametrize("pattern", COSTLY)
def test_no_expression_that_is_accepted_takes_long_to_search(pattern: str) -> None:
    expression = fields.compiled(fields.regex(pattern))
    for body in BODIES:
        began = time.process_time()
        expression.search(body)
        assert time.process_time() - began < 2.5


@pytest.mark.parametrize(
    "pattern", ["(a?){1000}z", "[^x]{500}" * 70, r"(?i)\pL{100}", ".{0,1000}z", "(?:.{0,50}x?){20}"]
)
def test_an_expression_that_is_slow_or_large_is_refused_fast(pattern: str) -> None:
    began = time.process_time()
    assert refusal(fields.regex, pattern).startswith(
        ("expected a simpler regular", "expected a regular expression (RE2)")
    )
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize("read", READERS)
@given(value=VALUES)
def test_any_value_is_read_or_refused_in_a_short_sentence(read: Callable[[object], object], value: object) -> None:
    if message := refusal(read, value):
        assert message.startswith("expected ")
        assert len(message) < 150
        assert message.isprintable()


@given(st.text(st.sampled_from(r"ab.*+?()[]{}|^$\dpLzQE1,9:P<>!=-&i" + "ü\n"), max_size=30))
def test_any_expression_is_compiled_or_refused_in_a_short_sentence(pattern: str) -> None:
    message = refusal(fields.regex, pattern)
    assert message.isprintable()
    assert len(message) < 150
    if not message:
        fields.compiled(pattern).search(b"ab" * 100)


@pytest.mark.parametrize(
    ("text", "possible"),
    [
        *(
            (text, True)
            for text in ("web1", "web_1.example.com", "a.b.", "zürich.example", "10.0.0.1", "::1", "fe80::1%eth0")
        ),
        *(
            (text, False)
            for text in ("", "a b", "*", "http://a", "a..b", "x" * 64, "10.0.0.256", "5", "a/b", "a\0", "[::1]")
        ),
    ],
)
def test_a_host_is_an_address_or_a_name_that_a_resolver_can_be_asked_for(text: str, possible: bool) -> None:
    assert fields.is_host(text) is possible


@pytest.mark.parametrize(
    ("kind", "message", "said"),
    [
        ("extra_forbidden", "Extra inputs are not permitted", "no such option"),
        ("missing", "Field required", "missing"),
        ("model_type", "Input should be a valid dictionary or instance of Section", "expected a mapping"),
        ("string_type", "Input should be a valid string", "expected text"),
        ("tuple_type", "Input should be a valid tuple", "expected a list"),
        ("value_error", "Value error, expected a port", "expected a port"),
        ("literal_error", "Input should be 'a' or 'b'", "expected 'a' or 'b'"),
    ],
)
def test_an_error_of_a_field_is_reported_in_our_own_words(kind: str, message: str, said: str) -> None:
    assert fields.expectation(kind, message) == said
