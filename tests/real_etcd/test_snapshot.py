"""A cluster's data in a snapshot, and a whole new cluster made from it."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from imagegen.build.snapshot_file import read_snapshot
from imagegen.documents import guest
from imagegen.media.iso_reader import read_seed
from imagegen.store.record import Record

from .lab import Lab, eventually
from .test_membership import cluster_of, member

pytestmark = pytest.mark.etcd
KEYS = {f"key-{n}": f"value {n}" for n in range(20)}


def save(lab: Lab, *arguments: str) -> str:
    """What `snapshot save` prints."""
    done = lab.imagegen("snapshot", "save", "cluster.yaml", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def held_by(lab: Lab, *, url: str) -> dict[str, str]:
    """What a member has, of its own."""
    said = json.loads(
        lab.etcdctl("get", "key", "--prefix", "-w", "json", "--consistency=s", ENDPOINTS=url)
    )
    decode = base64.b64decode
    return {decode(e["key"]).decode(): decode(e["value"]).decode() for e in said.get("kvs", ())}


@contextmanager
def new_cluster(built: Path, etcd: str, folder: Path, database: bytes) -> Iterator[Lab]:
    """The machines of a cluster that is to be restored, with the snapshot; nothing runs yet."""
    with ExitStack() as closing:
        lab = Lab(built, etcd, folder, closing)
        for machine in lab.members:
            file = machine.folder / guest.SNAPSHOT.lstrip("/")
            file.parent.mkdir(parents=True)
            file.write_bytes(database)
            (machine.folder / "var/lib/etcd").mkdir(mode=0o700)
        yield lab


def test_a_whole_new_cluster_from_a_snapshot(etcd, tmp_path):
    """It holds what was written, under other IDs; whoever loses its disk stays out."""
    file = tmp_path / "saved.db"
    with cluster_of("abc", etcd, tmp_path) as lab:
        for key, value in KEYS.items():
            lab.etcdctl("put", key, value)
        [status, *_] = json.loads(lab.etcdctl("endpoint", "status", "-w", "json"))
        leader = next(m for m in lab.members if m.member_id == status["Status"]["leader"])
        said = save(lab, "saved.db")
        assert leader.client_url not in said
        assert "members: a, b, c" in said
        assert read_snapshot(file).sha256 in said
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        again = lab.imagegen("snapshot", "save", "cluster.yaml", "saved.db")
        assert "already exists" in again.stderr
        # A lone survivor has a snapshot too.
        for name in "ab":
            member(lab, name).kill()
        assert "no member has a quorum" in (
            lab.imagegen("snapshot", "save", "cluster.yaml", "lone.db").stderr
        )
        assert not (tmp_path / "lone.db").exists()
        assert "as recorded" in save(lab, "lone.db", "--from", "c")

        database = bytearray(file.read_bytes())
        database[5000] ^= 1
        (tmp_path / "damaged.db").write_bytes(database)
        build = ("build", "cluster.yaml", "--new-cluster", "--force", "--from-snapshot")
        done = lab.imagegen(*build, "damaged.db")
        assert done.returncode == 1
        assert "is damaged" in done.stderr
        old = Record.from_json((tmp_path / "pki/life/cluster.json").read_text())
        done = lab.imagegen(*build, "saved.db")
        assert done.returncode == 0, done.stderr
        assert "attach out/life/snapshot.iso to every machine" in done.stdout
        new = Record.from_json((tmp_path / "pki/life/cluster.json").read_text())
        assert (old.token, old.cluster_id) != (new.token, new.cluster_id)
        # Building again gives the same.
        done = lab.imagegen("build", "cluster.yaml")
        assert done.returncode == 0, done.stderr

    image = (tmp_path / "out/life/snapshot.iso").read_bytes()
    seed = read_seed(image, source="snapshot.iso")
    found = seed.find("snapshot.db")
    assert found
    assert seed.label == guest.snapshot_label(read_snapshot(file).sha256)
    with new_cluster(tmp_path / "out/life", etcd, tmp_path / "new", found.content) as lab:
        *first, last = lab.members
        (last.folder / guest.SNAPSHOT.lstrip("/")).write_bytes(database)
        checks = [machine.start_check() for machine in lab.members]
        assert [check.wait(60) for check in checks] == [0, 0, 255]
        assert "is not the snapshot with SHA-256" in last.result["reason"]
        (last.folder / guest.SNAPSHOT.lstrip("/")).write_bytes(found.content)
        for machine in first:
            machine.start()
        last.boot()
        lab.wait_until_healthy()
        for machine in lab.members:
            assert held_by(lab, url=machine.client_url) == KEYS
            assert not (machine.folder / guest.SNAPSHOT.lstrip("/")).exists()
        listing = json.loads(lab.etcdctl("member", "list", "-w", "json"))
        assert listing["header"]["cluster_id"] == new.cluster_id
        assert {m["name"]: m["ID"] for m in listing["members"]} == {
            m.name: m.member_id for m in new.members
        }
        lab.etcdctl("put", "later", "x")
        wiped = lab.new_machine("c")
        (wiped.folder / "var/lib/etcd").mkdir()
        file = wiped.folder / guest.SNAPSHOT.lstrip("/")
        file.parent.mkdir(parents=True)
        file.write_bytes(found.content)
        check = wiped.start_check()
        eventually(lambda: check.poll() is not None, "the start check ends")
        assert check.wait(1) == 1
        assert wiped.result["state"] == "refused"
        assert not (wiped.folder / "var/lib/etcd/member").exists()


def test_the_revision_can_be_raised(etcd, tmp_path):
    """So that no client ever sees a revision again that meant something else."""
    with cluster_of("a", etcd, tmp_path) as lab:
        lab.etcdctl("put", "key", "value")
        save(lab, "saved.db")
        build = ("build", "cluster.yaml", "--new-cluster", "--force", "--from-snapshot")
        done = lab.imagegen(*build, "saved.db", "--bump-revision", "1000000000")
        assert done.returncode == 0, done.stderr
    database = (tmp_path / "saved.db").read_bytes()
    with new_cluster(tmp_path / "out/life", etcd, tmp_path / "new", database) as lab:
        [machine] = lab.members
        machine.boot()
        lab.wait_until_healthy()
        [status] = json.loads(lab.etcdctl("endpoint", "status", "-w", "json"))
        assert status["Status"]["header"]["revision"] > 1_000_000_000
        assert held_by(lab, url=machine.client_url) == {"key": "value"}
