"""One question to a DNS server over UDP, by hand: what Consul's users see of a service."""

import secrets
import socket
import struct

A = 1
INTERNET = 1
RECURSION_DESIRED = 0x0100


def addresses(port: int, name: str) -> list[str]:
    """Returns the A records of `name` from the server at 127.0.0.1:`port`; none if the name does not exist."""
    number = secrets.randbits(16)
    question = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"
    packet = struct.pack(">6H", number, RECURSION_DESIRED, 1, 0, 0, 0) + question + struct.pack(">2H", A, INTERNET)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(5.0)
        asking.connect(("127.0.0.1", port))
        asking.send(packet)
        answer = asking.recv(4096)
    if answer[:2] != packet[:2]:
        raise AssertionError("an answer to another question")
    return list(_answers(answer, len(packet)))


def _answers(packet: bytes, at: int) -> list[str]:
    """Returns the addresses among the answers that begin at `at`. Consul's answers begin with a pointer or the name
    itself."""
    found = []
    for _ in range(struct.unpack_from(">H", packet, 6)[0]):
        while packet[at] and packet[at] < 0xC0:
            at += packet[at] + 1
        at += 2 if packet[at] else 1
        kind, _, _, length = struct.unpack_from(">2HIH", packet, at)
        at += 10
        if kind == A:
            found.append(socket.inet_ntoa(packet[at : at + length]))
        at += length
    return found
