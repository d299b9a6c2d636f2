"""Disk images for the guests, made from Debian's packages.

A guest starts from QEMU's own kernel loader, not from a bootloader: nothing
proved here depends on how the kernel came into memory, a reset loads it
again, and the disk is a bare ext4 that needs neither partitions nor loop
devices to make.
"""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from .architecture import AMD64, Architecture
from .host import BootError, Mirror, programs_run, run
from .network import PACKAGE_SOURCE

CUSTOMIZE = Path(__file__).with_name("guest.sh")

UNUSED_AFTER = 7 * 24 * 3600.0

# What seeds install; the package source holds it and what it depends on.
INSTALLABLE = ("etcd-server", "etcd-client")


@dataclass(frozen=True, kw_only=True)
class Release:
    """A Debian release, as the suite's guests have it."""

    codename: str
    distribution: str
    """What specs call it."""
    network: tuple[str, ...]
    """What configures the network: cloud-init renders for what it finds."""
    architecture: Architecture = AMD64

    @property
    def name(self) -> str:
        """What tells its images from others."""
        return f"{self.codename}-{self.architecture.name}"

    @property
    def packages(self) -> tuple[str, ...]:
        """What is installed beside Debian's minimal system."""
        return (
            *self.network,
            "ca-certificates",
            "cloud-init",
            "dbus",
            "e2fsprogs",
            "initramfs-tools",  # after Debian 13 it would be dracut; guest.sh knows this one
            "iproute2",
            f"linux-image-cloud-{self.architecture.name}",
            "openssh-server",
            "python3",
            "sudo",  # every cloud image has it; Packer becomes root by it
            "qemu-guest-agent",  # the suite's way in: needs no network, keys or users
            "systemd-sysv",
            "systemd-timesyncd",
            "udev",
        )


FORKY = Release(codename="forky", distribution="debian-14", network=("netplan.io",))
TRIXIE = Release(codename="trixie", distribution="debian-13", network=("netplan.io",))
BOOKWORM = Release(codename="bookworm", distribution="debian-12", network=("ifupdown",))
RELEASES = {release.codename: release for release in (FORKY, TRIXIE, BOOKWORM)}


@dataclass(frozen=True)
class Image:
    """A folder with what machines boot from, and the packages they can install."""

    path: Path
    release: Release

    @property
    def disk(self) -> Path:
        """The root file system, raw; machines write to overlays of it."""
        return self.path / "disk.raw"

    @property
    def kernel(self) -> Path:
        """What QEMU loads, and loads again on a reset."""
        return self.path / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """Finds the disk."""
        return self.path / "initrd.img"

    @property
    def packages(self) -> Path:
        """Served as the root of the guests' package source."""
        return self.path / "packages"

    def with_files(self, files: Mapping[str, bytes], path: Path) -> Self:
        """A copy with files for root alone, as an image builder would bake them in."""
        shutil.copytree(self.path, path, ignore=shutil.ignore_patterns(self.disk.name))
        copy = replace(self, path=path)
        run("cp", "--sparse=always", str(self.disk), str(copy.disk), timeout=300)
        for guest_path, content in files.items():
            copy._write(guest_path, content)
        return copy

    def _write(self, guest_path: str, content: bytes) -> None:
        """Put a file into the disk without mounting it, which takes a loop device."""
        with tempfile.NamedTemporaryFile() as source:
            source.write(content)
            source.flush()
            folders = reversed(Path(guest_path).parents[:-1])
            script = [f"mkdir {folder}" for folder in folders]
            script += [f"write {source.name} {guest_path}", f"sif {guest_path} mode 0100600"]
            run("debugfs", "-w", "-f", "/dev/stdin", str(self.disk), stdin="\n".join(script))
        # debugfs ends with 0 whatever happened; of a folder that exists it only complains.
        if run("debugfs", "-R", f"cat {guest_path}", str(self.disk)).encode() != content:
            raise BootError(f"{guest_path}: not written to {self.disk}")


def default_cache() -> Path:
    """Where images stay between runs. Losing it costs a minute, no more."""
    return Path(os.environ.get("XDG_CACHE_HOME", "/var/cache")) / "imagegen-boot"


def build_image(release: Release, mirror: Mirror, cache: Path) -> Image:
    """The release's image, from the cache if it was made by the same recipe."""
    sources = mirror.sources(release.codename)
    settings = {
        "PACKAGE_SOURCE": PACKAGE_SOURCE,
        "INSTALLABLE": " ".join(INSTALLABLE),
        "DATASOURCES": release.architecture.datasources,
    }
    bootstrap = (
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        "--format=directory",
        f"--architectures={release.architecture.name}",
        f"--include={','.join(release.packages)}",
    )
    # Not initialising in the background is what keeps a first boot from doing it.
    mke2fs = ("mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0")
    # Where this checkout is does not matter to the image.
    recipe = (*sources, *settings.items(), *bootstrap, *mke2fs, CUSTOMIZE.read_text())
    digest = hashlib.sha256(repr(recipe).encode()).hexdigest()[:12]
    image = Image(cache / f"{release.name}-{digest}", release)
    if image.path.exists():
        os.utime(image.path)
        return image

    cache.mkdir(parents=True, exist_ok=True)
    _forget_unused(cache, release)
    with tempfile.TemporaryDirectory(dir=cache, prefix="new-") as new:
        root, work = Path(new) / "root", replace(image, path=Path(new) / "image")
        pool = work.packages / release.codename
        pool.mkdir(parents=True)
        with programs_run(release.architecture):
            run(
                # Its mounts are its own: killed, it leaves none below what is then removed.
                *("unshare", "--mount"),
                *bootstrap,
                f"--customize-hook={CUSTOMIZE}",
                release.codename,
                str(root),
                *sources,
                env=os.environ | settings | {"POOL": str(pool)},
                timeout=1800,
            )
        (kernel,) = root.glob("boot/vmlinuz-*")
        (initrd,) = root.glob("boot/initrd.img-*")
        shutil.copy(kernel, work.kernel)
        shutil.copy(initrd, work.initrd)
        run(*mke2fs, "-d", str(root), str(work.disk), "4G", timeout=300)
        # Another run may have put its own there meanwhile, by the same recipe.
        if not image.path.exists():
            work.path.rename(image.path)
    return image


def _forget_unused(cache: Path, release: Release) -> None:
    """Remove images of earlier recipes; no run takes a week."""
    for path in cache.glob(f"{release.codename}-*"):
        if time.time() - path.stat().st_mtime > UNUSED_AFTER:
            shutil.rmtree(path)
