"""All foreign input (configuration, Consul, targets) leads to an answer or to one of our errors, in time."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.config import Config, ConfigError, load, preparer
from controller.consul.client import ConsulClient, ConsulError, ConsulSettings, Operation
from reconcilers.health import Outcome, Reason
from reconcilers.spec import PodKey
from tests.support.fake_http import FakeServer, Reply
from tests.support.probing import Bench, spec
from tests.support.targets import Target, raw

ISUP = PodKey("web1", "isup")
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=40),
    st.sampled_from(["5s", "-1s", "consul", "127.0.0.1:0", "/etc/passwd", "/", "\0", "../..", "${HOME}", "@x", "kv"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=6,
)

# The configuration


def _names(model: Any = Config) -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        below = getattr(field.annotation, "model_fields", None)
        names += [f"{name}.{each}" for each in _names(field.annotation)] if below else [name]
    return names


@QUICK
@given(st.dictionaries(st.sampled_from(_names()), VALUES, max_size=4), st.booleans())
def test_any_configuration_is_good_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, fields: Mapping[str, Any], secret: bool
) -> None:
    document: dict[str, Any] = {"consul": {"token": "2b778dd9-f5f1"}} if secret else {}
    for name, value in fields.items():
        section, _, field = name.rpartition(".")
        place = document.setdefault(section, {}) if section else document
        if isinstance(place, dict):
            place[field] = value
    file = tmp_path_factory.getbasetemp() / "hostile.yaml"
    file.write_text(yaml.safe_dump(document, allow_unicode=False))
    said = _complaint(file)
    assert len(said) < 1_000 * max(1, len(fields))
    assert "2b778dd9" not in said


PREPARER = sorted({*preparer.KNOWN, *preparer.WORTH_A_NOTE, *preparer.OF_INSTALLING, "other"})
OWN = st.dictionaries(st.sampled_from(sorted(Config.model_fields)), VALUES, max_size=2)


@QUICK
@given(
    st.dictionaries(st.sampled_from(PREPARER), VALUES, max_size=4) | VALUES,
    OWN | VALUES,
    st.dictionaries(st.text(max_size=12), VALUES, max_size=2),
)
def test_any_configuration_of_p2_is_good_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, section: object, own: object, others: Mapping[str, Any]
) -> None:
    file = tmp_path_factory.getbasetemp() / "hostile-p2.yaml"
    file.write_text(yaml.safe_dump({**others, "preparer": section, "podpulse": own}, allow_unicode=False))
    assert len(_complaint(file)) < 6_000


@QUICK
@given(st.binary(max_size=200))
def test_any_bytes_as_configuration_are_good_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "hostile.yaml"
    file.write_bytes(data)
    assert len(_complaint(file)) < 1_000


def _complaint(file: Path) -> str:
    """Returns the error for this file, or "" if there is none. Any other exception fails the test."""
    said = f"{file}: "
    try:
        load(file, {})
    except ConfigError as error:
        said = str(error)
    assert said.startswith(f"{file}: ")
    return said.removeprefix(f"{file}: ")


# Consul


class Liar:
    """A server in place of Consul. A test sets its next answer."""

    def __init__(self) -> None:
        self.reply = Reply()
        self.server = FakeServer(lambda _: self.reply)


@pytest.fixture(scope="module")
def liar() -> Iterator[Liar]:
    one = Liar()
    with one.server:
        yield one


@pytest.fixture(scope="module")
def client(liar: Liar) -> Iterator[ConsulClient]:
    with ConsulClient(ConsulSettings(liar.server.address)) as one:
        yield one


CALLS: Mapping[str, Callable[[ConsulClient], object]] = {
    "list_manifests": lambda client: client.list_manifests("intent", "web1"),
    "is_absent": lambda client: client.is_absent("intent/web1/isup"),
    "get": lambda client: client.get("intent/web1/isup"),
    "list_pairs": lambda client: client.list_pairs("health/"),
    "list_keys": lambda client: client.list_keys("health/"),
    "put": lambda client: client.put("intent/web1/isup", b"id: isup"),
    "transaction": lambda client: client.transaction([Operation("get", "health/isup/web1")]),
    "session_create": lambda client: client.session_create("health", 10),
    "session_renew": lambda client: client.session_renew("1bf26caa-4ea5-11e5-8f4a-7b9c2b5f1d5a"),
    "agent_services": lambda client: client.agent_services("podpulse"),
    "agent_checks": lambda client: client.agent_checks("podpulse"),
    "update_check": lambda client: client.update_check("x", "passing", ""),
    "node_address": lambda client: client.node_address("web1"),
    "leader": lambda client: client.leader(),
}

KV_FIELDS = ("Key", "Value", "ModifyIndex", "CreateIndex", "LockIndex", "Flags", "Session", "Results", "Errors", "ID")
JSON = st.recursive(
    SCALARS | st.sampled_from(["intent/web1/isup", "aWQ6IGlzdXA=", "passing"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KV_FIELDS) | st.text(max_size=6), inner, max_size=6)
    ),
    max_leaves=10,
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "X-Consul-Index": st.integers().map(str) | st.text("0123456789abcdef-+. ", max_size=20),
        "X-Consul-KnownLeader": st.sampled_from(["true", "false", "", "maybe"]),
        "X-Consul-LastContact": st.integers().map(str),
        "Location": st.sampled_from(["http://127.0.0.1:1/", "/v1/agent/leave", "//", "\t"]),
        "Content-Encoding": st.sampled_from(["gzip", "identity", "br"]),
    },
)


@pytest.mark.parametrize("call", CALLS)
@settings(QUICK, max_examples=40)
@given(
    status=st.sampled_from([200, 200, 200, 204, 301, 307, 403, 404, 409, 413, 429, 500, 503, 599]),
    body=st.one_of(JSON.map(lambda value: json.dumps(value).encode()), st.binary(max_size=60)),
    headers=HEADERS,
)
def test_any_answer_of_consul_is_parsed_or_raises_our_error(
    liar: Liar, client: ConsulClient, call: str, status: int, body: bytes, headers: Mapping[str, str]
) -> None:
    liar.reply = Reply(status, b"" if status == 204 else body, headers)
    said = ""
    try:
        CALLS[call](client)
    except ConsulError as error:
        said = str(error)
    assert said.isprintable()
    assert len(said) < 1_000


# Targets

HEAD = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n",
        b"HTTP/1.0 503 No\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/2 200\r\n",
        b"HTTP/1.1 999999 X\r\n",
        b"Set-Cookie: a=b\r\n",
        b"Location: http://127.0.0.1:1/\r\n",
        b"Content-Encoding: gzip\r\n",
        b"\r\n",
        b"5\r\nhello\r\n",
        b"ffffffffffffffff\r\n",
        b"0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x1f\x8b\x08\x00",
        b"\0",
    ]
)
ANSWERS = st.lists(HEAD | st.binary(max_size=30), max_size=6).map(b"".join)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    file = tmp_path_factory.mktemp("ca") / "ca.pem"
    file.write_text("")
    one = Bench(file)
    yield one
    one.engine.close(10)


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with Target() as one:
        yield one


@QUICK
@given(data=ANSWERS)
def test_any_answer_of_a_target_ends_in_a_verdict_within_the_deadline(
    bench: Bench, target: Target, data: bytes
) -> None:
    target.behave(raw(data))
    began = time.monotonic()
    result = bench.result(spec(target, interval=1.0))
    assert time.monotonic() - began < 20
    assert result.outcome is Outcome.SUCCESS or result.reason in Reason
    assert (result.reason is Reason.NONE) == (result.outcome is Outcome.SUCCESS)
    assert result.outcome is not Outcome.LOCAL
    assert len(result.output) <= 4_096
    result.output.encode()
    assert result.detail.isprintable()
