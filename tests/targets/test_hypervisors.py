"""imagegen.targets for hypervisors, asked of QEMU, libvirt and cloud-init's own code.

Proxmox VE's and vSphere's programs are not to be had here. In their places
stand programs that only keep what the scripts tell them: what they were told
is then read as the guest would read it.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from imagegen.base.problems import Severity
from imagegen.build.package import plain_files
from imagegen.cluster.cluster import Cluster
from imagegen.cluster.hardware import data_disk_serial, made_macs
from imagegen.documents import guest
from imagegen.documents.render import NodeDocuments, render_node
from imagegen.documents.templates import Templates
from imagegen.pki.issue import issue_pki
from imagegen.pki.model import Pki
from imagegen.targets import load_target
from imagegen.targets.payload import Options, Payload, size_problems
from tests.cloud_init import VERSIONS, run_in
from tests.conftest import EXAMPLES, NOW, make_cluster, require_program

HYPERVISORS = ("qemu", "libvirt", "proxmox", "vsphere")
RENDERED = ("icc-etcd", "smallest", "three-members-ipv6", "hardened")

#: Every example, and both ways of its keys where that is not all the same.
READ = (
    ("icc-etcd", "embed"),
    ("icc-etcd", "split"),
    ("smallest", "embed"),
    ("three-members-ipv6", "embed"),
    ("hardened", "split"),
)


@cache
def built(example: str) -> tuple[Cluster, Pki]:
    cluster = make_cluster((EXAMPLES / f"{example}.yaml").read_text())
    return cluster, issue_pki(cluster, stored=None, now=NOW).pki


@cache
def documents(example: str, secrets: str = "embed", index: int = 0) -> NodeDocuments:
    cluster, pki = built(example)
    return render_node(cluster, cluster.members[index], pki, Templates(), secrets=secrets)


def package(target: str, node: NodeDocuments) -> Payload:
    return load_target(target).package(node, Options())


def put(directory: Path, target: str, node: NodeDocuments) -> Path:
    """The member's folder as a build leaves it."""
    for name, data in (package(target, node).files | plain_files(node)).items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o700 if data.startswith(b"#!") else 0o600)
    return directory / node.folder


def program(directory: Path, name: str, code: str) -> Path:
    """A program to stand first on a PATH."""
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code if code.startswith("#!") else f"#!/usr/bin/env python3\n{code}")
    path.chmod(0o755)
    return path


def run(
    *command: str | Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], env={**os.environ, **(env or {})},
        capture_output=True, text=True, check=False, timeout=120, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def readings(data: bytes) -> Iterator[bytes]:
    """What a file says, and what it says decoded."""
    yield data
    try:
        decoded = base64.b64decode(data, validate=True)
    except ValueError:
        return
    yield gzip.decompress(decoded) if decoded.startswith(b"\x1f\x8b") else decoded


_NOCLOUD = """
from cloudinit.sources.DataSourceNoCloud import DataSourceNoCloud
folder = sys.stdin.read()
with tempfile.TemporaryDirectory() as own:
    source = DataSourceNoCloud({}, None, helpers.Paths({"cloud_dir": own, "run_dir": own}))
    source.seed_dirs = [folder]
    assert source._get_data()
result = {"config": merged(source.userdata_raw), "id": source.get_instance_id(),
          "hostname": source.metadata["local-hostname"], "network": source.network_config}
"""


def read_as_nocloud(version: str, image: Path, directory: Path) -> dict[str, Any]:
    """What cloud-init's NoCloud makes of a disc; the disc's files are read by libarchive."""
    directory.mkdir()
    unpack = run(require_program("bsdtar"), "-xf", image, "-C", directory)
    assert unpack.returncode == 0, unpack.stderr
    result: dict[str, Any] = run_in(version, _NOCLOUD, f"{directory}/".encode())
    return result


def assert_is_the_members(result: Mapping[str, Any], node: NodeDocuments) -> None:
    """What a datasource found is what was rendered, and the instance-id is ours."""
    config = {key: value for key, value in result["config"].items() if key != "merge_how"}
    assert config == yaml.safe_load(node.user_data)
    assert result["id"] == node.member.instance_id
    assert result["hostname"] == node.member.name
    assert result["network"] == yaml.safe_load(node.network_config)


@pytest.mark.parametrize("target", HYPERVISORS)
@pytest.mark.parametrize("example", ["icc-etcd", "hardened"])
def test_private_keys_are_in_a_targets_files_only_when_embedded(target, example):
    """Not as text, nor encoded; and the same search finds them where they are."""
    for secrets, there in (("embed", True), ("split", False), ("external", False)):
        files = package(target, documents(example, secrets)).files.values()
        found = any(b"PRIVATE KEY-----" in text for data in files for text in readings(data))
        assert found is there, secrets


@pytest.mark.parametrize("target", HYPERVISORS)
def test_the_same_documents_give_the_same_bytes(target):
    """No clock and no chance is in them."""
    node = documents("hardened", "split")
    assert package(target, node).files == package(target, node).files


@pytest.mark.parametrize("target", HYPERVISORS)
@pytest.mark.parametrize("secrets", ["embed", "split"])
@pytest.mark.parametrize("example", ["smallest", "hardened"])
def test_scripts_satisfy_shellcheck(target, example, secrets, tmp_path):
    """Every script of every target."""
    folder = put(tmp_path, target, documents(example, secrets))
    scripts = list(folder.rglob("*.sh"))
    assert scripts
    check = run(require_program("shellcheck"), *scripts)
    assert check.returncode == 0, check.stdout


def test_keys_travel_apart_only_where_the_guest_can_read_the_rest():
    """guestinfo answers any process; a disk answers root."""
    assert {name: load_target(name).secrets for name in HYPERVISORS} == {
        "qemu": "embed", "libvirt": "embed", "proxmox": "embed", "vsphere": "split",
    }  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("example", "secrets"), READ)
@pytest.mark.parametrize("target", ["qemu", "libvirt"])
def test_cloud_init_reads_the_attached_seed(target, example, secrets, version, tmp_path):
    """NoCloud finds user-data, instance-id, name and network as they were rendered."""
    node = documents(example, secrets)
    seed = put(tmp_path / "out", target, node) / target / "seed.iso"
    assert_is_the_members(read_as_nocloud(version, seed, tmp_path / "seed"), node)


# The machine a spec describes


def test_made_up_macs_are_each_members_own_and_stay():
    """Cards that the spec gives no MAC get different ones, a new generation the same again."""
    text = (EXAMPLES / "smallest.yaml").read_text()
    first, again = make_cluster(text), make_cluster(text)
    macs = [made_macs(first, member) for member in first.members]
    assert len(set(macs)) == len(first.members)
    assert macs == [made_macs(again, member) for member in again.members]
    later = make_cluster(text.replace("192.0.2.11}", "192.0.2.11, generation: 2}"))
    assert later.members[0].instance_id != first.members[0].instance_id
    assert made_macs(later, later.members[0]) == macs[0]
    given, _ = built("hardened")
    assert made_macs(given, given.members[0]) == ("52:54:00:20:00:11", "52:54:00:30:00:11")


@pytest.mark.parametrize(
    ("device", "serial"),
    [
        ("/dev/disk/by-id/virtio-etcd-data", "etcd-data"),
        ("/dev/disk/by-id/virtio-longer-than-a-serial-number", ""),
        ("/dev/disk/by-id/scsi-0QEMU_disk", ""),
        ("/dev/vdb", ""),
    ],
)
def test_a_data_disk_has_the_serial_number_its_name_asks_for(device, serial):
    """Only a virtio disk's name says one."""
    text = (EXAMPLES / "hardened.yaml").read_text()
    cluster = make_cluster(text.replace("/dev/disk/by-id/virtio-etcd-data", device))
    assert data_disk_serial(cluster) == serial
    assert data_disk_serial(built("icc-etcd")[0]) is None


# QEMU


@contextmanager
def qemu_started(folder: Path, work: Path, **env: str) -> Iterator[Any]:
    """QEMU as run.sh starts it, before its first instruction; a function that asks it."""
    control = work / "qmp"
    control.unlink(missing_ok=True)
    process = subprocess.Popen(
        [folder / "qemu/run.sh", "-S", "-qmp", f"unix:{control},server=on,wait=off"],
        env={**os.environ, "ACCEL": "tcg", "MEMORY": "64", "DISKS": str(work / "disks"), **env},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        until = time.monotonic() + 60
        while not control.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        assert process.poll() is None, process.communicate()[0]
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            connection.connect(str(control))
            stream = connection.makefile("rw")
            stream.readline()

            def ask(command: str, **arguments: str) -> Any:
                stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
                stream.flush()
                return next(
                    answer["return"] for line in stream if "return" in (answer := json.loads(line))
                )

            ask("qmp_capabilities")
            yield ask
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def work() -> Iterator[Path]:
    """A directory with a short name, as sockets' paths must be."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


@pytest.fixture
def image(work) -> Path:
    """An image as cloud images come, though with nothing on it."""
    path = work / "an image, of sorts.qcow2"
    made = run(require_program("qemu-img"), "create", "-q", "-f", "qcow2", path, "32M")
    assert made.returncode == 0, made.stderr
    return path


def disks(ask: Any) -> dict[str, tuple[str, bool]]:
    """The disks of a machine: their files and whether they are read-only."""
    return {
        block["device"]: (
            str(Path(block["inserted"]["image"]["filename"]).resolve()),
            block["inserted"]["ro"],
        )
        for block in ask("query-block")
        if "inserted" in block
    }


@pytest.mark.parametrize("secrets", ["embed", "split", "external"])
@pytest.mark.parametrize("example", ["icc-etcd", "hardened"])
def test_qemu_takes_the_machine(example, secrets, work, image):
    """Disks, seed and cards are there; keys.iso in split mode alone; seed and keys read-only."""
    require_program("qemu-system-x86_64")
    node = documents(example, secrets)
    folder = put(work / "out", "qemu", node)
    expected = {
        "root": (str(work / "disks/root.qcow2"), False),
        "seed": (str(folder / "qemu/seed.iso"), True),
    }
    if secrets == "split":
        expected["keys"] = (str(folder / "keys.iso"), True)
    if example == "hardened":
        expected["data"] = (str(work / "disks/data.qcow2"), False)
    with qemu_started(folder, work, IMAGE=str(image)) as ask:
        assert disks(ask) == expected
        cards = [card["main-mac"] for card in ask("query-rx-filter")]
        assert cards == list(made_macs(node.cluster, node.member))


def test_a_disk_is_made_once_and_keys_may_go_later(work, image):
    """A restart needs no image, changes no disk of the member's, and does without keys.iso."""
    require_program("qemu-system-x86_64")
    folder = put(work / "out", "qemu", documents("icc-etcd", "split"))
    before = image.read_bytes()
    with qemu_started(folder, work, IMAGE=str(image), DISK_SIZE="64M"):
        pass
    disk = work / "disks/root.qcow2"
    info = json.loads(run("qemu-img", "info", "--output=json", disk).stdout)
    assert (info["virtual-size"], info["backing-filename-format"]) == (64 * 1024**2, "qcow2")
    assert info["backing-filename"] == str(image)
    made = disk.stat().st_ino
    (folder / "keys.iso").unlink()
    with qemu_started(folder, work) as ask:
        assert set(disks(ask)) == {"root", "seed"}
    assert disk.stat().st_ino == made
    assert image.read_bytes() == before


def test_qemu_refuses_what_cannot_work(work, image):
    """No image at the first start, or no keys for it: said, and no disk is left behind."""
    folder = put(work / "out", "qemu", documents("icc-etcd", "split"))
    env = {"DISKS": str(work / "disks")}
    nothing = run(folder / "qemu/run.sh", env=env)
    assert nothing.returncode != 0
    assert "IMAGE" in nothing.stderr
    (folder / "keys.iso").unlink()
    keyless = run(folder / "qemu/run.sh", env={**env, "IMAGE": str(image)})
    assert keyless.returncode != 0
    assert "keys.iso is missing" in keyless.stderr
    assert not list((work / "disks").iterdir())


def networks(ask: Any) -> str:
    """How QEMU itself describes the machine's networks."""
    return str(ask("human-monitor-command", **{"command-line": "info network"}))


def test_members_share_a_segment_that_other_clusters_do_not(work, image):
    """Without NET_0, two members are in one multicast group; NET_0 takes its place."""
    require_program("qemu-system-x86_64")
    groups = []
    for example, index in (("icc-etcd", 0), ("icc-etcd", 1), ("three-members-ipv6", 0)):
        folder = put(work / "out", "qemu", documents(example, index=index))
        own = work / f"{example}-{index}"
        own.mkdir()
        with qemu_started(folder, own, IMAGE=str(image)) as ask:
            groups.append(networks(ask).partition("mcast=")[2].strip())
        with qemu_started(folder, own, NET_0="hubport,hubid=7") as ask:
            assert "mcast" not in networks(ask)
            assert "hub 7" in networks(ask)
    assert groups[0]
    assert groups[0] == groups[1] != groups[2]


# libvirt


@pytest.fixture
def libvirt(work) -> Iterator[Any]:
    """A libvirt of its own, run by a user without privilege, with a pool called default.

    Its machines are emulated: such a user may have no KVM.
    """
    require_program("virsh")
    command = [require_program("libvirtd")]
    for name in ("home", "run", "pool"):
        (work / name).mkdir()
    settings = work / "home/.config/libvirt/qemu.conf"
    settings.parent.mkdir(parents=True)
    settings.write_text('stdio_handler = "file"\n')  # no further daemon for logs
    user: list[str] = []
    if os.geteuid() == 0:
        user = [require_program("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups"]
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(work / "home"),
        "XDG_RUNTIME_DIR": str(work / "run"),
        "LIBVIRT_DEFAULT_URI": "qemu:///session",
    }

    def call(*parts: str | Path, ok: bool = True, **more: str) -> str:
        done = subprocess.run(
            [*user, *map(str, parts)], env=env | more, stdin=subprocess.DEVNULL, cwd=work,
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert (done.returncode == 0) is ok, done.stdout + done.stderr
        return done.stdout + done.stderr

    if user:
        _give(work)
    daemon = subprocess.Popen(
        [*user, *command], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 60
        while not (work / "run/libvirt/libvirt-sock").exists() and time.monotonic() < until:
            assert daemon.poll() is None
            time.sleep(0.05)
        call("virsh", "pool-define-as", "default", "dir", "--target", work / "pool")
        call("virsh", "pool-start", "default")
        yield call
    finally:
        daemon.terminate()
        daemon.wait(30)


def _give(directory: Path) -> None:
    """To the user libvirt runs as here."""
    if os.geteuid() == 0:
        for path in (directory, *directory.rglob("*")):
            os.chown(path, 65534, 65534)


@pytest.mark.parametrize("secrets", ["embed", "split", "external"])
@pytest.mark.parametrize("example", ["icc-etcd", "hardened"])
def test_libvirt_installs_the_member_from_what_was_uploaded(example, secrets, libvirt, work, image):
    """A real libvirt takes the volumes, and its QEMU runs with the disks and cards meant."""
    require_program("virt-install")
    node = documents(example, secrets)
    folder = put(work / "out", "libvirt", node)
    _give(work)
    name, prefix = node.member.name, f"{node.cluster.name}.{node.member.name}"
    libvirt(folder / "libvirt/upload.sh", IMAGE=str(image), DISK_SIZE="64M", DATA_SIZE="8M")
    kept = {"root": f"{prefix}.qcow2"} | (
        {"data": f"{prefix}.data.qcow2"} if example == "hardened" else {}
    )
    discs = {"seed": (f"{prefix}.seed.iso", folder / "libvirt/seed.iso")}
    if secrets == "split":
        discs["keys"] = (f"{prefix}.keys.iso", folder / "keys.iso")
    pool = work / "pool"
    assert {path.name for path in pool.iterdir()} == {
        *kept.values(), *(volume for volume, _ in discs.values())
    }  # fmt: skip
    for volume, file in discs.values():
        assert (pool / volume).read_bytes() == file.read_bytes()

    networks = {f"NET_{index}": "user" for index in range(2)}
    libvirt(folder / "libvirt/virt-install.sh", "--virt-type", "qemu", MEMORY="64", **networks)
    try:
        blocks = json.loads(
            libvirt("virsh", "qemu-monitor-command", name, '{"execute": "query-block"}')
        )["return"]
        shown = [
            (Path(block["inserted"]["image"]["filename"]).name, block["inserted"]["ro"])
            for block in blocks
            if "inserted" in block
        ]
        assert shown == [(volume, False) for volume in kept.values()] + [
            (volume, True) for volume, _ in discs.values()
        ]
        domain = ET.fromstring(libvirt("virsh", "dumpxml", name))
        cards = [mac.attrib["address"] for mac in domain.iterfind("devices/interface/mac")]
        assert cards == list(made_macs(node.cluster, node.member))
        serials = [serial.text for serial in domain.iterfind("devices/disk/serial")]
        assert serials == (["etcd-data"] if example == "hardened" else [])
    finally:
        libvirt("virsh", "destroy", name)


def test_a_second_upload_replaces_seed_and_keys_but_no_disk_of_the_members(libvirt, work, image):
    """It needs no image; without one the first says so, and leaves nothing behind."""
    node = documents("hardened", "split")
    folder = put(work / "out", "libvirt", node)
    _give(work)
    upload = folder / "libvirt/upload.sh"
    assert "IMAGE" in libvirt(upload, ok=False)
    assert not list((work / "pool").iterdir())
    libvirt(upload, IMAGE=str(image))
    before = {path.name: path.stat().st_ino for path in (work / "pool").iterdir()}
    (folder / "libvirt/seed.iso").write_bytes(b"another seed")
    (folder / "keys.iso").unlink()
    libvirt(upload)
    changed = {
        path.name for path in (work / "pool").iterdir() if before[path.name] != path.stat().st_ino
    }
    seed = f"{node.cluster.name}.{node.member.name}.seed.iso"
    assert (work / "pool" / seed).read_bytes() == b"another seed"
    assert changed <= {seed}


@pytest.mark.parametrize("secrets", ["embed", "split"])
@pytest.mark.parametrize("example", RENDERED)
def test_domain_xml_is_libvirts(example, secrets, tmp_path):
    """It satisfies libvirt's schema and parser, and has the disks and cards meant."""
    node = documents(example, secrets)
    xml = put(tmp_path, "libvirt", node) / "libvirt/domain.xml"
    require_program("xmllint")  # virt-xml-validate's own need
    valid = run(require_program("virt-xml-validate"), xml, "domain")
    assert valid.returncode == 0, valid.stdout + valid.stderr
    # One call: the test driver forgets with its connection.
    known = run(
        require_program("virsh"), "--quiet", "--connect", "test:///default",
        f"define --validate '{xml}'; dumpxml {node.member.name}",
    )  # fmt: skip
    assert known.returncode == 0, known.stderr
    domain = ET.fromstring(known.stdout[known.stdout.index("<domain") :])
    prefix = f"{node.cluster.name}.{node.member.name}"
    endings = [".qcow2", ".data.qcow2"] if example == "hardened" else [".qcow2"]
    endings += [".seed.iso", ".keys.iso"] if secrets == "split" else [".seed.iso"]
    disks = domain.findall("devices/disk")
    sources = [disk.find("source").attrib["volume"] for disk in disks]
    assert sources == [prefix + ending for ending in endings]
    assert [disk.find("readonly") is not None for disk in disks] == [
        ending.endswith(".iso") for ending in endings
    ]
    cards = [mac.attrib["address"] for mac in domain.iterfind("devices/interface/mac")]
    assert cards == list(made_macs(node.cluster, node.member))


@pytest.mark.parametrize("secrets", ["embed", "split"])
def test_virt_install_understands_the_command(secrets, tmp_path):
    """--print-xml, passed on, shows the machine; on libvirt's test driver, with its network."""
    require_program("virt-install")
    node = documents("hardened", secrets)
    folder = put(tmp_path, "libvirt", node)
    endings = ["qcow2", "data.qcow2", "seed.iso"] + (["keys.iso"] if secrets == "split" else [])
    volumes = "".join(
        f"<volume><name>{name}</name><capacity>1048576</capacity>"
        f"<target><path>/pool/{name}</path></target></volume>"
        for name in (f"vault-etcd.vault-etcd-1.{ending}" for ending in endings)
    )
    host = tmp_path / "host.xml"
    host.write_text(
        f"<node><pool type='dir'><name>fast</name><target><path>/pool</path></target>{volumes}"
        "</pool><network><name>lan</name><bridge name='virbr9'/></network></node>"
    )
    shown = run(
        folder / "libvirt/virt-install.sh", "--print-xml",
        env={"LIBVIRT_DEFAULT_URI": f"test://{host}", "POOL": "fast", "HOME": str(tmp_path),
             "NET_0": "network=lan", "NET_1": "bridge=br1"},
    )  # fmt: skip
    assert shown.returncode == 0, shown.stdout + shown.stderr
    domain = ET.fromstring(shown.stdout)
    files = [source.attrib["file"] for source in domain.iterfind("devices/disk/source")]
    assert files == [f"/pool/vault-etcd.vault-etcd-1.{ending}" for ending in endings]
    sources = [source.attrib for source in domain.iterfind("devices/interface/source")]
    assert sources == [{"network": "lan"}, {"bridge": "br1"}]


# Proxmox VE

_QM = """
import json, os, sys
if sys.argv[1] == "status":
    sys.exit(0 if os.environ.get("TAKEN") == sys.argv[2] else 2)
with open(os.environ["TOLD"], "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
"""


def qm_told(node: NodeDocuments, work: Path, **env: str) -> dict[str, str]:
    """The settings of the machine that create.sh asks for."""
    folder = put(work / "out", "proxmox", node)
    (work / "image.qcow2").touch()
    bin_ = program(work / "bin", "qm", _QM).parent
    made = run(
        folder / "proxmox/create.sh",
        env={"PATH": f"{bin_}:{os.environ['PATH']}", "TOLD": str(work / "told"), "VMID": "101",
             "STORAGE": "local-lvm", "IMAGE": str(work / "image.qcow2"),
             "SNIPPETS": str(work / "snippets"), "ISOS": str(work / "isos"), **env},
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    (told,) = map(json.loads, (work / "told").read_text().splitlines())
    assert told[:2] == ["create", "101"]
    assert len(told) % 2 == 0
    return dict(zip(told[2::2], told[3::2], strict=True))


def disc_of(settings: Mapping[str, str], work: Path) -> Path:
    """The disc Proxmox writes for a machine (qemu-server, Cloudinit.pm, generate_nocloud)."""
    assert settings["--citype"] == "nocloud"
    custom = dict(part.split("=") for part in settings["--cicustom"].split(","))
    names = {"user": "user-data", "meta": "meta-data", "network": "network-config"}
    assert custom.keys() == names.keys()
    files = work / "disc"
    files.mkdir()
    (files / "vendor-data").touch()
    for key, volume in custom.items():
        storage, _, name = volume.partition(":snippets/")
        assert storage == "local"
        shutil.copy(work / "snippets" / name, files / names[key])
    disc = work / "disc.iso"
    made = run(
        require_program("genisoimage"), "-quiet", "-iso-level", "3", "-J", "-R", "-V", "cidata",
        "-o", disc, files,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return disc


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("example", "secrets"), READ)
def test_cloud_init_reads_the_disc_that_proxmox_makes(example, secrets, version, tmp_path):
    """From the snippets in place, by the names qm was told, with our instance-id."""
    node = documents(example, secrets)
    disc = disc_of(qm_told(node, tmp_path), tmp_path)
    assert_is_the_members(read_as_nocloud(version, disc, tmp_path / "seed"), node)


@pytest.mark.parametrize("secrets", ["embed", "split", "external"])
def test_proxmox_machine_has_its_cards_data_disk_and_keys(secrets, tmp_path):
    """The keys' disc is a further CD, in split mode alone; files of ours are root's alone."""
    node = documents("hardened", secrets)
    settings = qm_told(node, tmp_path, NET_1="bridge=vmbr1,tag=7", DATA_SIZE="32")
    assert settings["--net0"] == "virtio=52:54:00:20:00:11,bridge=vmbr0"
    assert settings["--net1"] == "virtio=52:54:00:30:00:11,bridge=vmbr1,tag=7"
    assert settings["--virtio1"] == "local-lvm:32,serial=etcd-data"
    assert settings["--scsi1"] == "local-lvm:cloudinit"
    placed = list((tmp_path / "snippets").iterdir())
    if secrets == "split":
        storage, _, name = settings["--scsi2"].partition(":iso/")
        keys = tmp_path / "isos" / name.removesuffix(",media=cdrom")
        assert storage == "local"
        assert name.endswith(",media=cdrom")
        assert keys.read_bytes() == (tmp_path / "out" / node.folder / "keys.iso").read_bytes()
        placed.append(keys)
    else:
        assert "--scsi2" not in settings
        assert not (tmp_path / "isos").exists()
    assert {path.stat().st_mode & 0o777 for path in placed} == {0o600}


def test_snippets_of_different_members_do_not_clash():
    """All of them go to one directory of the storage."""
    names = [
        Path(name).name
        for example in ("icc-etcd", "three-members-ipv6")
        for index in range(2)
        for name in package("proxmox", documents(example, index=index)).files
        if name.endswith(".yaml")
    ]
    assert len(names) == len(set(names)) == 12


def test_proxmox_script_leaves_a_machine_that_is_there_alone(tmp_path):
    """It says how to bring changed documents instead."""
    folder = put(tmp_path / "out", "proxmox", documents("icc-etcd"))
    bin_ = program(tmp_path / "bin", "qm", _QM).parent
    (tmp_path / "image").touch()
    refused = run(
        folder / "proxmox/create.sh",
        env={"PATH": f"{bin_}:{os.environ['PATH']}", "TOLD": str(tmp_path / "told"),
             "VMID": "101", "TAKEN": "101", "STORAGE": "local", "IMAGE": str(tmp_path / "image"),
             "SNIPPETS": str(tmp_path / "snippets")},
    )  # fmt: skip
    assert refused.returncode == 1
    assert "qm cloudinit update 101" in refused.stderr
    assert not (tmp_path / "told").exists()
    assert not (tmp_path / "snippets").exists()


# vSphere

# Keeps every command line, and what the machine's settings become, a file for each.
_GOVC = """
import json, os, pathlib, sys
work = pathlib.Path(os.environ["WORK"])
with (work / "told").open("a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
command, *rest = sys.argv[1:]
if command == "vm.info":
    print("  Power state:  " + os.environ["POWER"])
elif command == "device.cdrom.add":
    print("cdrom-3001")
elif command == "vm.change":
    for kind, setting in zip(rest[2::2], rest[3::2], strict=True):
        key, _, value = setting.partition("=")
        value = {"-e": str, "-f": lambda name: pathlib.Path(name).read_text()}[kind](value)
        (work / "settings" / key).write_text(value)
"""

# Answers as the hypervisor does, as far as cloud-init asks; shell, for it is asked often.
_RPCTOOL = """#!/bin/sh
settings=$(dirname "$0")/../settings
command=${1%% *} rest=${1#* }
key=${rest%% *}
if [ "$command" = info-set ]; then
  printf %s "${rest#* }" >"$settings/$key"
elif ! cat "$settings/$key" 2>/dev/null; then
  printf 'No value found' >&2
  exit 1
fi
"""

# Beside the tool, only the machine's model is not the hypervisor's here; netifaces is
# what version 22.4 asks for addresses with, once the network is up.
_VMWARE = """
import os, types
work = sys.stdin.read()
os.environ["PATH"] = f"{work}/bin:{os.environ['PATH']}"
sys.modules.setdefault("netifaces", types.ModuleType("netifaces"))
from cloudinit import dmi
dmi.read_dmi_data = lambda key: "VMware7,1" if key == "system-product-name" else None
from cloudinit.sources.DataSourceVMware import DataSourceVMware
with tempfile.TemporaryDirectory() as own:
    source = DataSourceVMware({}, None, helpers.Paths({"cloud_dir": own, "run_dir": own}))
    assert source._get_data()
network = source.metadata.get("network", {}).get("config")
result = {"config": merged(source.userdata_raw) if source.userdata_raw else None,
          "id": source.get_instance_id(), "hostname": source.metadata["local-hostname"],
          "network": network, "seed": source.data_access_method}
"""


def set_guestinfo(
    node: NodeDocuments, work: Path, power: str = "poweredOff"
) -> tuple[subprocess.CompletedProcess[str], list[list[str]]]:
    """Run the script; how it ended, and the govc commands it ran."""
    folder = put(work / "out", "vsphere", node)
    bin_ = program(work / "bin", "govc", _GOVC).parent
    program(work / "bin", "vmware-rpctool", _RPCTOOL)
    (work / "settings").mkdir()
    done = run(
        folder / "vsphere/set-guestinfo.sh",
        env={"PATH": f"{bin_}:{os.environ['PATH']}", "WORK": str(work), "POWER": power,
             "VM": "/dc/vm/a machine", "GOVC_URL": "vcenter.example.org"},
    )  # fmt: skip
    return done, [json.loads(line) for line in (work / "told").read_text().splitlines()]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("example", "secrets"), READ)
def test_cloud_init_reads_what_the_script_set(example, secrets, version, tmp_path):
    """At first boot everything; afterwards user-data is gone, and who and where it is are not."""
    node = documents(example, secrets)
    done, _ = set_guestinfo(node, tmp_path)
    assert done.returncode == 0, done.stderr
    first = run_in(version, _VMWARE, str(tmp_path).encode())
    assert first["seed"] == "guestinfo"
    assert_is_the_members(first, node)
    second = run_in(version, _VMWARE, str(tmp_path).encode())
    assert second == first | {"config": None}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("renderer", ["netplan", "eni", "networkd"])
def test_renderers_make_the_address_of_vspheres_metadata(renderer, version, tmp_path):
    """What the datasource hands over as network is configured with address and gateway."""
    node = documents("icc-etcd")
    set_guestinfo(node, tmp_path)
    network = tmp_path / "network"
    result = run_in(version, _VMWARE, str(tmp_path).encode())
    network.write_text(yaml.safe_dump(result["network"]))
    converted = run(
        require_program(f"cloud-init-{version}"), "devel", "net-convert", "--kind", "yaml",
        "--network-data", network, "--directory", tmp_path / "etc", "--distro", "debian",
        "--output-kind", renderer, "--mac", "eth0,52:54:00:f0:00:0b",
    )  # fmt: skip
    assert converted.returncode == 0, converted.stderr[-2000:]
    written = "\n".join(p.read_text() for p in (tmp_path / "etc").rglob("*") if p.is_file())
    assert "10.240.0.11" in written
    assert "10.240.0.1\n" in written


@pytest.mark.parametrize("secrets", ["embed", "split", "external"])
def test_no_document_is_on_govcs_command_line(secrets, tmp_path):
    """Values come from files by absolute paths; the keys' disc is inserted in split mode alone."""
    node = documents("hardened", secrets)
    done, told = set_guestinfo(node, tmp_path)
    assert done.returncode == 0, done.stderr
    values = [data.decode() for data in package("vsphere", node).files.values()]
    said = [argument for command in told for argument in command]
    assert not [value for value in values for argument in said if value[:40] in argument]
    files = [argument.split("=")[1] for argument in said if argument.count("=/")]
    assert len(files) == 2
    assert all(Path(file).is_file() for file in files)
    inserted = [command[-1] for command in told if command[0] == "device.cdrom.insert"]
    uploaded = [command[-2:] for command in told if command[0] == "datastore.upload"]
    if secrets == "split":
        (file, place) = uploaded[0]
        assert inserted == [place]
        assert Path(file).samefile(tmp_path / "out" / node.folder / "keys.iso")
    else:
        assert not inserted + uploaded


def test_a_running_machine_keeps_its_guestinfo(tmp_path):
    """User-data set now would lie open in the guest until its next boot."""
    done, told = set_guestinfo(documents("icc-etcd"), tmp_path, power="poweredOn")
    assert done.returncode == 1
    assert "not off" in done.stderr
    assert [command[0] for command in told] == ["vm.info"]


# Limits


def with_random(count: int, target: str) -> tuple[NodeDocuments, Payload]:
    """A member whose user-data has that many characters of no pattern in it."""
    noise = base64.b64encode(b"".join(os.urandom(1024) for _ in range(count // 1024)))
    file = {"path": "/srv/noise", "content": noise[:count].decode()}
    text = (EXAMPLES / "icc-etcd.yaml").read_text()
    text += yaml.safe_dump({"extra_user_data": {"write_files": [file]}})
    cluster = make_cluster(text)
    _, pki = built("icc-etcd")
    node = render_node(cluster, cluster.members[0], pki, Templates())
    return node, package(target, node)


@pytest.mark.parametrize(
    ("target", "fits", "over"),
    [("proxmox", 700 * 1024, 1024 * 1024), ("vsphere", 30 * 1024, 64 * 1024)],
)
def test_a_limit_is_an_error_beyond_it_and_nothing_well_below(target, fits, over):
    """What counts is what the place counts: a snippet as it is, a guestinfo value encoded."""
    node, payload = with_random(fits, target)
    assert not list(size_problems(load_target(target), node, payload))
    node, payload = with_random(over, target)
    (problem,) = size_problems(load_target(target), node, payload)
    assert problem.severity is Severity.ERROR
    assert "/srv/noise" in problem.what
    name, size = {
        "proxmox": ("proxmox/icc-etcd.icc-etcd-1.user.yaml", len(node.user_data.encode())),
        "vsphere": ("vsphere/userdata", None),
    }[target]
    assert payload.counted == len(payload.files[f"{node.folder}/{name}"])
    assert size in (None, payload.counted)


@pytest.mark.parametrize("target", HYPERVISORS)
@pytest.mark.parametrize("example", RENDERED)
def test_every_example_fits(target, example):
    """With the keys in it, and well."""
    node = documents(example)
    assert not list(size_problems(load_target(target), node, package(target, node)))


def test_the_keys_disk_is_the_one_the_guest_waits_for(tmp_path):
    """The scripts attach keys.iso, which carries the label that first boot looks for."""
    node = documents("icc-etcd", "split")
    folder = put(tmp_path, "qemu", node)
    label = run(require_program("blkid"), "-p", "-s", "LABEL", "-o", "value", folder / "keys.iso")
    assert label.stdout.strip() == guest.keys_label(node.member.instance_id)
