"""Manifests from a folder of files."""

import os
import threading
import time
from collections.abc import Collection
from pathlib import Path

import pytest

from controller.intent.folder import MAX_BYTES, DirectorySource, manifest_path
from controller.intent.source import SourceError
from reconcilers.ignored import Ignored
from reconcilers.spec import PodKey

A, B = PodKey("web1", "a"), PodKey("web1", "b")


def nobody() -> Collection[PodKey]:
    return ()


@pytest.fixture
def source(tmp_path: Path) -> DirectorySource:
    return DirectorySource(tmp_path, "web1", nobody)


def put(folder: Path, name: str, text: str = "id: a\n") -> None:
    """The file is replaced as a whole, as an editor or `podpulse schedule` does it."""
    unfinished = folder / ".new"
    unfinished.write_text(text)
    unfinished.replace(folder / name)


def test_the_first_listing_comes_at_once_also_of_an_empty_folder(source: DirectorySource) -> None:
    began = time.monotonic()
    assert source.next(60).entries == {}
    assert time.monotonic() - began < 10


def test_every_yaml_file_is_a_pod_and_the_rest_is_counted(source: DirectorySource, tmp_path: Path) -> None:
    put(tmp_path, "a.yaml")
    put(tmp_path, "b.yaml", "id: b\n")
    for name in ("c.yml", ".hidden.yaml", "two words.yaml", "README", ".yaml"):
        put(tmp_path, name)
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "nowhere.yaml").symlink_to(tmp_path / "missing")
    listing = source.next(0)
    assert {key: entry.data for key, entry in listing.entries.items()} == {A: b"id: a\n", B: b"id: b\n"}
    others = ("c.yml", ".hidden.yaml", "README", ".yaml", "folder.yaml", "nowhere.yaml")
    assert listing.ignored == {"two words": Ignored.NAME, **dict.fromkeys(others, Ignored.OTHER)}
    assert listing.doubt == ""


def test_a_link_to_a_manifest_is_followed(source: DirectorySource, tmp_path: Path) -> None:
    put(tmp_path, "text")
    (tmp_path / "a.yaml").symlink_to(tmp_path / "text")
    assert source.next(0).entries.keys() == {A}


def test_a_link_in_a_circle_is_ignored_and_holds_up_no_other(source: DirectorySource, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to("a.yaml")
    put(tmp_path, "b.yaml", "id: b\n")
    listing = source.next(0)
    assert listing.entries.keys() == {B}
    assert listing.ignored == {"a.yaml": Ignored.OTHER}


def test_a_manifest_that_became_a_link_in_a_circle_stays_as_it_was(source: DirectorySource, tmp_path: Path) -> None:
    put(tmp_path, "a.yaml")
    before = source.next(0).entries
    (tmp_path / "circle").symlink_to("a.yaml")
    (tmp_path / "circle").rename(tmp_path / "a.yaml")
    put(tmp_path, "b.yaml", "id: b\n")
    after = source.next(0)
    assert after.entries.keys() == {A, B}
    assert (after.entries[A], after.ignored) == (before[A], {})


def test_without_a_change_the_listing_keeps_index_and_versions_and_waits(
    source: DirectorySource, tmp_path: Path
) -> None:
    put(tmp_path, "a.yaml")
    first = source.next(0)
    began = time.monotonic()
    second = source.next(0.4)
    assert time.monotonic() - began >= 0.4
    assert second == first


def test_a_change_ends_the_wait_with_a_greater_index_and_another_version(
    source: DirectorySource, tmp_path: Path
) -> None:
    put(tmp_path, "a.yaml")
    put(tmp_path, "b.yaml")
    first = source.next(0)
    put(tmp_path, "a.yaml", "id: a\nstatus_port: 1\n")
    second = source.next(60)
    assert second.index > first.index
    assert second.entries[A].version != first.entries[A].version
    assert second.entries[B] is first.entries[B], "a file that did not change is not read again"


def test_a_change_of_the_same_size_at_the_same_second_is_seen(source: DirectorySource, tmp_path: Path) -> None:
    put(tmp_path, "a.yaml", "id: a\nstatus_port: 1\n")
    source.next(0)
    put(tmp_path, "a.yaml", "id: a\nstatus_port: 2\n")
    assert source.next(0).entries[A].data.endswith(b"2\n")


def test_removed_and_added_files_make_a_greater_index(source: DirectorySource, tmp_path: Path) -> None:
    put(tmp_path, "a.yaml")
    first = source.next(0)
    (tmp_path / "a.yaml").unlink()
    second = source.next(60)
    put(tmp_path, "b.yaml")
    third = source.next(60)
    assert first.index < second.index < third.index
    assert second.entries == {}
    assert third.entries.keys() == {B}


def test_a_folder_that_is_missing_or_no_folder_is_an_error_and_its_return_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "pods"
    source = DirectorySource(folder, "web1", nobody)
    with pytest.raises(SourceError, match="cannot read the folder"):
        source.next(0)
    folder.write_text("")
    with pytest.raises(SourceError):
        source.next(0)
    folder.unlink()
    folder.mkdir()
    put(folder, "a.yaml")
    assert source.next(60).entries.keys() == {A}


def test_a_file_that_cannot_be_read_keeps_what_was_known_and_holds_up_no_other(
    source: DirectorySource, tmp_path: Path
) -> None:
    put(tmp_path, "a.yaml")
    known = source.next(0).entries[A]
    (tmp_path / "a.yaml").unlink()
    (tmp_path / "a.yaml").symlink_to("/proc/self/mem")
    (tmp_path / "never-read.yaml").symlink_to("/proc/self/mem")
    put(tmp_path, "b.yaml")
    listing = source.next(60)
    assert listing.entries.keys() == {A, B}
    assert listing.entries[A] is known
    assert listing.ignored == {"never-read.yaml": Ignored.OTHER}


def test_of_an_endless_file_so_much_is_read_that_it_is_refused(source: DirectorySource, tmp_path: Path) -> None:
    put(tmp_path, "b.yaml")
    with (tmp_path / "a.yaml").open("wb") as file:
        file.truncate(1 << 40)
    listing = source.next(0)
    assert listing.entries.keys() == {A, B}
    assert len(listing.entries[A].data) == MAX_BYTES + 1


def test_absence_is_looked_up_file_by_file(source: DirectorySource, tmp_path: Path) -> None:
    put(tmp_path, "a.yaml")
    assert source.absent([B]) == [B]
    assert source.absent([B, A]) == [B]
    assert source.absent([]) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
def test_absence_in_a_locked_folder_is_an_error(source: DirectorySource, tmp_path: Path) -> None:
    tmp_path.chmod(0)
    try:
        with pytest.raises(SourceError):
            source.absent([A])
    finally:
        tmp_path.chmod(0o700)


def test_absence_under_a_name_that_the_system_refuses_is_an_error(tmp_path: Path) -> None:
    """In this case too, the watch must get no other exception than that of the Protocol."""
    source = DirectorySource(tmp_path / ("x" * 300), "web1", nobody)
    with pytest.raises(SourceError):
        source.absent([A])


def test_cancel_ends_the_wait_from_another_thread(source: DirectorySource) -> None:
    source.next(0)
    waiter = threading.Thread(target=source.next, args=(60,))
    waiter.start()
    source.cancel()
    waiter.join(10)
    assert not waiter.is_alive()


def test_leftovers_are_those_of_the_sink_and_its_errors_are_translated(tmp_path: Path) -> None:
    assert DirectorySource(tmp_path, "web1", lambda: [A]).leftovers() == [A]

    def fail() -> Collection[PodKey]:
        raise PermissionError("no")

    with pytest.raises(SourceError, match="no"):
        DirectorySource(tmp_path, "web1", fail).leftovers()


def test_a_manifest_has_the_name_of_its_pod(tmp_path: Path) -> None:
    assert manifest_path(tmp_path, A) == tmp_path / "a.yaml"
