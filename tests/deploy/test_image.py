"""The image: built by a real builder on a fresh Debian, and started."""

import re
import shlex
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.deploy.conftest import DOCKERFILE, IMAGE
from tests.support import program
from tests.support.image import Builder

pytestmark = pytest.mark.xdist_group("the image")

STARTED = """
ip link set lo up
{start} & started=$!
trap 'kill $started 2>/dev/null || true' EXIT
for attempt in $(seq 60); do
    if {health}; then break; fi
    sleep 0.5
done
{health}
{user}
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_image_starts_as_a_user_of_its_own_and_is_healthy(builder: Builder) -> None:
    """What Docker would run is run, without a daemon: entry point and health check as the image itself names them."""
    settings = builder.settings(IMAGE)
    entry, health = [*settings["Entrypoint"], *settings["Cmd"]], settings["Healthcheck"]["Test"]
    assert health[0] == "CMD", "no shell"
    container = builder.run("from", "--pull-never", IMAGE)

    def inside(command: list[str]) -> str:
        return shlex.join(builder.command("run", "--isolation=chroot", container, "--", *command))

    script = STARTED.format(start=inside(entry), health=inside(health[1:]), user=inside(["id", "-u"]))
    ended = program.run(["unshare", "--net", "bash", "-euc", script], within=120.0)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    assert ended.stdout.split()[-1] == "9815"
    assert "page and metrics on port 9815" in ended.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_image_holds_what_is_locked_and_no_installer(builder: Builder) -> None:
    container = builder.run("from", "--pull-never", IMAGE)
    code = "import importlib.metadata as m; print('\\n'.join(f'{d.name}=={d.version}' for d in m.distributions()))"
    python = ("run", "--isolation=chroot", container, "--", "/opt/podpulse/bin/python", "-c", code)
    have = {line.lower().replace("_", "-") for line in builder.run(*python).splitlines()}
    locked = set(
        re.findall(r"^([a-z0-9.-]+==[^ ;]+)", (ROOT / "deploy" / "requirements.txt").read_text(), re.MULTILINE)
    )
    others = {line for line in have - locked if not line.startswith("podpulse==")}
    assert not others
    assert any(line.startswith("podpulse==") for line in have)


def test_the_dockerfile_names_no_address_and_installs_only_what_is_locked() -> None:
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    assert "://" not in text.replace("http://127.0.0.1:9815/", "")
    installs = re.findall(r"bin/pip install .*", text)
    assert len(installs) == 3
    assert all("--require-hashes" in each or "--no-index --no-deps" in each for each in installs)
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["podpulse"]
    for form in ("ENTRYPOINT", "CMD"):
        assert re.findall(rf"^ *{form} (.)", text, re.MULTILINE)[-1] == "["


def test_what_is_copied_into_the_image_is_there_and_not_ignored() -> None:
    copied = [
        path
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE.read_text(), re.MULTILINE)
        for path in line.split()[:-1]
    ]
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(copied) == kept
    assert all((ROOT / Path(path)).exists() for path in copied)
