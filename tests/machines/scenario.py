"""Machines that come into the world in other ways than the example's, from power-on to proof.

Each scenario has a cluster of its own, as small as what it shows allows.
"""

import shlex
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from imagegen.media.iso_reader import read_seed
from imagegen.media.iso_writer import build_image

from . import drill
from .cluster import CLOUD_INIT_DONE, FIRST_BOOT, LATER_BOOT, Cluster, Member
from .drill import require
from .golden import golden, golden_release
from .install import bundle, bundle_faults, release, release_faults, upgraded
from .machine import SeedBus, create_disk
from .network import WebServer, dhcp_server
from .site import Site, example


def attachments(site: Site) -> str:
    """The seed as SCSI CD, as IDE CD and as a directory; with no DNS, NTP or default route."""
    spec = example(3, network={"prefix": 24})
    with site.cluster(site.build("attachments", spec)) as cluster:
        scsi, ide, directory = cluster.members
        scsi.machine.bus, ide.machine.bus = SeedBus.SCSI, SeedBus.IDE
        _bake_seed(site, directory)
        figures = drill.form(cluster, seed=0, stagger=0)
        for member in cluster.members:
            routes = member.sh("ip route show default; ip -6 route show default")
            require(not routes, f"{member.name} has a default route: {routes}")
            servers = member.sh("cat /etc/resolv.conf 2>/dev/null | grep ^nameserver || true")
            require(not servers, f"{member.name} has a name server: {servers}")
            clock = member.sh("timedatectl show --property=NTPSynchronized")
            require("no" in clock, f"{member.name} has a time server: {clock}")
        source = directory.sh("cat /var/lib/cloud/instance/datasource")
        require("/var/lib/cloud/seed/nocloud" in source, f"it took {source}")
        drill.reboot(cluster, site)  # of the one whose seed is a directory
    return "; ".join(f"{f.member} healthy after {f.healthy:.0f} s" for f in figures)


def _bake_seed(site: Site, member: Member) -> None:
    """Put the seed into the member's image, where an image builder would."""
    assert member.machine.seed
    documents = member.machine.seed.parent
    files = {
        f"/var/lib/cloud/seed/nocloud/{name}": (documents / name).read_bytes()
        for name in ("user-data", "meta-data", "network-config")
    }
    member.machine.image = site.image.with_files(files, site.work / "baked")
    member.machine.seed = None
    member.machine.wipe()


def source_down(site: Site) -> str:
    """The package source is down at the first power-on, and comes back."""
    with site.cluster(site.build("source-down", example(1))) as cluster:
        (member,) = cluster.members
        site.source.switch_off()
        try:
            member.machine.power_on()
            _wait_for_apt_error(member)
            site.source.switch_on()
            begun = time.monotonic()
            cluster.wait_for_state("healthy")
            running = time.monotonic() - begun
            drill.check_first_boot(member)

            site.source.switch_off()
            member.machine.power_off()
            member.machine.wipe()
            member.machine.power_on()
            _wait_for_apt_error(member)
            member.machine.console.begin_boot()
            member.machine.reboot()
            _wait_for_apt_error(member)
        finally:
            site.source.switch_on()
        begun = time.monotonic()
        cluster.wait_for_state("healthy")
        rebooted = time.monotonic() - begun
        drill.check_membership(cluster)
        drill.check_reads(cluster, "installed")
    return (
        f"healthy {running:.0f} s after the source is back, and {rebooted:.0f} s if after a reboot"
    )


def _wait_for_apt_error(member: Member) -> None:
    """The console and the result name apt's reason, and that it is tried again."""
    member.machine.wait_for_line(rf"{member.state_line('installing')} install: [EW]: ", FIRST_BOOT)
    result = member.result()
    require(result["state"] == "installing", f"{member.name}: {result}")
    require("10.240.0.1" in result["reason"], f"{member.name}: {result}")
    require("tried again" in result["hint"], f"{member.name}: {result}")


def data_disk(site: Site) -> str:
    """A data disk is formatted once and outlives its machine; without it etcd does not start."""
    disk = site.work / "data.qcow2"
    create_disk(disk)
    plan = {"device": "/dev/disk/by-id/virtio-data"}
    spec = example(1, data_disk=plan)
    with site.cluster(site.build("data-disk", spec)) as cluster:
        (member,) = cluster.members
        member.machine.power_on()
        member.machine.wait_for_line(
            rf"{member.state_line('failed')} data_disk: .*{plan['device']} is missing", FIRST_BOOT
        )
        drill.check_not_started(member)

        member.machine.shut_down()
        member.machine.data_disk = disk
        member.machine.power_on()
        cluster.wait_for_state("healthy")
        drill.check_membership(cluster)
        made = _file_system(member)
        drill.put(cluster, "on the disk")

        member.machine.console.begin_boot()
        member.machine.reboot()
        cluster.wait_until_serving()
        require(_file_system(member) == made, "the disk is not what it was before the reboot")
        drill.wait_for_copy(cluster, member, "on the disk")

        member.machine.shut_down()
        spec["members"][0]["generation"] = 2
        site.build("data-disk", spec)
        member.machine.power_on()
        cluster.wait_for_state("healthy")
        instance = member.result()["instance_id"]
        require(instance.endswith("-g2"), f"first boot was {instance}'s")
        require(_file_system(member) == made, "the second generation has formatted the disk")
        drill.wait_for_copy(cluster, member, "on the disk")

        member.machine.shut_down()
        member.machine.data_disk = None
        member.machine.power_on()
        member.machine.wait_for_line("Dependency failed for .*etcd", LATER_BOOT)
        member.machine.wait(member.machine.agent.answers, "answers", LATER_BOOT)
        drill.check_not_started(member)
    return f"file system {made.split()[0]} from the first start to the second generation"


def _file_system(member: Member) -> str:
    """Which one etcd's data is on; it must be the data disk's, and mounted before etcd started."""
    label, found = member.sh("findmnt -no LABEL,UUID --target /var/lib/etcd/data/member").split()
    require(label == "etcd-data", f"the data is on {label}")
    times = member.sh(
        "systemctl show --value -p ActiveEnterTimestampMonotonic var-lib-etcd.mount; "
        "systemctl show --value -p ExecMainStartTimestampMonotonic etcd.service"
    )
    mounted, started = (int(word) for word in times.split())
    require(0 < mounted < started, f"mounted at {mounted} µs, etcd started at {started} µs")
    return found


def scrub(site: Site) -> str:
    """``after_boot: scrub`` leaves keys to etcd alone, and the machine as good after a reboot."""
    with site.cluster(site.build("scrub", example(1, after_boot="scrub"))) as cluster:
        (member,) = cluster.members
        member.machine.power_on()
        cluster.wait_for_state("healthy")
        drill.check_membership(cluster)
        _check_keys(cluster, member)
        before = drill.identity(member), member.result()
        drill.put(cluster, "kept")
        member.machine.console.begin_boot()
        member.machine.reboot()
        cluster.wait_until_serving()
        require((drill.identity(member), member.result()) == before, "it is another machine now")
        drill.wait_for_copy(cluster, member, "kept")
        _check_keys(cluster, member)
        status = member.machine.agent.run("cloud-init", "status").stdout
        require("status: disabled" in status, f"cloud-init: {status}")
        spared = member.result()["hint"]
    return f"the key is in /etc/etcd alone, before and after a reboot; hint: {spared}"


def _check_keys(cluster: Cluster, member: Member) -> None:
    """Of all that was written since the image was made, only etcd's directory has the key."""
    (key,) = member.sh("ls /etc/etcd/*-key.pem").split()
    # The third line is all the key's own; it appears in no argument list but a shell's own.
    found = member.sh(
        f"line=$(sed -n 3p {shlex.quote(key)}); test ${{#line}} -gt 30; "
        "find / /run /dev/shm /tmp -xdev -type f -newer /etc/.updated -print0 | "
        'xargs -0 grep -lF -e "$line" | sort -u'
    )
    require(found.split() == [key], f"{member.name}: the key is also in {found}")


def split(site: Site) -> str:
    """User-data without keys; each member takes its own from a disk that comes by itself."""
    spec = example(3, secrets="split")
    output = site.build("split", spec)
    with site.cluster(output) as cluster:
        early, other, late = cluster.members
        label, right = _label(late), late.machine.keys
        assert right
        late.machine.keys = None
        cluster.power_on(seed=0, stagger=0)
        waits = rf"{late.state_line('waiting')} keys: private keys: "
        late.machine.wait_for_line(f"{waits}no disk labelled {label} yet", FIRST_BOOT)
        late.machine.wait(lambda: _waits_for_keys(late), "waits for its keys", LATER_BOOT)
        drill.check_not_started(late)
        found = late.sh(
            "grep -rlsF 'PRIVATE KEY-----' /etc/etcd /etc/imagegen /var/lib/cloud /run || true"
        )
        require(not found, f"{late.name} has a key: {found}")

        wrong = site.work / "wrong-keys.iso"
        files = {file.name: file.content for file in read_seed(_keys(early)).files}
        wrong.write_bytes(build_image(files, when=datetime.now(UTC), label=label))
        late.machine.plug(wrong, "wrong")
        late.machine.wait_for_line(f"{waits}.* does not belong to ", LATER_BOOT)
        late.machine.unplug("wrong")
        late.machine.plug(right, "keys")
        late.machine.keys = right
        cluster.wait_for_state("healthy")
        for member in cluster.members:
            taken = (
                rf"{member.state_line('starting')} keys: private keys taken from {_label(member)}"
            )
            line = member.machine.wait_for_line(taken, 1)
            require("detach it" in line.text, f"{member.name}: {line.text}")
            member.machine.wait_for_line(CLOUD_INIT_DONE, FIRST_BOOT)
            drill.check_first_boot(member)
            member.machine.unplug("keys")
            member.machine.keys = None
        drill.check_membership(cluster)
        drill.check_reads(cluster, "split")
        drill.reboot(cluster, site)
        require(other.result()["state"] == "healthy", f"{other.result()}")
    return f"taken from {label} and two others; a wrong key is refused; all detached, one rebooted"


def _keys(member: Member) -> bytes:
    assert member.machine.keys
    return member.machine.keys.read_bytes()


def _label(member: Member) -> str:
    """The label of the disk with a member's keys."""
    return read_seed(_keys(member)).label


def _waits_for_keys(member: Member) -> bool:
    """Whether nothing of ours runs and systemd waits for the keys."""
    said = member.sh("systemctl is-active imagegen-firstboot.service imagegen-keys.path || true")
    return said.split() == ["inactive", "active"]


def external(site: Site) -> str:
    """User-data without keys; their owner puts them in place, wrong ones first."""
    spec = example(3, secrets="external", pki={"layout": "separate"})
    output = site.build("external", spec)
    with site.cluster(output) as cluster:
        first, *others = cluster.members
        cluster.power_on(seed=0, stagger=0)
        for member in cluster.members:
            waits = (
                rf"{member.state_line('waiting')} keys: private keys: no /etc/etcd/server-key.pem"
            )
            member.machine.wait_for_line(waits, FIRST_BOOT)
            member.machine.wait_for_line(CLOUD_INIT_DONE, FIRST_BOOT)
            member.machine.wait(
                lambda m=member: _waits_for_keys(m), "waits for its keys", LATER_BOOT
            )  # type: ignore[misc]
            drill.check_not_started(member)
        first.machine.console.begin_boot()
        first.machine.reboot()
        first.machine.wait(lambda: _waits_for_keys(first), "waits again", LATER_BOOT)

        waits = rf"{first.state_line('waiting')} keys: private keys: /etc/etcd/peer-key.pem "
        _hand_over(output, first, first.name, "server-key.pem")
        first.machine.wait_for_line(f"{waits}is missing", LATER_BOOT)
        _hand_over(output, first, others[0].name, "peer-key.pem")
        first.machine.wait_for_line(f"{waits}does not belong to", LATER_BOOT)
        for member in cluster.members:
            _hand_over(output, member, member.name, "server-key.pem")
            _hand_over(output, member, member.name, "peer-key.pem")
        cluster.wait_for_state("healthy")
        for member in cluster.members:
            member.machine.wait_for_line(CLOUD_INIT_DONE, FIRST_BOOT)
            drill.check_first_boot(member)
            modes = member.sh("stat -c '%U %a' /etc/etcd/*-key.pem").splitlines()
            require(modes == ["etcd 400"] * 2, f"{member.name}: {modes}")
        drill.check_membership(cluster)
        drill.check_reads(cluster, "external")
    return "waits, also after a reboot; a missing and a wrong key are named; healthy once they fit"


def _hand_over(output: Path, member: Member, owner: str, name: str) -> None:
    key = output / "members" / owner / "keys" / name
    member.machine.agent.write(f"/etc/etcd/{name}", key.read_text())


def http(site: Site) -> str:
    """Documents from a web server, which bring no key: those come on a disk."""
    spec = example(3, network={"dhcp": True})
    folder = site.work / "http"
    flags = ("--target", "nocloud-dir", "--seed-url", "http://10.240.0.1:8080")
    output = site.build("http", spec, *flags)
    served = output / "nocloud-dir"
    for document in served.glob("*/*-data"):
        require(b"PRIVATE KEY-----" not in document.read_bytes(), f"{document} has a key")
    leases = {member["mac"]: member["address"] for member in spec["members"]}
    with (
        WebServer(site.network, served, folder / "http.log", port=8080),
        dhcp_server(site.network, leases, folder / "dhcp.log"),
        site.cluster(output) as cluster,
    ):
        for member in cluster.members:
            arguments = (served / member.name / "boot-arguments").read_text().splitlines()
            # What Debian 12's cloud-init takes is deprecated in later ones.
            serials = [line.partition("serial=")[2] for line in arguments if "serial=" in line]
            member.machine.serial = serials[site.image.release.codename == "bookworm"]
        figures = drill.form(cluster, seed=0, stagger=0)
        source = cluster.members[0].sh("cat /var/lib/cloud/instance/datasource")
        require("http://10.240.0.1:8080" in source, f"it took {source}")
        for member in cluster.members:
            member.machine.keys = None
        drill.reboot(cluster, site)
    return "; ".join(f"{f.member} healthy after {f.healthy:.0f} s" for f in figures)


SCENARIOS: dict[str, Callable[[Site], str]] = {
    "attachments": attachments,
    "source-down": source_down,
    "data-disk": data_disk,
    "scrub": scrub,
    "split": split,
    "external": external,
    "http": http,
    "release": release,
    "release-alone": partial(release, members=1),
    "release-faults": release_faults,
    "bundle": bundle,
    "bundle-faults": bundle_faults,
    "upgraded": upgraded,
    "golden": golden,
    "golden-release": golden_release,
}
