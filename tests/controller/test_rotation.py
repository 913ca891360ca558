"""Files of certificates that are replaced while we run: noticed when they stand, and used by new connections."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.consul import ConsulClient, ConsulRefused, ConsulUnavailable
from controller.rotation import Rotation, unusable
from reconcilers.health import Outcome, Reason
from reconcilers.spec import Tls
from tests.support.authority import Authority
from tests.support.checks import https
from tests.support.consul import Agent
from tests.support.net import Certificates, until
from tests.support.probing import Bench
from tests.support.targets import Target


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "old")


@pytest.fixture
def bundle(authority: Authority, tmp_path: Path) -> Path:
    """A file of authorities that is not the authority's own."""
    file = tmp_path / "bundle.pem"
    file.write_bytes(authority.file.read_bytes())
    return file


@pytest.fixture
def successor(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "new")


def replace_by(file: Path, content: Path) -> None:
    """As those do who know how: beside it, then renamed."""
    beside = file.with_name("next")
    beside.write_bytes(content.read_bytes())
    beside.replace(file)


# Looking


def test_a_file_that_was_replaced_is_told_of_once_it_stands(bundle: Path, successor: Authority) -> None:
    rotation, paths = Rotation(), [str(bundle)]
    assert [rotation.look(paths, []) for _ in range(2)] == [frozenset()] * 2
    replace_by(bundle, successor.file)
    assert [rotation.look(paths, []) for _ in range(3)] == [frozenset(), {str(bundle)}, frozenset()]


def test_a_file_that_was_replaced_while_no_check_used_it_is_told_of(bundle: Path, successor: Authority) -> None:
    rotation, paths = Rotation(), [str(bundle)]
    assert rotation.look(paths, []) == frozenset()
    assert rotation.look([], []) == frozenset()
    replace_by(bundle, successor.file)
    assert {path for _ in range(2) for path in rotation.look(paths, [])} == {str(bundle)}


def test_a_file_that_is_being_written_is_waited_for(bundle: Path, successor: Authority) -> None:
    rotation, paths = Rotation(), [str(bundle)]
    rotation.look(paths, [])
    whole = successor.file.read_bytes()
    for part in (whole[:100], whole[:200], whole):
        bundle.write_bytes(part)
        assert rotation.look(paths, []) == frozenset()
    assert rotation.look(paths, []) == {str(bundle)}


def test_authorities_that_cannot_be_used_are_not_told_of_and_complained_about_once(
    bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rotation, paths = Rotation(), [str(bundle)]
    rotation.look(paths, [])
    bundle.write_text("garbage")
    assert [rotation.look(paths, []) for _ in range(4)] == [frozenset()] * 4
    assert caplog.text.count("was replaced and cannot be used") == 1
    assert unusable(str(bundle))


def test_a_file_that_goes_away_and_comes_back_as_it_was_is_no_news(bundle: Path, tmp_path: Path) -> None:
    rotation, paths = Rotation(), [str(bundle)]
    rotation.look(paths, [])
    bundle.rename(tmp_path / "away")
    assert [rotation.look(paths, []) for _ in range(2)] == [frozenset()] * 2
    (tmp_path / "away").rename(bundle)
    assert [rotation.look(paths, []) for _ in range(2)] == [frozenset()] * 2


def test_certificates_and_keys_are_told_of_too(tmp_path: Path) -> None:
    rotation, key = Rotation(), tmp_path / "key.pem"
    assert rotation.look([], [str(key)]) == frozenset()
    key.write_text("one")
    assert [rotation.look([], [str(key)]) for _ in range(2)] == [frozenset(), {str(key)}]


def test_a_file_that_a_pipe_takes_the_place_of_is_not_opened_and_told_of_when_it_is_back(
    bundle: Path, successor: Authority
) -> None:
    rotation, paths = Rotation(), [str(bundle)]
    rotation.look(paths, [])
    bundle.unlink()
    os.mkfifo(bundle)
    assert [rotation.look(paths, []) for _ in range(3)] == [frozenset()] * 3
    replace_by(bundle, successor.file)
    assert {path for _ in range(2) for path in rotation.look(paths, [])} == {str(bundle)}


# Probes


@pytest.fixture
def bench(bundle: Path) -> Iterator[Bench]:
    bench = Bench(bundle)
    yield bench
    bench.engine.close(5)


@pytest.mark.parametrize("own", [False, True], ids=["the engine's", "the check's own"])
@pytest.mark.parametrize("resume", [False, True], ids=["full handshakes", "resumed sessions"])
def test_replaced_authorities_are_asked_from_the_next_probe_on(
    bench: Bench, authority: Authority, successor: Authority, bundle: Path, tmp_path: Path, own: bool, resume: bool
) -> None:
    mine = tmp_path / "own.pem"
    mine.write_bytes(bundle.read_bytes())
    file = mine if own else bundle
    tls = Tls(ca_file=str(mine) if own else "", resume=resume)
    with Target(authority.server()) as target:
        check = https(target.port, "a", tls=tls, interval=0.2)
        bench.engine.start([check])
        until(lambda: len([one for one in bench.results.all(check.key) if one.outcome is Outcome.SUCCESS]) >= 3)

        replace_by(file, successor.file)
        bench.engine.renew([str(file)])
        until(lambda: bench.results.all(check.key)[-1].reason is Reason.CERTIFICATE, what="the old one is refused")

        target.tls = successor.server()
        until(lambda: bench.results.all(check.key)[-1].outcome is Outcome.SUCCESS, what="the new one is accepted")
        assert bench.engine.files() == ({str(bundle), *([str(mine)] if own else [])}, set())


@pytest.mark.parametrize("resume", [False, True], ids=["full handshakes", "resumed sessions"])
def test_a_replaced_client_certificate_is_shown_from_the_next_probe_on(
    bench: Bench, authority: Authority, successor: Authority, resume: bool
) -> None:
    cert, key = successor.files("client")
    with Target(authority.demanding()) as target:
        check = https(target.port, "a", tls=Tls(cert_file=str(cert), key_file=str(key), resume=resume), interval=0.2)
        bench.engine.start([check])
        until(lambda: bench.results.all(check.key))
        assert bench.results.all(check.key)[-1].outcome is Outcome.FAILURE
        good_cert, good_key = authority.files("client")
        replace_by(cert, good_cert)
        replace_by(key, good_key)
        bench.engine.renew([str(cert), str(key)])
        until(lambda: bench.results.all(check.key)[-1].outcome is Outcome.SUCCESS)


# Consul


def test_replaced_files_are_used_for_consul_without_being_told(consul_binary: Path) -> None:
    with Agent(consul_binary, tls=True) as agent, agent.client() as client:
        assert client.leader()
        assert agent.certificates
        agent.stop()
        Certificates.issue(agent.certificates.ca.parent)
        agent.start()
        until(lambda: _answers(client), what="the new authority is trusted, and ours shown")
        other = Certificates.issue(agent.folder / "other")
        agent.certificates.ca.write_bytes(other.ca.read_bytes())
        with pytest.raises(ConsulUnavailable, match="certificate"):
            client.leader()


def _answers(client: ConsulClient) -> bool:
    try:
        return bool(client.leader())
    except ConsulUnavailable:
        return False


def test_other_settings_are_used_from_the_next_request_on(acl_consul_agent: Agent) -> None:
    with acl_consul_agent.client("") as client:
        acl_consul_agent.put("intent/web1/a", "x")
        with pytest.raises(ConsulRefused):
            client.get("intent/web1/a")
        client.use(acl_consul_agent.settings())
        assert client.get("intent/web1/a") is not None


@pytest.fixture
def acl_consul_agent(consul_binary: Path) -> Iterator[Agent]:
    with Agent(consul_binary, acl=True) as agent:
        yield agent
