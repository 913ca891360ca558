"""The text of a check is complete and has no secrets. Two checks differ exactly when their texts differ."""

from dataclasses import replace

import pytest

from reconcilers.checktext import changes, describe
from reconcilers.spec import CheckSpec, GrpcHealth, HttpGet, Output, PodKey, Probe, Step, TcpConnect, Tls

KEY = PodKey("web1", "isup")
PLAIN = CheckSpec(KEY, HttpGet("web1", 80, "/_status"), 5.0, 2.0)


def test_an_ordinary_check_is_described_by_a_few_fields() -> None:
    assert describe(PLAIN) == {
        "url": "http://web1:80/_status",
        "interval": "5s",
        "timeout": "2s",
        "failure_threshold": "1",
        "success_threshold": "1",
        "method": "GET",
        "expect_status": "200",
    }


@pytest.mark.parametrize(
    ("probe", "fields"),
    [
        (TcpConnect("web1", 80), {"url": "tcp://web1:80"}),
        (
            TcpConnect("web1", 80, send=b"a\r\n\x00\x7f\xff", expect="^b"),
            {"url": "tcp://web1:80", "send": "6 bytes (b8ac03f3aaf1)", "expect": "^b"},
        ),
        (
            TcpConnect("web1", 80, Tls(), "smtp", steps=(Step(b"a"), Step(expect="b"))),
            {
                "url": "tcp://web1:80",
                "starttls": "smtp",
                "steps.1.send": "1 bytes (433911c6eb0d)",
                "steps.2.expect": "b",
            },
        ),
        (GrpcHealth("web1", 80, "search"), {"url": "grpc://web1:80/search", "service": "search"}),
        (GrpcHealth("web1", 80, tls=Tls(server_name="x")), {"url": "grpcs://web1:80/", "tls.server_name": "x"}),
        (
            HttpGet(
                "web1",
                443,
                "/",
                Tls("/ca", "/cert", "/key", insecure_skip_verify=True, resume=True),
                "HEAD",
                ((200, 204), (301, 301)),
                reuse=True,
            ),
            {
                "url": "https://web1:443/",
                "method": "HEAD",
                "expect_status": "200-204, 301",
                "connection": "reuse",
                "tls.ca_file": "/ca",
                "tls.cert_file": "/cert",
                "tls.key_file": "/key",
                "tls.insecure_skip_verify": "true",
                "tls.resume": "true",
            },
        ),
    ],
)
def test_every_kind_is_described_with_its_own_options(probe: Probe, fields: dict[str, str]) -> None:
    common = {"interval": "5s", "timeout": "2s", "failure_threshold": "1", "success_threshold": "1"}
    assert describe(replace(PLAIN, probe=probe)) == common | fields


def test_what_differs_is_named_with_both_texts() -> None:
    other = replace(PLAIN, interval=10.0, initial_delay=90.0, output=Output.NEVER, address="127.0.0.1")
    assert changes(describe(PLAIN), describe(other)) == [
        ("address", "", "127.0.0.1"),
        ("interval", "5s", "10s"),
        ("initial_delay", "", "1m30s"),
        ("output", "", "false"),
    ]
    assert changes(describe(other), describe(PLAIN))[-1] == ("output", "false", "")
    assert changes(describe(PLAIN), describe(PLAIN)) == []


def test_a_header_is_described_without_its_value_and_a_change_is_visible() -> None:
    def with_header(value: str) -> dict[str, str]:
        return describe(replace(PLAIN, probe=HttpGet("web1", 80, "/", headers=(("Authorization", value),))))

    assert "hunter2" not in str(with_header("hunter2"))
    assert changes(with_header("hunter2"), with_header("hunter3"))[0][0] == "headers.Authorization"


def test_output_that_is_kept_of_failures_only_is_described() -> None:
    assert "output" not in describe(PLAIN)
    assert describe(replace(PLAIN, output=Output.FAILURES))["output"] == "failures"
