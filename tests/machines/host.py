"""What the suite needs of its host: programs, a Debian mirror, and patience."""

import fcntl
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from .architecture import Architecture

# Everything the suite calls that a minimal Debian host may lack.
PACKAGES = (
    "apt-utils",  # apt-ftparchive: the guests' package source
    "curl",  # clients with and without certificates
    "dnsmasq-base",  # a LAN with DHCP, for seeds that are fetched
    "e2fsprogs",  # mke2fs, debugfs: disks without loop devices
    "etcd-client",
    "genisoimage",  # seeds for guests that test the suite itself
    "iproute2",
    "mmdebstrap",
    "qemu-utils",  # qemu-img
)

# Where the kernel is told which interpreter runs programs of which kind (binfmt_misc).
BINFMT = Path("/proc/sys/fs/binfmt_misc")

T = TypeVar("T")


class BootError(Exception):
    """Something a boot promised and did not do."""


class TimedOutError(BootError):
    """What was waited for did not happen."""


@dataclass(frozen=True)
class Mirror:
    """Where this host gets Debian from, and the guests' packages with it."""

    archive: str
    security: str
    stands_still: bool
    """Whether this host takes indexes that have expired, as testing's do where a mirror keeps
    to one day. Their signatures count all the same."""

    def sources(self, codename: str) -> tuple[str, ...]:
        """One-line apt sources of a release, security updates included."""
        options = "[check-valid-until=no] " if self.stands_still else ""
        return (
            f"deb {options}{self.archive} {codename} main",
            f"deb {options}{self.security} {codename}-security main",
        )


def run(
    *argv: str, stdin: str = "", timeout: float = 60, env: Mapping[str, str] | None = None
) -> str:
    """Run a program to its end and give what it wrote; all it said if it fails."""
    done = subprocess.run(
        argv, input=stdin, capture_output=True, text=True, timeout=timeout, env=env
    )
    if done.returncode:
        raise BootError(f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def install_packages(packages: Sequence[str] = PACKAGES) -> None:
    """Install what is missing, with the host's own apt configuration."""
    query = ("dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n")
    # Its exit status says that some are unknown, which is what we ask.
    known = subprocess.run([*query, *packages], capture_output=True, text=True).stdout
    missing = [name for name in packages if f"{name} installed" not in known.splitlines()]
    if missing:
        run("apt-get", "update", timeout=300)
        run("apt-get", "install", "--yes", "--no-install-recommends", *missing, timeout=900)


def find_mirror() -> Mirror:
    """The mirror in the host's apt sources, which carries the other releases too."""
    if not shutil.which("apt-get"):
        raise BootError("the suite builds its guests with apt and needs a Debian host")
    targets = run(
        "apt-get", "indextargets", "--format", "$(LABEL)|$(REPO_URI)", "Identifier: Packages"
    )
    uris = dict(line.split("|", 1) for line in targets.splitlines())
    checked = run("apt-config", "shell", "checked", "Acquire::Check-Valid-Until/b")
    try:
        return Mirror(
            archive=uris["Debian"],
            security=uris["Debian-Security"],
            stands_still=checked.strip() == "checked='false'",
        )
    except KeyError as label:
        raise BootError(
            f"no source labelled {label} in the host's apt; has it been updated?"
        ) from None


@contextmanager
def programs_run(architecture: Architecture) -> Iterator[None]:
    """Have this host run programs of an architecture while the context is open.

    What the kernel already knows stays; what it is told for this is taken back.
    """
    if architecture.native:
        yield
        return
    # From qemu-user-static, for systemd to register where it runs.
    known = Path(f"/usr/lib/binfmt.d/qemu-{architecture.machine}.conf")
    entry = BINFMT / known.stem
    with ExitStack() as after:
        # Nobody takes it away from another run.
        fcntl.flock(after.enter_context(known.open()), fcntl.LOCK_EX)
        if not (BINFMT / "register").exists():
            run("mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT))
            after.callback(run, "umount", str(BINFMT))
        if not entry.exists():
            (BINFMT / "register").write_text(known.read_text())
            after.callback(entry.write_text, "-1")
        yield


def wait_for(
    condition: Callable[[], T | None],
    *,
    what: str,
    timeout: float,
    alive: Callable[[], None] = lambda: None,
) -> T:
    """Ask until the answer is true, and give it; ``alive`` raises if it never will be."""
    end = time.monotonic() + timeout
    while not (answer := condition()):
        alive()
        if time.monotonic() > end:
            raise TimedOutError(f"{what}: not within {timeout:.0f} s")
        time.sleep(0.5)
    return answer
