"""What is said of the keys beside the manifests."""

import pytest

from controller.intent.ignored import IgnoredKeys
from reconcilers.ignored import Ignored


def test_names_that_are_not_accepted_are_logged_once_and_again_when_there_are_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    keys = IgnoredKeys()
    for names in (["x y"], ["x y"], [], ["x y"], ["x y", "-x"], ["-x"]):
        keys.replace(dict.fromkeys(names, Ignored.NAME) | {"README": Ignored.OTHER})
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "1 pod is not checked because of the name",
        "1 pod is not checked because of the name",
        "2 pods are not checked because of the name",
    ]
    assert {reason: keys.count(reason) for reason in Ignored} == {"uuid": 0, "name": 1, "other": 1}


def test_no_name_writes_more_than_a_line_of_text() -> None:
    keys = IgnoredKeys()
    assert keys.notice() == ""
    keys.replace(dict.fromkeys((f"\n\x9b{number}{'x' * 500}" for number in range(1_000)), Ignored.NAME))
    assert len(keys.notice()) < 400
    assert keys.notice().isprintable()
    assert " and 995 more; " in keys.notice()
