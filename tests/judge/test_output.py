"""imagegen.judge.output and member: each fault in any artifact is found, and no other is told."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from imagegen.judge.member import MemberDocuments
from imagegen.judge.output import check_output
from imagegen.media.iso_writer import build_image
from imagegen.pki.leaves import SERVER_AUTH
from imagegen.pki.pem import key_pem
from tests.conftest import NOW
from tests.judge.tree import Tree, certificate, strangers

LONG_AGO = NOW - timedelta(days=400)


def _keys_disc_beside(tree: Tree) -> None:
    disc = tree.path("a/keys.iso")
    disc.touch(mode=0o600)
    disc.write_bytes(build_image({"server-key.pem": b"another"}, when=NOW, label="keys"))


@dataclass(frozen=True)
class Fault:
    """What somebody or something did to a tree, and what must be said of it.

    ``also`` are further findings that are true too; there must be no others.
    """

    do: Callable[[Tree], object]
    says: str
    also: tuple[str, ...] = ()
    #: Whether manifest and seed are made anew, so that no digest gives the fault away.
    sealed: bool = True
    secrets: str = "embed"


def edit(name: str, old: str, new: str) -> Callable[[Tree], object]:
    return lambda tree: tree.edit(name, old, new)


def setting(old: str, new: str) -> Callable[[Tree], object]:
    return edit("a/user-data", f"ETCD_{old}\n", f"ETCD_{new}\n")


def content(name: str, change: Callable[[bytes], bytes]) -> Callable[[Tree], object]:
    return lambda tree: tree.path(name).write_bytes(change(tree.path(name).read_bytes()))


def signed(**facts: Any) -> Callable[[Tree], object]:
    return lambda tree: tree.replace("/etc/etcd/server.pem", certificate(tree, **facts))


def weak_key(tree: Tree) -> None:
    key = rsa.generate_private_key(65537, 1024)
    tree.replace("/etc/etcd/server-key.pem", key_pem(key))
    tree.replace("/etc/etcd/server.pem", certificate(tree, key=key))


def swap(first: str, second: str) -> Callable[[Tree], object]:
    def do(tree: Tree) -> None:
        one, other = tree.path(first), tree.path(second)
        one.rename(one.with_name("kept"))
        other.rename(one)
        one.with_name("kept").rename(other)

    return do


def entry_of(document: dict[str, Any], index: int = 0) -> dict[str, Any]:
    entry: dict[str, Any] = document["members"][index]
    return entry


def manifest(change: Callable[[dict[str, Any]], object]) -> Callable[[Tree], object]:
    return lambda tree: tree.manifest(change)


def seed(
    change: Callable[[dict[str, bytes]], object], *, label: str = "cidata"
) -> Callable[[Tree], object]:
    return lambda tree: tree.seed(change, label=label)


def disc(
    change: Callable[[dict[str, bytes]], object], *, label: str = ""
) -> Callable[[Tree], object]:
    return lambda tree: tree.keys_disc(change, label=label)


def config(change: Callable[[dict[str, Any]], object]) -> Callable[[Tree], object]:
    def do(tree: Tree) -> None:
        document = tree.config
        change(document)
        tree.say(document)

    return do


def taken_from_b(path: str) -> Callable[[Tree], object]:
    return lambda tree: tree.replace(path, tree.file(path, of="b"))


def others_ca(tree: Tree) -> None:
    """Member a alone was built from another store: it is good in itself."""
    pki = strangers()
    for path, text in {
        "/etc/etcd/ca.pem": pki.ca.certificate_pem,
        "/etc/etcd/server.pem": pki.members["a"].server.certificate_pem,
        "/etc/etcd/server-key.pem": pki.members["a"].server.key_pem,
    }.items():
        tree.replace(path, text)
    for name, text in {
        "ca": pki.ca.certificate_pem,
        "client": pki.client.certificate_pem,
        "client-key": pki.client.key_pem,
    }.items():
        tree.path(f"client/{name}.pem").write_text(text)


def upper_cased(files: dict[str, bytes]) -> None:
    files["USER-DATA"] = files.pop("user-data")


def last_in(kind: str) -> Callable[[dict[str, Any]], Any]:
    def entry(document: dict[str, Any]) -> Any:
        return next(f for f in document["write_files"] if f["path"].endswith(kind))

    return entry


def truncated(data: bytes) -> bytes:
    return data[:40000]


DIFFERS = "differs from what was built"
BESIDE = "is not the one beside it"
FAULTS = {
    # files and their modes
    "file readable by others": Fault(
        lambda t: t.path("a/user-data").chmod(0o644), "has mode 0644, and others may read keys"
    ),
    "directory open to others": Fault(lambda t: t.path("a").chmod(0o755), "has mode 0755"),
    "file open to the group alone": Fault(
        lambda t: t.path("client/client-key.pem").chmod(0o640), "has mode 0640"
    ),
    "symbolic link": Fault(
        lambda t: [
            t.path("a/user-data").rename(t.path("a").parent.parent / "elsewhere"),
            t.path("a/user-data").symlink_to("../../elsewhere"),
        ],
        "is a symbolic link",
        also=("elsewhere: is not in the manifest",),
        sealed=False,
    ),
    "edited user-data": Fault(
        content("a/user-data", lambda d: d + b"# mine\n"), f"user-data: {DIFFERS}",
        also=(f"its user-data {BESIDE}",), sealed=False,
    ),
    "missing meta-data": Fault(
        lambda t: t.path("b/meta-data").unlink(),
        "meta-data: cannot be read: No such file",
        also=("local-hostname is None", "its instance-id is not the one"),
        sealed=False,
    ),
    "missing seed": Fault(
        lambda t: t.path("b/seed.iso").unlink(), "seed.iso: cannot be read", sealed=False
    ),
    "file that nobody knows": Fault(
        lambda t: t.path("b/notes").touch(0o600), "notes: is not in the manifest", sealed=False
    ),
    # the manifest
    "manifest without members": Fault(
        lambda t: t.path("manifest.json").write_text("{}"), "is no manifest", sealed=False
    ),
    "manifest cut short": Fault(
        content("manifest.json", lambda d: d[:-9]), "manifest: it is no JSON", sealed=False
    ),
    "manifest of another cluster ID": Fault(
        manifest(lambda d: d.update(cluster_id="1")), "says cluster_id .*, the manifest 1",
        also=("b/user-data.*says cluster_id", "c/user-data.*says cluster_id"),
    ),
    "manifest of another token": Fault(
        manifest(lambda d: d.update(token="t")), "its token is .*, the manifest's t",
        also=("b/user-data: its token", "c/user-data: its token"),
    ),
    "member listed twice": Fault(
        manifest(lambda d: d["members"].append(d["members"][0])), "lists a twice", sealed=False
    ),
    "manifest with another address": Fault(
        manifest(lambda d: entry_of(d).update(peer_url="https://10.0.0.9:2380")),
        "says peer_url .*, the manifest https://10.0.0.9:2380",
    ),
    "manifest of earlier certificates": Fault(
        manifest(lambda d: entry_of(d)["certificates"].pop()),
        "peer.pem: its serial .* is not in the manifest", sealed=False,
    ),
    # seeds
    "seeds swapped": Fault(
        swap("a/seed.iso", "b/seed.iso"), f"a/seed.iso: its user-data {BESIDE}",
        also=(BESIDE, f"a/seed.iso: {DIFFERS}", f"b/seed.iso: {DIFFERS}"), sealed=False,
    ),
    "seed cut short": Fault(
        content("a/seed.iso", truncated), "the image is damaged or cut short",
        also=(DIFFERS,), sealed=False,
    ),
    "seed that is none": Fault(
        content("a/seed.iso", lambda _: b"#cloud-config\n"), "not an ISO 9660 image",
        also=(DIFFERS,), sealed=False,
    ),
    "other label": Fault(
        seed(lambda files: None, label="seed"), "the volume label is seed",
        also=(DIFFERS,), sealed=False,
    ),
    "upper-cased names": Fault(
        seed(upper_cased), "user-data is missing; USER-DATA is not the name",
        also=(DIFFERS,), sealed=False,
    ),
    "seed without meta-data": Fault(
        seed(lambda files: files.pop("meta-data")), "meta-data is missing: cloud-init skips",
        also=(DIFFERS,), sealed=False,
    ),
    "seed without network-config": Fault(
        seed(lambda files: files.pop("network-config")), "lacks network-config",
        also=(DIFFERS,), sealed=False,
    ),
    # how documents are written
    "byte order mark": Fault(
        content("a/user-data", lambda d: b"\xef\xbb\xbf" + d), "a byte order mark comes before"
    ),
    "byte order mark in meta-data": Fault(
        content("a/meta-data", lambda d: b"\xef\xbb\xbf" + d), "begins with a byte order mark"
    ),
    "CR LF": Fault(
        content("a/user-data", lambda d: d.replace(b"\n", b"\r\n")),
        "user-data: its lines end in CR LF",
    ),
    "UTF-16": Fault(
        content("a/user-data", lambda d: d.decode().encode("utf-16")), "UTF-16 text",
        also=("its serial",),
    ),
    "Latin-1": Fault(
        content("a/user-data", lambda d: d + "# höst\n".encode("latin-1")), "not UTF-8 text"
    ),
    # Whose bytes are CR LF somewhere, as they may be by chance; these are no lines.
    "compressed twice": Fault(
        content(
            "a/user-data",
            lambda d: gzip.compress(gzip.compress(d.replace(b"\n", b"\r\n"), compresslevel=0)),
        ),
        "compressed twice",
    ),
    "base64": Fault(content("a/user-data", base64.b64encode), "base64, which NoCloud does not"),
    "empty user-data": Fault(
        content("a/user-data", lambda _: b""), "empty: cloud-init does nothing",
        also=("member.json is not in write_files",),
    ),
    "no header": Fault(
        content("a/user-data", lambda d: d.partition(b"\n")[2].partition(b"\n")[2]), "header"
    ),
    "space in the header": Fault(
        edit("a/user-data", "#cloud-config", "# cloud-config"), "a space within the header"
    ),
    "jinja header": Fault(
        content("a/user-data", lambda d: b"## template: jinja\n" + d), "a jinja template"
    ),
    "tab in YAML": Fault(
        edit("a/user-data", "hostname:", "\thostname:"), "not valid YAML: cloud-init ignores all"
    ),
    "key twice": Fault(
        content("a/user-data", lambda d: d + b"hostname: a\n"), "the same key as on line"
    ),
    "seed of another tool": Fault(
        content("a/user-data", lambda _: b"#cloud-config\nhostname: a\n"),
        "member.json is not in write_files",
    ),
    "mode without quotes": Fault(
        edit("a/user-data", 'permissions: "0600"', "permissions: 600"),
        "600 without quotes is a decimal number", also=("600 without quotes",),
    ),
    "key readable by everyone": Fault(
        edit("a/user-data", 'permissions: "0600"', 'permissions: "0644"'),
        "everyone could read this private key", also=("everyone could read",),
    ),
    "owner that is not there yet": Fault(
        config(lambda d: last_in("peer-key.pem")(d).update(owner="etcd:etcd")),
        "etcd may not exist yet",
    ),
    "file twice": Fault(
        config(lambda d: d["write_files"].append(last_in("/etc/hosts")(d))),
        r"/etc/hosts would be two files: write_files\[\d+\], and write_files",
    ),
    "file below the data disk": Fault(
        edit("a/user-data", '"data_disk": null', '"data_disk": {"mount_point": "/etc/etcd"}'),
        "the data disk .*, mounted at /etc/etcd, would hide /etc/etcd/ca.pem, .* and 3 more",
    ),
    "file below a mount of cloud-init's": Fault(
        config(lambda d: d.update(mounts=[["/dev/vdc", "/usr/local"]])),
        "mounted at /usr/local, would hide /usr/local/lib/imagegen/firstboot",
    ),
    "file where a directory is": Fault(
        config(lambda d: d["write_files"].append({"path": "/etc/etcd", "content": "x"})),
        r"/etc/etcd would be a file, write_files\[\d+\], and a directory for",
    ),
    "file over what first boot makes": Fault(
        config(lambda d: d["write_files"].append({"path": "/var/lib/imagegen/etcd-may-start"})),
        "etcd-may-start would be two files: .*, and the mark that lets etcd start",
    ),
    "no start of first boot": Fault(
        config(lambda d: d["runcmd"].pop()), "runcmd does not start imagegen-firstboot.service"
    ),
    "runcmd that is no command": Fault(
        config(lambda d: d["runcmd"].append({"echo a": "b"})), "neither text nor a list"
    ),
    "no first-boot program": Fault(
        lambda t: t.replace("/usr/local/lib/imagegen/firstboot", None),
        "imagegen/firstboot is not in write_files",
    ),
    "no gate for etcd": Fault(
        edit("a/user-data", "ConditionPathExists=/var/lib/imagegen/etcd-may-start", ""),
        "10-imagegen.conf lacks ConditionPathExists",
    ),
    "no start check": Fault(
        edit("a/user-data", "ExecCondition=", "#ExecCondition="), "lacks ExecCondition"
    ),
    "another host name": Fault(
        edit("a/user-data", 'hostname: "a"', 'hostname: "z"'), "hostname is 'z', of the member a"
    ),
    "member.json damaged": Fault(
        edit("a/user-data", '"cluster": "c",', '"cluster": "c"'), "member.json is no JSON"
    ),
    "member.json of something else": Fault(
        lambda t: t.replace("/etc/imagegen/member.json", '{"a": 1}'), "is not for first boot"
    ),
    # what etcd is told
    "name not in the cluster": Fault(
        setting("NAME=a", "NAME=z"), "ETCD_NAME 'z' is not in ETCD_INITIAL_CLUSTER"
    ),
    "another member's name": Fault(
        setting("NAME=a", "NAME=b"), "ETCD_NAME is 'b', and first boot expects 'a'",
        also=("ETCD_INITIAL_ADVERTISE_PEER_URLS is not what",),
    ),
    "another token": Fault(
        lambda t: t.edit("a/user-data", "CLUSTER_TOKEN=", "CLUSTER_TOKEN=x"),
        "its token is x", also=("do not give the cluster ID", "ETCD_INITIAL_CLUSTER_TOKEN differs"),
    ),
    "other initial cluster": Fault(
        edit("a/user-data", ",c=https://10.0.0.3:2380", ""),
        "ETCD_INITIAL_CLUSTER differs from that of", also=("do not give the cluster ID",),
    ),
    "moved data directory": Fault(
        setting("DATA_DIR=/var/lib/etcd", "DATA_DIR=/srv"), "ETCD_DATA_DIR is '/srv'"
    ),
    "joining instead of beginning": Fault(
        setting("INITIAL_CLUSTER_STATE=new", "INITIAL_CLUSTER_STATE=existing"),
        "ETCD_INITIAL_CLUSTER_STATE is 'existing'",
    ),
    "advertised elsewhere": Fault(
        setting("ADVERTISE_CLIENT_URLS=https://10.0.0.1:2379",
                "ADVERTISE_CLIENT_URLS=https://10.0.0.9:2379"),
        "ETCD_ADVERTISE_CLIENT_URLS is 'https://10.0.0.9:2379'",
    ),
    "clients without certificates": Fault(
        setting("CLIENT_CERT_AUTH=true", "CLIENT_CERT_AUTH=false"),
        "ETCD_CLIENT_CERT_AUTH is not true",
    ),
    "peers without certificates": Fault(
        setting("PEER_CLIENT_CERT_AUTH=true", "PEER_CLIENT_CERT_AUTH=false"),
        "ETCD_PEER_CLIENT_CERT_AUTH is not true",
    ),
    "plain HTTP": Fault(
        edit("a/user-data", ",https://127.0.0.1:2379", ",http://127.0.0.1:2379"),
        "ETCD_LISTEN_CLIENT_URLS has a URL that is not https",
    ),
    "CA of clients for peers": Fault(
        setting("PEER_TRUSTED_CA_FILE=/etc/etcd/peer-ca.pem",
                "PEER_TRUSTED_CA_FILE=/etc/etcd/ca.pem"),
        "ETCD_PEER_TRUSTED_CA_FILE is '/etc/etcd/ca.pem'",
    ),
    # certificates
    "expired leaf": Fault(signed(begin=LONG_AGO), "server.pem: expired on 2026-08-23"),
    "leaf not valid yet": Fault(
        signed(begin=NOW + timedelta(days=1)), "server.pem: is not valid before 2026-12-02"
    ),
    "leaf about to end": Fault(signed(days=20), "server.pem: ends on 2026-12-21, 20 days"),
    "wrong EKU": Fault(signed(usages=(SERVER_AUTH,)), "lacks clientAuth in its extended key usage"),
    "missing SAN": Fault(signed(address="10.0.0.9"), "lacks 10.0.0.1 in its subject alternative"),
    "no SAN at all": Fault(signed(address=None), "lacks 10.0.0.1"),
    "key usage without signatures": Fault(signed(signing=False), "lacks digitalSignature"),
    "CA as a leaf": Fault(signed(authority=True), "is a CA's own certificate",
        also=("hold the private key of a CA",)),
    "weak key": Fault(weak_key, "has a weak key: RSA of 1024 bits"),
    "certificates swapped within a member": Fault(
        lambda t: t.replace("/etc/etcd/server.pem", t.file("/etc/etcd/peer.pem")),
        "server.pem: was not signed by", also=("server.pem: does not belong",),
    ),
    "another member's certificate": Fault(
        taken_from_b("/etc/etcd/server.pem"), "does not belong to its private key",
        also=("lacks 10.0.0.1",),
    ),
    "another member's key": Fault(
        taken_from_b("/etc/etcd/server-key.pem"), "holds the same private key as a",
        also=("server.pem: does not belong",),
    ),
    "certificate damaged": Fault(
        lambda t: t.replace(
            "/etc/etcd/server.pem", t.file("/etc/etcd/server.pem").replace("\nMII", "\nAAA")
        ),
        "certificate that cannot be decoded", also=("a certificate that cannot be read",),
    ),
    "certificate missing": Fault(
        lambda t: t.replace("/etc/etcd/server.pem", None), "server.pem is not in write_files",
        also=("ETCD_CERT_FILE: /etc/etcd/server.pem is not",),
    ),
    "key missing": Fault(
        lambda t: t.replace("/etc/etcd/peer-key.pem", None), "peer-key.pem is not in write_files",
        also=("ETCD_PEER_KEY_FILE: /etc/etcd/peer-key.pem is not",),
    ),
    "CAs swapped": Fault(
        lambda t: t.replace("/etc/etcd/peer-ca.pem", t.file("/etc/etcd/ca.pem")),
        "peer.pem: was not signed by", also=("its peer CA is another",),
    ),
    "CA of the same name": Fault(
        lambda t: t.replace("/etc/etcd/peer-ca.pem", strangers().peer_ca.certificate_pem),
        "peer.pem: was signed by another CA that is called", also=("its peer CA is another",),
    ),
    "member of another store": Fault(
        others_ca, "b/user-data: its client CA is another than a's",
        also=("c/user-data: its client CA", "ca.pem: is not the CA of b's"),
    ),
    "key of a CA in a seed": Fault(
        lambda t: t.replace("/etc/hosts", (t.pki / "c/client-ca-key.pem").read_text()),
        "hold the private key of a CA", also=("everyone could read this private key",),
    ),
    # what the machine is told
    "instance-id twice": Fault(
        lambda t: shutil.copy(t.path("a/meta-data"), t.path("b/meta-data")),
        "has the instance-id of a",
        also=("its instance-id is not the one", "local-hostname is 'a'"),
    ),
    "no instance-id": Fault(
        edit("a/meta-data", "instance-id:", "instance:"),
        "no instance-id: cloud-init takes nocloud",
        also=("its instance-id is not the one",),
    ),
    "another instance-id": Fault(
        edit("a/meta-data", "-g1", "-g2"), "its instance-id is not the one user-data was made for"
    ),
    "another local-hostname": Fault(
        edit("a/meta-data", 'local-hostname: "a"', 'local-hostname: "z"'), "local-hostname is 'z'"
    ),
    "meta-data is a list": Fault(
        content("a/meta-data", lambda _: b"- a\n"), "meta-data.*: not a mapping",
        also=("no instance-id",),
    ),
    "another address": Fault(
        edit("a/network-config", "10.0.0.1/24", "10.0.0.9/24"), "gives the machine no 10.0.0.1"
    ),
    "MAC without quotes": Fault(
        edit("a/network-config", "'52:54:00:00:00:01'", "52:54:00:00:00:01"),
        "the MAC address reads as a number",
    ),
    "network of an unknown version": Fault(
        edit("a/network-config", "version: 1", "version: 3"), "neither version 1 nor version 2"
    ),
    # callers
    "client CA missing": Fault(
        lambda t: t.path("client/ca.pem").unlink(), "client/ca.pem: is missing"
    ),
    "client's key missing": Fault(
        lambda t: t.path("client/backup-key.pem").unlink(), "backup-key.pem: is missing"
    ),
    "client's certificates swapped": Fault(
        swap("client/client.pem", "client/backup.pem"),
        "client.pem: does not belong to its private",
        also=("backup.pem: does not belong",),
    ),
    "client CA of another cluster": Fault(
        lambda t: t.path("client/ca.pem").write_text(strangers().ca.certificate_pem),
        "client/ca.pem: is not the CA of a's server certificate",
    ),
    # keys that travel apart
    "disc of keys without one": Fault(
        disc(lambda files: files.pop("peer-key.pem")),
        "keys.iso: lacks the private key peer-key.pem",
        secrets="split",
    ),
    "disc of keys with another's": Fault(
        disc(lambda files: files.update({"server-key.pem": files["peer-key.pem"]})),
        "server.pem: does not belong to its private key", secrets="split",
    ),
    "disc of keys with one too many": Fault(
        disc(lambda files: files.update({"ca-key.pem": b"x"})), "keys.iso: holds ca-key.pem, which",
        secrets="split",
    ),
    "disc of keys with another label": Fault(
        disc(lambda files: None, label="keys"), "its label is keys, and first boot looks for keys-",
        secrets="split",
    ),
    "discs of keys swapped": Fault(
        swap("a/keys.iso", "b/keys.iso"), "a/keys.iso: its label is",
        also=("b/keys.iso: its label is", *["does not belong to its private key"] * 4),
        secrets="split",
    ),
    "key in user-data all the same": Fault(
        lambda t: t.say(
            t.config
            | {"write_files": [*t.config["write_files"],
                {"path": "/etc/etcd/peer-key.pem", "permissions": "0600",
                 "content": (t.pki / "c/members/a/peer-key.pem").read_text()}]}
        ),
        "peer-key.pem is in user-data", secrets="split",
    ),
    "disc of keys beside those in user-data": Fault(
        _keys_disc_beside, "keys.iso: its server-key.pem is not the one in user-data",
    ),
    "key file missing": Fault(
        lambda t: t.path("a/keys/server-key.pem").unlink(),
        "a/keys: lacks the private key server-key.pem", secrets="external",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A directory with a built cluster for each way that keys travel."""
    places = {}
    for secrets in ("embed", "split", "external"):
        places[secrets] = tmp_path_factory.mktemp(secrets)
        Tree.built(places[secrets], secrets=secrets)
    return places


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found(name: str, trees: dict[str, Path], tmp_path: Path) -> None:
    """By a message of its own with a hint, and without a false word about the rest."""
    fault = FAULTS[name]
    shutil.copytree(trees[fault.secrets], tmp_path / "copy", symlinks=True)
    tree = Tree(tmp_path / "copy")
    fault.do(tree)
    if fault.sealed:
        tree.sealed()
    problems = tree.check()
    told = [f"{p.where.removeprefix(str(tree.base))}: {p.what}" for p in problems]
    for words in (fault.says, *fault.also):
        assert any(re.search(words, line) for line in told), (words, told)
    for line in told:
        assert any(re.search(words, line) for words in (fault.says, *fault.also)), line
    assert all(problem.hint for problem in problems)
    assert "PRIVATE KEY" not in "".join(map(str, problems))


def test_no_two_faults_are_told_in_the_same_words() -> None:
    """Else one finding could pass for another."""
    assert len(FAULTS) >= 40
    assert len({fault.says for fault in FAULTS.values()}) == len(FAULTS)


ODD = (None, 7, "https://[", [None], {"a": None})


def odd_ones(value: object, *, depth: int = 3) -> Iterator[Any]:
    """``value`` with each part of it replaced by each odd one, or left out."""
    if isinstance(value, dict) and depth:
        for key, item in value.items():
            yield {name: other for name, other in value.items() if name != key}
            yield from (value | {key: odd} for odd in (*ODD, *odd_ones(item, depth=depth - 1)))
    elif isinstance(value, list) and depth:
        for odd in (*ODD, *(odd_ones(value[0], depth=depth - 1) if value else ())):
            yield [odd, *value[1:]]


def test_odd_values_are_told_of_and_not_stumbled_over(
    trees: dict[str, Path], tmp_path: Path
) -> None:
    """In member.json, user-data and the manifest, whatever their shape: a problem, no traceback."""
    shutil.copytree(trees["split"], tmp_path / "copy", symlinks=True)
    tree = Tree(tmp_path / "copy")
    path = "/etc/imagegen/member.json"
    settings = json.loads(tree.file(path))
    user_data = tree.config
    manifest = json.loads(tree.path("manifest.json").read_text())
    for odd in odd_ones(manifest, depth=2):
        tree.path("manifest.json").write_text(json.dumps(odd))
        tree.check()
    tree.path("manifest.json").write_text(json.dumps(manifest))
    documents = [user_data | {key: odd} for key in user_data for odd in ODD]
    for odd in odd_ones(settings, depth=2):
        files = [{"path": path, "content": json.dumps(odd)}]
        others = [file for file in user_data["write_files"] if file["path"] != path]
        documents.append(user_data | {"write_files": [*others, *files]})
    for document in documents:
        text = b"#cloud-config\n" + json.dumps(document).encode()
        member = MemberDocuments.read("user-data", text)
        assert all(problem.hint for problem in member.problems(NOW))
        assert isinstance(member.serials(), dict)
    for document in documents[::20]:
        tree.say(document)
        tree.check()


def test_what_a_killed_build_left_is_found(trees: dict[str, Path], tmp_path: Path) -> None:
    """Half-written trees hold keys; they are not taken for clusters."""
    shutil.copytree(trees["embed"] / "out", tmp_path / "out")
    shutil.copytree(tmp_path / "out/c", tmp_path / "out/.c.partial")
    [problem] = check_output(tmp_path / "out", now=NOW)
    assert problem.where.endswith(".c.partial")
    assert "interrupted" in problem.what
