"""Consul's keys: a key that is built can be parsed, and a key that belongs to no pod is not parsed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcilers.keys import health_key, hook_key, intent_key, intent_prefix, parse_health_key, parse_intent_key
from reconcilers.spec import NAME, GrpcHealth, HttpGet, PodKey, TcpConnect, Tls, is_name

NAMES = st.from_regex(NAME, fullmatch=True)
KEYS = st.builds(PodKey, NAMES, NAMES)


def test_the_node_comes_first_in_intent_and_the_pod_in_health() -> None:
    key = PodKey("web1", "isup")
    assert intent_key("intent", key) == "intent/web1/isup"
    assert intent_key("reality", key) == "reality/web1/isup"
    assert health_key(key) == "health/isup/web1"
    assert hook_key("isup") == "hooks/isup"
    assert str(key) == "web1/isup"


def test_a_prefix_ends_with_a_slash_so_that_web1_does_not_list_web10() -> None:
    assert intent_prefix("intent", "web1") == "intent/web1/"
    assert not intent_key("intent", PodKey("web10", "isup")).startswith(intent_prefix("intent", "web1"))


@given(KEYS, st.sampled_from(["intent", "reality"]))
def test_every_key_that_is_built_is_read_again(key: PodKey, tree: str) -> None:
    assert parse_intent_key(tree, intent_key(tree, key)) == key
    assert parse_health_key(health_key(key)) == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "intent",
        "intent/",
        "intent/web1",
        "intent/web1/",
        "intent//isup",
        "intent/web1//isup",
        "intent/web1/isup/",
        "intent/web1/isup/more",
        "/intent/web1/isup",
        "reality/web1/isup",
        "intents/web1/isup",
        "intent/../isup",
        "intent/web1/..",
        "intent/web1/.isup",
        "intent/web1/is up",
        "intent/web1/isup\n",
        "intent/web1/isüp",
        "intent/web1/is%2Fup",
        "intent/web1/" + "a" * 129,
    ],
)
def test_a_key_of_another_shape_is_no_pods(text: str) -> None:
    assert parse_intent_key("intent", text) is None
    assert parse_health_key(text.replace("intent", "health")) is None or text.startswith("reality")


def test_a_key_of_health_below_another_tree_is_no_pods() -> None:
    assert parse_health_key("reality/isup/web1") is None
    assert parse_health_key("health/isup") is None


@given(st.text())
def test_what_is_read_as_a_key_is_built_as_the_same_text(text: str) -> None:
    for candidate in (text, f"intent/{text}", f"health/{text}"):
        if key := parse_intent_key("intent", candidate):
            assert intent_key("intent", key) == candidate
        if key := parse_health_key(candidate):
            assert health_key(key) == candidate


@given(st.text())
def test_a_name_is_one_harmless_segment(text: str) -> None:
    if is_name(text):
        assert text.isascii()
        assert text.isprintable()
        assert text not in {".", ".."}
        assert not set(text) & set("/\\?#%@: ")


def test_the_url_of_a_check_is_joined_from_its_parts() -> None:
    assert HttpGet("web1", 8000, "/_status", Tls()).url == "https://web1:8000/_status"
    assert HttpGet("web1", 8000, "/").url == "http://web1:8000/"
    assert TcpConnect("web1", 8000).url == "tcp://web1:8000"
    assert TcpConnect("web1", 8000, Tls()).url == "tls://web1:8000"
    assert TcpConnect("web1", 8000, Tls(), "smtp").url == "tcp://web1:8000"
    assert GrpcHealth("web1", 8000, "isup.v1.Pods", Tls()).url == "grpcs://web1:8000/isup.v1.Pods"
    assert GrpcHealth("web1", 8000).url == "grpc://web1:8000/"
