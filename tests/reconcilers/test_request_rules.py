"""Which HTTP requests a manifest may ask for, by what it says, what the configuration says, and what is allowed."""

import pytest

from reconcilers.manifest import ManifestError, parse
from reconcilers.options import CheckOptions, Rules
from reconcilers.spec import HttpGet, PodKey

KEY = PodKey("web1", "isup")
EVERY = frozenset({"GET", "HEAD", "POST", "PUT", "OPTIONS"})


def rules(**defaults: object) -> Rules:
    """The operator's rules with these defaults, which allow every method."""
    return Rules(
        CheckOptions.model_validate(defaults).over(CheckOptions()),
        allow_headers=True,
        allow_methods=EVERY,
        max_redirects=10,
    )


def parsed(status: str, given: Rules) -> HttpGet:
    check = parse(KEY, f"id: isup\nstatus_port: 80\nstatus: {{{status}}}\n".encode(), given).check
    assert check
    assert isinstance(check.probe, HttpGet)
    return check.probe


def errors(status: str, given: Rules) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        parsed(status, given)
    return [str(each) for each in caught.value.every]


def test_a_default_reuse_does_not_apply_to_a_post() -> None:
    assert not parsed("method: POST", rules(connection="reuse")).reuse
    assert parsed("method: PUT", rules(connection="reuse")).reuse
    assert parsed("path: /", rules(connection="reuse")).reuse


def test_a_post_never_reuses_a_connection_wherever_it_is_said() -> None:
    assert errors("method: POST, connection: reuse", rules())[0].startswith("status.connection: expected fresh")
    assert errors("connection: reuse", rules(method="POST"))[0].startswith("status.connection: expected fresh")
    with pytest.raises(ValueError, match="expected fresh"):
        rules(method="POST", connection="reuse")


def test_a_body_needs_a_method_that_has_one_wherever_it_is_said() -> None:
    assert parsed("body: a", rules(method="PUT")).body == "a"
    assert errors("body: a", rules())[0].startswith("status.body: expected method POST or PUT: a request with GET has")
    assert errors("body: a, method: OPTIONS", rules())[0].endswith("a request with OPTIONS has no body")


def test_a_method_is_allowed_by_the_list_or_by_being_the_default() -> None:
    assert parsed("method: POST", Rules(CheckOptions(method="POST"))).method == "POST"
    assert parsed("method: HEAD", Rules()).method == "HEAD"
    assert errors("method: HEAD", Rules(allow_methods=frozenset({"POST"}))) == [
        "status.method: HEAD is not allowed; the controller's option allow_methods would allow it"
    ]


def test_every_wrong_field_is_reported() -> None:
    assert [each.partition(":")[0] for each in errors("method: OPTIONS, body: a, headers: {}", Rules())] == [
        "status.headers",
        "status.method",
        "status.body",
    ]


def test_no_error_shows_a_body() -> None:
    assert "s3cret" not in " ".join(errors("body: [s3cret], method: [s3]", rules()))


def test_redirects_are_allowed_by_their_number_or_by_being_the_default() -> None:
    assert parsed("follow_redirects: 10", rules()).follow_redirects == 10
    assert parsed("follow_redirects: 3", Rules(CheckOptions(follow_redirects=3))).follow_redirects == 3
    assert parsed("path: /", Rules(CheckOptions(follow_redirects=3))).follow_redirects == 3
    assert parsed("follow_redirects: 0", Rules(CheckOptions(follow_redirects=3))).follow_redirects == 0
    would = "; the controller's option max_redirects would allow it"
    assert errors("follow_redirects: 1", Rules()) == [f"status.follow_redirects: not allowed{would}"]
    expected = [f"status.follow_redirects: at most 2 is allowed{would}"]
    assert errors("follow_redirects: 3", Rules(max_redirects=2)) == expected


def test_only_get_and_head_follow_redirects() -> None:
    assert parsed("method: POST", rules(follow_redirects=3)).follow_redirects == 0
    assert parsed("method: HEAD", rules(follow_redirects=3)).follow_redirects == 3
    expected = "status.follow_redirects: expected method GET or HEAD, got PUT"
    assert errors("method: PUT, follow_redirects: 1", rules()) == [expected]


def test_only_a_post_must_not_be_sent_twice() -> None:
    assert {method for method in EVERY if not parsed(f"method: {method}", rules()).is_idempotent} == {"POST"}
