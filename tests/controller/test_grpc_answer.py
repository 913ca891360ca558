"""The messages of grpc.health.v1 are written and read as protocol buffers."""

import struct
from contextlib import suppress

import pytest
from grpc_health.v1 import health_pb2
from hypothesis import given
from hypothesis import strategies as st

from controller.probes.grpc import message, serving_status


def body(encoded: bytes) -> bytes:
    return struct.pack(">BI", 0, len(encoded)) + encoded


@pytest.mark.parametrize(
    ("encoded", "status"),
    [
        ("", 0),
        ("08 00", 0),
        ("08 01", 1),
        ("08 02", 2),
        ("08 03", 3),
        ("08 02 08 01", 1),
        ("08 01 08 02", 2),
        ("12 03 61 62 63 08 01", 1),
        ("08 01 12 03 61 62 63", 1),
        ("10 05 19 01 02 03 04 05 06 07 08 25 01 02 03 04 08 01", 1),
        ("08 81 00", 1),
        ("08 81 80 80 80 10", 1),
        ("0a 01 02", 0),
        ("a2 06 00 08 01", 1),
    ],
)
def test_the_status_is_the_last_value_of_its_field_and_other_fields_are_skipped(encoded: str, status: int) -> None:
    assert serving_status(body(bytes.fromhex(encoded))) == status
    assert health_pb2.HealthCheckResponse.FromString(bytes.fromhex(encoded)).status == status


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0\0\0\0",
        b"\x01\0\0\0\x02\x08\x01",
        b"\0\0\0\0\x03\x08\x01",
        b"\0\0\0\0\x01\x08\x01",
        body(b"\x08\x01") + body(b"\x08\x01"),
        body(b"\x08"),
        body(b"\x08\x80"),
        body(b"\x08" + b"\xff" * 11),
        body(b"\x12\x05abc"),
        body(b"\x19\x01"),
        body(b"\x00\x01"),
        body(b"\x0e\x01"),
    ],
    ids=[
        "nothing",
        "half a prefix",
        "compressed",
        "too short",
        "too long",
        "a second message",
        "no value",
        "half a value",
        "an endless value",
        "half a text",
        "half a number",
        "field 0",
        "an unknown wire type",
    ],
)
def test_a_body_that_is_not_exactly_one_message_is_refused(answer: bytes) -> None:
    with pytest.raises(ValueError, match=r"expected one message|ends too early|wire type"):
        serving_status(answer)


FIELDS = st.one_of(
    st.tuples(st.integers(1, 2000), st.just(0), st.integers(0, 2**64 - 1)),
    st.tuples(st.integers(1, 2000), st.sampled_from([1, 5]), st.just(0)),
    st.tuples(st.integers(1, 2000), st.just(2), st.integers(0, 300)),
)


def varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def field(number: int, kind: int, value: int) -> bytes:
    tag = varint(number << 3 | kind)
    match kind:
        case 0:
            return tag + varint(value)
        case 1:
            return tag + b"12345678"
        case 5:
            return tag + b"1234"
        case _:
            return tag + varint(value) + b"x" * value


@given(st.lists(FIELDS, max_size=9), st.integers(0, 9))
def test_a_message_has_the_same_status_as_with_protocol_buffers(fields: list[tuple[int, int, int]], at: int) -> None:
    every = [field(*each) for each in fields]
    encoded = b"".join([*every[:at], b"\x08\x01", *every[at:]])
    assert serving_status(body(encoded)) == health_pb2.HealthCheckResponse.FromString(encoded).status & 0xFFFFFFFF


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(encoded: bytes) -> None:
    for answer in (encoded, body(encoded)):
        with suppress(ValueError):
            assert serving_status(answer) >= 0


@given(st.text(max_size=300))
def test_the_request_is_the_same_as_grpcs(service: str) -> None:
    written = message(service)
    assert written == body(health_pb2.HealthCheckRequest(service=service).SerializeToString())
