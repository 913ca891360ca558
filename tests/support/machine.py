"""A real systemd, booted in its own namespaces on the root file system of a Debian. It does not see the systemd, the
network or the processes of the host.
"""

import shlex
import signal
import subprocess
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.net import until

BOOT = """
mount --make-rprivate /
mount --bind "$0" "$0"
cd "$0"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs tmpfs sys/fs/cgroup
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs tmpfs dev
for node in null zero full random urandom tty; do touch dev/$node; mount --bind /dev/$node dev/$node; done
mkdir -p dev/pts dev/shm host
mount -t devpts devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ip link set lo up
pivot_root . host
umount -l /host
mount --make-rshared /
exec env -i container=test PATH=/usr/bin:/usr/sbin /lib/systemd/systemd --unit=basic.target --log-target=journal
"""
SPACES = ("--pid", "--mount", "--uts", "--ipc", "--net", "--cgroup")
BOOTED_WITHIN = 60.0


def cgroups() -> Path | None:
    """Returns where version 2 of control groups is mounted, of which systemd needs a part; None if it is not
    mounted."""
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    return next((Path(where) for _, where, kind, *_ in mounts if kind == "cgroup2"), None)


class Machine(AbstractContextManager["Machine"]):
    """A systemd that runs inside the context. `root` is a Debian with systemd, which keeps what systemd writes there.
    `folder` has the log of the boot.

    The processes are in a control group below `cgroup`, which is removed with them.
    """

    def __init__(self, root: Path, folder: Path, cgroup: Path) -> None:
        self._root = root
        self._log = folder / "boot.log"
        self._cgroup = cgroup / f"machine-{folder.name}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._cgroup.mkdir()
        join = f'echo $$ >{shlex.quote(str(self._cgroup / "cgroup.procs"))}; exec "$@"'
        boot = ["unshare", *SPACES, "--fork", "--kill-child", "bash", "-euc", BOOT, str(self._root)]
        with self._log.open("wb") as log:
            command = ["bash", "-euc", join, "bash", *boot]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            until(self._is_up, BOOTED_WITHIN, "systemd to be up")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def run(self, command: str, *, check: bool = True) -> str:
        """Run a shell's command inside, and return its output."""
        enter = ["nsenter", f"--target={self._init()}", *SPACES, "bash", "-c", command]
        ended = subprocess.run(enter, capture_output=True, text=True, timeout=60, check=False)
        assert not check or ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout.strip()

    def show(self, unit: str, field: str) -> str:
        return self.run(f"systemctl show --property={field} --value {unit}")

    def _init(self) -> str:
        """Returns the pid of its first process, outside of its namespaces; "" if there is none yet."""
        pid = self._process.pid if self._process else 0
        children = Path(f"/proc/{pid}/task/{pid}/children")
        return children.read_text().strip() if children.exists() else ""

    def _is_up(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise AssertionError(f"systemd did not come up:\n{self._log.read_text()}")
        return bool(self._init()) and self.run("systemctl is-active basic.target", check=False) == "active"

    def _end(self) -> None:
        """Kills the first process, which ends all others."""
        if self._process:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        for folder in sorted(self._cgroup.rglob("*"), reverse=True):
            if folder.is_dir():
                until(lambda folder=folder: _removed(folder), what=f"{folder} to be empty")  # type: ignore[misc]
        until(lambda: _removed(self._cgroup), what=f"{self._cgroup} to be empty")


def _removed(folder: Path) -> bool:
    with suppress(OSError):
        folder.rmdir()
    return not folder.exists()
