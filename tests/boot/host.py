"""What the suite needs of its host: programs, a Debian mirror, and patience."""

import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

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
    "qemu-system-x86",
    "qemu-utils",  # qemu-img
)

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

    def sources(self, codename: str) -> tuple[str, ...]:
        """One-line apt sources of a release, security updates included."""
        return (
            f"deb {self.archive} {codename} main",
            f"deb {self.security} {codename}-security main",
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
    try:
        return Mirror(archive=uris["Debian"], security=uris["Debian-Security"])
    except KeyError as label:
        raise BootError(
            f"no source labelled {label} in the host's apt; has it been updated?"
        ) from None


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
