"""Asks DNS for how long the addresses of a name may be cached. getaddrinfo(3), which finds them, returns no TTL.

getaddrinfo also reads /etc/hosts and the other sources in nsswitch.conf. So DNS may not know the name, or have other
addresses. Its TTL is harmless then, because a TTL only makes the resolver look a name up more often.
"""

import dns.exception
import dns.name
import dns.resolver

WITHIN = 1.0
"""Seconds within which the name servers have to answer."""


def ttl_in_dns(name: str, address: str) -> float | None:
    """Returns the TTL in seconds of the records of `name` that are of the family of `address`.

    It is the lowest one of the chain of CNAMEs. None if the name servers of resolv.conf do not answer or do not have
    such records. May block for `WITHIN` seconds.
    """
    try:
        resolver = dns.resolver.Resolver()
        resolver.lifetime = WITHIN
        relative = dns.name.from_text(name.encode(), None)
        answer = resolver.resolve(relative, "AAAA" if ":" in address else "A", search=True)
    except (dns.exception.DNSException, OSError, ValueError):
        return None
    return float(answer.chaining_result.minimum_ttl)
