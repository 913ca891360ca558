"""The argument types that both command lines share."""

import argparse

from tests.faults.checker import PROMISES


def promises(text: str) -> tuple[str, ...]:
    """Parses names of promises that are separated by commas.

    Raises:
        argparse.ArgumentTypeError: a promise does not exist.
    """
    names = tuple(text.split(","))
    if unknown := [name for name in names if name not in PROMISES]:
        raise argparse.ArgumentTypeError(f"no such promise: {', '.join(unknown)}")
    return names
