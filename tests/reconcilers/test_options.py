"""Options of checks: a given value is used, a missing one comes from the defaults, and no two contradict each other."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from reconcilers.fields import FieldError, go_duration
from reconcilers.manifest import ManifestError, parse
from reconcilers.options import P2_CODE, CheckOptions, Rules
from reconcilers.spec import HttpGet, PodKey, Tls
from reconcilers.tls_options import TlsOptions

FILES = st.sampled_from(["", "/a.pem", "/b.pem"])
PAIRS: st.SearchStrategy[dict[str, str]] = st.just({}) | st.sampled_from(
    [{"cert_file": "", "key_file": ""}, {"cert_file": "/c.pem", "key_file": "/k.pem"}]
)
TLS = st.builds(
    lambda fields, pair: fields | pair,
    st.fixed_dictionaries(
        {},
        optional={
            "ca_file": FILES,
            "server_name": st.sampled_from(["", "isup.example.com"]),
            "insecure_skip_verify": st.booleans(),
            "resume": st.booleans(),
        },
    ),
    PAIRS,
)
DURATIONS = st.integers(100, 20_000).map(lambda milliseconds: go_duration(milliseconds / 1000))
OF_BODY = ("expect_body", "expect_body_not", "expect_json")
SAID = st.fixed_dictionaries(
    {},
    optional={
        "interval": DURATIONS,
        "timeout": DURATIONS,
        "method": st.sampled_from(["GET", "HEAD"]),
        "expect_status": st.sampled_from([200, ["200-299"], [204, 302]]),
        "expect_body": st.sampled_from(["", "ok"]),
        "expect_body_not": st.sampled_from(["", "DOWN"]),
        "expect_json": st.sampled_from(["", "status == 'UP'"]),
        "headers": st.dictionaries(st.sampled_from(["X-A", "X-B"]), st.sampled_from(["1", "2"])),
        "failure_threshold": st.integers(1, 1000),
        "success_threshold": st.integers(1, 1000),
        "initial_delay": st.integers(0, 86_400),
        "warn_status": st.sampled_from([[], [429], ["429", "503"]]),
        "warn_above": DURATIONS,
        "warn_expiry": st.sampled_from(["0", "36h", "14d"]),
        "connection": st.sampled_from(["fresh", "reuse"]),
        "tls": TLS,
        "output": st.booleans(),
    },
)


def options(**said: Any) -> CheckOptions:
    return CheckOptions.model_validate(said)


def contradiction(said: CheckOptions, defaults: CheckOptions) -> str:
    """Returns why `said` cannot come into force; "" if it can."""
    try:
        said.over(defaults)
    except FieldError as error:
        return f"{error.field}: {error.problem}"
    return ""


def test_a_configuration_that_says_nothing_asks_as_p2s_page_does() -> None:
    silent = options().over(CheckOptions())
    assert silent == CheckOptions() == Rules().defaults
    assert (silent.interval, silent.timeout, silent.method) == (5.0, 5.0, "GET")
    assert (silent.expect_status, silent.failure_threshold, silent.success_threshold) == (((200, 200),), 1, 1)
    assert silent.tls.as_tls() == Tls()
    assert Rules().unreadable("/anything") == ""


@given(SAID, SAID)
def test_speech_wins_over_defaults_and_silence_never_does(said: dict[str, Any], default: dict[str, Any]) -> None:
    speech, defaults = options(**said), options(**default)
    if contradiction(speech, defaults):
        return
    merged = speech.over(defaults)
    for name in CheckOptions.model_fields.keys() - {"tls"}:
        if name in said:
            assert getattr(merged, name) == getattr(speech, name)
        elif name not in {"timeout", "method", *OF_BODY, "warn_above"}:
            assert getattr(merged, name) == getattr(defaults, name)
    for name in TlsOptions.model_fields:
        source = speech if name in said.get("tls", {}) else defaults
        assert getattr(merged.tls, name) == getattr(source.tls, name)


@given(SAID, SAID)
def test_what_is_in_force_is_never_a_contradiction(said: dict[str, Any], default: dict[str, Any]) -> None:
    speech, defaults = options(**said), options(**default)
    if message := contradiction(speech, defaults):
        assert message.startswith(("timeout: ", *(f"{name}: " for name in OF_BODY), "warn_above: "))
        return
    merged = speech.over(defaults)
    assert merged.timeout <= merged.interval
    assert merged.warn_above < merged.timeout
    assert not (merged.method == "HEAD" and any(getattr(merged, name) for name in OF_BODY))
    assert bool(merged.tls.cert_file) == bool(merged.tls.key_file)
    assert merged.timeout in {speech.timeout, defaults.timeout, merged.interval}
    assert CheckOptions().over(merged) == merged


@given(SAID)
def test_only_what_is_said_can_be_contradictory(default: dict[str, Any]) -> None:
    assert not contradiction(CheckOptions(), options(**default))
    assert not contradiction(options(method="HEAD"), options(**default))
    assert not contradiction(options(expect_body="ok"), options(**default))
    assert not contradiction(options(interval="100ms"), options(**default))


@pytest.mark.parametrize(
    ("said", "default", "message"),
    [
        ({"timeout": "6s"}, {}, "timeout: expected at most the interval of 5s, got 6s"),
        ({"timeout": "6s", "interval": "1s"}, {}, "timeout: expected at most the interval of 1s, got 6s"),
        ({"timeout": "6s"}, {"interval": "6s"}, ""),
        ({"timeout": "6s"}, {"interval": "5900ms"}, "timeout: expected at most the interval of 5s900ms, got 6s"),
        ({"interval": "1s"}, {"timeout": "3s"}, ""),
        ({"warn_above": "5s"}, {}, "warn_above: expected less than the timeout of 5s, got 5s"),
        ({"warn_above": "2s", "interval": "1s"}, {}, "warn_above: expected less than the timeout of 1s, got 2s"),
        ({"warn_above": "2s"}, {"timeout": "1s"}, "warn_above: expected less than the timeout of 1s, got 2s"),
        ({"warn_above": "0"}, {"warn_above": "2s"}, ""),
        ({"interval": "1s"}, {"warn_above": "2s"}, ""),
        (
            {"method": "HEAD", "expect_body": "a"},
            {},
            "expect_body: expected method GET: the answer to HEAD has no body",
        ),
        ({"method": "HEAD", "expect_body": ""}, {"expect_body": "a"}, ""),
    ],
)
def test_two_things_that_are_said_may_contradict(said: dict[str, Any], default: dict[str, Any], message: str) -> None:
    assert contradiction(options(**said), options(**default)) == message


def test_a_default_gives_way() -> None:
    assert options(interval="1s").over(options(warn_above="2s")).warn_above == 0.0
    assert options(interval="3s").over(options(warn_above="2s")).warn_above == 2.0
    assert options(interval="1s").over(options(timeout="3s")).timeout == 1.0
    assert options(interval="10s").over(options(timeout="3s")).timeout == 3.0
    assert options(method="HEAD").over(options(expect_body="ok")).expect_body == ""
    assert options(expect_body="ok").over(options(method="HEAD")).method == "GET"


@pytest.mark.parametrize(
    "said",
    [
        {"cert_file": "/c.pem"},
        {"key_file": "/k.pem"},
        {"cert_file": ""},
        {"cert_file": "/c.pem", "key_file": ""},
    ],
)
def test_a_certificate_is_said_with_its_key(said: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="expected cert_file and key_file together"):
        TlsOptions.model_validate(said)


def test_a_configuration_is_held_against_itself() -> None:
    assert options(interval="1s").over(CheckOptions()).timeout == 1.0
    assert options(interval="9s", timeout="8s").over(CheckOptions()).timeout == 8.0
    with pytest.raises(FieldError, match="timeout: expected at most the interval of 5s, got 6s"):
        options(timeout="6s").over(CheckOptions())
    with pytest.raises(FieldError, match="expect_body: expected method GET"):
        options(method="HEAD", expect_body="ok").over(CheckOptions())
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        options(intervall="6s")


def test_p2s_code_asks_otherwise_than_its_page_and_what_is_said_wins() -> None:
    code = options().over(P2_CODE)
    assert (code.method, code.expect_status, code.interval, code.timeout) == ("HEAD", ((200, 299),), 1.0, 1.0)
    said = options(expect_status=204, interval="10s", timeout="2s", method="GET").over(P2_CODE)
    assert (said.method, said.expect_status, said.interval, said.timeout) == ("GET", ((204, 204),), 10.0, 2.0)
    assert options(expect_body="ok").over(P2_CODE).method == "GET", "the answer to HEAD has no body"


@pytest.mark.parametrize(("said", "version"), [("2", "2"), ("2.0", "2"), ("'2'", "2"), ("1.1", "1.1")])
def test_a_version_of_http_is_a_number_or_text(said: str, version: str) -> None:
    check = parse(PodKey("web1", "a"), f"id: a\nstatus: {{port: 80, http_version: {said}}}\n".encode(), Rules()).check
    assert check
    assert isinstance(check.probe, HttpGet)
    assert check.probe.http_version == version


@pytest.mark.parametrize("said", ["3", "1.0", "true", "[2]"])
def test_another_version_of_http_is_an_error(said: str) -> None:
    with pytest.raises(ManifestError, match=r"status\.http_version: expected 1\.1 or 2"):
        parse(PodKey("web1", "a"), f"id: a\nstatus: {{port: 80, http_version: {said}}}\n".encode(), Rules())


UPGRADE = CheckOptions.model_validate({"headers": {"Upgrade": "websocket", "X-A": "b"}, "expect_status": 101})


@pytest.mark.parametrize("said", [{"expect_status": 200}, {"http_version": "2"}])
def test_a_default_header_upgrade_gives_way_to_what_a_manifest_says(said: dict[str, object]) -> None:
    assert CheckOptions.model_validate({}).over(UPGRADE).headers == (("Upgrade", "websocket"), ("X-A", "b"))
    assert CheckOptions.model_validate(said).over(UPGRADE).headers == (("X-A", "b"),)


@pytest.mark.parametrize("rest", ["}", ", expect_status: 101, http_version: 2}"])
def test_the_header_upgrade_needs_101_and_http_1(rest: str) -> None:
    document = f"id: a\nstatus: {{port: 80, headers: {{Upgrade: websocket}}{rest}\n".encode()
    with pytest.raises(ManifestError, match=r"status\.headers: .*because of the header Upgrade"):
        parse(PodKey("web1", "a"), document, Rules(allow_headers=True))
