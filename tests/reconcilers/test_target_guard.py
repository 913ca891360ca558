"""The guard: which addresses a probe may connect to, in every notation."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcilers.target_guard import CONSUL_PORTS, Allowance, Guard

V4 = st.ip_addresses(v=4)
V6 = st.ip_addresses(v=6)
PORTS = st.integers(1, 65_535)
DISGUISES = {
    "mapped": lambda four: IPv6Address((0xFFFF << 32) + int(four)),
    "compatible": lambda four: IPv6Address(int(four)),
    "NAT64": lambda four: IPv6Address((0x64FF9B << 96) + int(four)),
    "6to4": lambda four: IPv6Address((0x2002 << 112) + (int(four) << 80) + 1),
}


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "192.168.1.1", "8.8.8.8", "::1", "fd00::1", "2001:db8::1", "::ffff:10.0.0.1"),
        *("64:ff9b::a00:1", "2002:a00:1::1"),
    ],
)
def test_an_ordinary_address_may_be_probed(address: str) -> None:
    assert Guard().objection(address, 8000) == ""


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("169.254.169.254", "a link-local address"),
        ("169.254.0.0", "a link-local address"),
        ("fe80::1", "a link-local address"),
        ("fe80::1%eth0", "a link-local address"),
        ("febf::1", "a link-local address"),
        ("::ffff:169.254.169.254", "a link-local address"),
        ("::ffff:a9fe:a9fe", "a link-local address"),
        ("::169.254.169.254", "a link-local address"),
        ("64:ff9b::169.254.169.254", "a link-local address"),
        ("2002:a9fe:a9fe::1", "a link-local address"),
        ("224.0.0.1", "a multicast address"),
        ("239.255.255.250", "a multicast address"),
        ("ff02::1", "a multicast address"),
        ("ff02::1%lo", "a multicast address"),
        ("::ffff:224.0.0.1", "a multicast address"),
        ("0.0.0.0", "the unspecified address"),
        ("::", "the unspecified address"),
        ("::%1", "the unspecified address"),
        ("::ffff:0.0.0.0", "the unspecified address"),
        ("64:ff9b::", "the unspecified address"),
        ("255.255.255.255", "a broadcast address"),
        ("::ffff:255.255.255.255", "a broadcast address"),
    ],
)
def test_an_address_that_no_pod_can_have_is_denied_with_its_kind(address: str, kind: str) -> None:
    assert Guard().objection(address, 8000) == f"{address} is {kind}, and may not be probed"


@pytest.mark.parametrize(
    "address", ["", "localhost", "127.1", "2130706433", "0x7f.0.0.1", "010.0.0.1", "[::1]", "a" * 99]
)
def test_what_is_no_address_is_denied(address: str) -> None:
    assert Guard().objection(address, 8000) == f"{address[:60]!r} is no address, and may not be probed"


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "::1", "2001:db8::1", "::ffff:127.0.0.1"])
def test_consuls_own_ports_are_denied_on_every_address(address: str) -> None:
    for port in CONSUL_PORTS:
        assert Guard().objection(address, port) == f"port {port} is Consul's own, and may not be probed"
    assert Guard(ports=frozenset()).objection(address, 8500) == ""


@pytest.mark.parametrize(
    ("text", "allowance"),
    [
        ("169.254.10.1", Allowance(IPv4Network("169.254.10.1/32"))),
        ("169.254.10.1/24", Allowance(IPv4Network("169.254.10.0/24"))),
        ("169.254.10.0/24:8500", Allowance(IPv4Network("169.254.10.0/24"), 8500)),
        ("127.0.0.1:65535", Allowance(IPv4Network("127.0.0.1/32"), 65_535)),
        ("fe80::/10", Allowance(IPv6Network("fe80::/10"))),
        ("::1", Allowance(IPv6Network("::1/128"))),
        ("[fe80::1]", Allowance(IPv6Network("fe80::1/128"))),
        ("[fe80::/64]:8000", Allowance(IPv6Network("fe80::/64"), 8000)),
    ],
)
def test_an_allowance_is_a_network_perhaps_with_a_port(text: str, allowance: Allowance) -> None:
    assert Allowance.parse(text) == allowance


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "localhost",
            "10.0.0.1:",
            "10.0.0.1:0",
            "10.0.0.1:-1",
            "10.0.0.1:65536",
            "10.0.0.1:99999",
            "10.0.0.1: 80",
        ),
        *(
            "10.0.0.1:8_0",
            "10.0.0.1:\N{ARABIC-INDIC DIGIT EIGHT}",
            "10.0.0.1/33",
            "10.0.0",
            "[::1",
            "[::1]80",
            "[::1]:",
            "[]:80",
            "fe80::1%eth0",
        ),
        *("[fe80::1%eth0]:80", "http://10.0.0.1", "10.0.0.1\n", "*", "x" * 500),
    ],
)
def test_another_text_is_refused_as_an_allowance(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected an address or a network, perhaps with a port, got '") as caught:
        Allowance.parse(text)
    assert len(str(caught.value)) < 150


def test_an_allowance_lifts_what_is_denied_for_its_addresses_only() -> None:
    guard = Guard(allowed=(Allowance.parse("169.254.10.0/24"), Allowance.parse("[fe80::/64]:8000")))
    assert guard.objection("169.254.10.7", 8000) == ""
    assert guard.objection("::ffff:169.254.10.7", 8000) == ""
    assert guard.objection("169.254.11.7", 8000) != ""
    assert guard.objection("fe80::1%eth0", 8000) == ""
    assert guard.objection("fe80::1%eth0", 8001) != ""
    assert guard.objection("fe80:0:0:1::1", 8000) != ""


def test_a_port_of_consul_is_lifted_only_by_its_number() -> None:
    guard = Guard(allowed=(Allowance.parse("127.0.0.0/8"), Allowance.parse("127.0.0.1:8500")))
    assert guard.objection("127.0.0.1", 8500) == ""
    assert guard.objection("127.0.0.1", 8501) != ""
    assert guard.objection("127.0.0.2", 8500) != ""
    assert guard.objection("127.0.0.2", 80) == ""


def test_an_address_in_another_dress_is_allowed_as_either() -> None:
    for text in ("169.254.10.7", "64:ff9b::/96", "::ffff:169.254.0.0/112"):
        guard = Guard(allowed=(Allowance.parse(text),))
        dress = "64:ff9b::169.254.10.7" if text.startswith("64") else "::ffff:169.254.10.7"
        assert guard.objection(dress, 80) == ""


@given(V4 | V6, PORTS)
def test_every_address_is_judged(address: IPv4Address | IPv6Address, port: int) -> None:
    objection = Guard().objection(str(address), port)
    denied = address.is_link_local or address.is_multicast or address.is_unspecified or port in CONSUL_PORTS
    assert bool(objection) or not denied
    assert Guard(allowed=(Allowance.parse(f"[{address}]:{port}"),)).objection(str(address), port) == ""


@pytest.mark.parametrize("disguise", DISGUISES)
@given(four=V4 | st.sampled_from([ip_address("169.254.169.254"), ip_address("224.0.0.1")]), port=PORTS)
def test_no_disguise_lets_a_denied_address_through(disguise: str, four: IPv4Address, port: int) -> None:
    if Guard().objection(str(four), port) and int(four) > 0xFFFF:
        assert Guard().objection(str(DISGUISES[disguise](four)), port)


@given(st.text(max_size=30), PORTS)
def test_any_text_is_judged(text: str, port: int) -> None:
    Guard().objection(text, port)
