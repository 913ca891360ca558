"""The results of Go 1.26 for some JSON, and the same results from the tests' own decoder."""

import json
from typing import Any

import pytest

from tests.support import gojson
from tests.support.gojson import GoError, Time, unmarshal

STRUCT: gojson.Struct = {
    "Id": gojson.STRING,
    "Status": gojson.STRING,
    "Time": gojson.TIME,
    "Expires": gojson.TIME,
}


def decoded(data: bytes) -> dict[str, Any]:
    """Returns the fields that are not zero."""
    return {name: value for name, value in unmarshal(data, STRUCT).items() if value not in {"", Time()}}


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        (b"{}", {}),
        (b"null", {}),
        (b' {"Id":"a"} \n', {"Id": "a"}),
        (b'{"id":"a"}', {"Id": "a"}),
        (b'{"ID":"a","Id":"b"}', {"Id": "b"}),
        (b'{"Id":"b","ID":"a"}', {"Id": "a"}),
        (b'{"Id":"a","Id":null}', {"Id": "a"}),
        (b'{"Id":"\\ud800"}', {"Id": "\ufffd"}),
        (b'{"Id":"\\ud83d\\ude00"}', {"Id": "\U0001f600"}),
        (b'{"Id":"\xff"}', {"Id": "\ufffd"}),
        (b'{"Other":{"deep":[1,2]},"Status":"passing"}', {"Status": "passing"}),
        ('{"\u017ftatus":"x"}'.encode(), {"Status": "x"}),
        ('{"Statuß":"x"}'.encode(), {}),
        (b'{"x":1e999}', {}),
        (b'{"Time":null}', {}),
    ],
)
def test_fields_are_found_as_go_finds_them(data: bytes, fields: dict[str, Any]) -> None:
    assert decoded(data) == fields


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{", b"[]", b'""', b"1", b'{"Id":"a"} x', b"\xef\xbb\xbf{}", b"{'Id':1}", b'{"Id":"a",}'),
        *(b'{"Id":1}', b'{"Id":{}}', b'{"Id":true}', b'{"Id":1,"Status":"passing"}', b'{"Id":"a\nb"}'),
        *(
            b'{"x":NaN}',
            b'{"x":Infinity}',
            b'{"x":01}',
            b'{"x":"\\x"}',
            b'{"Time":1}',
            b'{"Time":{}}',
            b'{"Time":true}',
        ),
    ],
)
def test_json_that_go_refuses_is_refused(data: bytes) -> None:
    with pytest.raises(GoError):
        unmarshal(data, STRUCT)


@pytest.mark.parametrize(
    ("text", "seconds", "nanoseconds"),
    [
        ("2015-03-01T12:00:00Z", 1_425_211_200, 0),
        ("2015-03-01T12:00:00.123456789Z", 1_425_211_200, 123_456_789),
        ("2015-03-01T12:00:00.1234567891Z", 1_425_211_200, 123_456_789),
        ("2015-03-01T12:00:00.123456789-08:00", 1_425_240_000, 123_456_789),
        ("2015-03-01T12:00:00.1+05:30", 1_425_191_400, 100_000_000),
        ("2015-03-01T12:00:00-00:00", 1_425_211_200, 0),
        ("2016-02-29T12:00:00+23:59", 1_456_660_860, 0),
        ("2115-02-05T12:00:00.000001Z", 4_578_811_200, 1_000),
        ("9999-12-31T23:59:59.999999999Z", 253_402_300_799, 999_999_999),
    ],
)
def test_times_are_read_to_the_nanosecond_in_any_offset(text: str, seconds: int, nanoseconds: int) -> None:
    assert decoded(json.dumps({"Time": text}).encode()) == {"Time": Time(seconds, nanoseconds)}
    assert decoded(json.dumps({"expires": text}).encode()) == {"Expires": Time(seconds, nanoseconds)}


@pytest.mark.parametrize(
    "text",
    [
        *("", "2015-03-01", "2015-03-01T12:00:00", "2015-03-01 12:00:00Z", "2015-03-01t12:00:00z"),
        *("2015-03-01T24:00:00Z", "2015-02-30T12:00:00Z", "2015-03-01T12:00:60Z", "2015-03-01T12:60:00Z"),
        *("2015-13-01T12:00:00Z", "2015-03-01T12:00:00.Z", "2015-03-01T12:00:00+0100", "2015-03-01T12:00:00Z "),
        *("12015-03-01T12:00:00Z", "\u0662\u0660\u0661\u0665-03-01T12:00:00Z"),
    ],
)
def test_times_that_are_not_rfc_3339_are_refused(text: str) -> None:
    with pytest.raises(GoError):
        unmarshal(json.dumps({"Time": text}).encode(), STRUCT)
