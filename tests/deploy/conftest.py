"""The image, built once for all tests that need it."""

import os
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT
from tests.support.image import Builder, lacking

DOCKERFILE = ROOT / "deploy" / "Dockerfile"
IMAGE = "localhost/podpulse"
BASE = "localhost/debian"


@pytest.fixture(scope="session")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    """Has built the image. Where that cannot be, tests are skipped for people, and fail in CI.

    That all tests of this folder run in one process, so that one builds it, is seen to in tests/conftest.py.
    """
    reason = lacking()
    if reason and not os.environ.get("CI"):
        pytest.skip(reason)
    assert not reason
    builder = Builder(tmp_path_factory.mktemp("image"))
    builder.debian(BASE)
    builder.build(DOCKERFILE, IMAGE, BASE=BASE)
    yield builder
    builder.run("rm", "--all")
    builder.run("rmi", "--all", "--force")
