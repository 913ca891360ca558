"""What libFuzzer makes up as a manifest must end in a manifest or in `ManifestError`, within its time.

    python -m tests.fuzz.manifest -max_total_time=60 NEW_FOLDER tests/data/manifests

Options and folders are libFuzzer's. An input that breaks the promise is written to the present folder as crash-<SHA>;
give it a name that says what is wrong and keep it in tests/data/manifests.
"""

import contextlib
import sys
import time

import atheris

with atheris.instrument_imports(include=["reconcilers"]):
    from reconcilers.manifest import ManifestError, parse
    from reconcilers.options import Rules
    from reconcilers.p2 import manifest as p2manifest
    from reconcilers.p2 import uuid_pods as uuidpods
    from reconcilers.spec import PodKey

KEY = PodKey("web1", "isup")
RULES = Rules(
    allow_headers=True, allow_send=True, allow_methods=frozenset({"GET", "POST"}), credentials_dir="/", max_redirects=10
)
WITHIN = 0.05
"""Seconds of the thread's own time: what a manifest may cost at most."""


def one_input(data: bytes) -> None:
    """See the module."""
    began = time.thread_time()
    try:
        parse(KEY, data, RULES)
    except ManifestError as error:
        if not str(error).isprintable():
            raise ValueError("the error would forge a line of the log") from error
    took = time.thread_time() - began
    if took > WITHIN:
        raise TimeoutError(f"{took * 1000:.0f} ms")
    with contextlib.suppress(p2manifest.P2ManifestError):
        p2manifest.sha(data)
    uuidpods.is_uuid_pod("1bf26caa-4ea5-11e5-8f4a-7b9c2b5f1d5a", data)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
