"""TCP checks of real servers, with manifests as people write them."""

from collections.abc import Iterator

import pytest

from reconcilers.health import Outcome, Reason
from reconcilers.manifest import parse
from reconcilers.options import Rules
from reconcilers.spec import CheckSpec, PodKey
from tests.support.authority import Authority
from tests.support.checks import ending
from tests.support.probing import Bench
from tests.support.servers import DebianServers

BIND = r"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00"
"""An anonymous bind of LDAP."""
BOUND = r"(?s)^0....a.\n\x01\x00"
STARTUP = r"\x00\x00\x00\x29\x00\x03\x00\x00user\x00podpulse\x00database\x00postgres\x00\x00"
"""The first message of a PostgreSQL client."""
READY = r"(?s)server_version.*Z\x00\x00\x00\x05I"
PING = r'send: "PING\r\n", expect: "^\\+PONG\r$"'
EHLO = r'{send: "EHLO a.example\r\n", expect: "^250 "}, {send: "QUIT\r\n"}'

HEALTHY = {
    "a connection": ("redis", "", ""),
    "ping": ("redis", PING, "+PONG\r\n"),
    "steps": ("redis", rf'steps: [{{{PING}}}, {{send: "ECHO hi\r\n", expect: "^hi"}}]', "+PONG\r\n$2\r\nhi\r\n"),
    "tls": ("rediss", "tls: {}", ""),
    "ping in tls": ("rediss", f"tls: {{}}, {PING}", "+PONG\r\n"),
    "a banner": ("ssh", r"expect: ^SSH-2\.0-OpenSSH_", "SSH-2.0-OpenSSH_"),
    "ldap": ("ldap", f"send: \"{BIND}\", expect: '{BOUND}'", "0"),
    "ldap in tls": ("ldap", "starttls: ldap", "0"),
    "ldap's bind in tls": ("ldap", f"starttls: ldap, send: \"{BIND}\", expect: '{BOUND}'", "0"),
    "postgres in tls": ("postgres", "starttls: postgres", "S"),
    "postgres is ready": ("postgres", f"starttls: postgres, send: \"{STARTUP}\", expect: '{READY}'", "SR"),
    "smtp": ("smtp", f'steps: [{{expect: "^220 "}}, {EHLO}]', "220 "),
    "smtp in tls": ("smtp", "starttls: smtp", "220 "),
    "smtp's answers in tls": ("smtp", f"starttls: smtp, steps: [{EHLO}]", "220 "),
    "imap in tls": ("imap", r'starttls: imap, send: "a LOGOUT\r\n", expect: "^a OK"', "* OK"),
    "pop3 in tls": ("pop3", r'starttls: pop3, send: "QUIT\r\n", expect: ^\+OK', "+OK"),
}
"""The server, what follows `kind: tcp` in the manifest, and the beginning of what comes back."""

SICK = {
    "another answer": ("redis", PING.replace("PONG", "PANG"), Reason.BODY, "what came back within 1 s does not match"),
    "no tls": ("ssh", "tls: {}", Reason.TLS, "localhost:"),
    "no starttls": ("ssh", "starttls: smtp", Reason.PROTOCOL, "STARTTLS (smtp): the greeting is 'SSH-2.0-"),
    "another protocol": ("pop3", "starttls: imap", Reason.PROTOCOL, "STARTTLS (imap): the greeting is '+OK"),
    "another name": (
        "smtp",
        "starttls: smtp, tls: {server_name: mail.example.com}",
        Reason.CERTIFICATE,
        "the certificate is not for mail.example.com but for ",
    ),
    "a client certificate": ("mutual", "tls: {}", Reason.TLS, "localhost:"),
}
"""The server, what follows `kind: tcp`, and the reason with the beginning of the sentence."""


@pytest.fixture(scope="module")
def servers(authority: Authority) -> Iterator[DebianServers]:
    with DebianServers(authority) as servers:
        yield servers


def check(servers: DebianServers, server: str, options: str, timeout: str = "20s") -> CheckSpec:
    status = f"{{kind: tcp, interval: 20s, timeout: {timeout}, {options}}}"
    manifest = f"id: {server}\nstatus_port: {servers.ports[server]}\nstatus: {status}\n"
    check = parse(PodKey("localhost", server), manifest.encode(), Rules(allow_send=True)).check
    assert check
    return check


@pytest.mark.parametrize("name", HEALTHY)
def test_a_real_server_is_healthy(bench: Bench, servers: DebianServers, name: str) -> None:
    server, options, begins = HEALTHY[name]
    result = bench.result(check(servers, server, options))
    assert (result.outcome, result.detail) == (Outcome.SUCCESS, "")
    assert result.output.startswith(begins)
    assert bool(result.certificate.expires) == ("tls" in options)


@pytest.mark.parametrize("name", SICK)
def test_a_real_server_is_not_healthy(bench: Bench, servers: DebianServers, name: str) -> None:
    server, options, reason, begins = SICK[name]
    spec = check(servers, server, options, "1s" if name == "another answer" else "20s")
    result = ending(bench, spec, Outcome.FAILURE, reason)
    assert result.detail.startswith(begins)
    assert name != "a client certificate" or "demands a client certificate" in result.detail
