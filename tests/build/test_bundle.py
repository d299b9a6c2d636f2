"""imagegen.build.bundle, and install.mode release and bundle in documents and seeds."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from imagegen.base.problems import ImagegenError
from imagegen.build.build import build_cluster
from imagegen.build.bundle import install_section, pin
from imagegen.build.load import load_spec
from imagegen.build.options import Options
from imagegen.day2.delivery import Delivery, NewRelease, write_deliveries
from imagegen.day2.upgrade import upgrade, upgrade_config
from imagegen.documents import guest
from imagegen.documents.names import BUNDLE_DISC
from imagegen.documents.templates import Templates
from imagegen.judge.path import check_path
from imagegen.media.iso_reader import read_seed
from imagegen.media.iso_writer import DISC_LIMIT
from imagegen.spec.read import parse_spec
from tests.conftest import NOW, make_cluster, require_program
from tests.releases import archive, elf, real_archive, sha256

MEMBERS = """\
cluster: pinned
members:
  - {name: pinned-1, address: 10.0.0.11}
  - {name: pinned-2, address: 10.0.0.12}
  - {name: pinned-3, address: 10.0.0.13}
"""
AMD64, ARM64 = elf(62), elf(183)


def release(folder: Path, version: str = "3.5.33", architecture: str = "amd64") -> Path:
    """A whole archive whose programs cannot run; here nobody runs them."""
    program = {"amd64": AMD64, "arm64": ARM64}[architecture]
    programs = dict.fromkeys(("etcd", "etcdctl", "etcdutl"), program)
    return archive(folder, version, programs, architecture)


def package(folder: Path, name: str = "etcd-server_3.5.16-4_amd64.deb") -> Path:
    """What begins like a Debian package."""
    (folder / name).write_bytes(
        b"!<arch>\ndebian-binary   1700000000  0     0     100644  4\n2.0\n"
    )
    return folder / name


# --- pinning --------------------------------------------------------------------------


def test_what_is_pinned_is_read_from_the_file(tmp_path):
    """The digest is that of sha256sum; version and CPU are those of the content and the name."""
    path = release(tmp_path, architecture="arm64")
    pinned = pin(path)
    said = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout
    assert pinned.sha256 == said.split()[0]
    assert (pinned.version, pinned.architecture) == ("3.5.33", "arm64")
    assert pin(package(tmp_path)).version is None


def damaged(folder: Path, fault: str) -> Path:
    path = release(folder)
    if fault == "truncated":
        path.write_bytes(path.read_bytes()[:-30])
    elif fault == "a web page":
        path.write_bytes(b"<html>404</html>")
    elif fault == "another CPU":
        path = archive(folder, "3.5.33", {"etcd": ARM64, "etcdctl": ARM64})
    elif fault == "a script":
        path = archive(folder, "3.5.33", {"etcd": b"#!/bin/sh\n", "etcdctl": AMD64})
    elif fault == "no etcdctl":
        path = archive(folder, "3.5.33", {"etcd": AMD64})
    elif fault == "another version":
        path = path.rename(folder / path.name.replace("3.5.33", "3.5.34"))
    elif fault == "no package":
        path = folder / "etcd-server_3.5.16-4_amd64.deb"
        path.write_text("<html>404</html>")
    elif fault == "no such name":
        path = path.rename(folder / "etcd.tar.gz")
    else:
        path.unlink()
    return path


WORDS = {
    "truncated": "is damaged",
    "a web page": "is damaged, or no archive",
    "another CPU": "made for arm64, not amd64",
    "a script": "made for no CPU",
    "no etcdctl": "holds no etcd-v3.5.33-linux-amd64/etcdctl",
    "another version": "holds no etcd-v3.5.34-linux-amd64/etcd",
    "no package": "no Debian package",
    "no such name": "called neither",
    "not there": "cannot read",
}


@pytest.mark.parametrize("fault", WORDS)
def test_what_is_not_what_its_name_says_is_not_pinned(fault, tmp_path):
    path = damaged(tmp_path, fault)
    with pytest.raises(ImagegenError, match=WORDS[fault]) as caught:
        pin(path)
    assert caught.value.problems[0].where == str(path)


@pytest.mark.parametrize("etcd", ["3.5", "3.6", "3.7"])
def test_a_real_archive(etcd, tmp_path):
    """`imagegen pin etcd-v*-linux-*.tar.gz` prints the section that README says it prints."""
    path, version = real_archive(tmp_path, etcd)
    done = subprocess.run(
        [sys.executable, "-m", "imagegen", "pin", path.name],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    (tmp_path / "c.yaml").write_text(MEMBERS + done.stdout)
    install = load_spec(tmp_path / "c.yaml", now=NOW).spec.install
    assert install.release_version == version
    assert install.release
    assert install.release.sha256 == {"amd64": sha256(path)}


@pytest.mark.parametrize("bundle", [False, True])
def test_the_section_is_a_spec(bundle, tmp_path):
    """What `imagegen pin` prints is what a spec takes, with nothing left to write."""
    paths = [release(tmp_path), release(tmp_path, architecture="arm64")]
    text = install_section([pin(path) for path in paths], bundle=bundle)
    spec, _ = parse_spec(MEMBERS + text, source="c.yaml")
    assert spec.install.mode == ("bundle" if bundle else "release")
    assert spec.install.release_version == "3.5.33"
    assert str(spec.etcd_version) == "3.5.33"
    for path in paths:
        assert sha256(path) in text
    debs = [
        pin(package(tmp_path, f"etcd-{name}_3.5.16-4_amd64.deb")) for name in ("server", "client")
    ]
    spec, _ = parse_spec(MEMBERS + install_section(debs, bundle=False), source="c.yaml")
    assert spec.install.pinned_packages == ("etcd-server=3.5.16-4", "etcd-client=3.5.16-4")
    assert str(spec.etcd_version) == "3.5.16"
    with pytest.raises(ImagegenError, match="not of one release"):
        install_section([pin(paths[0]), debs[0]], bundle=bundle)


def test_the_command(tmp_path):
    """Every file that will not do is named; without one, nothing else is printed."""
    release(tmp_path)
    (tmp_path / "etcd-v3.5.33-linux-arm64.tar.gz").write_text("no")

    def run(*files: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "imagegen", "pin", *files]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    good = run("etcd-v3.5.33-linux-amd64.tar.gz")
    assert good.returncode == 0
    assert yaml.safe_load(good.stdout)["install"]["release"]["version"] == "3.5.33"
    bad = run("etcd-v3.5.33-linux-amd64.tar.gz", "etcd-v3.5.33-linux-arm64.tar.gz", "none.deb")
    assert (bad.returncode, bad.stdout) == (1, "")
    assert bad.stderr.count("error: ") == 2


# --- documents and seeds --------------------------------------------------------------


def build(folder: Path, install: str, *targets: str, **options: object) -> Path:
    """Build a spec in ``folder``; where its artifacts are."""
    (folder / "cluster.yaml").write_text(MEMBERS + install)
    given = Options(
        now=NOW, output=folder / "out", pki=folder / "pki", targets=targets or ("nocloud-iso",)
    )
    return build_cluster(
        load_spec(folder / "cluster.yaml", now=NOW), replace(given, **options)
    ).directory


def files_of(output: Path) -> dict[str, dict]:
    user_data = yaml.safe_load((output / "members/pinned-1/user-data").read_text())
    return {file["path"]: file for file in user_data["write_files"]}


def unit(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


RELEASE = f"""\
install:
  mode: release
  extra_packages: [chrony]
  release:
    version: "3.5.33"
    sha256: {{amd64: {"A" * 64}, arm64: {"b" * 64}}}
"""


def test_a_release_in_the_documents(tmp_path):
    """Each architecture with its address and digest; our own unit writes its data alone."""
    files = files_of(build(tmp_path, RELEASE))
    install = json.loads(files[guest.CONFIG]["content"])["install"]
    assert install["packages"] == ["chrony"]
    assert install["version"] == "3.5.33"
    upstream = "https://github.com/etcd-io/etcd/releases/download/v3.5.33/"
    for file in install["files"]:
        assert file["url"] == upstream + file["name"]
        assert file["name"] == f"etcd-v3.5.33-linux-{file['architecture']}.tar.gz"
    digests = {file["architecture"]: file["sha256"] for file in install["files"]}
    assert digests == {"amd64": "a" * 64, "arm64": "b" * 64}
    service = unit(files[guest.ETCD_UNIT]["content"])
    assert "ExecStart=/usr/local/bin/etcd" in service
    assert "User=etcd" in service
    assert "ProtectSystem=strict" in service
    assert "ReadWritePaths=-/var/lib/etcd" in unit(files[guest.ETCD_DROPIN]["content"])
    assert "def unpack" in files[guest.PROGRAM]["content"]


def test_systemd_knows_every_line_of_the_unit(tmp_path):
    """Whatever it does not know, it would ignore, hardening too."""
    require_program("systemd-analyze")
    files = files_of(build(tmp_path, RELEASE))
    folder = tmp_path / "units"
    (folder / "etcd.service.d").mkdir(parents=True)
    text = files[guest.ETCD_UNIT]["content"].replace("/usr/local/bin/etcd", "/bin/true")
    (folder / "etcd.service").write_text(text.replace("User=etcd", "User=root"))
    dropin = files[guest.ETCD_DROPIN]["content"].replace(guest.PROGRAM, "/bin/true")
    (folder / "etcd.service.d/10-imagegen.conf").write_text(dropin)
    done = subprocess.run(
        ["systemd-analyze", "verify", folder / "etcd.service"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "etcd.service" not in done.stderr, done.stderr


def test_a_package_needs_none_of_it(tmp_path):
    """The package has its unit, and user-data its size: what only a release needs is not there."""
    files = files_of(build(tmp_path, ""))
    assert guest.ETCD_UNIT not in files
    assert "ReadWritePaths" not in files[guest.ETCD_DROPIN]["content"]
    program = files[guest.PROGRAM]["content"]
    assert "tarfile" not in program
    assert "part release" not in program


def bundle(*paths: Path) -> str:
    """The section that has these files on the seeds."""
    return install_section([pin(path) for path in paths], bundle=True)


def test_a_bundle_is_on_every_seed(tmp_path):
    """Byte for byte beside the documents, whatever reads it; first boot is told where it is."""
    path = release(tmp_path)
    output = build(tmp_path, bundle(path), "nocloud-iso", "libvirt", "qemu", "hyper-v")
    for seed in output.glob("members/*/**/seed.iso"):
        found = read_seed(seed.read_bytes())
        for files in (found.rock_ridge, found.joliet):
            held = {file.name: file.content for file in files or ()}
            assert held.keys() == {"user-data", "meta-data", "network-config", path.name}
            assert held[path.name] == path.read_bytes()
    install = json.loads(files_of(output)[guest.CONFIG]["content"])["install"]
    assert install["discs"][:2] == ["cidata", "CIDATA"]
    assert install["files"] == [
        {"name": path.name, "architecture": "amd64", "sha256": sha256(path), "package": None}
    ]
    assert guest.ETCD_UNIT in files_of(output)
    assert not (output / BUNDLE_DISC).exists()


def test_other_programs_read_the_bundle(tmp_path):
    """Among them the kernel's own idea of names: long ones, with dots and a sign or two."""
    program = require_program("bsdtar")
    server = package(tmp_path, "etcd-server_3.4.30-1ubuntu0.24.04.3+b1~x_amd64.deb")
    output = build(tmp_path, bundle(server))
    (tmp_path / "read").mkdir()
    seed = output / "members/pinned-2/seed.iso"
    subprocess.run([program, "-x", "-f", seed, "-C", tmp_path / "read"], check=True)
    assert (tmp_path / "read" / server.name).read_bytes() == server.read_bytes()
    report = subprocess.run(
        [sys.executable, "-m", "imagegen", "inspect", seed],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert report.returncode == 0, report.stdout
    assert f"{server.name}: {server.stat().st_size} bytes, not read by cloud-init" in report.stdout


def test_where_there_is_no_seed_a_disc_brings_it(tmp_path):
    """One for all machines, with the label first boot looks for; check and force know it."""
    path = release(tmp_path)
    output = build(tmp_path, bundle(path), "nocloud-iso", "vsphere")
    disc = read_seed((output / BUNDLE_DISC).read_bytes())
    assert [file.name for file in disc.files] == [path.name]
    install = json.loads(files_of(output)[guest.CONFIG]["content"])["install"]
    assert install["discs"] == ["cidata", "CIDATA", disc.label]
    assert not check_path(output, now=NOW)
    build(tmp_path, bundle(path), "nocloud-iso", members=("pinned-1",), force=True)
    assert (output / BUNDLE_DISC).exists(), "the others may be elsewhere"
    build(tmp_path, bundle(path), "nocloud-iso", force=True)
    assert not (output / BUNDLE_DISC).exists()


def test_packages_in_a_bundle_keep_their_unit(tmp_path):
    """Names and versions as dpkg has them: a file name spells the colon of an epoch."""
    names = ("etcd-server_3.5.16-4_amd64.deb", "etcd-client_1%3a3.5.16-4_amd64.deb")
    output = build(tmp_path, bundle(*(package(tmp_path, name) for name in names)))
    files = files_of(output)
    install = json.loads(files[guest.CONFIG]["content"])["install"]
    assert [file["package"] for file in install["files"]] == [
        "etcd-server=3.5.16-4",
        "etcd-client=1:3.5.16-4",
    ]
    assert install["version"] is None
    assert guest.ETCD_UNIT not in files
    assert "ReadWritePaths" not in files[guest.ETCD_DROPIN]["content"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-30]), "is damaged"),
        (Path.unlink, "cannot read"),
        (lambda path: shutil.copy(release(path.parent / "b"), path), "the spec says"),
    ],
)
def test_a_bundle_that_is_not_the_one_is_not_built(tmp_path, spoil, words):
    """Before anything is written, by the setting and the file."""
    path = release(tmp_path)
    (tmp_path / "b").mkdir()
    text = bundle(path)
    if words == "the spec says":
        text = text.replace(sha256(path), hashlib.sha256(b"another").hexdigest())
    spoil(path)
    with pytest.raises(ImagegenError) as caught:
        build(tmp_path, text)
    [problem] = caught.value.problems
    assert words in problem.what
    assert "install.bundle[0]" in problem.where
    assert path.name in problem.where
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "pki").exists()


def test_a_bundle_that_no_seed_has_room_for(tmp_path):
    """It is said before it is tried."""
    path = package(tmp_path)
    with path.open("ab") as file:
        file.truncate(DISC_LIMIT + 1)
    with pytest.raises(ImagegenError, match="room for"):
        build(tmp_path, bundle(path))


def test_memory_for_a_large_bundle(tmp_path):
    """A seed of the largest bundle there may be takes a few times its size, no more."""
    path = package(tmp_path)
    with path.open("ab") as file:
        file.truncate(DISC_LIMIT - 1024 * 1024)
    script = (
        "import resource, sys; from datetime import UTC, datetime; from pathlib import Path\n"
        "from imagegen.media.nocloud import build_seed\n"
        "files = {'user-data': b'#cloud-config\\n', 'meta-data': b''}\n"
        "bundle = {'x.deb': Path(sys.argv[1]).read_bytes()}\n"
        "build_seed(files, bundle=bundle, when=datetime(2026, 1, 1, tzinfo=UTC))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, path], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) * 1024 < 5 * DISC_LIMIT


def test_an_extra_source_is_trusted_for_its_key_alone(tmp_path):
    """The files that apt reads, without a program that the image may lack."""
    key = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDMEZ\n-----END PGP PUBLIC KEY BLOCK-----"
    source = {
        "name": "backports",
        "uri": "http://mirror.example.org/debian",
        "suite": "trixie-backports",
        "components": ["main"],
        "key": key,
    }
    files = files_of(build(tmp_path, f"install: {json.dumps({'apt': {'sources': [source]}})}"))
    text = files["/etc/apt/sources.list.d/backports.sources"]["content"]
    said = dict(line.split(": ", 1) for line in text.splitlines())
    assert said == {
        "Types": "deb",
        "URIs": "http://mirror.example.org/debian",
        "Suites": "trixie-backports",
        "Components": "main",
        "Signed-By": "/etc/apt/keyrings/backports.asc",
    }
    assert files[said["Signed-By"]]["content"] == key + "\n"


# --- an upgrade -----------------------------------------------------------------------


def test_packages_are_not_ours_to_upgrade(tmp_path):
    """Nor what nobody answers for; both before anything is written."""
    build(tmp_path, "")
    options = Options(now=NOW, output=tmp_path / "out", pki=tmp_path / "pki")
    with pytest.raises(ImagegenError, match="does not come as a release"):
        upgrade(load_spec(tmp_path / "cluster.yaml", now=NOW), options)
    text = MEMBERS.replace("10.0.0.1", "127.0.0.1")
    (tmp_path / "there").mkdir()
    (tmp_path / "there/cluster.yaml").write_text(text + RELEASE)
    loaded = load_spec(tmp_path / "there/cluster.yaml", now=NOW)
    options = replace(options, output=tmp_path / "there/out", pki=tmp_path / "there/pki")
    build_cluster(loaded, options)
    with pytest.raises(ImagegenError) as caught:
        upgrade(loaded, options)
    assert [problem.where for problem in caught.value.problems] == [
        "pinned-1",
        "pinned-2",
        "pinned-3",
    ]
    assert not (tmp_path / "there/out/pinned/upgrade").exists()


@pytest.mark.parametrize("count", [1, 3])
def test_the_script_of_an_upgrade(count, tmp_path):
    """Shellcheck has nothing to say, also without others; what it fetches by is JSON."""
    text = "".join(MEMBERS.splitlines(keepends=True)[: 2 + count]) + RELEASE
    spec, _ = parse_spec(text, source="c.yaml")
    cluster = make_cluster(text)
    for member in cluster.members:
        config = upgrade_config(cluster, member, spec.install)
        release = NewRelease(version="3.5.33", config=json.dumps(config, indent=1) + "\n")
        delivery = Delivery(purpose="etcd 3.5.33", member=member, release=release)
        write_deliveries(cluster, [delivery], tmp_path / "upgrade", Templates())
        script = tmp_path / "upgrade" / member.name / "apply.sh"
        done = subprocess.run(
            [require_program("shellcheck"), script], capture_output=True, text=True, check=False
        )
        assert done.stdout == ""
        [told] = re.findall(r"<<'END'\n(.*?)END\n", script.read_text(), re.DOTALL)
        assert json.loads(told)["install"]["files"][0]["architecture"] == "amd64"
