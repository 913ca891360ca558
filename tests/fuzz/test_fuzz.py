"""libFuzzer on the parser of manifests, for a bounded time; `tests/fuzz/manifest.py` says how to run it for longer."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 20


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="atheris has wheels for Linux only")
def test_no_input_breaks_the_parser_or_keeps_it_busy(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz.manifest", f"-max_total_time={SECONDS}", "-max_len=70000"]
    folders = [tmp_path, ROOT / "tests" / "data" / "manifests"]
    fuzzed = subprocess.run(
        [*command, f"-artifact_prefix={tmp_path}/", *folders],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS + 60,
        check=False,
    )
    crashes = [file.read_bytes() for file in tmp_path.glob("crash-*")]
    assert fuzzed.returncode == 0, f"{crashes}\n{fuzzed.stdout[-3_000:]}\n{fuzzed.stderr[-3_000:]}"
    assert "Done " in fuzzed.stderr
