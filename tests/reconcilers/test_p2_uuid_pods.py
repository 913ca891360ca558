import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcilers.p2.uuid_pods import entries, is_uuid_pod, keys, node_of

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
def test_a_pointer_below_a_uuid_is_a_uuid_pod(name: str, value: bytes) -> None:
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
def test_arbitrary_input_raises_nothing(name: str, value: bytes) -> None:
    assert not is_uuid_pod(name, value)


def test_the_entries_of_a_uuid_pod_are_those_of_p2() -> None:
    manifest = "id: café\n# <&>\n"
    pod, pointer = keys(UUID, "web1")
    assert (pod, pointer) == (f"pods/{UUID}", f"intent/web1/{UUID}")
    written = entries(UUID, "web1", manifest.encode())
    assert written.keys() == {pod, pointer}
    assert written[pointer] == POINTER
    assert json.loads(written[pod]) == {"manifest": manifest, "node": "web1"}
    assert is_uuid_pod(UUID, written[pointer])
    assert node_of(written[pod]) == "web1"


@pytest.mark.parametrize("value", [b"", b"[]", b"{}", b'{"node":1}', b'{"node":"../x"}', b"[" * 100_000, b"\xff"])
def test_an_unreadable_pod_has_no_node(value: bytes) -> None:
    assert node_of(value) is None
