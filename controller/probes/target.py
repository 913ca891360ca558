"""Where a probe connects."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """The addresses that a probe may connect to, in the order in which they are tried, and the port."""

    addresses: tuple[str, ...]
    port: int

    def with_first(self, address: str) -> "Target":
        """Returns the target with this address tried first."""
        return Target((address, *(each for each in self.addresses if each != address)), self.port)


def in_turns(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the addresses with both families in turn: a family that is down costs one attempt (RFC 8305, 4)."""
    first = [each for each in addresses if (":" in each) is (":" in addresses[0])]
    other = [each for each in addresses if each not in first]
    turns = [each for pair in zip(first, other, strict=False) for each in pair]
    return (*turns, *first[len(other) :], *other[len(first) :])
