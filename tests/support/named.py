"""A DNS server, and an engine that probes a name of it: `python -m tests.support.named`, in namespaces where it may use
port 53 and resolv.conf names it.

Prints one JSON line: the TTLs of some names, after how many seconds a probe used the new address of a name, and how
often the server was asked for this name before.
"""

import json
import socket
import threading
import time
from collections import Counter
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from controller.probes.name_ttl import ttl_in_dns
from controller.probes.resolver import ask_system
from reconcilers.spec import CheckSpec, HttpGet, PodKey
from tests.support.net import until
from tests.support.probing import Bench
from tests.support.targets import twins

OLD, NEW = "127.0.0.2", "127.0.0.3"


class NameServer:
    """Knows `records`: by name and type, the answer's lines. `asked` counts the questions for A records."""

    def __init__(self, host: str) -> None:
        self.records: dict[tuple[str, str], list[str]] = {}
        self.asked: Counter[str] = Counter()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            packet, peer = self._socket.recvfrom(4096)
            query = dns.message.from_wire(packet)
            question = query.question[0]
            name, kind = question.name.to_text(), dns.rdatatype.to_text(question.rdtype)
            self.asked[name] += kind == "A"
            answer = dns.message.make_response(query)
            answer.flags |= dns.flags.RA
            lines = self.records.get((name, kind), [])
            if not any(known == name for known, _ in self.records):
                answer.set_rcode(dns.rcode.NXDOMAIN)
            for line in lines:
                answer.answer.append(_rrset(*line.split(maxsplit=4)))
            self._socket.sendto(answer.to_wire(), peer)


def _rrset(name: str, ttl: str, _: str, kind: str, text: str) -> dns.rrset.RRset:
    return dns.rrset.from_text(name, int(ttl), "IN", kind, text)


def main() -> None:
    server = NameServer("127.0.0.1")
    moving = "moving.pods.test."
    server.records = {
        ("web1.pods.test.", "A"): ["web1.pods.test. 7 IN A 127.0.0.2"],
        ("web6.pods.test.", "AAAA"): ["web6.pods.test. 8 IN AAAA ::1"],
        ("alias.pods.test.", "A"): ["alias.pods.test. 5 IN CNAME web1.pods.test.", "web1.pods.test. 7 IN A 127.0.0.2"],
        ("zero.pods.test.", "A"): ["zero.pods.test. 0 IN A 127.0.0.2"],
        (moving, "A"): [f"{moving} 2 IN A {OLD}"],
    }
    told = {name: ttl_in_dns(name, OLD) for name in ("web1", "web1.pods.test", "alias", "zero", "web6", "none", "a..b")}
    told["v6"] = ttl_in_dns("web6", "::1")
    told["hosts"] = len(ask_system("inhosts").addresses)
    told["of hosts"] = ttl_in_dns("inhosts", OLD)
    with twins(None, OLD, NEW) as (old, new):
        bench = Bench(Path(), ttl=ttl_in_dns)
        check = CheckSpec(PodKey("web1", "moving"), HttpGet("moving", new.port, "/"), 0.2, 20.0)
        bench.engine.start([check])
        until(lambda: len(old.hits()) >= 30, 20)
        server.records[moving, "A"] = [f"{moving} 2 IN A {NEW}"]
        moved, asked = time.monotonic(), server.asked[moving]
        until(new.hits, 20)
        told["followed after"] = time.monotonic() - moved
        told["asked before"] = asked
        bench.engine.close(10)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
