"""Kinds of machines: what a guest of each takes from QEMU and from Debian."""

import os
import platform
from dataclasses import dataclass

# A device node does not mean that KVM works; some hang. Who has it, asks for it.
_ASKED = os.environ.get("IMAGEGEN_BOOT_ACCEL", "tcg")


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A kind of machine, by the name that Debian and etcd's releases have for it."""

    name: str
    machine: str
    """The kernel's name for it, and QEMU's."""
    elf: int
    """Which programs it runs (elf.h)."""
    board: str
    """QEMU's machine type."""
    emulated_cpu: str
    kernel_arguments: str
    datasources: str
    """What cloud-init of its images tries, one after another."""
    host_packages: tuple[str, ...]
    """What makes an image of it and starts that, on a host of another kind."""

    @property
    def native(self) -> bool:
        """Whether this host runs its programs itself."""
        return platform.machine() == self.machine

    @property
    def accelerator(self) -> str:
        """What QEMU is to run it with: a host has KVM for its own kind alone."""
        return _ASKED if self.native else "tcg"

    @property
    def cpu(self) -> str:
        """The processor that its guests see."""
        return "host" if self.accelerator == "kvm" else self.emulated_cpu


# With repeated addresses QEMU reuses across processes what it has translated,
# which is a third of the work of a boot without KVM; mitigations cost some more.
# Nothing a seed does depends on either.
_KERNEL_ARGUMENTS = "root=/dev/vda norandmaps mitigations=off"

AMD64 = Architecture(
    name="amd64",
    machine="x86_64",
    elf=62,
    # Not q35: Debian 12's cloud kernel has no driver for its CD.
    board="pc",
    # QEMU 7.2's own emulation lets kernels from 6.12 on fail at random after a cmpxchg16b.
    emulated_cpu="Westmere,cx16=off",
    # Nor does anything depend on a TSC that is watched.
    kernel_arguments=f"{_KERNEL_ARGUMENTS} console=ttyS0 tsc=reliable",
    # With this list a seed that goes away makes a new instance out of a running one: the
    # image that is hardest on members whose ISO is detached.
    datasources="NoCloud, None",
    host_packages=("qemu-system-x86",),
)
ARM64 = Architecture(
    name="arm64",
    machine="aarch64",
    elf=183,
    board="virt",
    # Later ones sign return addresses, which is dear to emulate.
    emulated_cpu="cortex-a72",
    kernel_arguments=f"{_KERNEL_ARGUMENTS} console=ttyAMA0",
    # A board without UEFI has no DMI, and there cloud-init stays off unless it finds a data
    # source by strict signs (CVE-2024-6174). It looks for them only if it has a choice.
    datasources="NoCloud, ConfigDrive, None",
    host_packages=("arch-test", "qemu-system-arm", "qemu-user-static"),
)
ARCHITECTURES = {architecture.name: architecture for architecture in (AMD64, ARM64)}
