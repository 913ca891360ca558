"""What a manifest may contain of credentials: files of the operator's folder, and never a password."""

import pytest

from reconcilers.checktext import describe
from reconcilers.credential_options import is_below
from reconcilers.manifest import ManifestError, parse
from reconcilers.options import CheckOptions, Rules
from reconcilers.spec import BasicAuth, CheckSpec, HttpGet, PodKey

FOLDER = "/etc/podpulse/credentials"
RULES = Rules(allow_headers=True, credentials_dir=FOLDER)
ALICE = f"basic_auth: {{username: alice, password_file: {FOLDER}/shop}}"
TOKEN = f"bearer_token_file: {FOLDER}/shop"
SECRET = "hunter2"


def checked(status: str, rules: Rules = RULES) -> CheckSpec:
    text = f"id: isup\nstatus_port: 80\nstatus: {{{status}}}\n"
    check = parse(PodKey("web1", "isup"), text.encode(), rules).check
    assert check
    return check


def probe(status: str, rules: Rules = RULES) -> HttpGet:
    found = checked(status, rules).probe
    assert isinstance(found, HttpGet)
    return found


def error(status: str, rules: Rules = RULES) -> str:
    with pytest.raises(ManifestError) as caught:
        checked(status, rules)
    return str(caught.value)


def test_a_check_has_the_files_and_their_folder() -> None:
    assert probe(ALICE).basic_auth == BasicAuth("alice", f"{FOLDER}/shop")
    assert (probe(TOKEN).bearer_token_file, probe(TOKEN).credentials_dir) == (f"{FOLDER}/shop", FOLDER)
    assert {probe(each).credential_file for each in (ALICE, TOKEN)} == {f"{FOLDER}/shop"}


def test_the_folder_concerns_only_checks_with_credentials() -> None:
    assert probe("path: /").credentials_dir == ""
    assert probe("path: /") == probe("path: /", Rules())


def test_the_check_as_text_names_user_and_file() -> None:
    assert (
        describe(checked(ALICE)).items()
        >= {
            "basic_auth.username": "alice",
            "basic_auth.password_file": f"{FOLDER}/shop",
        }.items()
    )
    assert describe(checked(TOKEN))["bearer_token_file"] == f"{FOLDER}/shop"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (f"{ALICE}, {TOKEN}", "status.bearer_token_file: expected either basic_auth or bearer_token_file"),
        (f"{TOKEN}, headers: {{authorization: {SECRET}}}", "status.headers: expected no Authorization beside"),
        (f"basic_auth: {{username: a, password: {SECRET}}}", "status.basic_auth: expected username and password_file"),
        (f"basic_auth: {{username: a, password: {SECRET}, password_file: /a}}", "status.basic_auth: expected username"),
        (f"basic_auth: {{username: {SECRET}}}", "status.basic_auth: expected username and password_file, a file with"),
        (f"basic_auth: {{user: {SECRET}, password_file: {FOLDER}/a}}", "status.basic_auth.user: no such option"),
        (
            f"basic_auth: {{username: 'a:{SECRET}', password_file: {FOLDER}/a}}",
            "status.basic_auth.username",
        ),
        (
            f"basic_auth: {{username: [{SECRET}], password_file: {FOLDER}/a}}",
            "status.basic_auth.username",
        ),
        (
            f"basic_auth: {{password_file: {SECRET}}}",
            "status.basic_auth.password_file: expected a",
        ),
        (f"basic_auth: {SECRET}", "status.basic_auth: expected a mapping"),
        (f"kind: tcp, {TOKEN}", "status.bearer_token_file: of no use to a check of the kind tcp"),
        (f"kind: grpc, {ALICE}", "status.basic_auth: of no use to a check of the kind grpc"),
        ("bearer_token_file: /etc/shadow", f"status.bearer_token_file: expected a file below {FOLDER}, the controller"),
        (f"bearer_token_file: {FOLDER}/../key", f"status.bearer_token_file: expected a file below {FOLDER}"),
        (f"bearer_token_file: {FOLDER}/a/../b", f"status.bearer_token_file: expected a file below {FOLDER}"),
    ],
)
def test_an_error_names_the_field_and_no_secret(status: str, expected: str) -> None:
    assert error(status).startswith(expected)
    assert SECRET not in error(status)


@pytest.mark.parametrize(("status", "field"), [(ALICE, "basic_auth.password_file"), (TOKEN, "bearer_token_file")])
def test_without_a_folder_there_are_no_credentials(status: str, field: str) -> None:
    expected = f"status.{field}: not allowed; the controller's option credentials_dir would allow it"
    assert error(status, Rules()) == expected


def test_credentials_replace_a_default_authorization() -> None:
    defaults = CheckOptions.model_validate({"headers": {"AUTHORIZATION": "x", "X-A": "b"}}).over(CheckOptions())
    rules = Rules(defaults, allow_headers=True, credentials_dir=FOLDER)
    assert probe(TOKEN, rules).headers == (("X-A", "b"),)
    assert len(probe("path: /", rules).headers) == 2


@pytest.mark.parametrize(
    ("file", "folder", "below"),
    [
        ("/a/b", "/a", True),
        ("/a/..data/b", "/a/", True),
        ("/a/b/c", "/a/b", True),
        ("/b", "/", True),
        ("/a", "/a", False),
        ("/ab", "/a", False),
        ("/a/../b", "/a", False),
        ("/a//../b", "/a", False),
    ],
)
def test_a_file_is_below_a_folder_by_its_text(file: str, folder: str, below: bool) -> None:
    assert is_below(file, folder) is below
