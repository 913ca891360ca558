"""Certificate files that are replaced while the controller runs. The watch reports them once they are complete, and new
connections use them."""

import dataclasses
import os
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest
from OpenSSL import crypto

from controller.config.certificate_files import Rotation
from controller.consul.client import ConsulClient, ConsulRefused, ConsulUnavailable
from controller.probes import files
from controller.probes.client_pair import ClientPair
from controller.probes.files import MAX_SETTINGS, TlsFiles
from controller.runtime.pem_files import unusable
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
    """A copy of the authority's file, which a test can replace."""
    file = tmp_path / "bundle.pem"
    file.write_bytes(authority.file.read_bytes())
    return file


@pytest.fixture
def successor(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "new")


def replace_by(file: Path, content: Path) -> None:
    """Write a new file next to the old one and rename it, so that no reader sees half a file."""
    beside = file.with_name("next")
    beside.write_bytes(content.read_bytes())
    beside.replace(file)


# Looking


class Watched:
    """The files as probes read them, and the watch that looks for replaced ones."""

    def __init__(self, tls: Tls, ca_file: Path) -> None:
        self.files = TlsFiles(str(ca_file))
        self.tls = tls
        self._ca_file = str(ca_file)
        self._rotation = Rotation()
        self.read()

    def read(self) -> tuple[bytes, ClientPair | None]:
        """Returns what a new connection uses: the authorities as PEM, and the pair of certificate and key."""
        settings = self.files.settings(self.tls)
        trusted = settings.trust.valid(time.time())
        return b"".join(crypto.dump_certificate(crypto.FILETYPE_PEM, each) for each in trusted), settings._pair

    def authorities(self) -> bytes:
        return self.read()[0]

    def own(self) -> tuple[bytes, bytes]:
        """Returns certificate and key, as PEM."""
        pair = self.read()[1]
        assert pair
        return pair.certificate_pem, pair.key_pem

    def look(self) -> Collection[str]:
        """Returns the files that were replaced, in order, and lets them be read again."""
        replaced = self._rotation.look(self.files.readings())
        self.files.renew(self._ca_file, replaced)
        return sorted(replaced)


@pytest.fixture
def watched(bundle: Path) -> Watched:
    return Watched(Tls(), bundle)


@pytest.fixture
def pair(authority: Authority, tmp_path: Path) -> tuple[Path, Path]:
    """A certificate and its key, in files that are replaced."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    for file, theirs in zip((cert, key), authority.files("client"), strict=True):
        file.write_bytes(theirs.read_bytes())
    return cert, key


def test_a_file_replaced_before_the_first_look_is_reported(
    watched: Watched, bundle: Path, successor: Authority
) -> None:
    replace_by(bundle, successor.file)
    assert [watched.look() for _ in range(3)] == [[], [str(bundle)], []]
    assert watched.authorities() == successor.file.read_bytes()
    assert [watched.look() for _ in range(2)] == [[], []]


def test_a_replaced_file_is_reported_when_two_looks_find_the_same_content(
    watched: Watched, bundle: Path, successor: Authority
) -> None:
    assert [watched.look() for _ in range(2)] == [[], []]
    replace_by(bundle, successor.file)
    assert [watched.look() for _ in range(3)] == [[], [str(bundle)], []]


def test_a_file_replaced_between_two_readings_is_compared_with_the_first_reading(
    bundle: Path, authority: Authority, successor: Authority
) -> None:
    """The contexts of the first reading may still be in use when the file is read again."""
    watched = Watched(Tls(), bundle)
    before = bundle.read_bytes()
    replace_by(bundle, successor.file)
    for number in range(MAX_SETTINGS + 1):
        copy = bundle.with_name(f"copy-{number}")
        copy.write_bytes(before)
        watched.files.settings(Tls(ca_file=str(copy)))
    assert watched.authorities() == before
    assert [watched.look() for _ in range(2)] == [[], [str(bundle)]]


def test_a_folder_whose_link_kubernetes_has_swapped_is_reported(
    authority: Authority, successor: Authority, tmp_path: Path
) -> None:
    mount = Mount(tmp_path / "mount", authority)
    watched = Watched(Tls(cert_file=str(mount.cert), key_file=str(mount.key)), mount.ca)
    mount.swap(successor)
    watched.look()
    assert watched.look() == sorted(map(str, (mount.ca, mount.cert, mount.key)))
    assert watched.authorities() == successor.file.read_bytes()
    assert watched.own() == (mount.cert.read_bytes(), mount.key.read_bytes())


class Mount:
    """A volume of Kubernetes: each file is a link through `..data`, a link to a folder that Kubernetes replaces."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self._folder = folder
        self._number = 0
        folder.mkdir()
        self.swap(authority)
        self.ca, self.cert, self.key = (folder / name for name in ("ca.pem", "cert.pem", "key.pem"))
        for file in (self.ca, self.cert, self.key):
            file.symlink_to(Path("..data") / file.name)

    def swap(self, authority: Authority) -> None:
        self._number += 1
        version = self._folder / f"..{self._number}"
        version.mkdir()
        cert, key = authority.files("client")
        for name, file in (("ca.pem", authority.file), ("cert.pem", cert), ("key.pem", key)):
            (version / name).write_bytes(file.read_bytes())
        (self._folder / "..data_tmp").symlink_to(version.name)
        (self._folder / "..data_tmp").replace(self._folder / "..data")


def test_a_file_is_not_reported_while_it_is_being_written(watched: Watched, bundle: Path, successor: Authority) -> None:
    whole = successor.file.read_bytes()
    for part in (whole[:100], whole[:200], whole):
        bundle.write_bytes(part)
        assert watched.look() == []
    assert watched.look() == [str(bundle)]


def test_unusable_authorities_are_not_reported_and_are_logged_once(
    watched: Watched, bundle: Path, authority: Authority, successor: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    bundle.write_text("garbage")
    assert [watched.look() for _ in range(4)] == [[]] * 4
    assert caplog.text.count("replaced, and cannot be used") == 1
    assert unusable(str(bundle))
    assert watched.authorities() == authority.file.read_bytes()
    replace_by(bundle, successor.file)
    assert [watched.look() for _ in range(2)] == [[], [str(bundle)]]


def test_a_file_that_disappears_and_returns_unchanged_is_not_reported(
    watched: Watched, bundle: Path, tmp_path: Path
) -> None:
    bundle.rename(tmp_path / "away")
    assert [watched.look() for _ in range(2)] == [[], []]
    (tmp_path / "away").rename(bundle)
    assert [watched.look() for _ in range(2)] == [[], []]


def test_a_reported_file_that_is_restored_and_replaced_again_is_reported_again(
    watched: Watched, bundle: Path, successor: Authority, tmp_path: Path
) -> None:
    (tmp_path / "second").write_bytes(successor.file.read_bytes())
    for _ in range(3):
        bundle.rename(tmp_path / "first")
        (tmp_path / "second").rename(bundle)
        assert str(bundle) in {path for _ in range(2) for path in watched.look()}
        bundle.rename(tmp_path / "second")
        (tmp_path / "first").rename(bundle)
        watched.read()


def test_a_certificate_and_its_key_are_reported_only_when_they_fit_each_other(
    bundle: Path, pair: tuple[Path, Path], successor: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    cert, key = pair
    watched = Watched(Tls(cert_file=str(cert), key_file=str(key)), bundle)
    before = watched.read()
    new_cert, new_key = successor.files("client")
    replace_by(cert, new_cert)
    assert [watched.look() for _ in range(4)] == [[]] * 4
    assert watched.read() == before, "what was read before stays in force"
    assert caplog.text.count(f"{cert} and {key} replaced, and cannot be used") == 1
    assert f"{key}: does not belong to the certificate in {cert}" in caplog.text
    replace_by(key, new_key)
    assert [watched.look() for _ in range(3)] == [[], [str(cert), str(key)], []]
    assert watched.own() == (new_cert.read_bytes(), new_key.read_bytes())


def test_a_pair_is_read_again_if_one_file_was_read_before_and_the_other_after_the_replacement(
    bundle: Path, pair: tuple[Path, Path], successor: Authority
) -> None:
    cert, key = pair
    new_cert, new_key = successor.files("client")
    replace_by(key, new_key)
    watched = Watched(Tls(), bundle)
    watched.tls = Tls(cert_file=str(cert), key_file=str(key))
    with pytest.raises(ValueError, match=f"{key}: does not belong to the certificate in {cert}"):
        watched.read()
    replace_by(cert, new_cert)
    assert [watched.look() for _ in range(2)] == [[], [str(cert), str(key)]]
    assert watched.own() == (new_cert.read_bytes(), new_key.read_bytes())


def test_a_pipe_in_place_of_a_file_is_not_opened_and_the_new_file_is_reported_later(
    watched: Watched, bundle: Path, successor: Authority
) -> None:
    bundle.unlink()
    os.mkfifo(bundle)
    assert [watched.look() for _ in range(3)] == [[]] * 3
    replace_by(bundle, successor.file)
    assert [watched.look() for _ in range(2)] == [[], [str(bundle)]]


def test_the_number_of_kept_readings_and_settings_is_bounded(
    bundle: Path, authority: Authority, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_READINGS", 5)
    monkeypatch.setattr(files, "MAX_SETTINGS", 2)
    cert, key = authority.files("client")
    with Target(authority.server()) as target:
        for number in range(20):
            copy = cert.with_name(f"copy-{number}.pem")
            copy.write_bytes(cert.read_bytes())
            tls = Tls(cert_file=str(copy), key_file=str(key))
            assert bench.result(https(target.port, f"pod-{number}", tls=tls)).outcome is Outcome.SUCCESS
            assert len(bench.engine.files()) <= 6
            known = bench.engine._prober._files.tls
            assert max(len(known._settings), len(known._pairs), len(known._trusts)) <= 6


# Probes


@pytest.fixture
def bench(bundle: Path) -> Iterator[Bench]:
    bench = Bench(bundle)
    yield bench
    bench.engine.close(5)


@pytest.mark.parametrize("own", [False, True], ids=["the engine's", "the check's own"])
def test_the_next_probe_uses_replaced_authorities(
    bench: Bench, authority: Authority, successor: Authority, bundle: Path, tmp_path: Path, own: bool
) -> None:
    mine = tmp_path / "own.pem"
    mine.write_bytes(bundle.read_bytes())
    file = mine if own else bundle
    tls = Tls(ca_file=str(mine) if own else "")
    with Target(authority.server()) as target:
        check = https(target.port, "a", tls=tls, interval=0.2)
        bench.engine.start([check])
        until(lambda: len([one for one in bench.results.all(check.key) if one.outcome is Outcome.SUCCESS]) >= 3)

        replace_by(file, successor.file)
        bench.engine.renew([str(file)])
        until(lambda: bench.results.all(check.key)[-1].reason is Reason.CERTIFICATE, what="the old one is refused")

        target.tls = successor.server()
        until(lambda: bench.results.all(check.key)[-1].outcome is Outcome.SUCCESS, what="the new one is accepted")
        assert (str(file),) in {each.paths for each in bench.engine.files()}


def test_the_next_probe_uses_a_replaced_client_certificate(
    bench: Bench, authority: Authority, successor: Authority
) -> None:
    cert, key = successor.files("client")
    with Target(authority.demanding()) as target:
        check = https(target.port, "a", tls=Tls(cert_file=str(cert), key_file=str(key)), interval=0.2)
        bench.engine.start([check])
        until(lambda: bench.results.all(check.key))
        assert bench.results.all(check.key)[-1].outcome is Outcome.FAILURE
        good_cert, good_key = authority.files("client")
        replace_by(cert, good_cert)
        replace_by(key, good_key)
        bench.engine.renew([str(cert), str(key)])
        until(lambda: bench.results.all(check.key)[-1].outcome is Outcome.SUCCESS)


# Consul


def test_the_client_of_consul_uses_replaced_files_without_a_reload(consul_binary: Path) -> None:
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


def test_the_client_of_consul_uses_a_new_certificate_only_with_its_key(consul_binary: Path, tmp_path: Path) -> None:
    with Agent(consul_binary, tls=True) as agent:
        settings = agent.settings()
        cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
        cert.write_bytes(Path(settings.cert_file).read_bytes())
        key.write_bytes(Path(settings.key_file).read_bytes())
        other = Certificates.issue(tmp_path / "other")
        with ConsulClient(dataclasses.replace(settings, cert_file=str(cert), key_file=str(key))) as client:
            assert client.leader()
            replace_by(cert, other.client_cert)
            agent.restart()
            assert client.leader(), "what was read before stays in force"
            replace_by(key, other.client_key)
            with pytest.raises(ConsulUnavailable):
                client.leader()
            cert.write_text("garbage")
            key.unlink()
            with pytest.raises(ConsulUnavailable):
                client.leader()
            replace_by(cert, Path(settings.cert_file))
            replace_by(key, Path(settings.key_file))
            assert client.leader()


def _answers(client: ConsulClient) -> bool:
    try:
        return bool(client.leader())
    except ConsulUnavailable:
        return False


def test_the_next_request_uses_the_new_settings(acl_consul_agent: Agent) -> None:
    with acl_consul_agent.client("") as client:
        acl_consul_agent.put("intent/web1/a", "x")
        with pytest.raises(ConsulRefused):
            client.get("intent/web1/a")
        client.apply(acl_consul_agent.settings())
        assert client.get("intent/web1/a") is not None


@pytest.fixture
def acl_consul_agent(consul_binary: Path) -> Iterator[Agent]:
    with Agent(consul_binary, acl=True) as agent:
        yield agent
