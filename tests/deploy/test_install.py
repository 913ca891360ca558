"""deploy/install with a systemctl that writes down what it is told, and a pip that installs a script as a wheel.

The installation of the real packages is tested with the commands of the documents.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT

PYTHON = """#!/usr/bin/env bash
case $1 in -c) exit ;; -VV) echo Python 3; exit ;; esac
mkdir -p "$3/bin"
printf '#!/usr/bin/env bash\\ncase ${*: -1} in *.whl) cp "${*: -1}" "${0%%/*}/podpulse" ;; esac\\n' >"$3/bin/pip"
chmod +x "$3/bin/pip"
"""
SYSTEMCTL = """#!/usr/bin/env bash
echo "$@" >>"${0%/*}/systemctl.log"
"""
WHEEL = """#!/usr/bin/env bash
# {version}
case $1 in {refused}) exit 1 ;; esac
"""


@dataclass(frozen=True, slots=True)
class Host:
    folder: Path

    @property
    def current(self) -> Path:
        return self.folder / "root/opt/podpulse"

    @property
    def versions(self) -> list[str]:
        return sorted(each.name.split("-")[1] for each in self.current.parent.glob("podpulse-*"))

    @property
    def version(self) -> str:
        return str(self.current.readlink()).split("-")[1]

    @property
    def controlled(self) -> list[str]:
        """What systemctl was told since the last time."""
        log = self.folder / "systemctl.log"
        told = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return told

    def run(self, *options: str, code: int = 0, **variables: str) -> str:
        given = {"PYTHON": f"{self.folder}/python", "SYSTEMCTL": f"{self.folder}/systemctl"} | variables
        done = subprocess.run(
            [ROOT / "deploy/install", "--root", self.folder / "root", "--within", "1", *options],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(self.folder)} | given,
        )
        assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def install(self, version: str, *options: str, refused: str = "no", code: int = 0) -> str:
        wheel = self.folder / f"podpulse-{version}-py3-none-any.whl"
        wheel.write_text(WHEEL.format(version=version, refused=refused))
        wheel.chmod(0o755)
        return self.run("--wheel", str(wheel), *options, code=code)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    for name, text in (("python", PYTHON), ("systemctl", SYSTEMCTL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return Host(tmp_path)


def test_it_installs_upgrades_and_rolls_back(host: Host) -> None:
    host.install("1", "--unit")
    assert host.version == "1"
    assert host.controlled == ["daemon-reload", "enable podpulse", "restart podpulse"]
    unit = (host.folder / "root/etc/systemd/system/podpulse.service").read_text()
    assert f"ExecStart={host.current}/bin/podpulse run --config {host.folder}/root/etc/podpulse/config.yaml\n" in unit
    assert (host.folder / "root/usr/local/bin/podpulse").resolve() == (host.current / "bin/podpulse").resolve()
    assert (host.folder / "root/etc/podpulse/config.yaml").read_bytes() == (
        ROOT / "deploy/config.example.yaml"
    ).read_bytes()

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
    assert "no version before" in host.install("1", "--unit", refused="healthy", code=1)


def test_an_interrupted_installation_is_made_again(host: Host) -> None:
    host.install("1")
    for file in ("installed-from", "bin/podpulse"):
        (host.current / file).unlink()
    host.install("1")
    assert (host.current / "bin/podpulse").exists()


def test_it_removes_everything_but_configuration_and_state_unless_purged(host: Host) -> None:
    others = [host.folder / "root/opt/podpulse-data/file", host.folder / "root/usr/local/bin/other"]
    state = host.folder / "root/var/lib/podpulse/state.json"
    for file in (*others, state):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    host.install("1", "--unit")
    host.install("2")
    host.controlled  # noqa: B018 - forgets it
    assert "kept:" in host.run("--uninstall")
    assert host.controlled == ["disable --now podpulse", "daemon-reload"]
    left = {file.relative_to(host.folder / "root") for file in (host.folder / "root").rglob("*") if not file.is_dir()}
    config = Path("etc/podpulse/config.yaml")
    assert left == {config, *(file.relative_to(host.folder / "root") for file in (*others, state))}
    host.run("--uninstall", "--purge")
    assert not state.parent.exists()
    assert not (host.folder / "root" / config.parent).exists()
    assert all(file.exists() for file in others)


def test_a_dry_run_changes_nothing(host: Host) -> None:
    said = host.install("1", "--unit", "--dry-run")
    assert "ln -sfnT podpulse-1-" in said
    assert not (host.folder / "root").exists()
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
        (("--wheel", "missing.whl"), 2, "no file missing.whl"),
        (("--within", "soon"), 2, "expected seconds"),
        (("--rollback",), 1, "there is no version before"),
    ],
)
def test_what_it_cannot_do_it_says(host: Host, options: tuple[str, ...], code: int, words: str) -> None:
    assert words in host.run(*options, code=code)


def test_a_folder_in_place_of_the_link_is_kept(host: Host) -> None:
    host.current.mkdir(parents=True)
    assert "move it away first" in host.install("1", code=1)
    assert "move it away first" in host.run("--uninstall", code=1)
    assert host.current.is_dir()


def test_the_help_names_every_option() -> None:
    shown = subprocess.run([ROOT / "deploy/install", "--help"], capture_output=True, text=True, check=True).stdout
    for option in ("--unit", "--wheel", "--within", "--root", "--rollback", "--uninstall", "--purge", "--dry-run"):
        assert option in shown
