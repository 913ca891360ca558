import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcilers.uuidpods import is_uuid_pod

UUID = "2a7c6f5e-6f0b-4b1c-9d3e-0123456789ab"
POINTER = b'{"pod_key":"2a7c6f5e-6f0b-4b1c-9d3e-0123456789ab"}'


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (UUID, POINTER),
        (UUID.upper(), POINTER),
        (UUID, b' {\n "pod_key" : "2A7C6F5E-6F0B-4B1C-9D3E-0123456789AB" }\n'),
    ],
)
def test_a_pointer_at_a_uuid_is_a_uuid_pod(name: str, value: bytes) -> None:
    assert is_uuid_pod(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("web", POINTER),
        (UUID[:-1], POINTER),
        (UUID.replace("-", ""), POINTER),
        (f"{UUID}\n", POINTER),
        (UUID, b""),
        (UUID, f"id: {UUID}\n".encode()),
        (UUID, b'{"pod_key":""}'),
        (UUID, b'{"pod_key":"' + b"-" * 36 + b'"}'),
        (UUID, b'{"pod_key":["' + UUID.encode() + b'"]}'),
        (UUID, POINTER + POINTER),
        (UUID, b"\xff\xfe"),
    ],
)
def test_anything_else_is_an_ordinary_pod(name: str, value: bytes) -> None:
    assert not is_uuid_pod(name, value)


@given(st.text() | st.just(UUID), st.binary())
def test_arbitrary_input_is_answered(name: str, value: bytes) -> None:
    assert not is_uuid_pod(name, value)
