"""A manifest as text, without what may be secret in it."""

from collections.abc import Callable

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from controller.cli.manifest_file import LENIENT
from controller.web.manifest_text import ALL_HIDDEN, MAX_SHOWN, shown
from reconcilers.manifest import ManifestError, parse
from reconcilers.spec import Manifest, PodKey

SECRET = "hunter2"


def parsed(text: str) -> Manifest | None:
    try:
        return parse(PodKey("web1", "a"), text.encode(), LENIENT)
    except ManifestError:
        return None


def test_an_ordinary_manifest_is_shown_unchanged() -> None:
    text = "id: a\nstatus_port: 80 # the door\n"
    assert shown(text.encode(), parsed(text)) == text


def test_bytes_to_send_are_hidden() -> None:
    text = f'id: a\nstatus_port: 80\nstatus:\n  kind: tcp\n  send: "{SECRET}\\r\n"\n  expect: ok\n'
    manifest = parsed(text)
    assert manifest
    assert (
        shown(text.encode(), manifest)
        == "id: a\nstatus_port: 80\nstatus:\n  kind: tcp\n  send: (hidden)\n  expect: ok\n"
    )


def test_the_lines_of_headers_are_hidden_and_the_others_shown() -> None:
    headers = f'    X-Key: {SECRET}\n    X-Two: "a\n      {SECRET}"\n\n'
    text = f"id: a\nstatus_port: 80\nstatus:\n  headers:\n{headers}  path: /a\n"
    manifest = parsed(text)
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
        f"id: a\nstatus_port: 80\nstatus: {{kind: tcp, send: {SECRET}}}\n",
        f"id: a\nstatus_port: 80\nstatus:\n  kind: tcp\n  steps:\n    - send: {SECRET}\n",
        f'id: a\nstatus_port: 80\nstatus:\n  kind: tcp\n  "\\x73end": {SECRET}\n',
        f'id: a\nstatus_port: 80\nstatus:\n  kind: tcp\n  steps: [{{"\\x73end": {SECRET}}}]\n',
    ],
)
def test_a_manifest_whose_headers_cannot_be_separated_from_the_rest_is_not_shown(text: str) -> None:
    assert shown(text.encode(), parsed(text)) == ALL_HIDDEN


def signed(text: str) -> str:
    signature = "-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n"
    return f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n{text}{signature}"


@pytest.mark.parametrize("wrap", [str, signed])
@pytest.mark.parametrize(
    "value",
    [
        f'"Bearer\n{SECRET}"',
        f"'Bearer\n{SECRET}'",
        f"|-\n      {SECRET}",
        f">-\n      {SECRET}\n\n\n\n# {SECRET}, which was {SECRET}",
        f'"Bearer\n{SECRET}" # {SECRET}\n    X-Two: {SECRET}',
    ],
)
def test_what_the_parser_takes_for_headers_is_hidden_wherever_it_is(value: str, wrap: Callable[[str], str]) -> None:
    text = f"id: a\nstatus_port: 80\nstatus:\n  headers:\n    Authorization: {value}\n  path: /a\n"
    found = shown(wrap(text).encode(), parsed(text))
    assert found == wrap("id: a\nstatus_port: 80\nstatus:\n  headers: (hidden)\n  path: /a\n")


def test_the_lines_of_a_body_are_hidden_and_other_mentions_are_no_reason_to_hide_more() -> None:
    start = "id: a\nstatus_port: 80\nstatus: # the body of the answer\n  method: POST\n  expect_body: up\n  body:"
    text = f"{start} |\n    {SECRET}\n    body: {SECRET}\n  path: /a\n"
    assert parsed(text)
    assert shown(text.encode(), parsed(text)) == f"{start} (hidden)\n  path: /a\n"


def test_the_files_of_credentials_are_shown_without_user_and_password() -> None:
    start = "id: a\nstatus_port: 80\nstatus:\n  "
    assert shown(f"{start}bearer_token_file: /a/b\n".encode(), None) == f"{start}bearer_token_file: /a/b\n"
    text = f"{start}basic_auth:\n    username: a\n    password_file: /{SECRET}\n  path: /\n"
    assert shown(text.encode(), parsed(text)) == f"{start}basic_auth: (hidden)\n  path: /\n"


@pytest.mark.parametrize(
    "text",
    [
        f"id: a\nstatus_port: 80\nstatus: {{method: POST, body: {SECRET}}}\n",
        f"id: a\nstatus_port: 80\nstatus:\n  method: POST\n  # body: {SECRET}\n",
        f"id: [\nstatus:\n  'Body' :\n    {SECRET}\n",
        f"id: [\nstatus:\n  ? body\n  : {SECRET}\n",
        f"id: a\nstatus_port: 80\nstatus:\n  method: GET\n  body: {SECRET}\n",
        f"id: a\nstatus_port: 80\nstatus: {{basic_auth: {{username: a, password: {SECRET}}}}}\n",
        f"id: a\nstatus_port: 80\nstatus:\n  basic_auth:\n    password: {SECRET}\n",
        f"id: a\nstatus_port: 80\nstatus: {{bearer_token: {SECRET}}}\n",
    ],
)
def test_a_manifest_whose_body_or_password_cannot_be_separated_from_the_rest_is_not_shown(text: str) -> None:
    assert shown(text.encode(), parsed(text)) == ALL_HIDDEN


def test_headers_at_the_very_end_are_hidden() -> None:
    text = f"id: a\nstatus_port: 80\nstatus:\n  headers:\n    X-Key: {SECRET}"
    assert shown(text.encode(), parsed(text)) == "id: a\nstatus_port: 80\nstatus:\n  headers: (hidden)\n"


@pytest.mark.parametrize(
    "text",
    [
        f'status:\n  "\\x68eaders":\n    X-Key: {SECRET}\nbad: [',
        f"status:\n  Headers:\n    X-Key: {SECRET}\n",
        signed(f"- id: a\n  headers:\n    X-Key: {SECRET}\n").replace("\n- id", "\n- - id"),
    ],
)
def test_an_invalid_manifest_that_could_set_headers_is_not_shown(text: str) -> None:
    assert shown(text.encode(), parsed(text)) == ALL_HIDDEN


BREAKS = st.sampled_from(["\n", "\n", "\n", "\n\n", "\r\n", "\r", "\x85", "\u2028"])


@st.composite
def values(draw: st.DrawFn, number: int) -> str:
    """A value in one of YAML's styles. Its words occur nowhere else, and it has several lines with any indentation."""
    words = [f"{SECRET}-{number}-{each}" for each in range(draw(st.integers(1, 4)))]

    def gaps() -> str:
        return "".join((draw(BREAKS), " " * draw(st.integers(0, 9)))) if draw(st.booleans()) else " "

    text = words[0] + "".join(gaps() + word for word in words[1:])
    match draw(st.sampled_from(["plain", "single", "double", "escaped", "block"])):
        case "plain":
            return text
        case "single":
            return f"'{text}'"
        case "double":
            return f'"{text}"'
        case "escaped":
            return '"{}"'.format(text.replace("-", draw(st.sampled_from(["-", "\\x2d", "\\\n-"]))))
    head = draw(st.sampled_from("|>")) + draw(st.sampled_from(["", "-", "+", "1", "2-"]))
    return head + "".join(draw(BREAKS) + " " * draw(st.integers(3, 9)) + word for word in words)


@st.composite
def manifests(draw: st.DrawFn) -> str:
    """With headers between two other keys, or at the end."""
    entries = [f"X-{number}: {draw(values(number))}" for number in range(draw(st.integers(1, 3)))]
    if draw(st.booleans()):
        indent = draw(st.integers(3, 6))
        headers = "".join(f"\n{' ' * indent}{each}{draw(COMMENTS)}" for each in entries)
    else:
        separator = draw(st.sampled_from([", ", ",\n ", ",\n"]))
        headers = f" {{{separator.join(entries)}}}{draw(COMMENTS)}"
    key = draw(st.sampled_from(["headers:", "'headers':", '"headers" :', "? headers\n  :"]))
    after = draw(st.sampled_from(["", "\n", "\n  path: /a\n", "\n  path: /a", "\nconfig:\n  a: b\n"]))
    return f"id: a\nstatus_port: 80\nstatus:\n  method: GET\n  {key}{headers}{after}"


COMMENTS = st.sampled_from(["", "", f" # {SECRET}", f"\n# {SECRET}\n"])


@settings(max_examples=500)
@given(manifests())
def test_no_value_of_a_header_is_ever_shown(text: str) -> None:
    manifest = parsed(text)
    found = shown(text.encode(), manifest)
    event("valid" if manifest else "invalid")
    event("hidden in part" if found != ALL_HIDDEN else "hidden")
    assert SECRET not in found


def test_bytes_that_are_no_text_are_shown_as_far_as_they_are() -> None:
    assert shown(b"id: \xff", None) == "id: \ufffd"
    assert len(shown(b"x" * (MAX_SHOWN + 1), None)) == MAX_SHOWN
