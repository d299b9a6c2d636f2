"""imagegen.documents.landing: one map of what lands on a member, and what it does not allow."""

from __future__ import annotations

import pytest
import yaml

from imagegen.base.problems import ProblemsError
from imagegen.documents import guest
from imagegen.documents.landing import (
    Kind,
    clashes,
    files_of_user_data,
    landings,
    made_by_first_boot,
)
from imagegen.documents.render import render_node
from imagegen.documents.templates import Templates
from imagegen.pki.issue import issue_pki
from tests.conftest import EXAMPLES, NOW, TEMPLATES, make_cluster
from tests.documents.rendered import RENDERED, built, documents, files_of

SPEC = "cluster: c\nmembers: [{name: a, address: 10.0.0.1}]\n"
DISK = "data_disk: {device: /dev/vdb}\n"


@pytest.mark.parametrize("example", RENDERED)
def test_the_map_is_what_is_written(example):
    """No file of user-data is missing from the map, and none is in it that no member gets."""
    cluster, _ = built(example)
    written = files_of(documents(example)) | files_of(documents(example, secrets="split"))
    paths = set(written) | {cluster.crl_path}  # once a client is revoked
    paths -= {f["path"] for f in cluster.spec.extra_user_data.get("write_files", ())}
    found = list(files_of_user_data(cluster))
    assert {landing.path for landing in found} == paths
    assert len(found) == len(paths)
    for landing in found:
        if file := written.get(landing.path):
            assert (file["owner"], file["permissions"]) == (landing.owner, landing.mode)


@pytest.mark.parametrize("example", RENDERED)
def test_the_examples_have_a_path_for_everything(example):
    """Nothing is said of them, the files of first boot and the data disk included."""
    cluster, _ = built(example)
    assert list(clashes(landings(cluster))) == []


def test_what_first_boot_makes_is_what_its_program_says():
    """The paths that the program spells itself, because it reads them from nowhere."""
    source = (TEMPLATES / "firstboot.py").read_text()
    made = made_by_first_boot(
        data_directory="/data", wal_directory="/wal", mount_point="/disk", release=True
    )
    told = {"/data", "/wal", "/disk", guest.STATE_DIRECTORY, guest.GATE}  # in member.json
    paths = {landing.path for landing in made} - told - {guest.wanted("imagegen-firstboot.service")}
    assert paths == {
        guest.RESULT,
        guest.DATASOURCES,
        guest.RELEASES,
        *guest.PROGRAMS,
        guest.wanted("etcd.service"),
    }
    folder, _, name = guest.RESULT.rpartition("/")
    assert folder == guest.STATE_DIRECTORY
    assert f"""Path(config["state_dir"], "{name}")""" in source
    assert f'"{guest.DATASOURCES[1:]}"' in source
    assert f'f"{guest.RELEASES[1:]}/' in source
    assert 'f"usr/local/bin/{program.name}"' in source
    names = tuple(path.removeprefix("/usr/local/bin/") for path in guest.PROGRAMS)
    assert str(names).replace("'", '"') in source
    assert 'f"etc/systemd/system/multi-user.target.wants/{service}"' in source


EXTRA = "extra_user_data:\n  write_files:\n"

CLASHES = {
    "two keys of one name": (
        "pki: {files: {server_key: k.pem, peer_key: k.pem}}\n",
        "pki.files.peer_key",
        "/etc/etcd/k.pem would be two files: the server's private key (pki.files.server_key), "
        "and the peer's private key (pki.files.peer_key)",
    ),
    "a certificate over etcd's settings": (
        "pki: {directory: /etc/default, files: {server: etcd}}\n",
        "pki.files.server",
        "/etc/default/etcd would be two files: the server certificate (pki.files.server), "
        "and etcd's settings",
    ),
    "a name of imagegen's own choice": (
        "pki: {files: {peer: client-crl.der}}\n",
        "pki.directory",
        "/etc/etcd/client-crl.der would be two files: the peer certificate (pki.files.peer), "
        "and the list of revoked client certificates (pki.directory)",
    ),
    "a certificate and its key in one file": (
        "pki: {layout: lab, files: {server: s.pem, server_key: s.pem}}\n",
        "pki.files.server_key",
        "/etc/etcd/s.pem would be two files",
    ),
    "a certificate where first boot links etcd": (
        "install: {mode: release, release: {version: 3.5.16, sha256: {amd64: " + "a1" * 32 + "}}}\n"
        "pki: {directory: /usr/local/bin, files: {ca: etcd}}\n",
        "pki.files.ca",
        "/usr/local/bin/etcd would be two files: the CA certificate (pki.files.ca), "
        "and a program of etcd's release",
    ),
    "certificates on the data disk": (
        DISK + "pki: {directory: /var/lib/etcd/pki}\n",
        "pki.directory",
        "the data disk (data_disk.mount_point), mounted at /var/lib/etcd, would hide "
        "/var/lib/etcd/pki/ca.pem, /var/lib/etcd/pki/server.pem, "
        "/var/lib/etcd/pki/server-key.pem and 4 more",
    ),
    "certificates right where the data disk is mounted": (
        "data_disk: {device: /dev/vdb, mount_point: /srv/etcd}\npki: {directory: /srv/etcd}\n",
        "pki.directory",
        "mounted at /srv/etcd, would hide /srv/etcd/ca.pem",
    ),
    "a data disk over what first boot keeps": (
        "data_disk: {device: /dev/vdb, mount_point: /var/lib}\n",
        "data_disk.mount_point",
        "mounted at /var/lib, would hide /var/lib/imagegen, /var/lib/imagegen/result.json, ",
    ),
    "a data disk over the program": (
        "data_disk: {device: /dev/vdb, mount_point: /usr/local}\n",
        "data_disk.mount_point",
        "mounted at /usr/local, would hide /usr/local/lib/imagegen/firstboot",
    ),
    "a directory that is a file": (
        "pki: {directory: /etc/default/etcd}\n",
        "pki.directory",
        "/etc/default/etcd would be a file, etcd's settings, and a directory for "
        "/etc/default/etcd/ca.pem, /etc/default/etcd/server.pem, ",
    ),
    "a data directory that is a file": (
        "pki: {directory: /var/lib, files: {ca: etcd}}\n",
        "etcd.data_directory",
        "/var/lib/etcd would be a file, the CA certificate (pki.files.ca), and a directory for "
        "/var/lib/etcd",
    ),
    "a file of the operator's over one of imagegen's": (
        EXTRA + "    - {path: /etc//default/../hosts, content: x}\n",
        "extra_user_data.write_files[0]",
        "/etc/hosts would be two files: the names of all members, and your own file "
        "(extra_user_data.write_files[0])",
    ),
    "appended to one of imagegen's": (
        EXTRA + "    - {path: /etc/default/etcd, content: x, append: true}\n",
        "extra_user_data.write_files[0]",
        "/etc/default/etcd would be two files: etcd's settings",
    ),
    "one file of the operator's over another": (
        EXTRA + "    - {path: /etc/motd, content: x}\n    - {path: /etc/motd, content: y}\n",
        "extra_user_data.write_files[1]",
        "/etc/motd would be two files",
    ),
    "a file of the operator's on the data disk": (
        DISK + EXTRA + "    - {path: /var/lib/etcd/a, content: x, defer: true}\n",
        "extra_user_data.write_files[0]",
        "mounted at /var/lib/etcd, would hide /var/lib/etcd/a",
    ),
    "a file of the operator's below a mount of theirs": (
        "extra_user_data:\n  mounts: [[/dev/vdc, /srv]]\n"
        "  write_files: [{path: /srv/a, content: x}]\n",
        "extra_user_data.write_files[0]",
        "a file system of your own (extra_user_data.mounts[0]), mounted at /srv, would hide /srv/a",
    ),
    "a mount of the operator's over certificates": (
        "extra_user_data: {mounts: [[/dev/vdc, /etc/etcd]]}\n",
        "pki.directory",
        "mounted at /etc/etcd, would hide /etc/etcd/ca.pem",
    ),
}


@pytest.mark.parametrize("name", CLASHES)
def test_two_things_at_one_path(name):
    """One error at the setting to change, with a hint; S11 and S15 among them."""
    text, where, what = CLASHES[name]
    [problem] = clashes(landings(make_cluster(SPEC + text)))
    assert problem.where == where
    assert what in problem.what
    assert problem.severity == "error"
    assert problem.hint


FINE = {
    "data and log below the mount point": DISK + "etcd: {wal_directory: /var/lib/etcd/wal}\n",
    "one file that is appended to": EXTRA
    + "    - {path: /etc/motd, content: x}\n    - {path: /etc/motd, content: y, append: true}\n",
    "a file that comes after the mount": "extra_user_data:\n  mounts: [[/dev/vdc, /srv]]\n"
    "  write_files: [{path: /srv/a, content: x, defer: true}]\n",
    "a mount beside the data disk's": DISK
    + "extra_user_data: {mounts: [[/dev/vdc, /var/lib/e]]}\n",
    "swap, and what is no mount": "extra_user_data: {mounts: [[/dev/vdc, none, swap], [x], y]}\n",
    "one credential for both": "pki: {layout: lab}\n",
}


@pytest.mark.parametrize("name", FINE)
def test_of_what_works_nothing_is_said(name):
    """Paths that look alike, and files that are put there once it is mounted."""
    assert list(clashes(landings(make_cluster(SPEC + FINE[name])))) == []


def test_the_same_fault_of_several_settings_is_told_at_each():
    """Every problem at once, each at the setting that mends it."""
    text = DISK + "pki: {directory: /var/lib/etcd}\n" + EXTRA
    text += "    - {path: /var/lib/etcd/a, content: x}\n    - {path: /etc/hosts, content: x}\n"
    found = [problem.where for problem in clashes(landings(make_cluster(SPEC + text)))]
    assert sorted(found) == [
        "extra_user_data.write_files[0]",
        "extra_user_data.write_files[1]",
        "pki.directory",
    ]


def test_rendering_loses_no_file():
    """Whoever renders without a build's checks is refused, too, where two files are one."""
    cluster = make_cluster(SPEC + CLASHES["two keys of one name"][0])
    pki = issue_pki(cluster, stored=None, now=NOW).pki
    with pytest.raises(ProblemsError, match="would be two files"):
        render_node(cluster, cluster.members[0], pki, Templates())


def test_a_mount_point_is_one_in_the_document():
    """What the map says of the data disk is what first boot is told of it."""
    text = (EXAMPLES / "hardened.yaml").read_text()
    cluster = make_cluster(text)
    [mount] = [one for one in landings(cluster) if one.kind is Kind.MOUNT_POINT]
    assert yaml.safe_load(text)["data_disk"].get("mount_point", "/var/lib/etcd") == mount.path
