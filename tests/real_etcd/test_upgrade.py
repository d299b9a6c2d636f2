"""Another release for a running cluster: member by member, and back as long as etcd allows it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from imagegen.build.bundle import install_section, pin
from imagegen.documents import guest
from tests.conftest import EXAMPLES, require_program
from tests.releases import real_archive

from .lab import Member, eventually, lab_of, require_lab
from .test_renewal import Cluster, load

pytestmark = pytest.mark.etcd

URL = "http://192.0.2.1:8080/etcd-v{version}-linux-{architecture}.tar.gz"


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    folder = tmp_path_factory.mktemp("releases")
    return {minor: real_archive(folder, minor) for minor in ("3.4", "3.5")}


def write_spec(folder: Path, archive: Path) -> None:
    """A spec whose members run this release, from the operator's web server."""
    install = yaml.safe_load(install_section([pin(archive)], bundle=False))
    install["install"]["release"]["url"] = URL
    text = (EXAMPLES / "smallest.yaml").read_text()
    (folder / "c.yaml").write_text(text + yaml.safe_dump(install))


@contextmanager
def running(folder: Path, releases: dict[str, tuple[Path, str]], minor: str) -> Iterator[Cluster]:
    """A cluster whose members run a release by way of the link, as first boot leaves them."""
    require_lab(minor)
    require_program("openssl")
    archive, version = releases[minor]
    build = folder / "build"
    build.mkdir()
    write_spec(build, archive)
    cluster = Cluster(build, None)  # type: ignore[arg-type]  # until it runs
    cluster.imagegen("build", "c.yaml")
    own = ("opt", "usr/local")
    with lab_of(build / "out/small", minor, folder / "lab", own) as lab:
        cluster.lab = lab
        server = (sys.executable, "-m", "http.server", "8080", "--directory", str(archive.parent))
        with subprocess.Popen(
            lab.operator.inside(*server), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as web:
            try:
                for member in lab.members:
                    _as_first_boot_leaves_it(member, minor, version)
                yield cluster
            finally:
                web.kill()


def _as_first_boot_leaves_it(member: Member, minor: str, version: str) -> None:
    """The release in its place and the links to it; from its next start on it runs from there."""
    home = member.folder / "opt/etcd" / version
    home.mkdir(parents=True)
    (home / "etcd").symlink_to(require_program(f"etcd-{minor}"))
    (home.parent / "current").symlink_to(version)
    (member.folder / "usr/local/bin").mkdir(exist_ok=True)
    link = member.folder / "usr/local/bin/etcd"
    link.symlink_to("../../../opt/etcd/current/etcd")
    member._etcd_program = guest.ETCD


def upgrade(cluster: Cluster, *options: str, status: int = 0) -> str:
    done = cluster.lab.imagegen("upgrade", "c.yaml", *options)
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


def test_a_minor_up_member_by_member_and_back_until_the_last(releases, tmp_path):
    """No write is lost; who is back is as before; once all have moved there is no way back."""
    (_, old), (archive, new) = releases["3.4"], releases["3.5"]
    with running(tmp_path, releases, "3.4") as cluster:
        first, second, third = cluster.lab.members
        write_spec(cluster.folder, archive)
        assert f"to etcd {new}; the cluster is at 3.4" in upgrade(cluster, "--dry-run")
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

        def risen() -> bool:
            done = cluster.apply(first, "upgrade", "back")
            return done.returncode == 1 and "would not start" in done.stderr

        eventually(lambda: "3.5" in upgrade(cluster, "--dry-run").partition("at ")[2][:4], "rises")
        assert risen()
        assert versions(cluster) == [new] * 3
        write_spec(cluster.folder, releases["3.4"][0])
        refused = upgrade(cluster, status=1)
        assert "the cluster is at 3.5 by now" in refused
        cluster.lab.wait_until_healthy()


def test_what_is_not_the_release_changes_nothing(releases, tmp_path):
    """A wrong archive on the web: the member goes on with what it has."""
    archive, new = releases["3.5"]
    with running(tmp_path, releases, "3.4") as cluster:
        before = versions(cluster)
        write_spec(cluster.folder, archive)
        text = (cluster.folder / "c.yaml").read_text()
        digest = pin(archive).sha256
        (cluster.folder / "c.yaml").write_text(text.replace(digest, digest[::-1]))
        upgrade(cluster)
        first, second, third = cluster.lab.members
        done = cluster.apply(first, "upgrade")
        assert done.returncode == 1
        assert "has SHA-256" in done.stderr
        assert "nothing is changed" in done.stderr
        assert versions(cluster) == before
        assert not (first.folder / "var/lib/imagegen/etcd-must-restart").exists()
        assert not (first.folder / "opt/etcd" / new).exists()
        third.stop()
        assert "small-3: " in upgrade(cluster, status=1)
        assert second.running
