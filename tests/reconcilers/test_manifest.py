"""Manifests: every file of `tests/data/manifests/` is read or refused as the tables here say."""

import json
import re
import string
import time
from dataclasses import astuple, replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcilers.clearsign import SignatureError
from reconcilers.manifest import ManifestError, parse, pod_id, warnings
from reconcilers.options import CheckOptions, Rules
from reconcilers.spec import CheckSpec, GrpcHealth, HttpGet, Manifest, Output, PodKey, Tls, Unprobed
from reconcilers.tls_options import TlsOptions
from tests.reconcilers import manifest_files, option_files
from tests.reconcilers.manifest_files import NO_CHECK, PODS, UNKNOWN_FIELDS
from tests.reconcilers.test_yamltext import ARBITRARY, COST, HOSTILE

FOLDER = Path(__file__).parent.parent / "data" / "manifests"
FILES = sorted(FOLDER.iterdir())
KEY = PodKey("web1", "isup")
CHECK = b"id: isup\nstatus_port: 8000\n"

INVALID = manifest_files.INVALID | option_files.INVALID
VALID = manifest_files.VALID.keys() | option_files.VALID.keys()


def unreadable(path: str) -> str:
    return "" if path.startswith("/etc/podpulse/") else "No such file or directory"


RULES = Rules(unreadable=unreadable)
ALLOWING = replace(RULES, allow_headers=True, allow_send=True, allow_methods=frozenset({"POST", "PUT", "OPTIONS"}))
PYDANTIC = re.compile("Input should|Value error|valid dictionary|instance of|permitted|Extra|equal to")


def data(name: str) -> bytes:
    return (FOLDER / f"{name}.yaml").read_bytes()


def test_every_file_has_its_expectation_and_every_expectation_its_file() -> None:
    expected = {f"invalid-{reason}.yaml" for reason in INVALID} | {f"valid-{what}.yaml" for what in VALID}
    assert {path.name for path in FILES} == expected
    assert not manifest_files.INVALID.keys() & option_files.INVALID.keys()
    assert not manifest_files.VALID.keys() & option_files.VALID.keys()
    assert PODS.keys() | UNKNOWN_FIELDS.keys() | option_files.WITH_PERMISSION <= VALID


@pytest.mark.parametrize("reason", sorted(INVALID))
def test_an_invalid_manifest_is_refused_with_its_field_and_what_was_expected(reason: str) -> None:
    field, fragment = INVALID[reason]
    with pytest.raises(ManifestError) as caught:
        parse(KEY, data(f"invalid-{reason}"), RULES)
    assert caught.value.field == field
    assert fragment in caught.value.problem
    assert str(caught.value) == (f"{field}: {caught.value.problem}" if field else caught.value.problem)
    assert len(str(caught.value)) < 250
    assert str(caught.value).isprintable()
    assert not PYDANTIC.search(str(caught.value))


@pytest.mark.parametrize("name", sorted(manifest_files.VALID))
def test_a_valid_manifest_asks_for_its_check(name: str) -> None:
    key = PodKey("web1", PODS.get(name, "isup"))
    manifest = parse(key, data(f"valid-{name}"), RULES)
    assert manifest.key == key
    assert (manifest.check.probe.url if manifest.check else NO_CHECK) == manifest_files.VALID[name]
    assert tuple(warning.field for warning in manifest.warnings) == UNKNOWN_FIELDS.get(name, ())
    assert warnings(data(f"valid-{name}")) == manifest.warnings
    assert all(str(warning).isprintable() and len(str(warning)) < 250 for warning in manifest.warnings)
    assert pod_id(data(f"valid-{name}")) == key.pod


@pytest.mark.parametrize("name", sorted(option_files.VALID))
def test_the_options_of_a_valid_manifest_come_into_force(name: str) -> None:
    rules = ALLOWING if name in option_files.WITH_PERMISSION else RULES
    manifest = parse(KEY, data(f"valid-{name}"), rules)
    expected = Manifest(KEY, option_files.VALID[name], paused=name.startswith("paused"))
    assert replace(manifest, warnings=()) == expected


@pytest.mark.parametrize("value", ["true", "yes", "On"])
def test_resuming_tls_sessions_is_warned_of_because_it_has_no_effect(value: str) -> None:
    [warning] = warnings(CHECK + f"status: {{tls: {{resume: {value}}}}}".encode())
    assert str(warning) == "status.tls.resume: has no effect: TLS sessions are never resumed"


@pytest.mark.parametrize("value", ["false", "no", "[]"])
def test_not_resuming_tls_sessions_is_not_warned_of(value: str) -> None:
    assert warnings(CHECK + f"status: {{tls: {{resume: {value}}}}}".encode()) == ()


def test_what_the_manifest_is_silent_about_comes_from_the_defaults() -> None:
    defaults = CheckOptions.model_validate(
        {
            "interval": 7.0,
            "timeout": 3.0,
            "failure_threshold": 4,
            "success_threshold": 2,
            "initial_delay": 1,
            "warn_status": 429,
            "warn_above": "1s",
            "warn_expiry": "14d",
            "method": "HEAD",
            "expect_status": 204,
            "headers": {"X-Team": "blue"},
            "connection": "reuse",
            "tls": {"ca_file": "/nowhere/ca.pem", "resume": True},
            "output": False,
        }
    )
    tls = Tls(ca_file="/nowhere/ca.pem", resume=True)
    probe = HttpGet("web1", 8000, "/_status", tls, "HEAD", ((204, 204),), "", (("X-Team", "blue"),), reuse=True)
    rules = replace(RULES, defaults=defaults)
    probe = replace(probe, warn_status=((429, 429),))
    expected = CheckSpec(KEY, probe, 7.0, 3.0, 4, 2, 1.0, Output.NEVER, warn_above=1.0, warn_expiry=14 * 86_400.0)
    assert parse(KEY, CHECK, rules).check == expected
    plain = parse(KEY, CHECK + b"status_http: true", rules).check
    assert plain
    assert (plain.warn_above, plain.warn_expiry) == (1.0, 0.0), "there is no certificate"
    grpc = parse(KEY, CHECK + b"status: {kind: grpc, tls: {resume: no}}", rules).check
    assert grpc
    assert grpc.probe == GrpcHealth("web1", 8000, tls=Tls(ca_file="/nowhere/ca.pem"), reuse=True)
    tcp = parse(KEY, CHECK + b"status: {kind: tcp}", rules).check
    assert tcp
    assert tcp.probe.tls is None


def test_a_timeout_by_default_is_never_longer_than_the_interval() -> None:
    rules = Rules(CheckOptions(interval=20.0, timeout=10.0))
    check = parse(KEY, CHECK + b"status: {interval: 2s}", rules).check
    assert check
    assert (check.interval, check.timeout) == (2.0, 2.0)


def test_a_timeout_is_held_against_the_default_interval() -> None:
    assert parse(KEY, CHECK + b"status: {timeout: 20s}", Rules(CheckOptions(interval=20.0))).check
    with pytest.raises(ManifestError, match=r"^status\.timeout: expected at most the interval of 500ms, got 1m30s$"):
        parse(KEY, CHECK + b"status: {timeout: 1m30s}", Rules(CheckOptions(interval=0.5)))


def test_headers_are_for_those_who_may() -> None:
    rules = Rules(CheckOptions.model_validate({"headers": {"X-Team": "blue"}}), allow_headers=True)
    check = parse(KEY, CHECK + b"status: {headers: {}}", rules).check
    assert check
    assert check.probe == HttpGet("web1", 8000, "/_status", Tls())
    with pytest.raises(ManifestError, match=r"^status\.headers: not allowed"):
        parse(KEY, CHECK + b"status: {headers: {}}", replace(rules, allow_headers=False))


def test_a_member_of_a_fleet_checks_no_localhost() -> None:
    manifest = CHECK + b"status: {localhost_only: true}"
    assert parse(KEY, manifest, RULES).check
    with pytest.raises(ManifestError, match=r"^status\.localhost_only: not possible: a member of a fleet"):
        parse(KEY, manifest, replace(RULES, is_remote=True))


def test_the_parts_of_a_check_are_text_like_any_other() -> None:
    """The reader's own kind of text would carry its quoting into comparisons of types, and into JSON."""
    check = parse(KEY, data("valid-options-all"), Rules(allow_headers=True)).check
    assert check
    assert isinstance(check.probe, HttpGet)
    assert check.probe.tls
    texts = (*astuple(check.probe.tls), check.probe.method, check.probe.path, check.probe.expect_body)
    assert {type(text) for text in (*texts, *sum(check.probe.headers, ()))} == {str, bool}


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        (b"status_port: 99999\nstatus: {interval: 5}", ["id", "status_port", "status.interval"]),
        (
            b"id: other\nstatus_port: 80\nstatus: {service: a, headers: {}, timeout: 9s, tls: {ca_file: /a}}",
            ["id", "status.service", "status.headers", "status.tls.ca_file", "status.timeout"],
        ),
    ],
)
def test_every_wrong_field_is_reported_and_the_first_is_the_message(text: bytes, fields: list[str]) -> None:
    with pytest.raises(ManifestError) as caught:
        parse(KEY, text, RULES)
    assert [error.field for error in caught.value.every] == fields
    assert str(caught.value) == str(caught.value.every[0])


def test_the_id_of_a_manifest_without_key_is_a_name_or_an_error() -> None:
    assert pod_id(b"id: anything\nstatus_port: 8000") == "anything"
    with pytest.raises(ManifestError, match="expected a name"):
        pod_id(b"id: ../../agent/leave")
    assert pod_id(b"id: isup\nstatus_port: 22:22") == "isup", "what else is wrong, `parse` says"


def test_checks_of_equal_manifests_are_equal_whatever_the_bytes_look_like() -> None:
    one = parse(KEY, b"id: isup\nstatus_port: 8000\nconfig: {a: 1}", Rules())
    other = parse(KEY, b'{"status": {"port": 8000}, "id": "isup"}  # moved', Rules())
    assert one == other


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_manifest_costs_little_and_raises_nothing_else(data: bytes) -> None:
    began = time.process_time()
    with pytest.raises(ManifestError) as caught:
        parse(KEY, data, Rules())
    assert len(str(caught.value)) < 250
    assert time.process_time() - began < COST


def attempt(data: bytes, rules: Rules = RULES) -> Manifest | None:
    """Returns the manifest; None if it was refused."""
    try:
        return parse(KEY, data, rules)
    except ManifestError:
        return None


OPTIONS = [*CheckOptions.model_fields, *TlsOptions.model_fields, "kind", "service", "paused"]
KEYS = st.sampled_from(
    ["id", "status", "status_port", "status_http", "port", "http", "path", "localhost_only", "config", *OPTIONS]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 70_000)
    | st.sampled_from(["isup", "no", "", "/a", "5s", "1m", "HEAD", "tcp", "grpc", "reuse", "200-299", "a.{9}", "X-A"])
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
)


@given(ARBITRARY, st.sampled_from([b"", b"id: isup\nstatus_port: 80\n", b"id: isup\nstatus:\n  path: "]))
def test_arbitrary_input_raises_nothing_else(data: bytes, before: bytes) -> None:
    attempt(before + data)


@given(st.dictionaries(KEYS | st.text(max_size=3), VALUES, max_size=6))
def test_arbitrary_fields_raise_nothing_else(fields: dict[str, object]) -> None:
    attempt(json.dumps({"id": "isup"} | fields, ensure_ascii=False).encode("utf-8", "replace"))


SCALARS = st.sampled_from(
    [
        *(
            "0",
            "1",
            "5",
            "1000",
            "1001",
            "1.5",
            "-1",
            "100ms",
            "99ms",
            "5s",
            "1m",
            "1h",
            "2h",
            "24h",
            "1e3s",
            "5 s",
            "",
            "~",
        ),
        *(
            "GET",
            "HEAD",
            "200",
            "600",
            "[200, 300-399]",
            "[]",
            "ok",
            "'('",
            "{}",
            "{X-A: b}",
            "{Host: b}",
            "fresh",
            "reuse",
        ),
        *(
            "true",
            "no",
            "http",
            "tcp",
            "grpc",
            "{ca_file: /etc/podpulse/ca.pem}",
            "{ca_file: /x}",
            "{cert_file: /x}",
            "isup",
        ),
    ]
)
LINES = st.dictionaries(st.sampled_from(OPTIONS), SCALARS, max_size=5).map(
    lambda fields: "".join(f"  {name}: {value}\n" for name, value in fields.items()).encode()
)


@given(LINES, st.booleans(), st.sampled_from(["1s", "5s", "1h"]))
def test_no_manifest_leads_beyond_the_bounds(lines: bytes, allowed: bool, interval: str) -> None:
    rules = Rules(CheckOptions.model_validate({"interval": interval}), allowed, unreadable)
    manifest = attempt(CHECK + b"status:\n" + lines, rules)
    if not (manifest and manifest.check):
        return
    check, probe = manifest.check, manifest.check.probe
    assert 0.1 <= check.timeout <= check.interval <= 3600
    assert 0 <= check.initial_delay <= 86_400
    assert min(check.failure_threshold, check.success_threshold) >= 1
    assert max(check.failure_threshold, check.success_threshold) <= 1000
    assert (probe.host, probe.port) == ("web1", 8000)
    if probe.tls:
        assert not any(unreadable(file) for file in (probe.tls.ca_file, probe.tls.cert_file) if file)
    if isinstance(probe, HttpGet):
        assert all(100 <= low <= high <= 599 for low, high in probe.expect_status)
        assert not probe.headers or (allowed and probe.headers == (("X-A", "b"),))
        assert not (probe.method == "HEAD" and probe.expect_body)


@given(st.integers(-100, 100_000))
def test_a_port_is_from_1_to_65535(port: int) -> None:
    manifest = attempt(f"id: isup\nstatus_port: {port}".encode())
    if 1 <= port <= 65_535:
        assert manifest
        assert manifest.check
        assert manifest.check.probe.port == port
    else:
        assert not (manifest and manifest.check)


ODD_PATHS = st.text(st.sampled_from("/.?#@:%\\[] aü&=;\u2028\ufeff\r\n\t"), max_size=20) | st.text(max_size=20)


@given(ODD_PATHS)
def test_no_path_steers_the_request_elsewhere(path: str) -> None:
    fields = {"id": "isup", "status_port": 8000, "status": {"path": path}}
    manifest = attempt(json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace"))
    if not (manifest and manifest.check):
        return
    url = manifest.check.probe.url
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc, parts.fragment) == ("https", "web1:8000", "")
    assert set(url) <= set(string.ascii_letters + string.digits + "-._~%/?:@!$&'()*+,;=")
    assert not re.search("%(?![0-9A-Fa-f]{2})", url)
    segments = parts.path.split("/")[1:]
    assert not {"", ".."} & set(segments[:-1])
    assert segments[-1] not in {".", ".."}


SIGNED = (
    b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nid: isup\nstatus_port: 8000\n"
    b"-----BEGIN PGP SIGNATURE-----\n\niQEzBAEBCAAdFiEE\n=abcd\n-----END PGP SIGNATURE-----\n"
)


def test_a_signed_manifest_is_read_from_what_was_signed() -> None:
    assert parse(KEY, SIGNED, Rules()) == parse(KEY, CHECK, Rules())


def test_where_signatures_are_required_an_unsigned_manifest_and_a_refused_one_are_errors() -> None:
    def refuse(data: bytes) -> bytes:
        raise SignatureError(f"refused {len(data)} bytes")

    for data, problem in ((CHECK, "not signed, but require_signature"), (SIGNED, f"refused {len(SIGNED)} bytes")):
        with pytest.raises(ManifestError, match=problem) as raised:
            parse(KEY, data, Rules(verify=refuse))
        assert raised.value.field == ""
    assert parse(KEY, SIGNED, Rules(verify=lambda _: CHECK.strip())) == parse(KEY, CHECK, Rules())
    assert pod_id(SIGNED) == "isup"


@pytest.mark.parametrize(
    "text", ["", "status_port: 0\n", "status: {port: 0, kind: grpc}\n", "status: {tls: {ca_file: /no}}\n"]
)
def test_a_pod_without_port_has_no_check_or_one_that_is_always_passing(text: str) -> None:
    data = f"id: isup\n{text}".encode()
    assert parse(KEY, data, RULES).check is None
    passing = parse(KEY, data, replace(RULES, assume_passing=True)).check
    assert passing == CheckSpec(KEY, Unprobed(), interval=5.0, timeout=5.0)
    assert passing.probe.url == ""


def test_a_paused_pod_has_a_check_for_a_probe_by_hand() -> None:
    data = b"id: isup\nstatus_port: 8000\nstatus: {paused: true}\n"
    by_hand = parse(KEY, data, Rules(ignores_pause=True))
    assert by_hand.paused
    assert by_hand.check == parse(KEY, data.replace(b"true", b"false"), Rules()).check
    assert parse(KEY, data, Rules()).check is None


def test_a_pause_is_a_pause_also_where_pods_without_port_are_passing() -> None:
    rules = Rules(assume_passing=True)
    assert parse(KEY, b"id: isup\nstatus: {paused: true}\n", rules) == Manifest(KEY, None, paused=True)
    assert parse(KEY, CHECK, rules) == parse(KEY, CHECK, Rules())


def test_a_signature_without_its_form_is_an_error() -> None:
    broken = (
        b"-----BEGIN PGP SIGNED MESSAGE-----\nComment: x\n\nid: isup\n"
        b"-----BEGIN PGP SIGNATURE-----\n\nxx\n-----END PGP SIGNATURE-----\n"
    )
    with pytest.raises(ManifestError):
        parse(PodKey("web1", "isup"), broken, Rules())


@pytest.mark.parametrize("allowed", Output)
@pytest.mark.parametrize("default", [True, False])
@pytest.mark.parametrize("said", ["", "status: {output: true}", "status: {output: false}"])
def test_no_manifest_has_more_of_an_answer_kept_than_the_operator_allows(
    allowed: Output, said: str, *, default: bool
) -> None:
    rules = replace(RULES, defaults=CheckOptions(output=default), allow_output=allowed)
    check = parse(KEY, CHECK + said.encode(), rules).check
    assert check
    wanted = "true" in said if said else default
    assert check.output is (allowed if wanted else Output.NEVER)
