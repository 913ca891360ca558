"""The warning about an unknown field names the nearest known field, or what to write instead."""

import re
import time

import pytest

from reconcilers.manifest import KNOWN, ManifestError, parse, warnings
from reconcilers.options import Rules
from reconcilers.spec import FieldWarning, PodKey
from reconcilers.unknown_fields import INSTEAD, advice, nearest


def said(text: str) -> dict[str, str]:
    """Returns the warnings of a manifest by field."""
    return {warning.field: warning.problem for warning in warnings(f"id: isup\n{text}".encode())}


@pytest.mark.parametrize(
    ("text", "field", "meant"),
    [
        ("expect_staus: 204", "expect_staus", "status.expect_status"),
        ("status: {expect_staus: 204}", "status.expect_staus", "status.expect_status"),
        ("status: {expectStatus: 204}", "status.expectStatus", "status.expect_status"),
        ("status: {intervall: 5s}", "status.intervall", "status.interval"),
        ("interval: 5s", "interval", "status.interval"),
        ("status: {failureThreshold: 3}", "status.failureThreshold", "status.failure_threshold"),
        ("status: {localhost: true}", "status.localhost", "status.localhost_only"),
        ("status: {status_port: 80}", "status.status_port", "status_port"),
        ("status_path: /a", "status_path", "status.path"),
        ("tls_ca_file: /a", "tls_ca_file", "status.tls.ca_file"),
        ("status: {tls: {ca_fil: /a}}", "status.tls.ca_fil", "status.tls.ca_file"),
        ("status: {ca_file: /a}", "status.ca_file", "status.tls.ca_file"),
        ("status: {tls: {interval: 5s}}", "status.tls.interval", "status.interval"),
        ("stauts: {}", "stauts", "status"),
        ("statusport: 80", "statusport", "status_port"),
        ("status-port: 80", "status-port", "status_port"),
        ("launchable: {}", "launchable", "launchables"),
        ("status: {run_as: me}", "status.run_as", "run_as"),
    ],
)
def test_the_warning_about_a_mistyped_field_names_the_nearest_known_one(text: str, field: str, meant: str) -> None:
    assert said(text) == {field: f"unknown field, ignored; did you mean {meant}?"}


@pytest.mark.parametrize(
    ("text", "field", "instead"),
    [
        ("port: 80", "port", "write status_port"),
        ("http: true", "http", "write status_http: true for a check without TLS"),
        ("tcp: web:80", "tcp", "write status.kind: tcp"),
        ("url: http://web/", "url", "write status_port, status.path"),
        ("check: {http: a}", "check", "status_port, status_http and the options below status"),
        ("livenessProbe: {}", "livenessProbe", "status_port, status_http and the options below status"),
        ("status: {httpGet: {}}", "status.httpGet", "status_port, status_http and the options below status"),
        ("status: {bearer_token: a}", "status.bearer_token", "write status.basic_auth with a password_file, or"),
        ("status: {redirects: true}", "status.redirects", "write status.follow_redirects: 3, where the"),
        ("status: {host: web}", "status.host", "the pod's node is asked"),
        ("status: {query: full=1}", "status.query", "write the query behind status.path"),
        ("status: {data: a}", "status.data", "write status.body, with status.method: POST"),
        ("status: {tls: {ca: /a}}", "status.tls.ca", "write status.tls.ca_file"),
        ("status: {tls: {ca_path: /a}}", "status.tls.ca_path", "write status.tls.ca_file"),
        ("status: {tls: {key: /a}}", "status.tls.key", "write status.tls.cert_file and status.tls.key_file"),
        ("status: {interval_seconds: 5}", "status.interval_seconds", "write status.interval with a unit"),
        ("status: {periodSeconds: 5}", "status.periodSeconds", "write status.interval with a unit"),
        ("status: {tls: {insecure: true}}", "status.tls.insecure", "write status.tls.insecure_skip_verify"),
        ("status: {valid_status_codes: [200]}", "status.valid_status_codes", "write status.expect_status"),
    ],
)
def test_a_field_of_another_system_is_answered_with_the_equivalent(text: str, field: str, instead: str) -> None:
    assert said(text)[field].startswith(f"unknown field, ignored; {instead}")


def test_a_field_without_a_similar_one_has_a_warning_without_advice() -> None:
    assert said("colour: red") == {"colour": "unknown field, ignored"}
    assert said(f"{'status_port' * 20}: 80") == {f"'{'status_port' * 5}stat…": "unknown field, ignored"}


@pytest.mark.parametrize(
    "text",
    [
        "launchables: {app: {launchable_type: hoist, location: x, colour: red}}",
        "config: {port: 80, expect_staus: 204, http: true, status: {intervall: 5s}}",
        "run_as: me\nreadonly: true\nmin_health_percentage: 5\nresource_limits: {cgroup: {cpus: 1}}",
        "artifact_registry: a\nnode_requirements: {a: b}\ntermination_grace_period: 5",
        "status: {path: /, port: 80, http: true, localhost_only: true}",
        "status: {headers: {Host: a, Interval: b}}",
        "status: {expect_staus: }",
    ],
)
def test_fields_of_p2_and_free_keys_have_no_warning(text: str) -> None:
    assert said(text) == {}


def test_a_mistyped_field_does_not_make_a_manifest_invalid() -> None:
    text = b"id: isup\nstatus_port: 80\nexpect_staus: 204\nstatus: {tls: {ca: /a}}\n"
    manifest = parse(PodKey("web1", "isup"), text, Rules())
    assert manifest.check
    assert manifest.check.probe.url == "https://web1:80/_status"
    assert [warning.field for warning in manifest.warnings] == ["expect_staus", "status.tls.ca"]


def test_an_invalid_manifest_has_warnings_too() -> None:
    assert said("status_port: 70000\nstatus: {intervall: 5s, tls: no}").keys() == {"status.intervall"}
    assert said("status: no\nport: 80").keys() == {"port"}
    with pytest.raises(ManifestError):
        warnings(b"id: [")


def test_many_unknown_fields_are_counted_after_the_first_ones() -> None:
    fields = warnings(b"id: isup\n" + b"".join(b"expect_stats%d: 1\n" % number for number in range(500)))
    assert len(fields) == 11
    assert fields[-1] == FieldWarning("others", "490 more unknown fields, ignored", 490)


def test_many_unknown_fields_are_checked_fast() -> None:
    text = b"id: isup\n" + b"".join(b"%s%03d: 1\n" % (b"expect_status" * 2, number) for number in range(600))
    warnings(text)
    began = time.process_time()
    for number in range(10):
        warnings(text.replace(b"expect", b"xpct%d" % number))
    assert (time.process_time() - began) / 10 < 0.5


def test_the_advice_names_known_fields() -> None:
    for name, text in INSTEAD.items():
        named = re.findall(r"status[._][a-z_.]*[a-z]", text)
        assert set(named) <= set(KNOWN), text
        assert name not in {known.rpartition(".")[2].replace("_", "") for known in KNOWN} - {"http", "port"}
    assert advice("", "headers", KNOWN) == "did you mean status.headers?"


def test_the_nearest_field_is_preferably_of_the_same_section() -> None:
    known = ("ca_file", "consul.ca_file", "consul.token")
    assert nearest("consul", "ca_fil", known) == "consul.ca_file"
    assert nearest("", "ca_fil", known) == "ca_file"
    assert nearest("", "token", known) == "consul.token"
    assert nearest("", "colour", known) == ""
