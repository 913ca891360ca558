"""The files that a check names are read once, and only if they are regular files. No file can block the controller."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from controller.probes.files import MAX_KEY, MAX_SETTINGS, TlsFiles
from controller.runtime.plain_files import MAX_SIZE, contents, stamp, unreadable
from reconcilers.health import Outcome, Reason
from reconcilers.spec import CheckSpec, Tls
from tests.faults.procfs import links
from tests.support.authority import Authority
from tests.support.checks import https
from tests.support.net import until
from tests.support.probing import Bench
from tests.support.targets import Target

LOCAL, SUCCESS = Outcome.LOCAL, Outcome.SUCCESS
FILES = ("ca_file", "cert_file", "key_file")


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Paths of files that are not regular or are too large, with the expected error of each."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "long").write_bytes(b"x" * (MAX_SIZE + 1))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        yield {
            "/dev/ptmx": "Not a regular file",
            "/dev/zero": "Not a regular file",
            "/dev/null": "Not a regular file",
            str(tmp_path / "fifo"): "Not a regular file",
            str(tmp_path / "socket"): "Not a regular file",
            str(tmp_path): "Is a directory",
            str(tmp_path / "long"): "Longer than 4096 KiB",
            str(tmp_path / "none"): "No such file or directory",
            "": "No such file or directory",
            "a\0b": "cannot be read",
        }


def test_only_a_regular_file_of_modest_size_is_readable(odd: dict[str, str], authority: Authority) -> None:
    assert {path: unreadable(path) for path in odd} == odd
    assert unreadable(str(authority.file)) == ""


def test_contents_are_those_of_a_regular_file_alone(odd: dict[str, str], authority: Authority) -> None:
    assert contents(str(authority.file)) == authority.file.read_bytes()
    for path, said in odd.items():
        with pytest.raises(ValueError, match=said):
            contents(path)
    with pytest.raises(ValueError, match="Longer than 0 KiB"):
        contents(str(authority.file), 10)


def test_what_grows_while_it_is_read_is_too_long(tmp_path: Path) -> None:
    """Files of /proc have the size 0."""
    assert Path("/proc/self/maps").stat().st_size == 0
    with pytest.raises(ValueError, match="Longer than 0 KiB"):
        contents("/proc/self/maps", 100)


# The contexts


def test_a_file_is_read_once_until_it_is_replaced(own: Tls, authority: Authority, tmp_path: Path) -> None:
    files = TlsFiles(own.ca_file)
    first = files.settings(own)
    other = Authority(tmp_path / "other")
    cert, key = other.files("client")
    for path, content in ((own.ca_file, other.file), (own.cert_file, cert), (own.key_file, key)):
        Path(path).write_bytes(content.read_bytes())
    assert files.settings(own) is first
    files.renew(own.ca_file, [])
    renewed = files.settings(own)
    assert (renewed.trust, renewed._pair) == (first.trust, first._pair)
    files.renew(own.ca_file, [own.ca_file, own.key_file])
    renewed = files.settings(own)
    assert renewed.trust is not first.trust
    assert renewed._pair
    assert (renewed._pair.certificate_pem, renewed._pair.key_pem) == (cert.read_bytes(), key.read_bytes())


@pytest.mark.parametrize("change", ["ca_file", "cert_file", "insecure_skip_verify", "alpn"])
def test_checks_with_equal_options_share_a_context_and_no_others(own: Tls, authority: Authority, change: str) -> None:
    files = TlsFiles(own.ca_file)
    cert, key = map(str, authority.files("client"))
    changed = {
        "ca_file": replace(own, ca_file=str(authority.file)),
        "cert_file": replace(own, cert_file=cert, key_file=key),
        "insecure_skip_verify": replace(own, insecure_skip_verify=True),
        "alpn": own,
    }
    first = files.settings(own)
    other = files.settings(changed[change], "h2" if change == "alpn" else "")
    assert other is not first
    assert files.settings(own) is files.settings(replace(own, ca_file="")) is first, "the same file is named"
    assert files.settings(replace(own, server_name="web1")) is first, "a name belongs to a connection"


def test_copies_of_one_bundle_share_what_was_parsed(authority: Authority, tmp_path: Path) -> None:
    copies = [tmp_path / f"{number}.pem" for number in range(3)]
    for copy in copies:
        copy.write_bytes(authority.file.read_bytes())
    files = TlsFiles(str(authority.file))
    trusts = [files.settings(Tls(ca_file=str(copy))).trust for copy in copies]
    assert trusts[0] is trusts[1] is trusts[2] is files.settings(Tls()).trust


def test_of_very_many_contexts_the_one_that_was_not_used_for_longest_is_built_again(own: Tls, tmp_path: Path) -> None:
    files = TlsFiles(own.ca_file)
    first, second = files.settings(own), files.settings(Tls())
    for number in range(MAX_SETTINGS - 1):
        copy = tmp_path / f"ca-{number}.pem"
        copy.write_bytes(Path(own.ca_file).read_bytes())
        files.settings(Tls(ca_file=str(copy)))
        assert files.settings(own) is first
    assert len(files._settings) == MAX_SETTINGS
    assert files.settings(Tls()) is not second


def test_readings_name_each_file_with_the_stamp_of_what_was_read_first(own: Tls) -> None:
    files = TlsFiles(own.ca_file)
    assert list(files.readings()) == []
    files.settings(own)
    paths = [(own.ca_file,), (own.cert_file, own.key_file)]
    first = list(files.readings())
    assert [each.paths for each in first] == paths
    assert [each.stamps for each in first] == [tuple(map(stamp, each)) for each in paths]
    files.renew(own.ca_file, [own.key_file])
    assert [each.paths for each in files.readings()] == paths[:1]
    files.settings(own)
    again = list(files.readings())
    assert again[0] == first[0]
    assert again[1].number > first[1].number, "another reading of the same files"


def test_a_file_that_cannot_be_used_is_read_again_when_it_is_replaced(own: Tls) -> None:
    good = Path(own.ca_file).read_bytes()
    files = TlsFiles(own.ca_file)
    Path(own.ca_file).write_text("garbage")
    for _ in range(2):
        with pytest.raises(ValueError, match=f"{own.ca_file}: expected at least one certificate in PEM"):
            files.settings(own)
    assert [each.paths for each in files.readings()] == [(own.ca_file,)], "a file that is replaced is noticed"
    Path(own.ca_file).write_bytes(good)
    files.renew(own.ca_file, [own.ca_file])
    assert files.settings(own).verifies


# In the engine


@pytest.fixture
def demanding(authority: Authority) -> Iterator[Target]:
    with Target(authority.demanding()) as target:
        yield target


@pytest.fixture
def own(authority: Authority, tmp_path: Path) -> Tls:
    """A check's own files."""
    ca = tmp_path / "own-ca.pem"
    ca.write_bytes(authority.file.read_bytes())
    cert, key = authority.files("client")
    return Tls(ca_file=str(ca), cert_file=str(cert), key_file=str(key))


def swap(path: str) -> None:
    Path(path).unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("path", ["/dev/ptmx", "/dev/zero"])
def test_a_device_for_a_file_stops_no_probe_but_its_own(
    bench: Bench, demanding: Target, own: Tls, name: str, path: str
) -> None:
    ca, cert, key = (path if each == name else getattr(own, each) for each in FILES)
    bad = https(demanding.port, "bad", tls=Tls(ca_file=ca, cert_file=cert, key_file=key), interval=0.2)
    good = https(demanding.port, "good", tls=own, interval=0.2)
    bench.engine.start([bad, good])
    for check in (bad, good):
        bench.results.after(check.key, 4)
    found = {(one.outcome, one.reason, one.detail) for one in bench.results.all(bad.key)}
    assert found == {(LOCAL, Reason.LOCAL, f"the probe could not be sent: {path}: Not a regular file")}
    assert {one.outcome for one in bench.results.all(good.key)} == {SUCCESS}


@pytest.mark.parametrize("name", FILES)
def test_a_file_whose_place_a_pipe_takes_is_not_opened_again(
    bench: Bench, demanding: Target, own: Tls, name: str
) -> None:
    mine, other = https(demanding.port, "mine", tls=own, interval=0.2), https(demanding.port, "other", interval=0.2)
    bench.engine.start([mine, other])
    bench.results.after(mine.key, 1)
    path = getattr(own, name)
    swap(path)
    go_on(bench, mine, other)
    assert bench.results.all(mine.key)[-1].outcome is SUCCESS

    bench.engine.renew([path])
    until(lambda: bench.results.all(mine.key)[-1].outcome is LOCAL, what="it is read anew, and is no file any more")
    go_on(bench, mine, other)
    assert bench.results.all(mine.key)[-1].detail == f"the probe could not be sent: {path}: Not a regular file"


def go_on(bench: Bench, *checks: CheckSpec) -> None:
    """Each of these checks is probed twice more."""
    for check in checks:
        bench.results.after(check.key, len(bench.results.all(check.key)) + 1)


def test_a_certificate_that_is_too_long_is_named(bench: Bench, demanding: Target, own: Tls) -> None:
    with Path(own.cert_file).open("ab") as file:
        file.write(b"\n" * MAX_KEY)
    result = bench.result(https(demanding.port, "long", tls=own))
    assert (result.outcome, result.reason) == (LOCAL, Reason.LOCAL)
    assert result.detail == f"the probe could not be sent: {own.cert_file}: Longer than 256 KiB"


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_certificate_is_named(bench: Bench, demanding: Target, own: Tls, name: str) -> None:
    path = getattr(own, name)
    Path(path).write_text("garbage")
    result = bench.result(https(demanding.port, "garbage", tls=own))
    assert (result.outcome, result.reason) == (LOCAL, Reason.LOCAL)
    assert path in result.detail


ASK = """
import os, sys
os.open(sys.argv[1], os.O_RDWR)
from controller.probes.once import probe_once
from reconcilers.target_guard import Guard
from reconcilers.spec import CheckSpec, HttpGet, PodKey, Tls
port, ca, cert, key = sys.argv[2:]
probe = HttpGet("localhost", int(port), "/", Tls(cert_file=cert, key_file=key))
result = probe_once(CheckSpec(PodKey("web1", "isup"), probe, 2.0, 2.0), ca_file=ca, guard=Guard())
print(result.outcome.value, result.reason.value, flush=True)
os._exit(0)
"""
"""One probe, in a process whose terminal is the first argument."""


def test_nobody_is_asked_for_a_passphrase_on_the_terminal(demanding: Target, own: Tls) -> None:
    lock(own.key_file)
    ours, theirs = os.openpty()
    done = subprocess.run(
        [sys.executable, "-c", ASK, os.ttyname(theirs), str(demanding.port), own.ca_file, own.cert_file, own.key_file],
        start_new_session=True,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(ours)
    os.close(theirs)
    assert (done.stdout, done.returncode) == ("local local\n", 0), done.stderr


def lock(path: str) -> None:
    """Encrypt a key by a passphrase."""
    key = serialization.load_pem_private_key(Path(path).read_bytes(), None)
    Path(path).write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )


def test_no_descriptor_of_a_file_is_kept_however_many_files_are_named(
    bench: Bench, demanding: Target, own: Tls, tmp_path: Path
) -> None:
    checks = []
    for number in range(20):
        file = tmp_path / f"ca-{number}.pem"
        file.write_bytes(Path(own.ca_file).read_bytes())
        checks.append(https(demanding.port, f"pod-{number}", tls=replace(own, ca_file=str(file)), interval=0.3))
    bench.engine.start(checks)
    for check in checks:
        bench.results.after(check.key, 2)
    assert {one.outcome for one in bench.results.all()} == {SUCCESS}
    kept = [link for link in links(os.getpid()).values() if link.endswith(".pem") or "memfd" in link]
    assert kept == []
