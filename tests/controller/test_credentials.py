"""Credentials from files: how they are sent, read again and refused, and that no result shows them."""

import html
import json
import os
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from controller.config.certificate_files import Rotation
from controller.probes.credentials import HIDDEN
from controller.probes.http_answer import MAX_EXCERPT
from controller.runtime.credential_file import MAX_SIZE
from reconcilers.health import Outcome, ProbeResult, Reason
from reconcilers.spec import BasicAuth, CheckSpec
from tests.support import targets
from tests.support.checks import http
from tests.support.net import until
from tests.support.probing import Bench
from tests.support.targets import Target, head, raw

PASSWORD = "p\u00e4ss \"<word>&/%:'1"
BASIC = "Basic " + b64encode(f"alice:{PASSWORD}".encode()).decode()
TOKEN = "eyJhbGciOi.JIUzI1NiJ9-x_y~z+/=="
LOCAL = (Outcome.LOCAL, Reason.LOCAL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "credentials").mkdir()
    return tmp_path / "credentials"


def bearer(port: int, file: Path, folder: Path, pod: str = "bearer", **options: Any) -> CheckSpec:
    return http(port, pod, bearer_token_file=str(file), credentials_dir=str(folder), **options)


def basic(port: int, file: Path, folder: Path, pod: str = "basic", **options: Any) -> CheckSpec:
    return http(port, pod, basic_auth=BasicAuth("alice", str(file)), credentials_dir=str(folder), **options)


def written(file: Path, content: str | bytes) -> Path:
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
@pytest.mark.parametrize("version", ["1.1", "2"])
def test_a_token_and_a_password_are_sent_without_the_line_end_of_their_file(
    bench: Bench, target: Target, folder: Path, end: str, version: str
) -> None:
    """In HTTP/2 the target reads the header fields as they are, because they are sent without compression."""
    file = written(folder / "token", TOKEN + end)
    if version == "2":
        heard: list[bytes] = []
        target.greeting = lambda connection: heard.append(connection.sock.recv(65_536))
        bench.result(bearer(target.port, file, folder, http_version="2"))
        assert f"authorization%cBearer {TOKEN}" % len(f"Bearer {TOKEN}") in heard[0].decode("latin-1")
        return
    assert bench.result(bearer(target.port, file, folder, headers=(("X-A", "b"),))).outcome is Outcome.SUCCESS
    written(folder / "password", PASSWORD + end)
    assert bench.result(basic(target.port, folder / "password", folder)).outcome is Outcome.SUCCESS
    assert [hit.headers["authorization"] for hit in target.hits()] == [f"Bearer {TOKEN}", BASIC]
    assert target.hits()[0].headers["x-a"] == "b"


@pytest.mark.parametrize("reuse", [False, True], ids=["fresh", "reuse"])
def test_a_replaced_file_is_read_again_and_an_unusable_one_leaves_the_old_credential(
    bench: Bench, target: Target, folder: Path, *, reuse: bool
) -> None:
    """The folder is a volume of Kubernetes: the file is a link through `..data`, which is replaced."""
    for version, content in (("..1", "one\n"), ("..2", "two\nlines\n"), ("..3", "three\n")):
        (folder / version).mkdir()
        written(folder / version / "token", content)
    (folder / "..data").symlink_to("..1")
    (folder / "token").symlink_to(Path("..data", "token"))
    rotation = Rotation()
    spec = bearer(target.port, folder / "token", folder, interval=0.1, reuse=reuse)
    bench.engine.start([spec])

    def turned(version: str) -> bool:
        """What the controller's watch does, twice: a file counts when it is unchanged between two looks."""
        (folder / "new").symlink_to(version)
        (folder / "new").replace(folder / "..data")
        replaced = [*rotation.look(bench.engine.files()), *rotation.look(bench.engine.files())]
        bench.engine.renew(replaced)
        return bool(replaced)

    until(lambda: len(target.hits()) >= 2)
    assert not turned("..2")
    assert turned("..3")
    until(lambda: target.hits()[-1].headers["authorization"] == "Bearer three")
    bench.engine.stop([spec.key])
    sent = [hit.headers["authorization"] for hit in target.hits()]
    assert sorted(set(sent), key=sent.index) == ["Bearer one", "Bearer three"]
    assert {result.outcome for result in bench.results.all()} == {Outcome.SUCCESS}


@pytest.fixture
def files(folder: Path) -> dict[str, Path]:
    """Files that cannot be used."""
    outside = written(folder.parent / "outside", TOKEN)
    (folder / "link").symlink_to(outside)
    (folder / "folder").mkdir()
    (folder / "up").symlink_to(folder.parent)
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "fifo")
    return {
        "missing": folder / "missing",
        "folder": folder / "folder",
        "fifo": folder / "fifo",
        "loop": folder / "loop",
        "link": folder / "link",
        "link to a folder": folder / "up" / "outside",
        "dots": folder / ".." / "outside",
        "beside": outside,
        "empty": written(folder / "empty", "\n"),
        "lines": written(folder / "lines", f"{TOKEN}\n\n"),
        "header": written(folder / "header", f"{TOKEN}\r\nX-Admin: 1"),
        "nul": written(folder / "nul", f"{TOKEN}\0"),
        "blank": written(folder / "blank", f"{TOKEN} {TOKEN}"),
        "umlaut": written(folder / "umlaut", f"{TOKEN}\u00fc"),
        "bytes": written(folder / "bytes", TOKEN.encode() + b"\xff"),
        "long": written(folder / "long", "x" * (MAX_SIZE + 1)),
    }


def test_an_unusable_file_is_no_evidence_against_the_pod_and_is_named(
    bench: Bench, target: Target, folder: Path, files: dict[str, Path]
) -> None:
    for number, file in enumerate(files.values()):
        result = bench.result(bearer(target.port, file, folder, f"pod-{number}"))
        assert (result.outcome, result.reason) == LOCAL
        assert result.detail.startswith(f"the probe could not be sent: {file}: ")
        assert TOKEN not in result.detail
        assert len(result.detail) < 200 + 2 * len(str(file))
    assert target.hits() == []
    assert not bench.engine.files()


def test_a_file_that_can_be_read_at_last_is_used(bench: Bench, target: Target, folder: Path) -> None:
    spec = bearer(target.port, folder / "late", folder, interval=0.1)
    bench.engine.start([spec])
    until(lambda: bench.results.all(spec.key))
    written(folder / "late", TOKEN)
    until(lambda: bench.results.all(spec.key)[-1].outcome is Outcome.SUCCESS)
    bench.engine.stop([spec.key])
    assert {result.outcome for result in bench.results.all()} == {Outcome.LOCAL, Outcome.SUCCESS}


def test_the_longest_credential_is_sent(bench: Bench, target: Target, folder: Path) -> None:
    file = written(folder / "token", "x" * MAX_SIZE)
    assert bench.result(bearer(target.port, file, folder)).outcome is Outcome.SUCCESS
    assert target.hits()[0].headers["authorization"] == "Bearer " + "x" * MAX_SIZE


# What a target repeats

FORMS = {
    "plain": PASSWORD,
    "header": BASIC,
    "JSON": json.dumps(PASSWORD),
    "JSON in UTF-8": json.dumps(PASSWORD, ensure_ascii=False),
    "URL": quote(PASSWORD, safe=""),
    "page": html.escape(PASSWORD),
    "template": html.escape(PASSWORD, quote=False),
    "upper case": PASSWORD.upper(),
    "base64": b64encode(PASSWORD.encode()).decode(),
}


def traces(result: ProbeResult) -> list[str]:
    """Returns the forms of the password, and their first and last parts, that the result shows."""
    shown = f"{result.detail} {result.output}"
    secrets = [form.strip('"') for form in FORMS.values()]
    shown, secrets = shown.lower(), [secret.lower() for secret in secrets]
    parts = [part for form in secrets for part in (form, form.removeprefix("basic ")[:8], form[-8:])]
    return [part for part in parts if part in shown]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("status", [200, 500])
def test_no_result_shows_a_credential_that_the_target_repeats(
    bench: Bench, target: Target, folder: Path, form: str, status: int
) -> None:
    target.behave(targets.answer(status, f"you sent {FORMS[form]}, twice {FORMS[form]}.".encode()))
    result = bench.result(basic(target.port, written(folder / "password", PASSWORD), folder))
    assert traces(result) == []
    assert result.output.startswith("you sent ")
    assert result.output.count(HIDDEN) == 2


@pytest.mark.parametrize("form", ["plain", "header", "URL"])
@pytest.mark.parametrize("shown", [5, 6, 9, 10])
def test_no_excerpt_ends_with_the_start_of_a_credential(
    bench: Bench, target: Target, folder: Path, form: str, shown: int
) -> None:
    secret = FORMS[form].removeprefix("Basic ").encode()
    target.behave(targets.answer(200, b"." * (MAX_EXCERPT - shown) + secret * 3))
    result = bench.result(basic(target.port, written(folder / "password", PASSWORD), folder))
    assert result.output == "." * (MAX_EXCERPT - shown) + HIDDEN


def test_a_sentence_does_not_show_a_credential_either(bench: Bench, target: Target, folder: Path) -> None:
    file = written(folder / "token", TOKEN)
    target.behave(raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + TOKEN.encode() + b"\r\n\r\n"))
    result = bench.result(bearer(target.port, file, folder))
    assert result.reason is Reason.PROTOCOL
    assert result.detail == f"the answer cannot be understood: Transfer-Encoding: {HIDDEN}"


def test_an_excerpt_with_a_very_short_credential_is_hidden_as_a_whole(
    bench: Bench, target: Target, folder: Path
) -> None:
    file = written(folder / "token", "ok")
    assert bench.result(bearer(target.port, file, folder)).output == HIDDEN
    target.behave(raw(head(500, {}) + b"down"))
    result = bench.result(bearer(target.port, file, folder))
    assert (result.output, result.detail) == ("down", "answered with status 500")


def test_a_late_answer_does_not_show_a_credential(bench: Bench, target: Target, folder: Path) -> None:
    file = written(folder / "token", TOKEN)
    target.behave(targets.raw_then_hang(head(200, {"Content-Length": "999"}) + f"a {TOKEN[:-9]}".encode()))
    result = bench.result(bearer(target.port, file, folder, timeout=1.0, interval=5.0))
    assert (result.reason, result.output) == (Reason.TIMEOUT, f"a {HIDDEN}")
