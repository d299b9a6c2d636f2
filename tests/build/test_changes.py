"""imagegen diff: what a build would change, and what it means to a member that runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.test_cli import KEY, Run, edit, tree
from tests.conftest import EXAMPLES

SPEC = "icc-etcd.yaml"


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """The lab's cluster, built; tests then change its spec."""
    shutil.copy(EXAMPLES / SPEC, tmp_path)
    assert Run("build", SPEC, cwd=tmp_path).status == 0
    return tmp_path


def changes(built: Path, *flags: str) -> dict[tuple[str, str], str]:
    """Effects by member and what has changed."""
    before = tree(built)
    run = Run("diff", SPEC, "--json", *flags, cwd=built)
    assert run.status == 0, run.err
    assert KEY not in run.out + run.err
    assert tree(built) == before
    listed = json.loads(run.out)["changes"]
    return {(change["member"], change["what"]): change["effect"] for change in listed}


def append(built: Path, text: str) -> None:
    with (built / SPEC).open("a") as spec:
        spec.write(text)


def test_nothing_has_changed(built):
    """The same spec and store are no difference, whatever the clock says."""
    assert changes(built) == {}
    assert changes(built, "--now", "2027-01-01T00:00:00Z") == {}
    assert "would change nothing" in Run("diff", SPEC, cwd=built).out


EFFECTS = {
    "tuning": ("etcd: {quota: 4GiB}\n", "ETCD_QUOTA_BACKEND_BYTES", "restart"),
    "data directory": ("etcd: {data_directory: /srv/etcd}\n", "ETCD_DATA_DIR", "replace"),
    "names": ("hosts: [{address: 10.9.9.9, names: [x]}]\n", "/etc/hosts", "ignored"),
    "packages": ("extra_user_data: {packages: [htop]}\n", "user-data packages", "ignored"),
    "first boot": ("after_boot: scrub\n", "first boot's after_boot", "ignored"),
}


@pytest.mark.parametrize("name", EFFECTS)
def test_effects(built, name):
    """Each setting of the spec ends where its reader takes notice of it."""
    text, what, effect = EFFECTS[name]
    append(built, text)
    found = changes(built)
    for number in range(1, 6):
        assert found[f"icc-etcd-{number}", what] == effect


def test_a_new_generation_is_a_first_boot(built):
    """Of that member alone."""
    edit(built / SPEC, "address: 10.240.0.11", "address: 10.240.0.11\n    generation: 2")
    found = changes(built)
    assert found["icc-etcd-1", "meta-data instance-id"] == "first-boot"
    assert {member for member, _ in found} == {"icc-etcd-1"}


def test_certificates_that_would_be_signed_anew(built):
    """A name more is another certificate for the same key, and no restart."""
    edit(built / SPEC, "address: 10.240.0.12", "address: 10.240.0.12\n    dns_names: [db.example]")
    found = changes(built)
    assert found["icc-etcd-2", "/etc/etcd/kubernetes.pem"] == "handshake"
    assert ("icc-etcd-2", "/etc/etcd/kubernetes-key.pem") not in found
    shown = Run("diff", SPEC, cwd=built).out
    assert "db.example" in shown


def test_a_new_ca_takes_a_restart_and_shows_no_key(built):
    """With another store everything of the PKI differs, keys by their name alone."""
    other = built / "other"
    other.mkdir()
    shutil.copy(built / SPEC, other)
    assert Run("build", SPEC, cwd=other).status == 0
    found = changes(built, "--pki", "other/pki")
    assert found["icc-etcd-3", "/etc/etcd/ca.pem"] == "restart"
    assert found["icc-etcd-3", "/etc/etcd/kubernetes-key.pem"] == "handshake"
    assert found["icc-etcd-3", "meta-data instance-id"] == "first-boot"
    run = Run("diff", SPEC, "--pki", "other/pki", cwd=built)
    assert "another private key" in run.out
    assert KEY not in run.out


def test_keys_that_will_travel_another_way(built):
    """From embedded to split is a change of the key's file, without the key."""
    append(built, "secrets: split\n")
    found = changes(built)
    assert ("icc-etcd-1", "/etc/etcd/kubernetes-key.pem") in found
    assert ("icc-etcd-1", "/etc/systemd/system/imagegen-keys.path") in found


@pytest.mark.parametrize("secrets", ["split", "external"])
def test_what_was_built_says_how_keys_travelled(tmp_path, secrets):
    """A flag of the build is no difference that has to be repeated."""
    shutil.copy(EXAMPLES / SPEC, tmp_path)
    assert Run("build", SPEC, "--secrets", secrets, cwd=tmp_path).status == 0
    assert changes(tmp_path) == {}


def test_what_was_never_built(tmp_path):
    """There is nothing to compare with, and nothing is made."""
    shutil.copy(EXAMPLES / SPEC, tmp_path)
    run = Run("diff", SPEC, cwd=tmp_path)
    assert run.status == 1
    assert "nothing was ever saved here" in run.err
    assert sorted(path.name for path in tmp_path.iterdir()) == [SPEC]


def test_an_output_that_is_not_there(built):
    """The store is, so that a new build would make the same seeds; there is no old one."""
    run = Run("diff", SPEC, "elsewhere", cwd=built)
    assert run.status == 1
    assert "icc-etcd was not built here" in run.err


def test_damaged_documents(built):
    """What cannot be compared is named."""
    (built / "out/icc-etcd/members/icc-etcd-1/user-data").write_text("a: [")
    run = Run("diff", SPEC, cwd=built)
    assert run.status == 1
    assert "icc-etcd-1/user-data: is no YAML" in run.err
