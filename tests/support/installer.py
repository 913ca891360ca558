"""What `deploy/install` is tested with in place of a Python: virtual environments of a shell script, without packages.

The wheel is a script, too. Its installation makes it the program `podpulse`.
"""

PYTHON = """#!/usr/bin/env bash
case $1 in -c) exit ;; -VV) echo Python 3; exit ;; esac
mkdir -p "$3/bin"
cp "${0%/*}/pip" "$3/bin/pip"
"""
PIP = """#!/usr/bin/env bash
case ${*: -1} in
    *.whl) cp "${*: -1}" "${0%/*}/podpulse" ;;
    *) eval "${PIP_DOES:-}" ;;
esac
"""
"""PIP_DOES: what happens instead of the installation of the locked packages."""
