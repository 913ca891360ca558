"""The fields of an HTTP request in a manifest. No value can leave its place in the request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcilers.request_fields import OWN_HEADERS, body, body_text, header_texts, headers


def refusal(value: object) -> str:
    try:
        headers(value)
    except ValueError as error:
        return str(error)
    return ""


def test_headers_keep_their_order_and_their_case() -> None:
    assert headers({"X-b": "1", "x-A": "two words"}) == (("X-b", "1"), ("x-A", "two words"))
    assert headers({}) == ()
    assert not refusal({f"X-{number}": "a" * 2048 for number in range(32)})


NAMES = st.sampled_from(["Host", "host", "X-A"]) | st.text(max_size=8)


@given(st.dictionaries(NAMES, st.text(max_size=8) | st.sampled_from(["a.example:1", "[::1]"]), max_size=3))
def test_no_header_breaks_out_of_its_line_or_the_request(value: dict[str, str]) -> None:
    if refusal(value):
        return
    for name, content in headers(value):
        line = f"{name}: {content}"
        assert line.isascii()
        assert line.isprintable()
        assert line.split(": ", 1) == [name, content]
        assert content.strip() == content != ""
        assert name.lower() not in OWN_HEADERS
        assert name.lower() != "host" or " " not in content


@pytest.mark.parametrize("host", ["shop.example", "Shop.Example:8443", "10.0.0.1", "[2001:db8::1]:80", "shop_1"])
def test_a_host_is_a_name_or_an_address_with_or_without_a_port(host: str) -> None:
    assert headers({"hOsT": host}) == (("hOsT", host),)


@pytest.mark.parametrize(
    "host",
    [
        "a b",
        "http://a",
        "a/b",
        "a@b",
        "u:p@a",
        "a:port",
        "a:123456",
        "a:65536",
        "a:0",
        "[:::1]",
        "a,b",
        "::1",
        "[::1",
        "a\r\nX: b",
        "a\0",
        "*",
        "x" * 254,
    ],
)
def test_another_text_is_refused_as_a_host(host: str) -> None:
    assert "Host" in refusal({"Host": host})
    assert host not in refusal({"Host": host})


def test_a_value_is_shown_as_a_digest_but_a_host_is_shown() -> None:
    texts = header_texts((("Host", "shop.example"), ("X-Key", "s3cret")))
    assert texts["Host"] == "shop.example"
    assert "s3cret" not in texts["X-Key"]
    assert (
        texts["X-Key"] == header_texts((("X-Key", "s3cret"),))["X-Key"] != header_texts((("X-Key", "s3creT"),))["X-Key"]
    )


def test_a_body_is_limited_by_its_size_in_utf_8() -> None:
    assert body("ü" * 8192) == "ü" * 8192
    assert body("a\0\r\n") == "a\0\r\n"
    for wrong in ("ü" * 8193, "\ud800", 5, ["a"], None):
        with pytest.raises(ValueError, match=r"^expected text of at most 16 KiB$"):
            body(wrong)


def test_a_body_is_shown_by_its_size_and_digest() -> None:
    assert "s3cret" not in body_text("s3cret")
    assert body_text("s3cret").startswith("6 bytes (")
    assert body_text("s3cret") != body_text("s3creT")
