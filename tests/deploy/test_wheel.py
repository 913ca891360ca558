"""The wheel, built by the locked backend: its content besides the code."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from zipfile import ZipFile

import pytest

from controller.cli import VERBS
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    hatchling = Path(sys.executable).parent / "hatchling"
    subprocess.run([hatchling, "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True, capture_output=True)
    return ZipFile(folder / f"podpulse-{version('podpulse')}-py3-none-any.whl")


def test_its_packages_say_that_they_have_types(wheel: ZipFile) -> None:
    assert {"controller/py.typed", "reconcilers/py.typed"} <= set(wheel.namelist())


def test_it_holds_the_man_pages(wheel: ZipFile) -> None:
    place = f"podpulse-{version('podpulse')}.data/data/share/man/man1"
    pages = {name.removeprefix(f"{place}/") for name in wheel.namelist() if name.startswith(place)}
    assert pages == {"podpulse.1", *(f"podpulse-{name}.1" for name in VERBS)}


def test_it_holds_the_packages_and_nothing_of_the_tests(wheel: ZipFile) -> None:
    about = f"podpulse-{version('podpulse')}"
    top = {name.split("/")[0] for name in wheel.namelist()}
    assert top == {"controller", "reconcilers", f"{about}.dist-info", f"{about}.data"}
    assert not [name for name in wheel.namelist() if "__pycache__" in name]
