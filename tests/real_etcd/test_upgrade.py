"""Another release for a running cluster: member by member, and back as long as etcd allows it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TypeAlias

import pytest
import yaml

from imagegen.build.bundle import install_section, pin
from imagegen.documents import guest
from imagegen.etcd.variables import Version
from tests.conftest import EXAMPLES, require_program
from tests.releases import real_archive

from .lab import Member, build, eventually, lab_of, require_lab
from .test_renewal import Cluster, load
from .versions import VERSIONS

pytestmark = pytest.mark.etcd

URL = "http://192.0.2.1:8080/etcd-v{version}-linux-{architecture}.tar.gz"

#: An archive and its version, for the etcd it is of.
Releases: TypeAlias = Callable[[str], tuple[Path, str]]

#: To each of these from the one before it.
new_etcd = pytest.mark.parametrize("etcd", VERSIONS[1:])


def before(etcd: str) -> str:
    return VERSIONS[VERSIONS.index(etcd) - 1]


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Releases:
    return cache(partial(real_archive, tmp_path_factory.mktemp("releases")))


def spec_with(archive: Path) -> str:
    """A spec whose members run this release, from the operator's web server."""
    install = yaml.safe_load(install_section([pin(archive)], bundle=False))
    install["install"]["release"]["url"] = URL
    return (EXAMPLES / "smallest.yaml").read_text() + yaml.safe_dump(install)


@contextmanager
def running(folder: Path, releases: Releases, etcd: str) -> Iterator[Cluster]:
    """A cluster whose members run a release by way of the link, as first boot leaves them."""
    require_lab(etcd)
    require_program("openssl")
    archive, version = releases(etcd)
    built = build(spec_with(archive), folder)
    with lab_of(built, etcd, folder / "lab", ("opt", "usr/local")) as lab:
        server = (sys.executable, "-m", "http.server", "8080", "--directory", str(archive.parent))
        with subprocess.Popen(
            lab.operator.inside(*server), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as web:
            try:
                for member in lab.members:
                    _as_first_boot_leaves_it(member, etcd, version)
                yield Cluster(folder, lab)
            finally:
                web.kill()


def _as_first_boot_leaves_it(member: Member, etcd: str, version: str) -> None:
    """The release in its place and the links to it; from its next start on it runs from there."""
    home = member.folder / "opt/etcd" / version
    home.mkdir(parents=True)
    (home / "etcd").symlink_to(require_program(f"etcd-{etcd}"))
    (home.parent / "current").symlink_to(version)
    (member.folder / "usr/local/bin").mkdir(exist_ok=True)
    link = member.folder / "usr/local/bin/etcd"
    link.symlink_to("../../../opt/etcd/current/etcd")
    member._etcd_program = guest.ETCD


def upgrade(cluster: Cluster, *options: str, status: int = 0) -> str:
    done = cluster.lab.imagegen("upgrade", "cluster.yaml", *options)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def versions(cluster: Cluster) -> list[str]:
    """What each member says it runs."""
    said = []
    for member in cluster.lab.members:
        done = member.curl(
            f"{member.client_url}/version",
            ca=member.settings["ETCD_TRUSTED_CA_FILE"],
            credential=(member.settings["ETCD_CERT_FILE"], member.settings["ETCD_KEY_FILE"]),
        )
        said.append(yaml.safe_load(done.stdout)["etcdserver"])
    return said


@new_etcd
def test_member_by_member_and_back(etcd, releases, tmp_path):
    """No write is lost; who is back is as before; after the last, only within the minor."""
    (old_archive, old), (archive, new) = releases(before(etcd)), releases(etcd)
    old_minor, new_minor = Version.parse(old).branch, Version.parse(new).branch
    with running(tmp_path, releases, before(etcd)) as cluster:
        first, second, third = cluster.lab.members
        (tmp_path / "cluster.yaml").write_text(spec_with(archive))
        assert f"to etcd {new}; the cluster is at {old_minor}" in upgrade(cluster, "--dry-run")
        assert not (cluster.folder / "out/small/upgrade").exists()
        said = upgrade(cluster)
        assert all(f"{member.name} runs {old}" in said for member in cluster.lab.members)
        last = next(line for line in said.splitlines() if "it leads: last" in line)
        assert last.split()[0] in {member.name for member in cluster.lab.members}

        wrong = cluster.apply(first, "upgrade", script_of=second)
        assert wrong.returncode == 1
        with load(cluster) as failed:
            done = cluster.apply(first, "upgrade")
            assert done.returncode == 0, done.stdout + done.stderr
            assert f"current is etcd {new}, it was {old}" in done.stdout
            assert f"etcd {new} runs" in done.stdout
            assert versions(cluster) == [new, old, old]
            back = cluster.apply(first, "upgrade", "back")
            assert back.returncode == 0, back.stdout + back.stderr
            assert versions(cluster) == [old, old, old]
            for member in (first, second, third):
                done = cluster.apply(member, "upgrade")
                assert done.returncode == 0, done.stdout + done.stderr
        assert failed == []
        assert versions(cluster) == [new] * 3
        assert not (first.folder / "var/lib/imagegen/upgrade").exists()
        again = cluster.apply(first, "upgrade")
        assert f"is etcd {new} already" in again.stdout
        assert "restarting" not in again.stdout

        at = f"the cluster is at {new_minor}"
        eventually(lambda: at in upgrade(cluster, "--dry-run"), "the cluster's version rises")
        done = cluster.apply(first, "upgrade", "back")
        if old_minor == new_minor:
            assert done.returncode == 0, done.stdout + done.stderr
            assert versions(cluster) == [old, new, new]
        else:
            assert done.returncode == 1
            assert "would not start" in done.stderr
            assert versions(cluster) == [new] * 3
            (tmp_path / "cluster.yaml").write_text(spec_with(old_archive))
            refused = upgrade(cluster, status=1)
            assert f"the cluster is at {new_minor} by now" in refused
        cluster.lab.wait_until_healthy()


@new_etcd
def test_what_is_not_the_release_changes_nothing(etcd, releases, tmp_path):
    """A wrong archive on the web: the member goes on with what it has."""
    archive, new = releases(etcd)
    with running(tmp_path, releases, before(etcd)) as cluster:
        running_before = versions(cluster)
        digest = pin(archive).sha256
        text = spec_with(archive).replace(digest, digest[::-1])
        (tmp_path / "cluster.yaml").write_text(text)
        upgrade(cluster)
        first, second, third = cluster.lab.members
        done = cluster.apply(first, "upgrade")
        assert done.returncode == 1
        assert "has SHA-256" in done.stderr
        assert "nothing is changed" in done.stderr
        assert versions(cluster) == running_before
        assert not (first.folder / "var/lib/imagegen/etcd-must-restart").exists()
        assert not (first.folder / "opt/etcd" / new).exists()
        third.stop()
        assert "small-3: " in upgrade(cluster, status=1)
        assert second.running
