"""What the command lines of the fault runs have in common."""

import argparse

from tests.faults.checker import PROMISES


def promises(text: str) -> tuple[str, ...]:
    """Promises by their names, with commas between them.

    Raises:
        argparse.ArgumentTypeError: there is no such promise.
    """
    names = tuple(text.split(","))
    if unknown := [name for name in names if name not in PROMISES]:
        raise argparse.ArgumentTypeError(f"no such promise: {', '.join(unknown)}")
    return names
