"""Which format and encoding a scraper gets, by the headers that real scrapers send."""

import pytest

from controller.web.negotiation import MAX_RANGES, Range, prefers_gzip, quality_of, ranges

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7," + PROMETHEUS_3
)
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


def of_both(accept: str) -> tuple[float, float]:
    accepted = ranges(accept)
    return quality_of("application/openmetrics-text", "1.0.0", accepted), quality_of("text/plain", "0.0.4", accepted)


@pytest.mark.parametrize(
    ("accept", "openmetrics", "text"),
    [
        (PROMETHEUS_2, 1, 0.5),
        (PROMETHEUS_3, 0.6, 0.3),
        (PROTOBUF, 0.6, 0.3),
        (BROWSER, 0.8, 0.8),
        ("*/*", 1, 1),
        ("", 0, 0),
        ("application/json", 0, 0),
        ("application/openmetrics-text", 1, 0),
        ("application/openmetrics-text;version=0.0.1", 0, 0),
        ("Application/OpenMetrics-Text; Version=1.0.0; charset=utf-8", 1, 0),
        ('application/openmetrics-text; version="1.0.0"', 1, 0),
        ("application/openmetrics-text;q=0, */*", 0, 1),
        ("application/*;q=0.2, text/*;q=0.7", 0.2, 0.7),
        ("*/*, text/plain;q=0.1", 1, 0.1),
        ("text/plain;version=1.0.0", 0, 0),
        ("text/plain;q=0.5, text/plain;version=0.0.4;q=0.1", 0, 0.1),
        ("application/openmetrics-text;q=2, text/plain;q=high, ;, =", 0, 0),
    ],
)
def test_the_most_exact_range_gives_the_quality_of_a_format(accept: str, openmetrics: float, text: float) -> None:
    assert of_both(accept) == (openmetrics, text)


@pytest.mark.parametrize(
    ("header", "preferred"),
    [
        ("gzip", True),
        ("gzip, deflate, br, zstd", True),
        ("GZip;q=0.001", True),
        ("x-gzip", True),
        ("*", True),
        ("deflate, *;q=0.5", True),
        ("identity;q=0.5, gzip;q=0.5", True),
        ("", False),
        ("identity", False),
        ("deflate", False),
        ("gzip;q=0", False),
        ("gzip;q=0, *", False),
        ("*;q=0", False),
        ("gzip;q=0.5, identity", False),
        ("gzip;q=", False),
    ],
)
def test_gzip_is_used_where_it_is_allowed_and_nothing_else_wanted_more(header: str, preferred: bool) -> None:
    assert prefers_gzip(ranges(header)) is preferred


def test_a_header_is_read_in_its_order() -> None:
    assert ranges("a/b;version=1;q=0.25 , c") == [Range("a/b", {"version": "1"}, 0.25), Range("c")]


def test_a_header_that_has_no_end_is_read_to_its_hundredth_element() -> None:
    assert len(ranges("a/b, " * 10 * MAX_RANGES)) == MAX_RANGES
