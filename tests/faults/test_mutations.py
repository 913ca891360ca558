"""The table of mutants fits the code, and the tool distinguishes found mutants from others.

To find every mutant takes a quarter of an hour: `python -m tests.faults.mutations`.
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


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.promise}-{mutant.function}")
def test_the_line_to_be_replaced_is_once_in_its_function(mutant: Mutant, tmp_path: Path) -> None:
    place = mutant.find(ROOT)
    copy = tmp_path / place.file
    copy.parent.mkdir(parents=True)
    copy.write_text((ROOT / place.file).read_text())
    before = copy.read_text()
    assert mutant.apply(tmp_path) == copy
    changed = [
        pair for pair in zip(before.split("\n"), copy.read_text().split("\n"), strict=True) if pair[0] != pair[1]
    ]
    assert [(old.strip(), new.strip()) for old, new in changed] == [(mutant.line, mutant.instead)]
    compile(copy.read_text(), place.file, "exec")


def module(tree: Path, text: str) -> Mutant:
    """A mutant for `f` of class `A` in a tree whose only module has this text."""
    (tree / "controller" / "deep").mkdir(parents=True)
    (tree / "controller" / "deep" / "a.py").write_text(text)
    return replace(MUTANT, function="A.f", line="a()", instead="b()")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "class A:\n    def f():\n        a()\n        a()\n",
        "class A:\n    def f():\n        xa()\n",
        "class A:\n    def g():\n        a()\n    def f():\n        pass\n",
        "def f():\n    a()\n",
    ],
)
def test_a_line_that_is_not_once_in_its_function_is_named_with_it(text: str, tmp_path: Path) -> None:
    with pytest.raises(Rotten, match=r"in A\.f, expected once: a\(\)"):
        module(tmp_path, text).apply(tmp_path)


def test_a_function_is_found_in_any_module_and_the_replacement_is_indented_as_the_line(tmp_path: Path) -> None:
    mutant = module(tmp_path, "class A:\n    if x:\n        def f():\n            a()\n    def g():\n        a()\n")
    assert mutant.apply(tmp_path).read_text() == (
        "class A:\n    if x:\n        def f():\n            b()\n    def g():\n        a()\n"
    )


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
