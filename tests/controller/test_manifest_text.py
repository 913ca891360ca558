"""A manifest as text, without what may be secret in it."""

import pytest

from controller.web.manifest_text import ALL_HIDDEN, MAX_SHOWN, shown
from reconcilers.manifest import ManifestError, parse
from reconcilers.options import Rules
from reconcilers.spec import Manifest, PodKey

SECRET = "hunter2"


def understood(text: str) -> Manifest | None:
    try:
        return parse(PodKey("web1", "a"), text.encode(), Rules(allow_headers=True))
    except ManifestError:
        return None


def test_an_ordinary_manifest_is_shown_as_it_stands() -> None:
    text = "id: a\nstatus_port: 80 # the door\n"
    assert shown(text.encode(), understood(text)) == text


def test_the_lines_of_headers_are_hidden_and_the_others_shown() -> None:
    headers = f'    X-Key: {SECRET}\n    X-Two: "a\n      {SECRET}"\n\n'
    text = f"id: a\nstatus_port: 80\nstatus:\n  headers:\n{headers}  path: /a\n"
    manifest = understood(text)
    assert manifest
    assert shown(text.encode(), manifest) == "id: a\nstatus_port: 80\nstatus:\n  headers: (hidden)\n  path: /a\n"


@pytest.mark.parametrize(
    "text",
    [
        f"id: a\nstatus_port: 80\nstatus: {{headers: {{X-Key: {SECRET}}}}}\n",
        f'id: a\nstatus_port: 80\nstatus:\n  "\\x68eaders":\n    X-Key: {SECRET}\n',
        f"id: a\nstatus_port: 80\nstatus:\n  ? headers\n  : X-Key: {SECRET}\n",
        f"id: a\nstatus_port: 80\nstatus:\n  headers:\n  - {SECRET}\n",
        f"id: a\nstatus_port: [\nstatus:\n  headers:\nX-Key: {SECRET}\n",
    ],
)
def test_a_manifest_whose_headers_cannot_be_told_from_the_rest_is_not_shown(text: str) -> None:
    assert shown(text.encode(), understood(text)) == ALL_HIDDEN


def test_bytes_that_are_no_text_are_shown_as_far_as_they_are() -> None:
    assert shown(b"id: \xff", None) == "id: \ufffd"
    assert len(shown(b"x" * (MAX_SHOWN + 1), None)) == MAX_SHOWN
