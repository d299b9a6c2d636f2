"""Stores, outputs and specs of earlier versions work as they are.

What differs from what they wrote is in ``CHANGED``, each file with the reason.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from imagegen.documents.names import MANIFEST
from imagegen.store.events import MemberAdded, MemberPromoted, MemberRemoved, Seen
from imagegen.store.store import Store
from tests.cli.test_cli import Run, tree
from tests.conftest import ROOT
from tests.fixtures.make import SPECS
from tests.fixtures.older import CLUSTER, FIXTURES, NOW, VERSIONS, Older, put_in_place

#: By version and name of the document: why it is not what that version made.
CHANGED = {
    ("0.1.0", "etcdctl.env"): "without ETCDCTL_API=3, the default since etcd 3.4: etcdctl 3.6 "
    "warns of it at every call",
}


@pytest.fixture(params=[(v, layout) for v in VERSIONS for layout in SPECS], ids="-".join)
def older(request: pytest.FixtureRequest, tmp_path: Path) -> Older:
    return put_in_place(*request.param, tmp_path)


@pytest.fixture
def built(older: Older) -> Older:
    """The same, with the files of its output that hold keys made anew."""
    build(older)
    return older


def build(older: Older) -> Run:
    target = "nocloud-dir" if older.layout == "lab" else "nocloud-iso"
    run = Run(
        "build", "cluster.yaml", "--now", NOW, "--target", target, "--force", cwd=older.folder
    )
    assert run.status == 0, run.err
    return run


def test_no_private_key_is_in_a_fixture():
    files = [path for path in FIXTURES.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert len(files) > 100
    holding = [path for path in files if b"PRIVATE KEY" in path.read_bytes()]
    assert [path.name for path in holding] == ["make.py"]  # the words alone


def test_the_store_is_read_as_it_is(older):
    """Nothing is amiss with it, and the record goes back byte for byte."""
    stored = Store(older.folder / "pki", CLUSTER).existing()
    assert stored.warnings == ()
    assert stored.record.to_json() == (older.store / "cluster.json").read_text()
    assert stored.pki.one_ca == (older.layout != "separate")
    if older.layout != "separate":
        assert stored.record.events == ()
        return
    seen, removed, added, promoted = stored.record.events
    assert isinstance(seen, Seen)
    assert (seen.raft_term, seen.raft_index, seen.revision) == (2, 9, 1)
    assert isinstance(removed, MemberRemoved)
    assert isinstance(added, MemberAdded)
    assert added.replaces == stored.record.members[2].member_id
    assert isinstance(promoted, MemberPromoted)
    assert {m.name: m.member_id for m in stored.record.present.values()}["c"] == 0xC0FFEE
    assert list(stored.record.present) == ["a", "b", "c"]
    assert stored.record.joined["c"].promoted
    assert list(stored.pki.members) == ["a", "b", "c", "d"]
    assert stored.pki.rotation is not None
    assert (stored.pki.rotation.name, stored.pki.rotation.step) == ("peer-ca", 1)
    assert stored.pki.crl_pem is not None


def test_a_build_makes_what_that_version_made(older):
    """Every file by its digest, ISO images too, of the same keys; and the store stays."""
    before = tree(older.store)
    manifest = older.manifest
    run = build(older)
    assert "note:" not in run.out
    assert tree(older.store) == before
    files = manifest["files"] | {
        name: facts for member in manifest["members"] for name, facts in member["files"].items()
    }
    assert {f"out/{CLUSTER}/{name}" for name in files} >= set(older.left_out)
    listed = {
        name
        for name, facts in files.items()
        if hashlib.sha256((older.output / name).read_bytes()).hexdigest() != facts["sha256"]
    }
    kept = {
        name
        for name, data in older.kept_output.items()
        if name not in files and name != MANIFEST and (older.output / name).read_bytes() != data
    }
    expected = {name for version, name in CHANGED if version == older.version}
    assert {Path(name).name for name in listed | kept} == expected
    if not listed:
        made = json.loads((older.output / MANIFEST).read_text())
        assert made | {"imagegen_version": older.version} == manifest


def test_its_output_is_checked(built):
    """Who came in after another had left is told of fewer members than the founders were."""
    run = Run("check", "out", "--now", NOW, cwd=built.folder)
    assert [line for line in run.err.splitlines() if line.startswith("error: ")] == []
    assert run.status == 0


def test_an_output_that_was_never_built_again_is_checked_and_compared(tmp_path):
    """The lab's has no file with a key among its documents, so it is here whole."""
    for version in VERSIONS:
        older = put_in_place(version, "lab", tmp_path / version)
        assert older.left_out == ()
        check = Run("check", "out", "--now", NOW, cwd=older.folder)
        assert check.status == 0, check.err
        diff = Run("diff", "cluster.yaml", "--json", "--now", NOW, cwd=older.folder)
        assert diff.status == 0, diff.err
        changed = {change["what"] for change in json.loads(diff.out)["changes"]}
        assert changed <= {name for of, name in CHANGED if of == version}


def test_nothing_has_changed_since(built):
    run = Run("diff", "cluster.yaml", "--json", "--now", NOW, cwd=built.folder)
    assert run.status == 0, run.err
    assert json.loads(run.out)["changes"] == []


def test_its_certificates_are_listed(built):
    run = Run(
        "certs", "list", "cluster.yaml", "--json", "--now", NOW, "-o", "out", cwd=built.folder
    )
    assert run.status == 0, run.err
    listed = json.loads(run.out)
    kinds = [(item["kind"], item["owner"], item["role"]) for item in listed]
    if built.layout == "separate":
        # The peers' CA is on its way to another: its file holds both.
        assert kinds[:3] == [
            ("ca", "client-ca", "ca"), ("ca", "peer-ca", "ca"), ("ca", "peer-ca", "ca")
        ]  # fmt: skip
        assert ("client", "backup", "client") in kinds
    else:
        assert kinds[:2] == [("ca", "ca", "ca"), ("member", "a", "member")]
    leaves = [item for item in listed if item["kind"] != "ca" and item["owner"] != "d"]
    assert all(item["in_output"] for item in leaves)


def test_a_rotation_that_it_began_goes_on(tmp_path):
    for version in VERSIONS:
        older = put_in_place(version, "separate", tmp_path / version)
        command = ("certs", "rotate-ca", "cluster.yaml", "--next", "--offline", "--now", NOW)
        run = Run(*command, cwd=older.folder)
        assert run.status == 0, run.err
        rotation = Store(older.folder / "pki", CLUSTER).existing().pki.rotation
        assert rotation is not None
        assert rotation.step == 2


def test_the_next_fixture_is_one_command(tmp_path):
    """Made with today's code, it has the files that the kept ones have."""
    folder = tmp_path / "today"
    command = [sys.executable, str(FIXTURES / "make.py"), str(ROOT), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    for layout in SPECS:
        assert (folder / layout / "keys.json").is_file()
    stored = {path.relative_to(folder) for path in folder.glob("*/store/**/*.pem")}
    newest = FIXTURES / VERSIONS[-1]
    assert stored == {path.relative_to(newest) for path in newest.glob("*/store/**/*.pem")}
