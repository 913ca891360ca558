"""The table of mutants does not rot, and the tool tells a mutant that was found from one that was not.

That each is found takes a quarter of an hour: `python -m tests.faults.mutations`.
"""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults import mutations
from tests.faults.catalogue import FAULTS
from tests.faults.checker import PROMISES
from tests.faults.mutants import JUDGES, MUTANTS, Mutant, Rotten
from tests.faults.mutations import ROOT, Said, verdict

MUTANT = MUTANTS[0]
QUIET = Said(0, ())


def test_every_promise_has_a_mutant_and_every_judge_a_use() -> None:
    assert {mutant.promise for mutant in MUTANTS} == set(PROMISES)
    assert {mutant.judge for mutant in MUTANTS} == set(JUDGES)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.promise}-{Path(mutant.file).stem}")
def test_the_line_to_be_replaced_stands_once_in_its_file(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text()
    broken = mutant.applied(text)
    assert text.count("\n") == broken.count("\n")
    assert [line for line in broken.splitlines() if line not in text.splitlines()] or mutant.instead in text
    compile(broken, mutant.file, "exec")


def test_a_line_that_does_not_stand_there_is_named_with_its_file() -> None:
    for text in ("", f"{MUTANT.line}\n  {MUTANT.line}\n", f"x{MUTANT.line}"):
        with pytest.raises(Rotten) as caught:
            MUTANT.applied(text)
        assert MUTANT.line in str(caught.value)
        assert MUTANT.file in str(caught.value)


def test_what_is_put_instead_has_the_same_indentation() -> None:
    assert replace(MUTANT, line="a()", instead="b()").applied("if x:\n    a()\n") == "if x:\n    b()\n"


def test_the_faults_of_a_judge_are_known() -> None:
    for options in JUDGES.values():
        names = options[options.index("--faults") + 1]
        assert names == "none" or (set(names.split(",")) <= set(FAULTS))


def test_a_copy_has_no_bytecode_and_its_code_is_what_runs(tmp_path: Path) -> None:
    tree = mutations.copy(tmp_path)
    assert not list((tree / "controller").rglob("*.pyc"))
    ask = "import controller, reconcilers, tests; print(controller.__file__, reconcilers.__file__, tests.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", ask],
        cwd="/",
        env=mutations.environment(tree),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert all(Path(each).is_relative_to(tree) for each in done.stdout.split())


def test_a_mutant_is_found_when_the_report_names_its_promise() -> None:
    found = verdict(MUTANT, QUIET, Said(1, ("B1 (x) at 2.00 s a: late", "A1 (x) at 3.00 s b: no request")))
    assert (found.found, found.words) == (True, "3.00 s b: no request")


@pytest.mark.parametrize(
    ("plain", "broken", "words"),
    [
        (QUIET, QUIET, "survived; broken: nothing"),
        (QUIET, Said(1, ("B1 (x) at 2.00 s a: late", "B1: 3 times more")), "survived; broken: B1"),
        (QUIET, Said(1, (), "AssertionError: it ended at its start"), "it ended at its start"),
        (Said(1, ("A1 (x) at 1.00 s a: late",)), Said(1, ("A1 (x) at 1.00 s a: late",)), "complains without it"),
        (QUIET, Said(1, ("A1 (x) at 1.00 s a: late",), used=False), "did not run"),
    ],
)
def test_a_mutant_that_was_not_found_is_said_to_be_alive_and_why(plain: Said, broken: Said, words: str) -> None:
    told = verdict(MUTANT, plain, broken)
    assert not told.found
    assert told.words.endswith(words) if "survived; " in words else words in told.words


def test_the_mutants_are_listed_in_the_form_of_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    assert mutations.main(["--list", "--only", "A1,R1"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split(" | ")[0] for row in rows if row.startswith("| ")] == ["| promise", "| A1", "| R1"]


def test_a_table_that_has_rotten_runs_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mutations, "MUTANTS", (replace(MUTANT, line="nowhere()"),))
    assert mutations.main([]) == 2
    assert "expected once: nowhere()" in capsys.readouterr().err
