"""The Consul client with a real Consul."""

import json
import threading
import time
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from controller.consul.client import (
    ConsulClient,
    ConsulRefused,
    ConsulSettings,
    ConsulUnavailable,
    Operation,
)
from controller.consul.operations import WORDS, ControllerOp, ToolOp
from reconcilers.gate import Entry
from reconcilers.ignored import Ignored
from reconcilers.spec import PodKey
from tests.support.catalog_sink import register
from tests.support.consul import DB1_ID, Agent
from tests.support.fake_http import FakeServer, Reply
from tests.support.net import Certificates

ISUP = PodKey("web1", "isup")
SOUND = {"X-Consul-Index": "12", "X-Consul-KnownLeader": "true"}


def descriptors() -> int:
    """The number of open file descriptors of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_listing_has_the_pods_of_the_node_and_the_ignored_keys(consul: Agent) -> None:
    consul.put("intent/web1/isup", "id: isup")
    consul.put("intent/web1/empty", "")
    consul.put("intent/web1/a/b", "odd")
    consul.put("intent/web10/isup", "another node's")
    with consul.client() as client:
        listing = client.list_manifests("intent", "web1")
    entry = consul.entries("intent/web1/isup")["intent/web1/isup"]
    assert listing.entries[ISUP] == Entry((entry["CreateIndex"], entry["ModifyIndex"]), b"id: isup")
    assert listing.entries[PodKey("web1", "empty")].data == b""
    assert (len(listing.entries), listing.ignored, listing.doubt) == (2, {"a/b": Ignored.NAME}, "")


def test_a_node_without_manifests_has_an_empty_listing(consul: Agent) -> None:
    with consul.client() as client:
        listing = client.list_manifests("intent", "web1")
    assert (dict(listing.entries), listing.doubt) == ({}, "")
    assert listing.index >= 1


def test_a_blocking_query_returns_after_a_change(consul: Agent) -> None:
    consul.put("intent/web1/isup", "one")
    with consul.client() as client:
        first = client.list_manifests("intent", "web1")
        timer = threading.Timer(0.2, consul.put, ("intent/web1/isup", "two"))
        timer.start()
        second = client.list_manifests("intent", "web1", first.index, 10.0)
        timer.join()
    assert second.index > first.index
    assert second.entries[ISUP].data == b"two"


def test_a_blocking_query_returns_after_its_wait(consul: Agent) -> None:
    consul.put("intent/web1/isup", "one")
    with consul.client() as client:
        first = client.list_manifests("intent", "web1")
        assert client.list_manifests("intent", "web1", first.index, 0.3) == first


def test_a_blocking_query_is_cancelled_from_another_thread_long_before_its_end(consul: Agent) -> None:
    consul.put("intent/web1/isup", "one")
    with consul.client() as client:
        index = client.list_manifests("intent", "web1").index
        cancelled: list[float] = []

        def cancel() -> None:
            cancelled.append(time.monotonic())
            client.cancel()

        threading.Timer(0.3, cancel).start()
        with pytest.raises(ConsulUnavailable, match="cancelled"):
            client.list_manifests("intent", "web1", index, 60.0)
        assert time.monotonic() - cancelled[0] < 20.0
        with pytest.raises(ConsulUnavailable, match="cancelled"):
            client.leader()
        client.reopen()
        assert client.leader()


def test_keys_are_written_read_listed_and_deleted(consul: Agent) -> None:
    with consul.client() as client:
        client.put("intent/web1/isup", b"\x00\xff raw")
        assert consul.get("intent/web1/isup") == b"\x00\xff raw"
        found = client.get("intent/web1/isup")
        assert found
        assert (found.value, found.session) == (b"\x00\xff raw", "")
        assert client.list_pairs("intent/") == [found]
        assert client.list_keys("intent/") == ["intent/web1/isup"]
        assert not client.is_absent("intent/web1/isup")
        client.delete("intent/web1/isup")
        client.delete("intent/web1/isup")
        assert client.is_absent("intent/web1/isup")
        assert client.get("intent/web1/isup") is None
        assert (client.list_pairs("intent/"), client.list_keys("intent/")) == ([], [])


def test_the_address_of_a_node_is_read_from_the_catalog(consul: Agent) -> None:
    with consul.client() as client:
        assert client.node_address("web1") == "127.0.0.1"
        assert client.node_address("web2") is None
        assert client.leader().startswith("127.0.0.1:")


def test_a_node_whose_id_begins_with_the_name_that_was_asked_for_is_another_node(consul_binary: Path) -> None:
    """Consul answers with web1 when it is asked for db1."""
    with Agent(consul_binary, config={"node_id": DB1_ID}) as consul, consul.client() as client:
        assert consul.request("GET", "catalog/node/db1").json()["Node"]["Node"] == "web1", "this is Consul's answer"
        assert client.node_address("db1") is None
        assert client.node_address("WEB1") == "127.0.0.1", "Consul ignores the case of names"
        register(consul, Node="db1", Address="10.1.2.3")
        assert client.node_address("db1") == "10.1.2.3"


def test_a_session_has_no_checks_a_short_lock_delay_and_deletes_its_keys(consul: Agent) -> None:
    with consul.client() as client:
        session, ttl = client.session_create("health:web1:1:0101-000000", 10)
        assert ttl == 10
        made = consul.sessions()[session]
        assert not made.get("Checks")
        assert not made["NodeChecks"]
        assert (made["Name"], made["Behavior"], made["TTL"]) == ("health:web1:1:0101-000000", "delete", "10s")
        assert made["LockDelay"] == 1_000_000
        assert client.session_renew(session) == 10
        client.session_destroy(session)
        client.session_destroy(session)
        assert not client.session_renew(session)


def test_a_transaction_carries_out_all_operations_or_names_the_failed_ones(consul: Agent) -> None:
    other = consul.new_session()
    consul.put("health/taken/web1", "theirs", acquire=other)
    with consul.client() as client:
        session, _ = client.session_create("mine", 10)
        mine = Operation("lock", "health/isup/web1", b"one", session)
        taken = Operation("lock", "health/taken/web1", b"two", session)
        gone = Operation("get", "health/nowhere/web1")
        refused = client.transaction([mine, taken, gone])
        assert refused.failed.keys() == {1, 2}
        assert "lock is already held" in refused.failed[1]
        assert consul.keys("health/") == ["health/taken/web1"]
        assert not client.transaction([mine]).failed
        read = client.transaction([Operation("get", "health/isup/web1"), Operation("get", "health/taken/web1")])
        assert [(pair.value, pair.session) for pair in read.pairs] == [(b"one", session), (b"theirs", other)]


def test_a_transaction_with_a_dead_session_is_refused(consul: Agent) -> None:
    with consul.client() as client:
        session, _ = client.session_create("mine", 10)
        client.session_destroy(session)
        result = client.transaction([Operation("lock", "health/isup/web1", b"late", session)])
    assert "invalid session" in result.failed[0]
    assert consul.keys() == []


def test_the_size_of_an_operation_is_never_underestimated() -> None:
    for operation in (
        Operation("lock", "health/isup/web1", b"x" * 1001, "b" * 36),
        Operation("check-session", "health/ä/web1", session="b" * 36),
        Operation("delete", "k" * 200),
    ):
        assert len(json.dumps([operation.payload()])) <= operation.size + 4


def test_a_value_that_is_too_large_is_refused(consul: Agent) -> None:
    with (
        consul.client() as client,
        pytest.raises(ConsulRefused, match=r"writing intent/web1/isup: Consul at .* answered 413"),
    ):
        client.put("intent/web1/isup", b"x" * 600_000)


@pytest.mark.parametrize("key", ["health/../../agent/leave", "..", "a/./b", "a//b", "/a", "a/.."])
def test_a_key_that_would_reach_another_endpoint_is_never_sent(key: str) -> None:
    with FakeServer(lambda _: Reply()) as server, ConsulClient(ConsulSettings(server.address)) as client:
        for call in (client.get, client.delete, client.is_absent):
            with pytest.raises(ConsulRefused, match="was sent no request"):
                call(key)
        assert server.asked == []


def test_special_characters_of_a_key_are_escaped(consul: Agent) -> None:
    with consul.client() as client:
        client.put("intent/web1/a?b#c%2e d", b"odd")
        assert consul.keys() == ["intent/web1/a?b#c%2e d"]


# --- rights and tokens ---


def test_a_token_without_rights_is_refused_and_not_part_of_the_error(consul_binary: Path) -> None:
    with Agent(consul_binary, acl=True) as agent:
        token = agent.create_token('key_prefix "health/" { policy = "write" }')
        with agent.client(token) as client:
            for call in (lambda: client.get("intent/web1/isup"), lambda: client.session_create("x", 10)):
                with pytest.raises(ConsulRefused, match=r"answered 403 .*ermission denied") as refused:
                    call()
                assert token not in str(refused.value)
            failed = client.transaction([Operation("set", "secret/x")]).failed
            assert failed.keys() == {0}
            assert "Permission denied" in failed[0]
        with agent.client("3f1b9d2e-0000-0000-0000-000000000000") as client, pytest.raises(ConsulRefused, match="403"):
            client.list_keys("intent/")


def test_a_rotated_token_file_is_read_again(consul_binary: Path, tmp_path: Path) -> None:
    file = tmp_path / "token"
    with Agent(consul_binary, acl=True) as agent:
        file.write_text(agent.create_token('key_prefix "a" { policy = "write" }') + "\n")
        settings = ConsulSettings(agent.address, token="ignored", token_file=str(file))
        with ConsulClient(settings) as client:
            client.put("a", b"1")
            with pytest.raises(ConsulRefused):
                client.put("b", b"1")
            fresh = tmp_path / "fresh"
            fresh.write_text(agent.create_token('key_prefix "b" { policy = "write" }'))
            fresh.replace(file)
            client.put("b", b"1")
            file.unlink()
            client.put("b", b"2")
    with ConsulClient(settings) as client, pytest.raises(ConsulRefused, match=r"token file .* cannot be read"):
        client.leader()


def test_new_settings_keep_the_token_while_its_file_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("abc")
    with FakeServer(lambda _: Reply(200, b"true")) as server:
        settings = ConsulSettings(server.address, token_file=str(file))
        with ConsulClient(settings) as client:
            client.session_destroy("x")
            file.unlink()
            client.apply(replace(settings, headers=(("X-Proxy", "y"),)))
            client.session_destroy("x")
            assert [asked.headers.get("x-consul-token") for asked in server.asked] == ["abc", "abc"]
            assert server.asked[1].headers["x-proxy"] == "y"
            client.apply(replace(settings, token_file=str(tmp_path / "other")))
            with pytest.raises(ConsulRefused, match=r"token file .* cannot be read"):
                client.session_destroy("x")


def test_a_token_with_a_line_break_is_not_sent() -> None:
    with (
        FakeServer(lambda _: Reply()) as server,
        ConsulClient(ConsulSettings(server.address, token="a\r\nX-Evil: 1")) as client,
        pytest.raises(ConsulRefused, match="not allowed in a token") as refused,
    ):
        client.leader()
    assert "Evil" not in str(refused.value)
    assert server.asked == []


# --- connections ---


def test_https_with_a_client_certificate(consul_binary: Path, tmp_path: Path) -> None:
    with Agent(consul_binary, tls=True) as agent:
        with agent.client() as client:
            assert client.leader()
        bare = replace(agent.settings(), cert_file="", key_file="")
        with ConsulClient(bare) as client, pytest.raises(ConsulUnavailable, match="certificate"):
            client.leader()
        other = Certificates.issue(tmp_path / "other")
        with ConsulClient(replace(agent.settings(), ca_file=str(other.ca))) as client:
            with pytest.raises(ConsulUnavailable, match="unable to get local issuer certificate") as refused:
                client.leader()
            assert agent.address in str(refused.value)
        with ConsulClient(replace(agent.settings(), ca_file="")) as client, pytest.raises(ConsulUnavailable):
            client.leader()
        with ConsulClient(replace(agent.settings(), server_name="localhost")) as client:
            assert client.leader()
        with (
            ConsulClient(replace(agent.settings(), server_name="elsewhere.example")) as client,
            pytest.raises(ConsulUnavailable, match=r"elsewhere\.example"),
        ):
            client.leader()
        with ConsulClient(
            replace(
                bare,
                cert_file=agent.settings().cert_file,
                key_file=agent.settings().key_file,
                ca_file=str(other.ca),
                insecure_skip_verify=True,
            )
        ) as client:
            assert client.leader()


def test_a_unix_socket(consul_binary: Path) -> None:
    with Agent(consul_binary, unix=True) as agent, agent.client() as client:
        client.put("a", b"1")
        assert agent.get("a") == b"1"


def test_one_connection_serves_all_requests(consul: Agent) -> None:
    with consul.client() as client:
        client.leader()
        before = descriptors()
        for _ in range(50):
            client.list_keys("intent/")
        assert descriptors() == before


def test_a_restart_of_the_agent_needs_no_new_client(consul: Agent) -> None:
    with consul.client() as client:
        assert client.leader()
        before = descriptors()
        consul.kill()
        with pytest.raises(ConsulUnavailable, match="did not answer") as refused:
            client.leader()
        assert not refused.value.sent
        consul.start()
        assert client.leader()
        assert descriptors() <= before


def test_a_request_to_an_agent_that_hangs_times_out(consul: Agent) -> None:
    seen: list[tuple[str, str]] = []
    with ConsulClient(consul.settings(), timeout=0.5, observe=lambda op, how, _: seen.append((op, how))) as client:
        client.leader()
        consul.pause()
        started = time.monotonic()
        with pytest.raises(ConsulUnavailable, match=r"did not answer within 0\.5 s") as refused:
            client.list_manifests("intent", "web1")
        assert refused.value.sent
        assert time.monotonic() - started < 5.0
        consul.resume()
        client.leader()
    assert seen == [("leader", "ok"), ("list_manifests", "silent"), ("leader", "ok")]


def test_a_redirect_is_not_followed_and_does_not_get_the_token() -> None:
    with FakeServer(lambda _: Reply()) as elsewhere:
        location = {"Location": f"{elsewhere.address}/v1/status/leader"}
        with FakeServer(lambda _: Reply(307, headers=location)) as server:
            with ConsulClient(ConsulSettings(server.address, token="secret")) as client:
                for call in (client.leader, lambda: client.put("a", b"1")):
                    with pytest.raises(ConsulUnavailable, match="307, a redirect"):
                        call()
            assert [asked.headers["x-consul-token"] for asked in server.asked] == ["secret", "secret"]
            assert not any("secret" in asked.path for asked in server.asked)
        assert elsewhere.asked == []


def test_proxies_of_the_environment_are_not_used(consul: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeServer(lambda _: Reply()) as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.address)
        monkeypatch.setenv("CONSUL_HTTP_ADDR", proxy.address)
        with consul.client() as client:
            assert client.leader()
        assert proxy.asked == []


def test_only_its_own_headers_are_sent() -> None:
    reply = Reply(200, b'"127.0.0.1:8300"', {"Set-Cookie": "a=b"})
    with FakeServer(lambda _: reply) as server, ConsulClient(ConsulSettings(server.address)) as client:
        client.leader()
        client.leader()
        assert set(server.asked[1].headers) == {"host", "user-agent", "accept"}


def test_every_request_has_the_prefix_namespace_partition_and_password() -> None:
    settings = ConsulSettings(namespace="team", partition="east", http_auth="alice:s3:cret")
    with (
        FakeServer(lambda _: Reply(500)) as server,
        ConsulClient(replace(settings, address=f"{server.address}/behind/a%2Fproxy")) as client,
    ):
        questions: list[Callable[[], object]] = [
            lambda: client.list_manifests("intent", "web1"),
            lambda: client.transaction([Operation("get", "a")]),
            lambda: client.session_create("x", 10),
            lambda: client.agent_services("x"),
            lambda: client.update_check("x", "passing", ""),
            lambda: client.node_address("web1"),
            client.leader,
        ]
        for question in questions:
            with pytest.raises(ConsulUnavailable):
                question()
    assert len(server.asked) == len(questions)
    for asked in server.asked:
        assert asked.path.startswith("/behind/a%2Fproxy/v1/")
        assert {"ns=team", "partition=east"} <= set(asked.path.partition("?")[2].split("&"))
        assert b64decode(asked.headers["authorization"].removeprefix("Basic ")) == b"alice:s3:cret"
    (operation,) = json.loads(server.asked[1].body)
    assert (operation["KV"]["Namespace"], operation["KV"]["Partition"]) == ("team", "east")


def test_an_authorization_header_overrides_the_password() -> None:
    settings = ConsulSettings(http_auth="alice:secret", headers=(("Authorization", "Bearer x"),))
    with (
        FakeServer(lambda _: Reply(200, b'""')) as server,
        ConsulClient(replace(settings, address=server.address)) as client,
    ):
        client.leader()
    assert server.asked[0].headers["authorization"] == "Bearer x"


def test_every_request_has_the_datacenter() -> None:
    with FakeServer(lambda _: Reply(200, b"true", SOUND)) as server:
        with ConsulClient(ConsulSettings(server.address, datacenter="dc2")) as client:
            client.put("a", b"1")
            client.session_destroy("x")
            with pytest.raises(ConsulUnavailable):
                client.transaction([Operation("get", "a")])
        assert all("dc=dc2" in asked.path for asked in server.asked)


def test_uuid_pods_of_p2_are_ignored_with_their_reason(consul: Agent) -> None:
    uuid = "8a4a0d0e-3c0b-4a41-9d0a-6d4b7c2c0b11"
    consul.put("intent/web1/isup", "id: isup\nstatus_port: 8000\n")
    consul.put(f"intent/web1/{uuid}", f'{{"pod_key": "{uuid}"}}')
    consul.put("intent/web1/odd/key", "x")
    with consul.client() as client:
        listing = client.list_manifests("intent", "web1")
    assert listing.entries.keys() == {PodKey("web1", "isup")}
    assert listing.ignored == {uuid: Ignored.UUID, "odd/key": Ignored.NAME}


def test_every_operation_has_words_for_messages() -> None:
    assert WORDS.keys() == {*get_args(ControllerOp), *get_args(ToolOp)}
