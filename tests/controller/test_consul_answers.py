"""The Consul client with a server whose answers are invalid or rare."""

import base64
import json
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from controller.consul.answers import DECODE_ERRORS, PART, pairs_of
from controller.consul.client import (
    ConsulClient,
    ConsulError,
    ConsulRefused,
    ConsulSettings,
    ConsulTooLarge,
    ConsulUnavailable,
    Operation,
)
from controller.consul.transport import Response
from reconcilers.spec import PodKey
from tests.support.fake_http import Asked, FakeServer, Reply
from tests.support.net import until

ISUP = PodKey("web1", "isup")
SOUND = {"X-Consul-Index": "12", "X-Consul-KnownLeader": "true"}


def listed(value: object = "aWQ6IGlzdXA=", **fields: object) -> bytes:
    entry = {"Key": "intent/web1/isup", "Value": value, "ModifyIndex": 11, "CreateIndex": 10, **fields}
    return json.dumps([entry]).encode()


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(404, b"not found"), "404"),
        (Reply(200, b"null", SOUND), "null"),
        (Reply(200, b"[]", SOUND), r"\[\]"),
        (Reply(200, b"{}", SOUND), "{}"),
        (Reply(200, b"[1]", SOUND), r"\[1\]"),
        (Reply(200, b"[null]", SOUND), "null"),
        (Reply(200, b"<html>proxy</html>", SOUND), "<html>proxy"),
        (Reply(200, b"", SOUND), "200"),
        (Reply(200, b"[" * 100_000, SOUND), "200"),
        (Reply(200, listed()[:-5], SOUND), "200"),
        (Reply(200, listed("!!!!"), SOUND), "200"),
        (Reply(200, listed("aWQ6IGl%dXA="), SOUND), "200"),
        (Reply(200, listed("aWQ"), SOUND), "200"),
        (Reply(200, listed(7), SOUND), "200"),
        (Reply(200, listed(ModifyIndex="11"), SOUND), "200"),
        (Reply(200, listed(Key=None), SOUND), "200"),
        (Reply(200, listed()), "Index"),
        (Reply(200, listed(), {**SOUND, "X-Consul-Index": "abc"}), "abc"),
        (Reply(200, listed(), {**SOUND, "X-Consul-Index": "0"}), "'0'"),
        (Reply(200, listed(), {**SOUND, "X-Consul-Index": "-1"}), "-1"),
        (Reply(200, listed(), {**SOUND, "X-Consul-Index": ""}), "index"),
        (Reply(200, listed(), {**SOUND, "X-Consul-Index": "9" * 5000}), "index"),
        (Reply(404, b"", {**SOUND, "X-Consul-Index": "abc"}), "abc"),
        (Reply(204, b""), "204"),
        (Reply(429, b"slow down"), "429 slow down"),
        (Reply(500, b"No cluster leader"), "500 No cluster leader"),
        (Reply(503, b""), "503"),
        (Reply(409, b"{}"), "409"),
        (Reply(200, listed(), {"Content-Length": "100000", **SOUND}), "did not answer"),
        (Reply(200, b"", {"Content-Length": str(65 * 1024 * 1024), **SOUND}), "did not answer"),
    ],
)
def test_an_invalid_listing_is_an_error(reply: Reply, said: str) -> None:
    with FakeServer(lambda _: reply) as server, ConsulClient(ConsulSettings(server.address), timeout=1.0) as client:
        with pytest.raises(ConsulUnavailable, match=said):
            client.list_manifests("intent", "web1")
        with pytest.raises(ConsulUnavailable, match=said):
            client.list_pairs("intent/web1/")


def test_a_body_above_the_limit_is_too_large() -> None:
    reply = Reply(200, b" " * (65 * 1024 * 1024), SOUND)
    with (
        FakeServer(lambda _: reply) as server,
        ConsulClient(ConsulSettings(server.address)) as client,
        pytest.raises(ConsulTooLarge, match="more than 16777216 bytes"),
    ):
        client.list_manifests("intent", "web1")


@pytest.mark.parametrize("status", [400, 401, 403, 405, 413])
def test_a_refusal_is_reported_in_a_short_error(status: int) -> None:
    reply = Reply(status, b"no\x1b[31m\r\n" + b"x" * 5000)
    with FakeServer(lambda _: reply) as server, ConsulClient(ConsulSettings(server.address)) as client:
        for call in (client.leader, lambda: client.list_manifests("intent", "web1"), lambda: client.session_renew("x")):
            with pytest.raises(ConsulRefused, match=str(status)) as refused:
                call()
            assert str(refused.value).isprintable()
            assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    ("headers", "doubt"),
    [
        (SOUND, ""),
        ({name.lower(): text for name, text in SOUND.items()}, ""),
        ({"X-Consul-Index": "12"}, "does not say whether there is a leader"),
        ({**SOUND, "X-Consul-KnownLeader": "false"}, "no leader"),
    ],
)
def test_a_listing_says_why_missing_keys_may_exist(headers: dict[str, str], doubt: str) -> None:
    replies = iter([Reply(200, listed(), headers), Reply(404, b"", headers)])
    with FakeServer(lambda _: next(replies)) as server, ConsulClient(ConsulSettings(server.address)) as client:
        for _ in range(2):
            found = client.list_manifests("intent", "web1").doubt
            assert doubt in found
            assert bool(doubt) == bool(found)


@pytest.mark.parametrize(("said", "filtered"), [("true", True), ("false", False)])
def test_a_listing_says_whether_acls_removed_keys(said: str, filtered: bool) -> None:
    headers = {**SOUND, "X-Consul-Results-Filtered-By-ACLs": said}
    replies = iter([Reply(200, listed(), headers), Reply(404, b"", headers)])
    with FakeServer(lambda _: next(replies)) as server, ConsulClient(ConsulSettings(server.address)) as client:
        found = [client.list_manifests("intent", "web1") for _ in range(2)]
    assert [(each.filtered, each.doubt) for each in found] == [(filtered, "")] * 2


def test_manifests_of_another_node_are_ignored() -> None:
    reply = Reply(200, listed(Key="intent/web2/isup"), SOUND)
    with FakeServer(lambda _: reply) as server, ConsulClient(ConsulSettings(server.address)) as client:
        listing = client.list_manifests("intent", "web1")
    assert (dict(listing.entries), len(listing.ignored)) == ({}, 1)


def test_absence_is_read_from_the_leader_and_needs_an_index() -> None:
    replies = iter(
        [Reply(404, b"", SOUND), Reply(404, b"no such page"), Reply(200, listed(), SOUND), Reply(200, b"[]", SOUND)]
    )
    with FakeServer(lambda _: next(replies)) as server, ConsulClient(ConsulSettings(server.address)) as client:
        assert client.is_absent("intent/web1/isup")
        with pytest.raises(ConsulUnavailable):
            client.is_absent("intent/web1/isup")
        assert not client.is_absent("intent/web1/isup")
        with pytest.raises(ConsulUnavailable):
            client.is_absent("intent/web1/isup")
        assert all("consistent=1" in asked.path for asked in server.asked)


LISTS = b"[" + b"[]," * 3_000_000 + b"[]]"
QUESTIONS: dict[str, Callable[[ConsulClient], object]] = {
    "list_manifests": lambda client: client.list_manifests("intent", "web1"),
    "list_pairs": lambda client: client.list_pairs("intent/"),
    "list_keys": lambda client: client.list_keys("intent/"),
    "get": lambda client: client.get("intent/web1/isup"),
    "is_absent": lambda client: client.is_absent("intent/web1/isup"),
    "transaction": lambda client: client.transaction([Operation("get", "a")]),
    "session_create": lambda client: client.session_create("x", 10),
    "session_renew": lambda client: client.session_renew("x"),
    "agent_services": lambda client: client.agent_services("x"),
    "agent_checks": lambda client: client.agent_checks("x"),
    "agent_node": lambda client: client.agent_node(),
    "node_address": lambda client: client.node_address("web1"),
    "leader": lambda client: client.leader(),
    "put": lambda client: client.put("a", b""),
}


@contextmanager
def little_memory() -> Iterator[None]:
    """The block may use at most the memory of five copies of `LISTS`."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 5 * len(LISTS)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("question", QUESTIONS)
def test_millions_of_values_of_an_invalid_answer_become_no_objects(question: str) -> None:
    with (
        FakeServer(lambda _: Reply(200, LISTS, SOUND)) as server,
        ConsulClient(ConsulSettings(server.address)) as client,
        little_memory(),
        pytest.raises(ConsulUnavailable, match="not a valid answer of Consul"),
    ):
        QUESTIONS[question](client)


def test_an_unused_field_becomes_no_object() -> None:
    body = listed()[:-2] + b', "Junk": ' + LISTS + b"}]"
    with (
        FakeServer(lambda _: Reply(200, body, SOUND)) as server,
        ConsulClient(ConsulSettings(server.address)) as client,
        little_memory(),
    ):
        assert set(client.list_manifests("intent", "web1").entries) == {ISUP}


def _raises(error: type[ConsulError], call: Callable[[], object]) -> None:
    with pytest.raises(error):
        call()


@pytest.mark.parametrize(
    "body", [b"null", b"[]", b"<html>", b'{"ID": 5}', b"true", b'"x"', b'{"Errors": [], "Results": 7}']
)
def test_invalid_answers_to_other_requests_are_errors(body: bytes) -> None:
    reply = Reply(200, body, SOUND)
    with FakeServer(lambda _: reply) as server, ConsulClient(ConsulSettings(server.address)) as client:
        _raises(ConsulUnavailable, lambda: client.session_create("x", 10))
        _raises(ConsulUnavailable, lambda: client.session_renew("x"))
        if body != b"null":
            _raises(ConsulUnavailable, lambda: client.node_address("web1"))
        if body != b"true":
            _raises(ConsulUnavailable, lambda: client.put("a", b""))
            _raises(ConsulUnavailable, lambda: client.delete("a"))
        if body != b'"x"':
            _raises(ConsulUnavailable, client.leader)
        _raises(ConsulUnavailable, lambda: client.transaction([Operation("get", "a")]))


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"Errors": []}', b'{"Errors": [{"OpIndex": "x"}]}'])
def test_a_conflict_that_names_no_operation_is_an_error(body: bytes) -> None:
    with FakeServer(lambda _: Reply(409, body)) as server, ConsulClient(ConsulSettings(server.address)) as client:
        _raises(ConsulUnavailable, lambda: client.transaction([Operation("get", "a")]))


def test_a_404_ends_a_session_only_if_it_names_the_session() -> None:
    replies = iter([Reply(404, b"404 page not found"), Reply(404, b"Session id 'abc-1' not found")])
    with FakeServer(lambda _: next(replies)) as server, ConsulClient(ConsulSettings(server.address)) as client:
        _raises(ConsulUnavailable, lambda: client.session_renew("abc-1"))
        assert not client.session_renew("abc-1")


def test_a_server_that_does_not_speak_http_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"SSH-2.0-OpenSSH\r\n" * 10)

        thread = threading.Thread(target=greet)
        thread.start()
        with (
            ConsulClient(ConsulSettings(f"http://127.0.0.1:{listener.getsockname()[1]}"), timeout=2.0) as client,
            pytest.raises(ConsulUnavailable, match="did not answer"),
        ):
            client.leader()
        thread.join()


def test_headers_of_interim_responses_are_ignored() -> None:
    reply = (
        b"HTTP/1.1 100 Continue\r\nX-Consul-Index: 5\r\n\r\n"
        b"HTTP/1.1 404 Not Found\r\nX-Consul-KnownLeader: true\r\nContent-Length: 0\r\n\r\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(reply)

        thread = threading.Thread(target=answer)
        thread.start()
        with ConsulClient(ConsulSettings(f"http://127.0.0.1:{listener.getsockname()[1]}"), timeout=2.0) as client:
            _raises(ConsulUnavailable, lambda: client.list_manifests("intent", "web1"))
        thread.join()


def test_the_value_of_a_key_may_be_any_bytes() -> None:
    raw = bytes(range(256))
    reply = Reply(200, listed(base64.b64encode(raw).decode()), SOUND)
    with FakeServer(lambda _: reply) as server, ConsulClient(ConsulSettings(server.address)) as client:
        assert client.list_manifests("intent", "web1").entries[ISUP].data == raw


def test_a_request_without_an_answer_can_be_cancelled() -> None:
    held = threading.Event()

    def hang(_: Asked) -> Reply:
        return Reply(200, b'"x"', wait=held)

    with FakeServer(hang) as server, ConsulClient(ConsulSettings(server.address)) as client:

        def cancel() -> None:
            until(lambda: server.asked)
            client.cancel()

        canceller = threading.Thread(target=cancel)
        canceller.start()
        started = time.monotonic()
        _raises(ConsulUnavailable, client.leader)
        assert time.monotonic() - started < 8.0, "the request would time out after ten seconds"
        canceller.join()
        held.set()


def test_a_long_list_is_decoded_in_parts_with_the_same_result() -> None:
    """Text in a key or value that looks like the end of a pair does not split it."""
    odd = '},{"LockIndex":'
    rows = [
        {
            "LockIndex": 0,
            "Key": f"intent/web1/{odd if at % 7 else at}",
            "Value": "aWQ6IGlzdXA=",
            "CreateIndex": at,
            "ModifyIndex": at,
        }
        for at in range(1, 5_000)
    ]
    body = json.dumps(rows, separators=(",", ":")).encode()
    assert len(body) > 3 * PART
    pairs = pairs_of(Response(200, {}, body))
    assert [(pair.key, pair.value, pair.modify_index) for pair in pairs] == [
        (row["Key"], b"id: isup", row["ModifyIndex"]) for row in rows
    ]


def test_a_list_that_is_cut_off_after_a_part_is_refused() -> None:
    row = {"LockIndex": 0, "Key": "a", "Value": "aWQ6IGlzdXA=", "CreateIndex": 1, "ModifyIndex": 1}
    body = json.dumps([row] * 5_000, separators=(",", ":")).encode()
    for end in (PART + 200, len(body) - 1):
        with pytest.raises(DECODE_ERRORS):
            pairs_of(Response(200, {}, body[:end]))
