"""Health records: p2's own tools read them, and no value below `health/` breaks the reader."""

import json
import tracemalloc
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcilers.escaping import safe_json
from reconcilers.health import NO_COUNTS, CheckHealth, Counts, HealthState, Reason
from reconcilers.record import MAX_OUTPUT, Elsewhere, HealthRecord, RecordError, Unsettled, decode, timestamp
from reconcilers.spec import NAME, PodKey
from tests.reconcilers.historic_records import FORMS, Form

KEY = PodKey("web1", "isup")
NOW = 1_700_000_000.25
P2_FIELDS = {"Id", "Node", "Service", "Status", "Time", "Expires", "Output"}
SHA = "f7fd" * 16
TIMES = ("Time", "Expires", "Since", "LastProbe")

NAMES = st.from_regex(NAME, fullmatch=True)
SECONDS = st.floats(0.0, 4e9)
WELL_FORMED = st.text(st.characters(exclude_categories=["Cs"]))
RECORDS = st.builds(
    HealthRecord,
    st.builds(PodKey, NAMES, NAMES),
    st.sampled_from(HealthState),
    st.sampled_from(Reason),
    WELL_FORMED,
    WELL_FORMED,
    SECONDS,
    SECONDS,
)


def fields_of(record: HealthRecord, now: float = NOW) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(record.encode(now))
    return fields


def altered(**changes: object) -> bytes:
    """A record that can be read, with these `changes`."""
    fields = {"Id": "isup", "Node": "web1", "Service": "isup", "Status": "passing"} | changes
    return json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()


def test_the_fields_are_p2s_and_a_few_more() -> None:
    record = HealthRecord(KEY, HealthState.CRITICAL, Reason.STATUS, "503 Service Unavailable", "busy", 1.0, 2.5)
    assert fields_of(record) == {
        "Id": "isup",
        "Node": "web1",
        "Service": "isup",
        "Status": "critical",
        "Output": "busy",
        "Time": "2023-11-14T22:13:20.250000Z",
        "Expires": "2123-11-15T22:13:20.250000Z",
        "Reason": "status",
        "Detail": "503 Service Unavailable",
        "Since": "1970-01-01T00:00:01.000000Z",
        "LastProbe": "1970-01-01T00:00:02.500000Z",
        "ManifestSha": "",
    }


@given(RECORDS, SECONDS)
def test_what_is_written_is_read_again(record: HealthRecord, now: float) -> None:
    read = decode(record.encode(now))
    assert read == record
    assert (read.detail, read.output) == (record.detail, record.output)
    times = (record.since, record.last_probe, now)
    assert (read.since, read.last_probe, read.written) == pytest.approx(times, abs=2e-6)


@given(RECORDS, SECONDS)
def test_every_time_is_rfc_3339_with_an_offset(record: HealthRecord, now: float) -> None:
    fields = fields_of(record, now)
    assert fields.keys() >= P2_FIELDS
    moments = {name: datetime.fromisoformat(fields[name]) for name in TIMES}
    assert all(moment.utcoffset() == timedelta() for moment in moments.values())
    assert all(fields[name][10] == "T" and fields[name].endswith("Z") for name in TIMES)
    assert moments["Expires"] - moments["Time"] > timedelta(days=36_000)


@given(SECONDS)
def test_a_timestamp_always_has_its_microseconds(seconds: float) -> None:
    assert len(timestamp(seconds)) == len("2023-11-14T22:13:20.250000Z")


def test_a_record_says_the_health() -> None:
    health = CheckHealth(HealthState.CRITICAL, Reason.REFUSED, 5.0, "connection refused", "")
    record = HealthRecord.of(KEY, health, 7.0)
    assert record == HealthRecord(KEY, HealthState.CRITICAL, Reason.REFUSED)
    assert (record.since, record.last_probe, record.written) == (5.0, 7.0, 0.0)
    assert (record.detail, record.output) == ("connection refused", "connection refused")


def test_the_output_has_the_body_of_the_answer_if_there_is_one() -> None:
    record = HealthRecord.of(KEY, CheckHealth(detail="200 OK", output="isup --port 8000"), 7.0)
    assert (record.detail, record.output) == ("200 OK", "isup --port 8000")


@pytest.mark.parametrize("body", ["a" * 10_000, "ä" * 10_000, "a" + "€" * 10_000, "😀" * 10_000])
def test_the_output_is_cut_at_4_kib_between_characters(body: str) -> None:
    output = HealthRecord.of(KEY, CheckHealth(output=body), 0.0).output
    assert MAX_OUTPUT - 4 < len(output.encode()) <= MAX_OUTPUT
    assert body.startswith(output)


@given(st.text())
def test_no_answers_body_stops_the_writing(body: str) -> None:
    record = HealthRecord.of(KEY, CheckHealth(HealthState.PASSING, detail=body, output=body), 0.0)
    assert decode(record.encode(NOW)) == record


@given(st.text(), st.text())
def test_a_record_is_nothing_that_a_terminal_obeys_and_says_the_same(detail: str, output: str) -> None:
    data = HealthRecord(KEY, HealthState.CRITICAL, detail=detail, output=output).encode(NOW)
    assert safe_json(data.decode()) == data.decode()
    assert (decode(data).detail, decode(data).output) == (detail, output)


def test_a_lone_surrogate_is_replaced() -> None:
    record = HealthRecord(KEY, HealthState.PASSING, detail="a\ud800b", output="a\ud800b")
    assert decode(record.encode(NOW)).detail == "a?b"
    assert HealthRecord.of(KEY, CheckHealth(output="a\ud800b"), 0.0).output == "a?b"


def test_half_a_character_that_is_read_is_replaced() -> None:
    data = b'{"Node": "web1", "Id": "a", "Status": "critical", "Output": "a\\ud800", "Detail": "\\udfffb"}'
    record = decode(data)
    assert (record.output, record.detail) == ("a?", "?b")
    assert decode(record.encode(0.0)).detail == "?b"


def test_times_sentence_and_excerpt_are_no_news() -> None:
    assert HealthRecord(KEY, HealthState.PASSING, Reason.NONE, "a", "b", 1.0, 2.0, 3.0) == HealthRecord(
        KEY, HealthState.PASSING
    )
    assert HealthRecord(KEY, HealthState.PASSING) != HealthRecord(KEY, HealthState.CRITICAL)
    assert HealthRecord(KEY, HealthState.CRITICAL, Reason.DNS) != HealthRecord(KEY, HealthState.CRITICAL)


def test_the_manifest_that_was_probed_is_named_and_another_one_is_news() -> None:
    record = HealthRecord.of(KEY, CheckHealth(HealthState.PASSING, since=5.0), 7.0, SHA)
    assert fields_of(record)["ManifestSha"] == fields_of(record.damped(3))["ManifestSha"] == SHA
    assert decode(record.encode(NOW)) == record != HealthRecord.of(KEY, CheckHealth(HealthState.PASSING), 7.0, "80ef")


@pytest.mark.parametrize("value", [None, 1, [SHA], "", "f7fd", SHA.upper(), SHA + "0", SHA + "\n"])
def test_what_is_no_sha_names_no_manifest(value: object) -> None:
    assert decode(altered(ManifestSha=value)).manifest_sha == ""


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_every_form_that_p2_wrote_or_reads_is_read(form: Form) -> None:
    record = decode(form.json.encode())
    assert record == HealthRecord(PodKey("web1", "hello"), form.status)
    assert (record.output, record.detail, record.since, record.last_probe) == (form.output, "", 0.0, 0.0)
    assert record.written == pytest.approx(form.written, abs=2e-6)


def test_a_reason_that_a_later_version_may_have_does_not_hide_the_status() -> None:
    assert decode(altered(Reason="weather", Detail="it rains")) == HealthRecord(KEY, HealthState.PASSING)
    assert decode(altered(Reason=["weather"])).reason is Reason.NONE


@pytest.mark.parametrize(
    "time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-12:00", "1969-12-31T23:59:59Z"]
)
def test_a_time_that_no_record_of_ours_could_hold_is_cut_to_one_that_can_be_written(time: str) -> None:
    record = decode(altered(Since=time))
    assert decode(record.encode(NOW)).since == record.since >= 0.0


GARBAGE: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"passing",
    "null": b"null",
    "a list": b"[]",
    "a number": b"1",
    "a text": b'"passing"',
    "a mapping without fields": b"{}",
    "bytes that are no text": b"\xff\xfe\xfd",
    "cut off": b'{"Node": "web1", "Serv',
    "deep": b"[" * 100_000,
    "a huge number": b"1" * 5_000,
    "no node": altered(Node=...),
    "node of null": altered(Node=None),
    "node of a number": altered(Node=1),
    "node with a slash": altered(Node="web1/../web2"),
    "service of true": altered(Service=True),
    "neither service nor id": altered(Service=..., Id=...),
    "id with a slash": altered(Service=..., Id="web1/isup"),
    "service with dots": altered(Service=".."),
    "empty service and id": altered(Service="", Id=""),
    "status of a list": altered(Status=["passing"]),
    "status of a mapping": altered(Status={}),
    "a time that is none": altered(Time="yesterday"),
    "a huge time": altered(Time="9" * 100_000),
    "a time without offset": altered(Time="2023-11-14T22:13:20"),
    "the first time without offset": altered(Time="0001-01-01T00:00:00"),
    "a date": altered(Since="2023-11-14"),
    "a text of a time without offset": altered(Time="2015-07-16 22:01:02 UTC"),
    "a text of a time that is none": altered(Time="2015-13-41 22:01:02 +0000 UTC"),
    "another last status": altered(LastSeen=["critical"]),
    "an endless number of changes": altered(Changes=float("inf")),
    "changes of a list": altered(Changes=[1]),
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_no_record_and_the_message_is_short(data: bytes) -> None:
    with pytest.raises(RecordError, match=r"^not a health record: ") as caught:
        decode(data)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("value", [None, 0, 1e300, [], {}])
def test_a_time_that_is_no_text_is_no_time(value: object) -> None:
    assert decode(altered(Time=value, Since=value)).written == 0.0


@given(st.binary() | st.text().map(str.encode))
def test_arbitrary_bytes_raise_nothing_else(data: bytes) -> None:
    with pytest.raises(RecordError):
        decode(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
WORDS = ("Id", "Node", "Service", "Status", "Reason", "Output", "Detail", "LastSeen", "Changes", "ManifestSha")
TIME_LIKE = st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}(:[0-9]{2}){0,2}(\.[0-9]{0,9})?(Z|[+-][0-9:]{0,8})?)?")


@given(
    st.dictionaries(
        st.sampled_from([*TIMES, *WORDS, *map(str.lower, WORDS)]), JSON | TIME_LIKE | st.sampled_from([SHA, "passing"])
    )
)
def test_arbitrary_fields_raise_nothing_else(changes: dict[str, object]) -> None:
    try:
        record = decode(altered(**changes))
    except RecordError:
        return
    assert decode(record.encode(NOW)) == record


def test_a_damped_record_says_what_was_last_seen_and_how_often_it_changed() -> None:
    seen = HealthRecord(PodKey("web1", "isup"), HealthState.CRITICAL, Reason.REFUSED, "refused", since=5.0)
    damped = seen.damped(17)
    read = decode(damped.encode(100.0))
    assert (read.status, read.reason, read.last_seen, read.changes) == (
        HealthState.UNKNOWN,
        Reason.FLAPPING,
        HealthState.CRITICAL,
        17,
    )
    assert "last seen critical (refused)" in read.detail
    assert decode(seen.encode(100.0)).last_seen is None


def test_a_record_of_very_many_values_becomes_few_objects() -> None:
    lists = b"[" + b"[]," * 150_000 + b"[]]"
    fields = b'"Node": "web1", "Id": "isup", "Status": "passing", "Reason": null, "Output": "well"'
    tracemalloc.start()
    try:
        found = decode(b'{%b, "Junk": %b}' % (fields, lists))
        with pytest.raises(RecordError):
            decode(lists)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (found.key, found.status, found.output) == (PodKey("web1", "isup"), HealthState.PASSING, "well")
    assert peak < 5 * len(lists)


@given(RECORDS)
def test_a_record_in_doubt_says_the_same_and_equals_none(record: HealthRecord) -> None:
    unsettled = Unsettled.of_record(record)
    assert fields_of(unsettled) == fields_of(record)
    assert unsettled != record


def test_what_an_heir_needs_is_in_the_record_of_a_fleet_only() -> None:
    plain = HealthRecord(KEY, HealthState.PASSING)
    moving = replace(plain, counts=Counts(0, 1, 2, 4), tokens=3, changes=13)
    more = {name: value for name, value in fields_of(moving).items() if name not in fields_of(plain)}
    assert more == {"Failures": 1, "Misses": 2, "Warnings": 4, "Tokens": 3, "Changes": 13}
    read = decode(moving.encode(NOW))
    assert (read.counts, read.tokens, read.changes) == (moving.counts, 3, 13)
    assert decode(plain.encode(NOW)).counts == NO_COUNTS
    assert decode(plain.encode(NOW)).tokens is None


def test_a_record_is_outdated_by_a_newer_probe_of_another_controller() -> None:
    theirs = HealthRecord(KEY, HealthState.PASSING, since=10.0, last_probe=50.0, written=51.0)
    ours = replace(theirs, written=0.0)
    for record, is_outdated in (
        (ours, False),
        (replace(ours, last_probe=49.9), True),
        (replace(ours, last_probe=0.0), True),
        (replace(ours, last_probe=0.0, since=60.0), False),
        (replace(ours, last_probe=0.0, manifest_sha="0" * 64), False),
        (theirs, False),
        (replace(theirs, written=40.0), True),
    ):
        assert record.is_outdated_by(theirs) is is_outdated


def test_other_counts_are_news_and_are_not_kept_by_the_heir() -> None:
    plain, moving = (HealthRecord(KEY, HealthState.PASSING, counts=Counts(0, 1, misses)) for misses in (1, 2))
    assert moving.is_news_after(plain)
    assert moving == plain, "readers need not know"
    assert not moving.is_news_after(moving)
    assert Elsewhere.of_record(moving).ours().counts == NO_COUNTS


@pytest.mark.parametrize("field", ["Failures", "Misses", "Successes", "Warnings", "Tokens"])
def test_a_count_that_is_no_number_is_no_record_and_a_negative_count_is_none(field: str) -> None:
    with pytest.raises(RecordError):
        decode(altered(**{field: "many"}))
    assert decode(altered(**{field: -1})).counts == NO_COUNTS


def test_the_time_up_and_down_is_read_if_it_is_a_text_of_a_sound_length() -> None:
    record = HealthRecord(PodKey("web1", "isup"), HealthState.PASSING, uptime="u:5:0:")
    assert b'"Uptime": "u:5:0:"' in record.encode(5.0)
    assert decode(record.encode(5.0)).uptime == "u:5:0:"
    assert b"Uptime" not in replace(record, uptime="").encode(5.0)
    assert decode(replace(record, uptime="u" * 1_001).encode(5.0)).uptime == ""
    assert decode(record.encode(5.0).replace(b'"u:5:0:"', b"5")).uptime == ""
    assert decode(record.encode(5.0)).shares(100.0)[0].up == 90.0
    assert replace(record, uptime="garbage").shares(100.0) == ()
    assert replace(record, uptime="").shares(100.0) == ()
