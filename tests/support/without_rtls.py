"""Runs a module as on a platform without rtls: `python -m tests.support.without_rtls MODULE ARGUMENT...`."""

import runpy
import sys

if __name__ == "__main__":
    sys.modules["rtls"] = None  # type: ignore[assignment]
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
