"""Controllers check pods although they cannot write to a file system.

The file systems are real: each is a tmpfs. Only the controller sees it, and a test that looks through the controller's
/proc.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.publish.folder import read
from tests.support.controller import NODE, Controller, manifest, podpulse
from tests.support.net import until
from tests.support.sandbox import needs_a_namespace
from tests.support.targets import Target

pytestmark = needs_a_namespace

FILL = 'dd if=/dev/zero of="$0/filler" bs=4k 2>/dev/null; '
NO_INODES = ("nr_inodes=2", ': >"$0/filler"; ')
NO_ROOM = ("size=64k", FILL)
READ_ONLY = ("size=64k", 'mount -o remount,ro "$0"; ')
LOCKED_READ_ONLY = ("size=64k", f': >"$0/{NODE}.lock"; mount -o remount,ro "$0"; ')


def mounted(folder: Path, options: str, script: str) -> Sequence[str | Path]:
    """Returns a command to put before another one. The other command sees a tmpfs at `folder`, as `script` has left
    it."""
    namespace = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)))
    mount = f'mount -t tmpfs -o {options} none "$0"; {script} exec "$@"'
    return (*namespace, "sh", "-c", mount, folder)


def seen_by(controller: Controller, folder: Path) -> Path:
    return Path(f"/proc/{controller.pid}/root{folder}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "there"
    folder.mkdir()
    return folder


@pytest.fixture
def options(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The options of a controller that uses folders and has one healthy pod."""
    (tmp_path / "pods").mkdir()
    with Target() as target:
        (tmp_path / "pods" / "isup.yaml").write_bytes(manifest("isup", target.port))
        yield {"intent_dir": str(tmp_path / "pods"), "health_dir": str(tmp_path / "health")}


def is_passing(controller: Controller) -> bool:
    return controller.metrics().sum("podpulse_health", pod="isup", state="passing") == 1


@pytest.mark.parametrize("below", ["", "deeper"])
@pytest.mark.parametrize("system", [NO_INODES, NO_ROOM, READ_ONLY, LOCKED_READ_ONLY])
def test_the_controller_starts_although_it_cannot_save_state(
    options: dict[str, Any], folder: Path, system: tuple[str, str], below: str
) -> None:
    options["state_dir"] = str(folder / below)
    with Controller(before=mounted(folder, *system), **options) as controller:
        until(lambda: is_passing(controller), 20, "the pod is passing")
        assert controller.terminate() == 0
        assert re.search("WARNING .*(no state is kept|the state of the checks cannot be saved)", controller.log)


def test_a_lock_on_a_read_only_file_system_is_a_lock(options: dict[str, Any], folder: Path) -> None:
    with Controller(before=mounted(folder, *LOCKED_READ_ONLY), **options | {"state_dir": str(folder)}) as controller:
        second = controller.folder / "second.yaml"
        second.write_text(yaml.safe_dump(controller.options | {"state_dir": str(seen_by(controller, folder))}))
        done = podpulse("run", "--config", second, check=False)
    assert done.returncode == 1
    assert f"a controller of node {NODE} is already running" in done.stderr


def test_health_is_written_to_a_folder_once_the_disk_has_space(
    options: dict[str, Any], tmp_path: Path, folder: Path
) -> None:
    options |= {"health_dir": str(folder), "state_dir": str(tmp_path / "state")}
    before = mounted(folder, "nr_inodes=4", ': >"$0/1"; : >"$0/2"; : >"$0/3"; ')
    with Controller(ready=False, before=before, **options) as controller:
        until(lambda: is_passing(controller), 20, "the pod is passing")
        assert "no health can be published" in controller.get("/-/ready").text
        there = seen_by(controller, folder)
        for filler in "123":
            (there / filler).unlink()
        controller.wait_ready()
        until(lambda: read(there), 20, "it is published")


def test_an_unusable_state_folder_is_an_error(options: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(options | {"state_dir": str(tmp_path / "file" / "state")}))
    done = podpulse("run", "--config", config, check=False)
    assert (done.returncode, "state_dir: " in done.stderr) == (1, True)
