"""libFuzzer on the parsers of foreign bytes, for a bounded time. The module of each target says how to run longer."""

import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "tests" / "data" / "manifests"
MANIFEST_SECONDS = 20
ANSWER_SECONDS = 5

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="atheris has wheels for Linux only"),
]


def fuzz(target: str, seconds: int, folder: Path, *options: str, seeds: Collection[Path] = ()) -> None:
    command = [sys.executable, "-m", f"tests.fuzz.{target}", f"-max_total_time={seconds}", *options]
    fuzzed = subprocess.run(
        [*command, f"-artifact_prefix={folder}/", str(folder), *map(str, seeds)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
    )
    crashes = [file.read_bytes() for file in folder.glob("crash-*")]
    assert fuzzed.returncode == 0, f"{crashes}\n{fuzzed.stdout[-3_000:]}\n{fuzzed.stderr[-3_000:]}"
    assert "Done " in fuzzed.stderr


def test_no_input_breaks_the_parser_or_keeps_it_busy(tmp_path: Path) -> None:
    fuzz("manifest", MANIFEST_SECONDS, tmp_path, "-max_len=70000", seeds=[MANIFESTS])


@pytest.mark.parametrize("target", ["http_answer", "grpc_answer", "probe_events"])
def test_no_answer_of_a_target_breaks_what_reads_it(target: str, tmp_path: Path) -> None:
    fuzz(target, ANSWER_SECONDS, tmp_path, "-max_len=400", "-len_control=0")
