"""What a key below `intent/<node>/` is."""

import pytest

from reconcilers.ignored import Ignored, pod_of
from reconcilers.spec import PodKey

UUID = "0b1ad2d1-6ed5-4c5c-8e46-6a4b2fd1a1d7"


def test_a_key_of_an_accepted_name_is_a_pods() -> None:
    assert pod_of("intent", "web1", "intent/web1/isup", b"") == PodKey("web1", "isup")
    assert pod_of("intent", "web1", f"intent/web1/{UUID}", b"id: x") == PodKey("web1", UUID)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (f"intent/web1/{UUID}", b'{"pod_key":"%s"}' % UUID.encode(), Ignored.UUID),
        *((f"intent/web1/{name}", b"id: x", Ignored.NAME) for name in ("x y", "a/b", "-x", "#", "\u00fc", "..")),
        ("intent/web1/", b"", Ignored.OTHER),
        ("intent/web1/folder/", b"", Ignored.OTHER),
        ("intent/web10/isup", b"", Ignored.OTHER),
        ("reality/web1/isup", b"", Ignored.OTHER),
    ],
)
def test_the_reason_why_no_pod_is_checked_for_another_key_is_reported(key: str, value: bytes, reason: Ignored) -> None:
    assert pod_of("intent", "web1", key, value) is reason
