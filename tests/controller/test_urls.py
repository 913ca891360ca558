"""A list of URLs instead of manifests: the source of the watch, the configuration, and the manifests that are saved."""

import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from controller.cli.saved_manifests import save
from controller.config import ConfigError, load
from controller.intent.source import SourceError
from controller.intent.urls import UrlSource
from reconcilers.gate import Listing
from reconcilers.urls import checks_of
from tests.support.cli import complaint, run


def listed(listings: Iterable[Listing]) -> dict[str, set[str]]:
    """By node, the pods of its listing."""
    return {each.node: {key.pod for key in each.entries} for each in listings}


def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "urls"
    file.write_text("http://web2/\n")
    source = UrlSource(["http://web1/a"], file)
    assert listed(source.next(10, ())) == {"web1": {"http-a"}, "web2": {"http"}}
    file.write_text("http://web1/b\nhttp://web3/\n")
    again = list(source.next(10, ()))
    assert listed(again) == {"web1": {"http-a", "http-b"}, "web2": set(), "web3": {"http"}}
    assert [each.node for each in again if each.is_new_node] == ["web3"]
    assert listed(source.next(0.5, ["web2"])) == {"web2": set()}
    gone = checks_of(["http://web2/"]).keys()
    assert source.absent(gone) == list(gone)


def test_a_file_with_an_error_changes_nothing_until_it_is_mended(tmp_path: Path) -> None:
    file = tmp_path / "urls"
    file.write_text("http://web1/\n")
    source = UrlSource([], file)
    source.next(10, ())
    file.write_text("http://web1/\nhttp//web2\n")
    with pytest.raises(SourceError, match=rf"{file}: 'http//web2': expected a URL such as"):
        source.next(10, ())
    file.unlink()
    with pytest.raises(SourceError, match=f"{file}: No such file"):
        source.next(10, ())
    file.write_text("http://web1/\nhttp://web2/\n")
    assert listed(source.next(10, ())) == {"web2": {"http"}}


def test_nothing_waits_after_a_wake() -> None:
    source = UrlSource(["http://web1/a"], None)
    source.next(10, ())
    source.wake()
    before = time.monotonic()
    assert listed(source.next(600, ())) == {}
    assert time.monotonic() - before < 300


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"urls": ["web1"]}, r"urls: 'web1': expected a URL such as"),
        ({"urls": "http://a/", "fleet": "x"}, "expected no fleet"),
        ({"urls": "http://a/", "intent_dir": "/a", "health_dir": "/b"}, "expected no intent_dir"),
        ({"urls": "http://a/", "tree": "reality"}, "expected no tree: reality"),
        ({"urls": "http://a/", "address": "catalog"}, "expected no address: catalog"),
        ({"urls_file": "/nowhere"}, "urls_file: expected a file of URLs, one on each line: /nowhere: No such file"),
    ],
)
def test_a_wrong_list_is_an_error_before_the_start(options: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        load(None, options)


def test_an_error_in_a_file_names_the_file_and_the_url(tmp_path: Path) -> None:
    (tmp_path / "urls").write_text("http://web1/\ntcp://web2\n")
    said = complaint(run("run", "--urls", tmp_path / "urls"))
    assert f"one on each line: {tmp_path / 'urls'}: 'tcp://web2': expected a port" in said
    said = complaint(run("run", "--url", "http://me:s3cret@web1/"))
    assert said.endswith("http://***@web1: expected no user or password\n")
    assert "--save: expected --url or --urls" in complaint(run("run", "--save", tmp_path))


def test_saved_manifests_do_not_replace_edited_ones(tmp_path: Path) -> None:
    checks = checks_of(["http://web1/a", "tcp://web2:5432"]).values()
    assert save(tmp_path / "new", checks) == []
    files = {str(file.relative_to(tmp_path / "new")) for file in (tmp_path / "new").rglob("*.yaml")}
    assert files == {"web1/http-a.yaml", "web2/tcp-5432.yaml"}
    edited = tmp_path / "new/web1/http-a.yaml"
    edited.write_text("id: http-a\n")
    assert save(tmp_path / "new", checks) == [edited]
    assert edited.read_text() == "id: http-a\n"
