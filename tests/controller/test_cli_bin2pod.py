"""`podpulse bin2pod`: the content of the tar and the manifest, their reproducibility, and what is refused."""

import hashlib
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.cli.bin2pod import PackError, Pod, pack
from reconcilers.p2 import manifest as p2manifest
from tests.support.cli import complaint, good, run
from tests.support.terminal import OnTerminal

SCRIPT = b"#!/bin/sh\nexec sleep 1\n"
DIGITS = hashlib.sha256(SCRIPT).hexdigest()[:40]


@pytest.fixture
def executable(tmp_path: Path) -> Path:
    file = tmp_path / "isup"
    file.write_bytes(SCRIPT)
    return file


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def packed(executable: Path, work: Path, *options: object) -> tuple[dict[str, str], dict[str, Any]]:
    """Returns the output and the manifest."""
    said: dict[str, str] = json.loads(good(run("bin2pod", executable, "--work-dir", work, *options)))
    document: dict[str, Any] = yaml.safe_load(Path(said["manifest_path"]).read_bytes())
    return said, document


def test_the_executable_becomes_bin_launch_and_the_manifest_names_the_tar(executable: Path, work: Path) -> None:
    said, document = packed(executable, work)
    tar = work / f"isup_{DIGITS}.tar.gz"
    assert said == {"tar_path": str(tar), "manifest_path": str(work / "isup.yaml"), "final_location": str(tar)}
    with tarfile.open(tar) as archive:
        assert archive.getnames() == ["bin", "bin/launch"]
        assert archive.getmember("bin/launch").mode == 0o755
        launch = archive.extractfile("bin/launch")
        assert launch
        assert launch.read() == SCRIPT
    assert document == {
        "id": "isup",
        "launchables": {"isup": {"launchable_type": "hoist", "location": str(tar)}},
        "config": {},
    }
    assert sorted(path.name for path in work.iterdir()) == ["isup.yaml", tar.name], "nothing unfinished is left"


def test_equal_executables_give_equal_tars_whoever_packs_them_and_when(executable: Path, work: Path) -> None:
    first = Path(packed(executable, work)[0]["tar_path"]).read_bytes()
    executable.chmod(0o700)
    os.utime(executable, (1, 1))
    assert Path(packed(executable, work)[0]["tar_path"]).read_bytes() == first
    executable.write_bytes(SCRIPT + b"#")
    assert packed(executable, work)[0]["tar_path"] != str(work / f"isup_{DIGITS}.tar.gz")


def test_the_manifest_contains_the_options(executable: Path, work: Path) -> None:
    where = ("--location", "https://artifacts.example.com/{}?v=1", "--id", "My.Shop")
    config = ("--config", "A=b=c", "--config", "PORT=0010", "--config", "EMPTY=", "--config", "EMOJI=\U0001f600 'x'")
    said, document = packed(executable, work, *where, *config, "--status-port", 8000, "--status-http")
    assert said["final_location"] == f"https://artifacts.example.com/my-shop_{DIGITS}.tar.gz?v=1"
    assert said["manifest_path"] == str(work / "My.Shop.yaml")
    assert document["id"] == "My.Shop"
    assert document["launchables"]["My.Shop"]["location"] == said["final_location"]
    assert document["config"] == {"A": "b=c", "PORT": "0010", "EMPTY": "", "EMOJI": "\U0001f600 'x'"}
    assert (document["status_port"], document["status_http"]) == (8000, True)


def test_the_manifest_is_valid_and_has_p2s_canonical_form(executable: Path, work: Path) -> None:
    said, _ = packed(executable, work, "--status-port", 8000, "--config", "ENVIRONMENT=staging")
    data = Path(said["manifest_path"]).read_bytes()
    assert p2manifest.canonical(data) == data
    assert ":8000/_status every 5 s" in good(run("check-manifest", said["manifest_path"]))


def test_a_location_without_a_version_in_its_name_gives_a_warning(executable: Path, work: Path) -> None:
    result = run("bin2pod", executable, "--work-dir", work, "--location", "https://artifacts/isup.tar.gz")
    assert json.loads(good(result))["final_location"] == "https://artifacts/isup.tar.gz"
    assert result.stderr.startswith("Warning: p2 cannot read a version from 'https://artifacts/isup.tar.gz'")
    assert run("bin2pod", executable, "--work-dir", work).stderr == ""


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--config", "alone"], "expected NAME=VALUE, got 'alone'"),
        (["--config", "=x"], "expected NAME=VALUE"),
        (["--config", "A=1", "--config", "A=2"], "expected each name once"),
        (["--config", "A=\x7f"], "the manifest would not be readable"),
        (["--id", "a/b"], "expected letters"),
        (["--id", ""], "expected letters"),
        (["--status-port", "0"], "0 is not in the range"),
        (["--work-dir", "missing"], "does not exist"),
    ],
)
def test_invalid_options_are_refused_and_leave_no_files(
    executable: Path, work: Path, options: list[str], expected: str
) -> None:
    assert expected in " ".join(complaint(run("bin2pod", executable, "--work-dir", work, *options)).split())
    assert list(work.iterdir()) == []


def test_a_file_that_is_not_regular_is_refused(tmp_path: Path, work: Path) -> None:
    assert "is a directory" in complaint(run("bin2pod", tmp_path))
    assert "does not exist" in complaint(run("bin2pod", tmp_path / "missing"))
    os.mkfifo(tmp_path / "pipe")
    assert "no ordinary file" in complaint(run("bin2pod", tmp_path / "pipe", "--work-dir", work))


def test_the_executable_itself_is_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "isup.yaml"
    file.write_bytes(SCRIPT)
    assert "the executable itself" in complaint(run("bin2pod", file, "--id", "isup", "--work-dir", tmp_path))
    assert file.read_bytes() == SCRIPT


@pytest.mark.parametrize(("becomes", "expected"), [(100_000, "shorter"), (300_000, "longer")])
def test_an_executable_that_changes_during_reading_is_refused(
    executable: Path, work: Path, becomes: int, expected: str
) -> None:
    executable.write_bytes(bytes(200_000))

    def change(_: int) -> None:
        os.truncate(executable, becomes)

    with pytest.raises(PackError, match=expected):
        pack(executable, Pod("isup"), work, change)
    assert list(work.iterdir()) == []


def test_progress_is_shown_only_on_a_terminal(executable: Path, work: Path) -> None:
    os.truncate(executable, 64 * 1024 * 1024)
    with OnTerminal("bin2pod", executable, "--work-dir", work) as terminal:
        assert terminal.wait() == 0
        assert "packing" in terminal.shown
        assert '"tar_path"' in terminal.shown
    assert run("bin2pod", executable, "--work-dir", work).stderr == ""
