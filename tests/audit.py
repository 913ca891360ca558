"""Asks the package registry whether what users are given (deploy/requirements.txt) has known vulnerabilities.

    python -m tests.audit

Exit code 1 when there is one, 0 when there is none, or when no registry here answers such questions; then it says so.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

REQUIREMENTS = Path(__file__).parents[1] / "deploy" / "requirements.txt"
ASKED_WITHIN = 120


def main() -> int:
    """Ask, and say what was answered."""
    command = [sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip", "--progress-spinner", "off"]
    try:
        asked = subprocess.run(
            [*command, "--format", "json", "--requirement", REQUIREMENTS],
            capture_output=True,
            text=True,
            timeout=ASKED_WITHIN,
            check=False,
        )
    except subprocess.TimeoutExpired:
        print(f"nothing was audited: no answer within {ASKED_WITHIN} s")
        return 0
    try:
        packages: list[dict[str, Any]] = json.loads(asked.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(f"nothing was audited: {asked.stderr.strip().splitlines()[-1:] or 'no answer'}")
        return 0
    for package in packages:
        for found in package.get("vulns", ()):
            fixed = ", ".join(found["fix_versions"]) or "none yet"
            print(f"{package['name']} {package['version']}: {found['id']}, fixed in: {fixed}")
    audited = [package for package in packages if "vulns" in package]
    print(f"{len(audited)} of {len(packages)} packages were audited; the registry knows nothing of the others")
    return int(any(package["vulns"] for package in audited))


if __name__ == "__main__":
    sys.exit(main())
