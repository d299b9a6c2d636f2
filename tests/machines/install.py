"""Where etcd comes from if not from the package source: a release, or a bundle on the seed.

The package source is switched off throughout, so that nothing else can have
brought what is then there.
"""

import json
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from imagegen.build.bundle import install_section, pin
from imagegen.media.iso_reader import read_seed
from imagegen.media.iso_writer import build_image
from tests.releases import archive, elf, real_archive

from . import drill
from .architecture import AMD64, ARCHITECTURES
from .cluster import CLOUD_INIT_DONE, FIRST_BOOT, LATER_BOOT, Cluster, Member
from .drill import require
from .life import apply_all, imagegen
from .network import WebServer
from .site import Site, example
from .writer import check_nothing_lost, writing

ARCHIVE = "etcd-v{version}-linux-{architecture}.tar.gz"
#: What upstream supports longest.
NEWEST = "3.7"


def release_archive(site: Site) -> Path:
    """Upstream's newest etcd for the site's machines, in an archive as upstream lays them out."""
    folder = site.work / "release"
    folder.mkdir(exist_ok=True)
    path, version = _archive(folder, NEWEST)
    architecture = site.image.release.architecture.name
    if architecture == AMD64.name:
        return path
    programs = {
        name: _program(f"{name}-{version}-{architecture}").read_bytes()
        for name in ("etcd", "etcdctl", "etcdutl")
    }
    return archive(folder, version, programs, architecture)


def _archive(folder: Path, minor: str) -> tuple[Path, str]:
    """One with a minor's programs for this host, and its version."""
    _program(f"etcd-{minor}")
    return real_archive(folder, minor)


def _program(name: str) -> Path:
    """A program as .ci/tools puts it on PATH."""
    found = shutil.which(name)
    require(found, f"{name} is not on PATH: see .ci/tools")
    return Path(str(found))


@contextmanager
def _without_packages(site: Site) -> Iterator[None]:
    site.source.switch_off()
    try:
        yield
    finally:
        site.source.switch_on()


@contextmanager
def _web(site: Site, name: str) -> Iterator[tuple[Path, str]]:
    """An empty folder on a web server of the operator's, and its address."""
    folder = site.work / f"{name}-web"
    folder.mkdir()
    with WebServer(site.network, folder, site.work / f"{name}-web.log", port=8080) as server:
        yield folder, server.url


def _pinned(*files: Path, bundle: bool = False, url: str | None = None) -> dict[str, Any]:
    """The spec's ``install`` as `imagegen pin` prints it, with an address of our own."""
    install: dict[str, Any] = yaml.safe_load(
        install_section([pin(file) for file in files], bundle=bundle)
    )["install"]
    if url:
        install["release"]["url"] = f"{url}/{ARCHIVE}"
    return install


def release(site: Site, members: int = 3) -> str:
    """A release from a web server becomes a cluster, run by a unit that may do little else."""
    path = release_archive(site)
    name = f"release-of-{members}"
    with _without_packages(site), _web(site, name) as (folder, url):
        (folder / path.name).write_bytes(path.read_bytes())
        output = site.build(name, example(members, install=_pinned(path, url=url)))
        with site.cluster(output) as cluster:
            figures = drill.form(cluster, seed=0, stagger=0)
            (folder / path.name).unlink()
            for member in cluster.members:
                _check_release(member, path)
            exposure = _check_hardening(cluster.members[0])
            drill.reboot(cluster, site)
    return f"last of {members} healthy after {max(f.healthy for f in figures):.0f} s; {exposure}"


def _check_release(member: Member, path: Path) -> None:
    """What runs is the release, called by way of the link, as a user that it had to make."""
    match = re.fullmatch(r"etcd-v(.*)-linux-(?:amd64|arm64)\.tar\.gz", path.name)
    assert match
    runs, owner, kept = member.sh(
        "readlink /proc/$(pidof etcd)/exe; stat -c %U /proc/$(pidof etcd); "
        "ls /var/lib/imagegen/bundle | wc -l"
    ).split()
    require(runs == f"/opt/etcd/{match[1]}/etcd", f"{member.name}: {runs} runs")
    require((owner, kept) == ("etcd", "0"), f"{member.name}: as {owner}; {kept} files are left")
    said = member.sh("etcdctl version; readlink /opt/etcd/current")
    require(said.split()[2] == match[1] == said.split()[-1], f"{member.name}: {said}")
    packages = member.sh("dpkg-query --show --showformat '${Package} ' 'etcd*' || true")
    require(not packages.strip(), f"{member.name} has packages: {packages}")


def _check_hardening(member: Member) -> str:
    """The kernel has it, and not only the unit: what etcd's own process may do."""
    status = dict(
        line.split(":\t", 1)
        for line in member.sh("cat /proc/$(pidof etcd)/status").splitlines()
        if ":\t" in line
    )
    found = {key: status[key].strip() for key in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")}
    wanted = {"CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2"}
    require(found == wanted, f"etcd's process: {found}")
    mounts = member.sh("cat /proc/$(pidof etcd)/mountinfo")
    writable = {
        fields[4] for fields in map(str.split, mounts.splitlines()) if "rw" in fields[5].split(",")
    }
    require("/" not in writable, "etcd sees a root that it could write to")
    require("/var/lib/etcd" in writable, f"etcd can write to {sorted(writable)}")
    # A system call that the filter has refused would be in one of these.
    refused = member.sh(
        "journalctl --boot --unit etcd.service --grep 'not permitted|not supported' --quiet || true"
    )
    said = member.sh("systemd-analyze security etcd.service --no-pager || true").strip()
    exposure = said.splitlines()[-1].strip() if said else "exposure unknown"
    return f"{exposure}; the log says {refused.splitlines()[0]!r}" if refused else exposure


def release_faults(site: Site) -> str:
    """Nothing but the release that was pinned is started, and once that is there it is."""
    right = release_archive(site)
    version = right.name.split("-")[1].removeprefix("v")
    kind = site.image.release.architecture
    [other] = [found for found in ARCHITECTURES.values() if found.name != kind.name]
    stub = {"etcd": elf(other.elf), "etcdctl": elf(other.elf)}
    with _without_packages(site), _web(site, "release-faults") as (folder, url):
        # Built for machines of another kind than these are.
        foreign = archive(folder, version, stub, other.name)
        spec = example(3, install=_pinned(foreign, url=url))
        with site.cluster(site.build("release-faults", spec)) as cluster:
            cluster.power_on(seed=0, stagger=0)
            _stopped(cluster, f"this machine is {kind.name}; there is only {foreign.name}")
            for member in cluster.members:
                member.machine.shut_down()

            spec["install"] = _pinned(right, url=url)
            for plan in spec["members"]:
                plan["generation"] = 2
            site.build("release-faults", spec)
            cluster.power_on(seed=0, stagger=0)
            served = folder / right.name
            for member in cluster.members:
                member.machine.wait_for_line(
                    rf"{member.state_line('installing')} install: {right.name}: .*404", FIRST_BOOT
                )
                drill.check_not_started(member)
            short = right.read_bytes()[:-4096]
            for wrong in (short, b"<html>Welcome to our network</html>"):
                _publish(served, wrong)
                if wrong != short:  # for the first they are still asking
                    _go_on(cluster)
                _stopped(cluster, rf"has SHA-256 .* \({len(wrong)} bytes\)")
            _publish(served, right.read_bytes())
            _go_on(cluster)
            cluster.wait_for_state("healthy")
            drill.check_membership(cluster)
            drill.check_reads(cluster, "the right one")
            for member in cluster.members:
                member.machine.wait_for_line(CLOUD_INIT_DONE, FIRST_BOOT)
                drill.check_first_boot(member)
                _check_release(member, right)
    return "another CPU, missing, cut short, another file: each named, none started, then healthy"


def upgraded(site: Site) -> str:
    """Each member goes over to another minor while a client writes; one goes back in between."""
    folder = site.work / "releases"
    folder.mkdir()
    old, new = (_archive(folder, minor)[0] for minor in ("3.4", "3.5"))
    with _without_packages(site), _web(site, "upgraded") as (served, url):
        for path in (old, new):
            (served / path.name).write_bytes(path.read_bytes())
        spec = example(3, install=_pinned(old, url=url))
        with site.cluster(site.build("upgraded", spec)) as cluster:
            drill.form(cluster, seed=0, stagger=0)
            spec["install"] = _pinned(new, url=url)
            (site.work / "upgraded/spec.yaml").write_text(json.dumps(spec))
            with writing(cluster, site.work / "upgraded.log") as writer:
                said = imagegen(cluster, site, "upgrade", "spec.yaml", folder="upgraded")
                order = re.findall(r"^  (\S+) runs ", said, re.MULTILINE)
                require(len(order) == 3, said)
                apply_all(cluster, "upgrade", order[:1])
                first = next(member for member in cluster.members if member.name == order[0])
                done = first.machine.agent.run("sh", "/root/apply.sh", "back", timeout=LATER_BOOT)
                require(done.returncode == 0, f"back: {done.stdout}{done.stderr}")
                _check_release(first, old)
                apply_all(cluster, "upgrade", order)
                cluster.pause(5)
            writes = writer.writes()
            for member in cluster.members:
                _check_release(member, new)
            drill.check_membership(cluster)
            check_nothing_lost(cluster, writes)
            _wait_until_risen(cluster)
            done = first.machine.agent.run("sh", "/root/apply.sh", "back", timeout=LATER_BOOT)
            require(done.returncode and "would not start" in done.stderr, f"back: {done.stdout}")
            drill.reboot(cluster, site)
    return f"{old.name} to {new.name}: {writes}"


def _wait_until_risen(cluster: Cluster) -> None:
    """Wait until the members have agreed on the new minor."""
    client = cluster.client
    ask = ("curl", "--silent", "--cacert", f"{client}/ca.pem", "--cert", f"{client}/client.pem")
    url = f"{cluster.members[0].client_url}/version"
    cluster.wait(
        lambda: (
            '"etcdcluster":"3.5'
            in cluster.network.client(*ask, "--key", f"{client}/client-key.pem", url).stdout
        ),
        "the cluster's version rises",
        120,
    )


def _publish(path: Path, content: bytes) -> None:
    """Have a web server give this from now on, and never half of it."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)


def _stopped(cluster: Cluster, words: str, members: list[Member] | None = None) -> None:
    """First boot has ended before etcd could start; console and result say why."""
    for member in members or cluster.members:
        pattern = rf"{member.state_line('failed')} install: .*{words}"
        member.machine.wait_for_line(pattern, FIRST_BOOT)
        result = member.result()
        require(result.get("state") == "failed", f"{member.name}: {result}")
        require(re.search(words, result["reason"]), f"{member.name}: {result}")
        drill.check_not_started(member)


def _go_on(cluster: Cluster) -> None:
    """What the hint says: first boot continues without a reboot."""
    for member in cluster.members:
        member.machine.wait(partial(_has_ended, member), "has ended its first boot", LATER_BOOT)
        member.sh("systemctl start --no-block imagegen-firstboot.service")


def _has_ended(member: Member) -> bool:
    said = member.sh("systemctl is-active imagegen-firstboot.service || true")
    return said.strip() in ("failed", "inactive")


def bundle(site: Site) -> str:
    """An archive on the seeds becomes a cluster with no source at all; so do packages."""
    path = release_archive(site)
    packages = sorted(site.image.packages.rglob("*.deb"))
    with _without_packages(site):
        output = site.build("bundle", example(3, install=_pinned(path, bundle=True)))
        size = (output / "members/icc-etcd-1/seed.iso").stat().st_size >> 20
        with site.cluster(output) as cluster:
            figures = drill.form(cluster, seed=0, stagger=0)
            for member in cluster.members:
                _check_release(member, path)
            drill.detached(cluster, site)
        output = site.build("bundle-packages", example(1, install=_pinned(*packages)))
        with site.cluster(output) as cluster:
            (alone,) = drill.form(cluster, seed=0, stagger=0)
            (member,) = cluster.members
            program = member.sh("readlink /proc/$(pidof etcd)/exe").strip()
            require(program == "/usr/bin/etcd", f"{program} runs")
    return (
        f"seeds of {size} MiB, last of three healthy after "
        f"{max(f.healthy for f in figures):.0f} s; {len(packages)} packages, one member "
        f"after {alone.healthy:.0f} s"
    )


def bundle_faults(site: Site) -> str:
    """Seeds with another file, with half of it, and without it start nothing; right ones do."""
    path = release_archive(site)
    spec = example(3, install=_pinned(path, bundle=True))
    # A target whose platform takes no seed of ours: for the disc that then brings the bundle.
    targets = ("--target", "nocloud-iso", "--target", "vsphere")
    with _without_packages(site):
        output = site.build("bundle-faults", spec, *targets)
        with site.cluster(output) as cluster:
            other, short, without = cluster.members
            right = {member.name: member.machine.seed for member in cluster.members}
            _spoil(site, other, path.name, elf() * 1000)
            _spoil(site, short, path.name, path.read_bytes()[:-4096])
            _spoil(site, without, path.name, None)
            cluster.power_on(seed=0, stagger=0)
            _stopped(cluster, r"has SHA-256 .* \(\d+ bytes\)", [other, short])
            missing = rf"{without.state_line('installing')} install: {path.name}: cannot copy"
            without.machine.wait_for_line(missing, FIRST_BOOT)
            drill.check_not_started(without)

            begun = time.monotonic()
            without.machine.plug(output / "bundle.iso", "bundle")
            for member in (other, short):
                member.machine.shut_down()
                member.machine.seed = right[member.name]
                member.machine.power_on()
            cluster.wait_for_state("healthy")
            took = time.monotonic() - begun
            drill.check_membership(cluster)
            drill.check_reads(cluster, "the right one")
            for member in cluster.members:
                _check_release(member, path)
    return f"another file, part of it, none: named, none started; healthy {took:.0f} s after"


def _spoil(site: Site, member: Member, name: str, content: bytes | None) -> None:
    """Give the machine a seed on which one file is another, or is not there."""
    assert member.machine.seed
    seed = read_seed(member.machine.seed.read_bytes())
    files = {file.name: file.content for file in seed.files if file.name != name}
    if content is not None:
        files[name] = content
    spoiled = site.work / f"spoiled-{member.name}.iso"
    spoiled.write_bytes(build_image(files, when=datetime.now(UTC), label=seed.label))
    member.machine.seed = spoiled
