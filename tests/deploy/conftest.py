"""The image, built once for all tests that need it."""

import os
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT
from tests.support.image import Builder
from tests.support.setup import require

DOCKERFILE = ROOT / "deploy" / "Dockerfile"
IMAGE = "localhost/podpulse"
BASE = "localhost/debian"


@pytest.fixture(scope="session")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    """Has built the image. If it cannot be built, tests are skipped for people, and fail in CI.

    The tests that use it are in one file. So one process of pytest-xdist runs all of them, and builds the image once.
    """
    require("image-builder")
    if os.geteuid():
        end = pytest.fail if os.environ.get("CI") else pytest.skip
        end("building an image without root needs subordinate ids, which are not set up here")
    builder = Builder(tmp_path_factory.mktemp("image"))
    builder.debian(BASE)
    builder.build(DOCKERFILE, IMAGE, BASE=BASE)
    yield builder
    builder.run("rm", "--all")
    builder.run("rmi", "--all", "--force")


@pytest.fixture(scope="session")
def container(builder: Builder) -> str:
    """A container of the image, for tests that change nothing in it."""
    return builder.run("from", "--pull-never", IMAGE)
