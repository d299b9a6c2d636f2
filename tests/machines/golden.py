"""A golden image, made by Packer from packer/qemu, and members that start from it."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

from . import drill
from .drill import require
from .host import BootError, TimedOutError, install_packages, run, wait_for
from .image import Image
from .install import release_archive
from .machine import CRASH
from .site import Site, example, imagegen

# Debian 13 has no packer: there it must be on PATH.
PACKAGES = ("openssh-client", "xorriso")
BUILD_TIME = 1200.0
PREINSTALLED = {"mode": "preinstalled", "minimum_version": "3.4"}


def golden(site: Site) -> str:
    """Three members from a golden image form a cluster with no package source to reach."""
    _install_packer()
    with site.cluster(site.build("plain", example(3))) as cluster:
        plain = drill.form(cluster, seed=0, stagger=0)
    image = bake(site)
    spec = example(3, install=PREINSTALLED)
    site.source.switch_off()
    try:
        with _on(site, image).cluster(site.build("golden", spec)) as cluster:
            baked = drill.form(cluster, seed=0, stagger=0)
            machines = {member.sh("cat /etc/machine-id") for member in cluster.members}
            keys = {member.sh("cat /etc/ssh/ssh_host_*.pub") for member in cluster.members}
            require(len(machines) == len(keys) == 3, "members share what the image should not have")
            record = json.loads(cluster.members[0].sh("cat /etc/imagegen-image.json"))
    finally:
        site.source.switch_on()
    seconds = (
        f"{max(f.healthy for f in plain):.0f} s plain, {max(f.healthy for f in baked):.0f} s golden"
    )
    return f"etcd {record['etcd']}; last of three healthy after {seconds}"


def golden_release(site: Site) -> str:
    """The same with a release archive for the packages, for one member."""
    _install_packer()
    tarball = release_archive(site)
    digest = hashlib.sha256(tarball.read_bytes()).hexdigest()
    image = bake(site, etcd_tarball=str(tarball), etcd_sha256=digest)
    spec = example(1, install=PREINSTALLED)
    with _on(site, image).cluster(site.build("golden-release", spec)) as cluster:
        (figures,) = drill.form(cluster, seed=0, stagger=0)
        (member,) = cluster.members
        record = json.loads(member.sh("cat /etc/imagegen-image.json"))
        require(
            digest in record["source"], f"the image's record does not name its source: {record}"
        )
        program = member.sh("readlink /proc/$(pidof etcd)/exe").strip()
        require(program == f"/opt/etcd/{record['etcd']}/etcd", f"{program} runs")
    return f"etcd {record['etcd']} from {tarball.name}, healthy after {figures.healthy:.0f} s"


def _install_packer() -> None:
    install_packages(PACKAGES if shutil.which("packer") else (*PACKAGES, "packer"))


def _on(site: Site, image: Image) -> Site:
    return replace(site, image=image)


def bake(site: Site, **variables: object) -> Image:
    """Build as packer/README.md says, and look at the finished image from outside."""
    work = site.work / f"bake-{len(variables)}"
    imagegen("packer", "export", str(work / "packer"))
    folder = work / "packer/qemu"
    imagegen("packer", "seed", str(folder / "seed"))
    # Debian's packer 1.6 has the builder inside, and knows no plugins.
    (folder / "plugins.pkr.hcl").unlink()
    console = work / "console.log"
    console.touch()
    kind = site.image.release.architecture
    variables |= {
        "image_name": "golden",
        "base_image": str(site.image.disk),
        "base_image_checksum": "none",
        "disk_size": "4G",
        "accelerator": kind.accelerator,
        "ssh_timeout": "15m",
        # The base disk has no bootloader, as all of this suite's.
        "qemuargs": [
            ["-cpu", kind.cpu],
            ["-kernel", str(site.image.kernel)],
            ["-initrd", str(site.image.initrd)],
            ["-append", kind.kernel_arguments],
            ["-serial", f"file:{console}"],
        ],
    }
    (folder / "test.pkrvars.json").write_text(json.dumps(variables))
    _run_packer(site, folder, console)
    output = folder / "output"
    run("sh", "-c", f"cd {output} && sha256sum --check golden.sha256")
    manifest = json.loads((output / "manifest.json").read_text())
    require(manifest["builds"][-1]["files"], f"the manifest names no file: {manifest}")

    image = replace(site.image, path=work / "image")
    image.path.mkdir()
    run("qemu-img", "convert", "-O", "raw", str(output / "golden.qcow2"), str(image.disk))
    shutil.copy(site.image.kernel, image.kernel)
    shutil.copy(site.image.initrd, image.initrd)
    root = work / "root"
    root.mkdir()
    run("debugfs", "-R", f"rdump / {root}", str(image.disk), timeout=300)
    run("sh", str(work / "packer/scripts/verify.sh"), str(root), timeout=300)
    shutil.rmtree(root)
    return image


def _run_packer(site: Site, folder: Path, console: Path) -> None:
    """Run `packer build` on the LAN, where the package source is; stop at once on a crash."""
    log = folder / "packer.log"
    packer = site.network.spawn(
        *("env", "CHECKPOINT_DISABLE=1", f"PACKER_CACHE_DIR={folder}/cache"),
        *("packer", "build", "-color=false", f"-var-file={folder}/test.pkrvars.json"),
        *(f"-var=seed_directory={folder}/seed", f"-var=output_directory={folder}/output"),
        str(folder),
        log=log,
    )

    def alive() -> None:
        if crash := CRASH.search(console.read_text(errors="replace")):
            raise BootError(f"packer's guest: {crash[0]}\n{_tail(console)}")

    try:
        wait_for(
            lambda: packer.poll() is not None, what="packer build", timeout=BUILD_TIME, alive=alive
        )
    except TimedOutError as error:
        raise BootError(f"{error}\n{_tail(log)}\n{_tail(console)}") from None
    finally:
        _end(packer)
    if packer.returncode:
        raise BootError(f"packer build: exit {packer.returncode}\n{_tail(log)}\n{_tail(console)}")


def _end(packer: subprocess.Popen[bytes]) -> None:
    """End Packer, its plugins and QEMU: a signal to Packer alone would not reach them."""
    if packer.poll() is None:
        os.killpg(packer.pid, signal.SIGTERM)
        try:
            packer.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(packer.pid, signal.SIGKILL)
            packer.wait()


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-25:])
