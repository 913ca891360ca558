"""deploy/install with a systemctl that records its arguments, and a pip that installs a script as a wheel.

The installation of the real packages is tested with the commands of the documents.
"""

import os
import re
import shutil
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.installer import PIP, PYTHON
from tests.support.net import until

SYSTEMCTL = """#!/usr/bin/env bash
echo "$@" >>"${0%/*}/systemctl.log"
"""
WHEEL = """#!/usr/bin/env bash
# {version}
case $1 in {refused}) exit 1 ;; esac
"""


CHECKOUT = ("install", "systemd/podpulse.service", "requirements.txt", "config.example.yaml")


@dataclass(frozen=True, slots=True)
class Host:
    """A checkout, and a root whose name has to be quoted."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "a root & more"

    @property
    def current(self) -> Path:
        return self.root / "opt/podpulse"

    @property
    def unit(self) -> Path:
        return self.root / "etc/systemd/system/podpulse.service"

    @property
    def unit_of_checkout(self) -> Path:
        return self.folder / "deploy/systemd/podpulse.service"

    @property
    def versions(self) -> list[str]:
        return sorted(each.name.split("-")[1] for each in self.current.parent.glob("podpulse-*"))

    @property
    def version(self) -> str:
        return str(self.current.readlink()).split("-")[1]

    @property
    def controlled(self) -> list[str]:
        """Returns the arguments that systemctl got since the last call."""
        log = self.folder / "systemctl.log"
        told = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return told

    def environ(self, **variables: str) -> dict[str, str]:
        given = {"PYTHON": f"{self.folder}/python", "SYSTEMCTL": f"{self.folder}/systemctl"} | variables
        return {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(self.folder)} | given

    def command(self, *options: str) -> list[str]:
        return [f"{self.folder}/deploy/install", "--root", str(self.root), "--within", "1", *options]

    def run(self, *options: str, code: int = 0, **variables: str) -> str:
        return self.ran(self.command(*options), code, **variables)

    def ran(self, command: list[str], code: int = 0, **variables: str) -> str:
        environ = self.environ(**variables)
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ, cwd=self.folder)
        assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def wheel(self, version: str, refused: str = "no") -> str:
        wheel = self.folder / f"podpulse-{version}-py3-none-any.whl"
        wheel.write_text(WHEEL.format(version=version, refused=refused))
        wheel.chmod(0o755)
        return str(wheel)

    def install(self, version: str, *options: str, refused: str = "no", code: int = 0, **variables: str) -> str:
        return self.run("--wheel", self.wheel(version, refused), *options, code=code, **variables)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    for name, text in (("python", PYTHON), ("pip", PIP), ("systemctl", SYSTEMCTL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    for name in CHECKOUT:
        (tmp_path / "deploy" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "deploy" / name, tmp_path / "deploy" / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name in ("controller", "reconcilers", "deploy/man"):
        (tmp_path / name).mkdir()
    return Host(tmp_path)


def test_it_installs_upgrades_and_rolls_back(host: Host) -> None:
    host.install("1", "--unit")
    assert host.version == "1"
    assert host.controlled == ["daemon-reload", "enable podpulse", "restart podpulse"]
    unit = host.unit.read_text()
    assert f"ExecStart={host.current}/bin/podpulse run --config {host.root}/etc/podpulse/config.yaml\n" in unit
    assert (host.root / "usr/local/bin/podpulse").resolve() == (host.current / "bin/podpulse").resolve()
    assert (host.root / "etc/podpulse/config.yaml").read_bytes() == (ROOT / "deploy/config.example.yaml").read_bytes()

    said = host.install("2")
    assert (host.version, host.versions) == ("2", ["1", "2"])
    assert host.controlled == ["restart podpulse"]
    assert "--rollback puts it back" in said

    host.run("--rollback")
    assert (host.version, host.controlled) == ("1", ["restart podpulse"])
    host.run("--rollback")
    assert host.version == "2", "the one before is now that which was left"

    assert "is complete" in host.install("2")
    host.install("3")
    assert (host.version, host.versions) == ("3", ["2", "3"])


def test_a_version_that_does_not_accept_the_configuration_is_not_switched_to(host: Host) -> None:
    host.install("1", "--unit")
    assert host.controlled
    said = host.install("2", refused="check-config", code=1)
    assert "nothing was switched" in said
    assert (host.version, host.controlled) == ("1", [])


def test_a_version_that_is_not_healthy_is_rolled_back(host: Host) -> None:
    host.install("1", "--unit")
    host.install("2")
    assert host.controlled
    said = host.install("3", refused="healthy", code=1)
    assert "is back and healthy" in said
    assert (host.version, host.controlled) == ("2", ["restart podpulse", "restart podpulse"])
    host.run("--rollback")
    assert host.version == "1"


def test_a_first_version_that_is_not_healthy_is_reported(host: Host) -> None:
    assert "there is no other version to put back" in host.install("1", "--unit", refused="healthy", code=1)


def test_an_upgrade_installs_its_unit_and_a_rollback_the_one_before(host: Host) -> None:
    host.install("1", "--unit")
    first = host.unit.read_text()
    host.unit_of_checkout.write_text(host.unit_of_checkout.read_text() + "# 2\n")
    assert host.controlled
    host.install("2")
    assert host.unit.read_text() == f"{first}# 2\n"
    assert host.controlled == ["daemon-reload", "restart podpulse"]
    host.unit.write_text(first)  # as if the upgrade had been killed before it installed the unit
    host.install("2")
    assert host.unit.read_text() == f"{first}# 2\n"
    host.unit_of_checkout.write_text(host.unit_of_checkout.read_text() + "# 3\n")
    host.install("3", refused="healthy", code=1)
    assert host.unit.read_text() == f"{first}# 2\n"
    host.run("--rollback")
    assert host.unit.read_text() == first


def test_an_edited_unit_is_kept_until_it_is_to_be_replaced(host: Host) -> None:
    host.install("1", "--unit")
    first = host.unit.read_text()
    host.unit.write_text(f"{first}# edited\n")
    assert "was edited, so it is kept; --unit replaces it" in host.install("2")
    host.install("3", refused="healthy", code=1)
    assert host.unit.read_text() == f"{first}# edited\n"
    assert "is kept as" in host.install("2", "--unit")
    assert host.unit.read_text() == first
    assert host.unit.with_suffix(".service.replaced").read_text() == f"{first}# edited\n"
    host.run("--rollback")
    assert host.unit.read_text() == f"{first}# edited\n", "as it was when version 1 was left"


def test_an_installation_that_was_killed_is_made_again_and_two_at_once_are_refused(host: Host) -> None:
    host.install("1")
    begun, go_on = host.folder / "begun", host.folder / "go-on"
    os.mkfifo(go_on)
    command = host.command("--wheel", host.wheel("2"))
    killed = subprocess.Popen(
        command, env=host.environ(PIP_DOES=f"touch {begun}; read <{go_on}"), stdout=subprocess.DEVNULL
    )
    until(begun.exists, what="the second version to be begun")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert "another deploy/install is at work" in host.run("--rollback", code=1)
    assert host.version == "1"
    go_on.write_text("\n")  # the command that outlived the script ends

    def has_made_it_again() -> bool:
        with suppress(AssertionError):
            host.install("3")
        return host.version == "3"

    until(has_made_it_again, what="the lock to be free")
    assert host.versions == ["1", "3"], "nothing is left of what was not completed"


def kill_at(host: Host, command: list[str], number: int) -> None:
    """Kills the command when it has printed so many of its own commands, and waits for the one that it had started."""
    with subprocess.Popen(command, env=host.environ(), stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout
        printed = 0
        for line in killed.stdout:
            printed += line.startswith("+ ")
            if printed == number:
                killed.kill()
    subprocess.run(["flock", host.current.parent, "true"], check=True, timeout=30)


@pytest.mark.parametrize("number", [2, 3, 4, 5, 6, 8])
def test_after_a_kill_there_is_a_program_and_the_same_command_completes_the_change(host: Host, number: int) -> None:
    host.install("1", "--unit")
    unit = host.unit.read_text()
    assert host.controlled
    host.unit_of_checkout.write_text(host.unit_of_checkout.read_text() + "# 2\n")
    kill_at(host, host.command("--wheel", host.wheel("2")), number + 6)
    assert (host.current / "bin/podpulse").exists()
    host.install("2")
    assert "daemon-reload" in host.controlled
    assert (host.version, host.unit.read_text()) == ("2", f"{unit}# 2\n")
    kill_at(host, host.command("--rollback"), number)
    assert (host.current / "bin/podpulse").exists()
    if host.version == "2" or (host.current.parent / ".podpulse-switching").is_symlink():
        host.run("--rollback")
    assert "daemon-reload" in host.controlled
    assert (host.version, host.unit.read_text()) == ("1", unit)


def test_a_failed_installation_changes_nothing_and_leaves_nothing(host: Host) -> None:
    host.install("1", "--unit")
    assert host.controlled
    said = host.install("2", code=1, PIP_DOES="echo ERROR: no network; exit 1")
    assert "ERROR: no network" in said
    assert "the packages could not be installed; nothing was changed" in said
    assert (host.version, host.versions, host.controlled) == ("1", ["1"], [])


SMALL = """
ulimit -c 0
root=$1 first=$2 second=$3; shift 3
mkdir -p "$root"; mount -t tmpfs -o size=128k tmpfs "$root"
"$@" --unit --wheel "$first" || exit 3
head -c 200000 /dev/zero >>"$second"
"$@" --unit --wheel "$second" && exit 4
ls "$root/opt"
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare(1) here")
def test_without_space_the_version_before_stays(host: Host) -> None:
    command = ["unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)), "bash", "-uc", SMALL, "bash"]
    said = host.ran([*command, str(host.root), host.wheel("1"), host.wheel("2"), *host.command()])
    assert "No space left on device" in said
    assert "could not be installed; nothing was changed" in said
    left = re.findall(r"^podpulse\S*$", said, re.MULTILINE)
    assert [each.split("-")[:2] for each in left] == [["podpulse"], ["podpulse", "1"]]


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare(1) here")
def test_a_user_gets_it_in_the_home_folder(host: Host) -> None:
    """Only the script sees another user than root. The files belong to the user who runs the test."""
    user = ["unshare", "--map-user=1000", "--map-group=1000", f"{host.folder}/deploy/install"]
    host.ran([*user, "--wheel", host.wheel("1")], HOME=str(host.root))
    assert (host.root / ".local/bin/podpulse").exists()
    assert (host.root / ".config/podpulse/config.yaml").exists()
    assert not (host.root / ".local/opt/podpulse/podpulse.service").exists()
    assert "expected root" in host.ran([*user, "--unit"], 1)
    host.ran([*user, "--uninstall", "--purge"], HOME=str(host.root))
    assert not [file for file in host.root.rglob("*") if not file.is_dir()]
    assert "nothing is installed" in host.ran([*user, "--uninstall"], HOME=str(host.root))
    (host.root / "file").touch()
    assert "expected a folder that" in host.ran([*user, "--wheel", host.wheel("1")], 1, HOME=f"{host.root}/file")


def test_it_removes_everything_but_configuration_and_state_unless_purged(host: Host) -> None:
    others = [host.root / "opt/podpulse-data/file", host.root / "usr/local/bin/other"]
    state = host.root / "var/lib/podpulse/state.json"
    for file in (*others, state):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    host.install("1", "--unit")
    host.install("2")
    host.controlled  # noqa: B018 - forgets it
    assert "kept, and removed by --uninstall --purge:" in host.run("--uninstall")
    assert host.controlled == ["disable --now podpulse", "daemon-reload"]
    left = {file.relative_to(host.root) for file in (host.root).rglob("*") if not file.is_dir()}
    config = Path("etc/podpulse/config.yaml")
    assert left == {config, *(file.relative_to(host.root) for file in (*others, state))}
    host.run("--uninstall", "--purge")
    assert not state.parent.exists()
    assert not (host.folder / "root" / config.parent).exists()
    assert all(file.exists() for file in others)


def test_a_dry_run_changes_nothing(host: Host) -> None:
    said = host.install("1", "--unit", "--dry-run")
    assert "ln -sfnT podpulse-1-" in said
    assert not (host.root).exists()
    host.install("1", "--unit")
    assert host.controlled
    for options in (("--uninstall", "--purge", "--dry-run"), ("--dry-run",)):
        assert "nothing was changed" in host.run(*options)
    assert (host.version, host.controlled) == ("1", [])
    assert (host.current / "installed-from").exists()


def test_with_a_root_the_systemd_of_this_host_is_not_asked(host: Host) -> None:
    assert "not run, because of --root: systemctl restart" in host.run("--unit", "--dry-run", SYSTEMCTL="")


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--what",), 2, "no option --what"),
        (("--purge",), 2, "expected --uninstall"),
        (("--wheel",), 2, "expected a value"),
        (("--wheel", "missing.whl"), 2, "expected a file podpulse-VERSION-*.whl, got missing.whl"),
        (("--root", ""), 2, "expected a folder"),
        (("--within", "soon"), 2, "expected seconds"),
        (("--rollback",), 1, "there is no version before"),
    ],
)
def test_what_it_cannot_do_it_says(host: Host, options: tuple[str, ...], code: int, words: str) -> None:
    assert words in host.run(*options, code=code)


@pytest.mark.parametrize("place", ["opt/podpulse", "opt/podpulse.previous", "usr/local/bin/podpulse"])
def test_what_others_have_made_in_its_places_is_kept(host: Host, place: str) -> None:
    foreign = host.root / place / "foreign"
    foreign.parent.mkdir(parents=True)
    foreign.touch()
    assert "move it away first" in host.install("1", code=1)
    assert host.versions == []
    for option in ("--uninstall",) if "opt" in place else ():
        assert "move it away first" in host.run(option, code=1)
    assert foreign.exists()


def test_another_program_of_the_name_and_a_masked_unit_are_kept(host: Host) -> None:
    command = host.root / "usr/local/bin/podpulse"
    command.parent.mkdir(parents=True)
    command.symlink_to("/opt/other/podpulse")
    assert "leads to /opt/other/podpulse, another program" in host.install("1", code=1)
    command.unlink()
    host.unit.parent.mkdir(parents=True)
    host.unit.symlink_to("/dev/null")
    assert "unmask or remove the unit first" in host.install("1", code=1)
    assert host.unit.is_symlink()


def test_a_version_that_was_installed_by_hand_is_kept_and_can_be_returned_to(host: Host) -> None:
    by_hand = host.current.parent / "podpulse-by-hand/bin/podpulse"
    by_hand.parent.mkdir(parents=True)
    shutil.copy(host.wheel("0"), by_hand)
    host.current.symlink_to("podpulse-by-hand")
    host.unit.parent.mkdir(parents=True)
    host.unit.write_text("by hand")
    host.install("1", "--unit")
    host.run("--rollback")
    assert host.current.readlink() == Path("podpulse-by-hand")
    assert host.unit.read_text() == "by hand"
    assert "kept, because deploy/install did not make it" in host.run("--uninstall")
    assert by_hand.exists()


def test_the_help_names_every_option() -> None:
    shown = subprocess.run([ROOT / "deploy/install", "--help"], capture_output=True, text=True, check=True).stdout
    for option in ("--unit", "--wheel", "--within", "--root", "--rollback", "--uninstall", "--purge", "--dry-run"):
        assert option in shown


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare(1) here")
def test_a_service_with_a_python_in_a_home_folder_is_refused(host: Host) -> None:
    python = host.folder / "python-of-root"
    python.write_text("#!/bin/sh\necho /root/.pyenv/bin/python3\n")
    python.chmod(0o755)
    command = ["unshare", "--map-root-user", f"{host.folder}/deploy/install", "--unit", "--dry-run"]
    said = host.ran([*command, "--wheel", host.wheel("1")], 1, PYTHON=str(python))
    assert "the service cannot use a Python in a home folder, /root/.pyenv/bin/python3" in said
