"""The first-boot program: one step at a time, then whole clusters with real etcd."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
import random
import socket
import ssl
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from imagegen.documents.program import without_comments
from imagegen.live.client import Caller, RefusedError
from tests.conftest import require_program
from tests.first_boot.lab import (
    FIRSTBOOT,
    Authority,
    Lab,
    Member,
    etcd_program,
    eventually,
    https,
)
from tests.releases import archive, elf, real_archive, sha256, web_server

# Exit statuses with a meaning of their own to systemd (systemd.service, ExecCondition).
REFUSED, FAILED = 1, 255


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A cluster of three; nothing runs yet."""
    lab = Lab(tmp_path)
    yield lab
    lab.close()


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Member]:
    """The member of a cluster of one, with an etcd on its machine that only tells its version."""
    lab = Lab(tmp_path, size=1)
    (member,) = lab.members
    member.stand_in("etcd", "echo 'etcd Version: 3.4.23'")
    yield member
    lab.close()


def run_until(member: Member, step: str) -> None:
    """Run the first boot up to the end of a step."""
    (member.folder / "state/result.json").unlink(missing_ok=True)
    process = member.run()
    eventually(lambda: step in member.result.get("seconds", {}) and member.result["step"] != step)
    member.lab.end(process)


def write(path: Path, text: str) -> None:
    """Write a file, and the folders on the way to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_it_runs_on_every_guest() -> None:
    """The program is Python 3.10 and imports nothing but the standard library."""
    tree = ast.parse(FIRSTBOOT.read_text(), feature_version=(3, 10))
    names = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
        if name
    }
    assert names <= sys.stdlib_module_names
    assert FIRSTBOOT.stat().st_mode & stat.S_IXUSR


# --- the steps of `run` ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ("DataSourceNoCloud: DataSourceNoCloud [seed=/dev/sr0][dsmode=net]\n", True),
        ("DataSourceNoCloud: DataSourceNoCloud [seed=/var/lib/cloud/seed/nocloud]\n", False),
        ("DataSourceEc2Local: DataSourceEc2Local\n", False),
        (None, False),
    ],
)
def test_cloud_init_is_told_to_outlive_a_seed_on_a_disk(
    alone: Member, source: str | None, kept: bool
) -> None:
    """Only where the seed can be detached, and before anything is waited for."""
    alone.bring("ip")
    alone.configure(addresses=["192.0.2.77"], address_timeout=0)
    if source:
        write(alone.root / "var/lib/cloud/instance/datasource", source)
    listing = alone.root / "etc/cloud/cloud.cfg.d/99-imagegen.cfg"
    listing.parent.mkdir(parents=True)
    alone.run().wait(30)
    assert listing.exists() == kept
    if kept:
        assert yaml.safe_load(listing.read_text()) == {
            "datasource_list": ["NoCloud", "ConfigDrive"]
        }


def test_missing_address(alone: Member) -> None:
    """An address on no interface ends the boot, and the result says which were found."""
    alone.bring("ip")
    alone.configure(addresses=[alone.address, "192.0.2.77"], address_timeout=0)
    assert alone.run().wait(30) == FAILED
    assert alone.state == "failed"
    assert alone.result["step"] == "address"
    assert "192.0.2.77 is on no interface; found: " in alone.result["reason"]
    assert alone.address not in alone.result["reason"].split(";")[0]
    assert "network-config" in alone.result["hint"]
    assert not alone.gate.exists()


def test_clock_before_the_certificates(alone: Member) -> None:
    """Certificates of the future would be refused by every peer: the reason names both times."""
    alone.configure(not_before="2999-01-01T00:00:00Z", clock_timeout=0)
    assert alone.run().wait(30) == FAILED
    assert (alone.state, alone.result["step"]) == ("failed", "clock")
    assert "2999-01-01T00:00:00Z" in alone.result["reason"]


PACKAGES = {"mode": "package", "packages": ["etcd-server", "etcd-client=3.5.16-4"]}


def dpkg(member: Member, client: str) -> None:
    """Say that dpkg has both packages, the client in this version."""
    member.stand_in(
        "dpkg-query",
        "echo installed etcd-server etcd-server=3.5.16-4;"
        f"echo installed etcd-client etcd-client={client}",
    )


@pytest.mark.parametrize(("client", "installs"), [("3.5.16-4", False), ("3.4.23-4", True)])
def test_install_only_what_is_missing(alone: Member, client: str, installs: bool) -> None:
    """With the packages there, in the pinned version, apt-get is not even asked."""
    dpkg(alone, client)
    alone.stand_in("apt-get", "exit 0")
    alone.configure(install={**PACKAGES, "minimum_version": None})
    run_until(alone, "install")
    assert (
        any("install etcd-server etcd-client=3.5.16-4" in call for call in alone.calls) is installs
    )


def test_mirror_away_then_back(alone: Member) -> None:
    """The install is tried until it works; meanwhile the result says why not, without passwords."""
    alone.stand_in("dpkg-query", "exit 1")
    alone.stand_in(
        "apt-get",
        f"""[ -e {alone.folder}/mirror ] && exit 0
            echo 'E: Failed to fetch http://joe:hunter2@mirror.test/x  Could not connect'
            exit 100""",
    )
    alone.configure(install={**PACKAGES, "minimum_version": None})
    process = alone.run()
    eventually(lambda: "Could not connect" in alone.result.get("reason", ""))
    assert (alone.state, alone.result["step"]) == ("installing", "install")
    assert "http://mirror.test" in alone.result["reason"]
    assert "hunter2" not in alone.console + json.dumps(alone.result)
    assert not alone.gate.exists()
    (alone.folder / "mirror").touch()
    eventually(lambda: alone.gate.exists())
    alone.lab.end(process)
    assert alone.result["seconds"]["install"] >= 5


def test_interrupted_dpkg(alone: Member) -> None:
    """An install cut off by a power cut is completed first, and keeps our files."""
    alone.stand_in("dpkg-query", "exit 1")
    alone.stand_in("dpkg", f": >{alone.folder}/configured")
    alone.stand_in(
        "apt-get",
        f"""[ -e {alone.folder}/configured ] && exit 0
            echo "E: dpkg was interrupted, you must manually run 'dpkg --configure -a'"
            exit 100""",
    )
    alone.configure(install={**PACKAGES, "minimum_version": None})
    run_until(alone, "install")
    assert "dpkg --force-confold --configure -a" in alone.calls


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        (None, "not installed"),
        ("3.3.25", "3.3.25 is older than 3.4.0"),
        ("3.5.2", "3.5.0 to 3.5.2 corrupt data"),
    ],
)
def test_preinstalled(alone: Member, version: str | None, reason: str) -> None:
    """An image without etcd, or with one too old, is the wrong image."""
    if version:
        alone.stand_in("etcd", f"echo 'etcd Version: {version}'; echo 'Git SHA: Not provided'")
    else:
        (alone.folder / "bin/etcd").unlink()
    assert alone.run().wait(30) == FAILED
    assert (alone.state, alone.result["step"]) == ("failed", "install")
    assert reason in alone.result["reason"]
    assert "image of" not in alone.result["reason"]
    assert not alone.gate.exists()


def test_preinstalled_names_the_image(alone: Member) -> None:
    """Whoever attached the wrong image learns which one it is."""
    alone.stand_in("etcd", "echo 'etcd Version: 3.3.25'")
    record = {"etcd": "3.3.25", "built": "2026-11-23T12:00:00Z"}
    write(alone.root / "etc/imagegen-image.json", json.dumps(record))
    assert alone.run().wait(30) == FAILED
    reason = alone.result["reason"]
    assert reason.endswith("(image of 2026-11-23T12:00:00Z, made with etcd 3.3.25)")
    (alone.root / "etc/imagegen-image.json").write_text("{}")
    (alone.folder / "state/result.json").unlink()
    assert alone.run().wait(30) == FAILED
    assert "no record of an image" in alone.result["reason"]


# --- a release, and a bundle --------------------------------------------------------------


@pytest.fixture(scope="session")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """Archives of real etcds by their branch, with their versions."""
    folder = tmp_path_factory.mktemp("releases")
    return {minor: real_archive(folder, minor) for minor in ("3.4", "3.5")}


@pytest.fixture
def bare(alone: Member) -> Member:
    """A member without etcd, whose PATH has the one that a release will bring."""
    (alone.folder / "bin/etcd").unlink()
    (alone.folder / "bin/etcd").symlink_to(alone.root / "usr/local/bin/etcd")
    return alone


def pins(
    path: Path, version: str | None, *, url: str | None = None, **changes: Any
) -> dict[str, Any]:
    """What member.json says under ``install`` of one archive, for one machine's architecture."""
    file = {"name": path.name, "architecture": this_machine(), "sha256": sha256(path), **changes}
    if url:
        file["url"] = f"{url}/{path.name}"
    mode = "release" if url else "bundle"
    discs = {} if url else {"discs": ["cidata", "etcd-0123456789a"]}
    return {
        "mode": mode,
        "packages": [],
        "minimum_version": None,
        "version": version,
        **discs,
        "files": [file],
    }


def this_machine() -> str:
    """Our own architecture, as upstream names it."""
    return {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]


def called(member: Member) -> str:
    """The version of what is called ``etcd`` on the member."""
    program = (member.root / "usr/local/bin/etcd").resolve()
    return program.parent.name


def installs(member: Member) -> None:
    """Run first boot until etcd is installed."""
    (member.folder / "state/result.json").unlink(missing_ok=True)
    process = member.run()
    eventually(lambda: member.result.get("step") not in ("address", "clock", "install", None))
    member.lab.end(process)


def fails(member: Member) -> str:
    """Run first boot, which stops at the install before etcd could start; its reason."""
    assert member.run().wait(60) == FAILED
    assert (member.state, member.result["step"]) == ("failed", "install")
    assert not member.gate.exists()
    assert member.result["reason"] in member.console
    assert not (member.root / "opt/etcd/current").is_symlink()
    reason: str = member.result["reason"]
    return reason


def test_a_release_is_downloaded_and_called(
    bare: Member, releases: dict[str, tuple[Path, str]]
) -> None:
    """The archive comes once; a newer release goes beside it, and one link leads to it."""
    old, old_version = releases["3.4"]
    new, new_version = releases["3.5"]
    with web_server(old.parent) as url:
        bare.configure(install=pins(old, old_version, url=url))
        installs(bare)
        assert called(bare) == old_version
        assert old.name in bare.console
        bare.configure(install=pins(new, new_version, url=url))
        installs(bare)
    assert called(bare) == new_version
    kept = {path.name for path in (bare.root / "opt/etcd").iterdir()}
    assert kept == {old_version, new_version, "current"}
    assert not list((bare.folder / "state/bundle").iterdir())
    # The web is gone: what is there is not fetched again, and the link goes back.
    bare.configure(install=pins(old, old_version, url=url))
    installs(bare)
    assert called(bare) == old_version
    assert not (bare.root / "usr/local/bin/etcdutl").exists()
    for program in ("etcd", "etcdctl"):
        link = bare.root / "usr/local/bin" / program
        assert not link.readlink().is_absolute()
        assert stat.S_IMODE(link.stat().st_mode) == 0o755


@pytest.fixture
def other_cpu(tmp_path: Path) -> Path:
    """An archive that says it is for this machine, with programs for another."""
    (tmp_path / "other").mkdir()
    machine = {"amd64": 183, "arm64": 62}[this_machine()]
    programs = {"etcd": elf(machine), "etcdctl": elf(machine)}
    return archive(tmp_path / "other", "3.4.23", programs, this_machine())


FAULTS = {
    "other": "has SHA-256",
    "truncated": "has SHA-256",
    "cpu": "Exec format error",
    "version": "holds etcd 3.4",
    "no archive": "cannot unpack",
    "no etcd": "/etcd",
}


@pytest.mark.parametrize("way", ["release", "bundle"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_release_that_is_not_the_one(
    bare: Member,
    releases: dict[str, tuple[Path, str]],
    other_cpu: Path,
    tmp_path: Path,
    fault: str,
    way: str,
) -> None:
    """First boot stops before etcd starts and says why; with the right one it goes on."""
    right, version = releases["3.4"]
    place = tmp_path / "place"
    place.mkdir()
    there = place / right.name
    wanted, claimed = right, version
    if fault == "other":
        there.write_bytes(releases["3.5"][0].read_bytes())
    elif fault == "truncated":
        there.write_bytes(right.read_bytes()[:-1000])
    elif fault == "version":
        claimed = "3.4.99"
        programs = {"etcd": Path(require_program("etcd-3.4")).read_bytes()}
        wanted = there = archive(place, claimed, programs)
    else:
        if fault == "no archive":
            there.write_bytes(b"<html>Welcome to our network</html>")
        elif fault == "no etcd":
            archive(place, version, {"etcdctl": elf()})
        else:
            there.write_bytes(other_cpu.read_bytes())
        wanted = there  # somebody has pinned this
    with web_server(place) as web:
        url = web if way == "release" else None
        bare.configure(install=pins(wanted, claimed, url=url))
        if not url:
            attach(bare, place, "cidata")
        reason = fails(bare)
        assert FAULTS[fault] in reason
        assert claimed in reason
        # Corrected: the file in its place, or the digest in the spec.
        there.unlink()
        (place / right.name).write_bytes(right.read_bytes())
        bare.configure(install=pins(right, version, url=url))
        installs(bare)
    assert called(bare) == version


def test_the_digest_is_in_the_reason(
    bare: Member, releases: dict[str, tuple[Path, str]], tmp_path: Path
) -> None:
    """Both digests and the size, so that who served what can be found out."""
    right, version = releases["3.4"]
    (tmp_path / right.name).write_bytes(b"short")
    with web_server(tmp_path) as url:
        bare.configure(install=pins(right, version, url=url))
        reason = fails(bare)
    assert sha256(tmp_path / right.name) in reason
    assert sha256(right) in reason
    assert "5 bytes" in reason
    assert "systemctl start imagegen-firstboot" in bare.result["hint"]


def test_a_release_that_is_not_there_yet(
    bare: Member, releases: dict[str, tuple[Path, str]], tmp_path: Path
) -> None:
    """It is asked for again until it is there; so is one that was cut off on its way."""
    right, version = releases["3.4"]
    with web_server(tmp_path) as url:
        bare.configure(install=pins(right, version, url=url))
        process = bare.run()
        eventually(lambda: "404" in bare.result.get("reason", ""))
        assert (bare.state, bare.result["step"]) == ("installing", "install")
        assert right.name in bare.result["reason"]
        assert not bare.gate.exists()
        (tmp_path / right.name).write_bytes(right.read_bytes())
        eventually(lambda: bare.gate.exists())
        bare.lab.end(process)
    assert called(bare) == version


def test_a_download_that_is_cut_off(bare: Member, releases: dict[str, tuple[Path, str]]) -> None:
    """A connection that breaks is no other file: it is tried again."""
    right, version = releases["3.4"]
    data = right.read_bytes()
    sent = iter([data[:5000], data])
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for body in sent:
                connection, _ = server.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data))
                    connection.sendall(body)

        threading.Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        bare.configure(install=pins(right, version, url=url))
        process = bare.run()
        eventually(lambda: f"cut off after 5000 of {len(data)}" in bare.result.get("reason", ""))
        eventually(lambda: bare.gate.exists())
        bare.lab.end(process)
    assert called(bare) == version


def test_no_release_for_this_machine(bare: Member, releases: dict[str, tuple[Path, str]]) -> None:
    """Nothing is downloaded that could not run here."""
    path, version = releases["3.4"]
    other = {"amd64": "arm64", "arm64": "amd64"}[this_machine()]
    bare.configure(install=pins(path, version, url="http://192.0.2.1", architecture=other))
    reason = fails(bare)
    assert f"this machine is {this_machine()}" in reason
    assert path.name in reason


def test_a_bundle_comes_on_a_disc(
    bare: Member, releases: dict[str, tuple[Path, str]], tmp_path: Path
) -> None:
    """It is looked for until some disc has it; the seed may, or a disc of its own."""
    right, version = releases["3.4"]
    bare.configure(install=pins(right, version))
    process = bare.run()
    eventually(lambda: "no disc labelled cidata" in bare.result.get("reason", ""))
    assert bare.state == "installing"
    (tmp_path / "seed").mkdir()
    (tmp_path / "seed/user-data").touch()
    attach(bare, tmp_path / "seed", "cidata")
    eventually(lambda: "cannot copy it from cidata: No such file" in bare.result["reason"])
    (tmp_path / "seed" / right.name).write_bytes(right.read_bytes())
    eventually(lambda: bare.gate.exists())
    bare.lab.end(process)
    assert called(bare) == version
    assert f"umount {bare.folder}/state/disk" in bare.calls


@pytest.fixture
def disc(tmp_path: Path) -> Path:
    """What is on a disc with a bundle."""
    (tmp_path / "disc").mkdir()
    return tmp_path / "disc"


def test_packages_in_a_bundle(alone: Member, disc: Path) -> None:
    """Apt gets files whose digests are right, all at once, and is asked for no update."""
    names = ("etcd-server_3.5.16-4_amd64.deb", "etcd-client_3.5.16-4_amd64.deb")
    for name in names:
        (disc / name).write_text(name)
    install = pins(disc / names[0], None, package="etcd-server=3.5.16-4")
    [more] = pins(disc / names[1], None, package="etcd-client=3.5.16-4")["files"]
    install["files"].append(more)
    alone.configure(install=install)
    alone.stand_in("dpkg-query", "exit 1")
    alone.stand_in("apt-get", "exit 0")
    attach(alone, disc, "etcd-0123456789a")
    (disc / names[1]).write_text("another")
    assert names[1] in fails(alone)
    assert not [call for call in alone.calls if call.startswith("apt-get")]

    (disc / names[1]).write_text(names[1])
    installs(alone)
    [call] = [call for call in alone.calls if call.startswith("apt-get")]
    there = " ".join(f"{alone.folder}/state/bundle/{name}" for name in names)
    assert call.endswith(f"install {there}")
    assert not list((alone.folder / "state/bundle").iterdir())

    dpkg(alone, "3.5.16-4")
    installs(alone)
    assert len([call for call in alone.calls if call.startswith("apt-get")]) == 1


def test_packages_in_a_bundle_that_lack_something(alone: Member, disc: Path) -> None:
    """What apt says is the reason: nothing will come that is not in the bundle."""
    package = disc / "etcd-server_3.5.16-4_amd64.deb"
    package.touch()
    alone.configure(install=pins(package, None, package="etcd-server=3.5.16-4"))
    alone.stand_in("dpkg-query", "exit 1")
    alone.stand_in("apt-get", "echo 'E: Unable to correct problems'; exit 100")
    attach(alone, disc, "cidata")
    assert fails(alone) == "E: Unable to correct problems"
    assert "bundle" in alone.result["hint"]


def test_a_release_brings_its_user(bare: Member, releases: dict[str, tuple[Path, str]]) -> None:
    """Where no package makes it; with a home that is etcd's directory."""
    path, version = releases["3.4"]
    bare.stand_in("useradd", "echo 'useradd: cannot lock /etc/passwd' >&2; exit 1")
    with web_server(path.parent) as url:
        bare.configure(install=pins(path, version, url=url), owner="imagegen-nobody")
        assert "cannot lock" in fails(bare)
    [call] = [call for call in bare.calls if call.startswith("useradd")]
    assert "--system" in call
    assert "--home-dir /var/lib/etcd" in call
    assert call.endswith(" imagegen-nobody")


def test_fetch_changes_nothing_that_runs(
    bare: Member, releases: dict[str, tuple[Path, str]]
) -> None:
    """For an upgrade: the new release is beside the old, and the link is not touched."""
    old, old_version = releases["3.4"]
    new, new_version = releases["3.5"]
    with web_server(old.parent) as url:
        bare.configure(install=pins(old, old_version, url=url))
        installs(bare)
        before = bare.result
        state = {name: str(bare.folder / "upgrade" / name) for name in ("finished", "gate")}
        bare.configure(
            install=pins(new, new_version, url=url), state_dir=str(bare.folder / "upgrade"), **state
        )
        previous = os.umask(0o077)  # apply.sh's
        try:
            assert bare.lab.spawn(bare.firstboot("fetch"), bare).wait(60) == 0
        finally:
            os.umask(previous)
    assert called(bare) == old_version
    home = bare.root / "opt/etcd" / new_version
    # etcd's user may run it.
    assert [stat.S_IMODE(path.stat().st_mode) for path in (home, home / "etcd")] == [0o755] * 2
    assert bare.result == before


def test_preinstalled_for_another_cpu(alone: Member) -> None:
    """An image whose etcd cannot run here is named as such."""
    (alone.folder / "bin/etcd").write_bytes(elf(183 if this_machine() == "amd64" else 62))
    assert alone.run().wait(30) == FAILED
    assert (alone.state, alone.result["step"]) == ("failed", "install")
    assert "Exec format error" in alone.result["reason"]
    assert "CPU" in alone.result["hint"]
    assert not alone.gate.exists()


@pytest.fixture
def disk(alone: Member) -> Path:
    """A blank data disk: to wipefs and mkfs a file is as good."""
    device = alone.folder / "disk"
    device.write_bytes(bytes(4 << 20))
    alone.configure(
        data_disk={
            "device": str(device),
            "label": "etcd-data",
            "filesystem": "ext4",
            "mount_point": str(alone.folder / "mnt"),
            "unit": "var-lib-etcd.mount",
        }
    )
    alone.bring("wipefs")
    return device


def test_blank_data_disk_is_formatted_once(alone: Member, disk: Path) -> None:
    """A blank disk gets our file system; with that on it, it is only mounted."""
    alone.bring("mkfs.ext4")
    run_until(alone, "data_disk")
    made = disk.read_bytes()
    assert made[0x438:0x43A] == b"\x53\xef"
    assert b"etcd-data" in made[0x400:0x800]
    assert "systemctl start var-lib-etcd.mount" in alone.calls
    (alone.folder / "bin/mkfs.ext4").unlink()
    run_until(alone, "data_disk")
    assert disk.read_bytes() == made


@pytest.mark.parametrize(
    ("program", "arguments", "found"),
    [
        ("mkswap", (), "swap"),
        ("mkfs.ext4", ("-q", "-L", "photos"), "ext4 photos"),
    ],
)
def test_somebody_elses_disk_is_left_alone(
    alone: Member, disk: Path, program: str, arguments: tuple[str, ...], found: str
) -> None:
    """A disk with anything else on it ends the boot before a byte is written, and is named."""
    alone.lab.spawn([require_program(program), *arguments, str(disk)], alone).wait(10)
    before = disk.read_bytes()
    assert alone.run().wait(30) == FAILED
    assert (alone.state, alone.result["step"]) == ("failed", "data_disk")
    assert f"not blank and no ext4 labelled etcd-data: {found}" in alone.result["reason"]
    assert disk.read_bytes() == before
    assert not alone.data.exists()
    assert not alone.gate.exists()


def test_missing_data_disk(alone: Member, disk: Path) -> None:
    """Without its disk etcd does not start, on the root disk least of all."""
    disk.unlink()
    assert alone.run().wait(30) == FAILED
    assert (alone.state, alone.result["step"]) == ("failed", "data_disk")
    assert not alone.data.exists()
    assert not alone.gate.exists()


def test_unmounted_data_disk_at_a_later_boot(alone: Member, disk: Path) -> None:
    """Data below an unmounted mount point is not the member's data."""
    (alone.data / "member/wal").mkdir(parents=True)
    (alone.data / "member/wal/0-0.wal").touch()
    assert alone.start_check() == FAILED
    assert alone.state == "failed"
    assert "not mounted" in alone.result["reason"]


def test_keys_and_directories_are_etcds(alone: Member) -> None:
    """Keys get their mode, the data directory is closed to others."""
    run_until(alone, "hand_over")
    assert stat.S_IMODE((alone.folder / "pki/peer-key.pem").stat().st_mode) == 0o400
    assert stat.S_IMODE(alone.data.stat().st_mode) == 0o700


LABEL = "keys-0123456789a"


@pytest.fixture
def keyless(alone: Member) -> Path:
    """A member whose user-data brought no keys; the folder has them, and so will its disk."""
    aside = alone.folder / "aside"
    aside.mkdir()
    for key in (alone.folder / "pki").glob("*-key.pem"):
        key.rename(aside / key.name)
    return aside


def waits_with(member: Member, secrets: str) -> dict[str, Any]:
    """Configure where keys come from, let first boot find none, and give its result."""
    disk = LABEL if secrets == "split" else None
    member.configure(keys={"secrets": secrets, "disk": disk, "unit": "imagegen-keys.path"})
    assert member.run().wait(30) == 0
    assert (member.state, member.result["step"]) == ("waiting", "keys")
    assert "systemctl start --no-block imagegen-keys.path" in member.calls
    assert not member.gate.exists()
    return member.result


def attach(member: Member, folder: Path, label: str = LABEL) -> None:
    """Make a disk appear; mounting it shows what is in the folder."""
    (member.root / "dev/disk/by-label").mkdir(parents=True, exist_ok=True)
    (member.root / "dev/disk/by-label" / label).touch()
    for name in ("cp", "rm"):
        if not (member.folder / "bin" / name).exists():
            member.bring(name)
    member.stand_in("mount", f'[ "$1 $2" = "-o ro" ] && cp {folder}/* "$4"')
    member.stand_in("umount", 'rm -f "$1"/*')


def test_keys_from_a_disk(alone: Member, keyless: Path) -> None:
    """First boot ends until the disk is there, takes the keys, and says it can be detached."""
    result = waits_with(alone, "split")
    assert f"no disk labelled {LABEL} yet" in result["reason"]
    assert "keys.iso" in result["hint"]
    attach(alone, keyless)
    run_until(alone, "hand_over")
    for key in keyless.iterdir():
        there = alone.folder / "pki" / key.name
        assert there.read_bytes() == key.read_bytes()
        assert stat.S_IMODE(there.stat().st_mode) == 0o400
    assert "detach it" in next(line for line in alone.console.splitlines() if "taken from" in line)
    assert alone.calls.index(f"umount {alone.folder}/state/keys") < alone.calls.index(
        "systemctl stop imagegen-keys.path"
    )
    assert not list((alone.folder / "state/keys").iterdir())


def test_keys_that_belong_to_another_certificate(
    alone: Member, keyless: Path, tmp_path: Path
) -> None:
    """None is taken while one of them does not fit; the right disk then does."""
    waits_with(alone, "split")
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    server = (keyless / "server-key.pem").read_bytes()
    (wrong / "server-key.pem").write_bytes(server)
    (wrong / "peer-key.pem").write_bytes(server)
    attach(alone, wrong)
    process = alone.run()
    eventually(lambda: "peer-key.pem does not belong to" in alone.result.get("reason", ""))
    assert not list((alone.folder / "pki").glob("*-key.pem"))
    attach(alone, keyless)
    eventually(lambda: alone.result["step"] == "follow")
    alone.lab.end(process)


def test_disk_that_cannot_be_mounted(alone: Member, keyless: Path) -> None:
    """mount's own words are the reason."""
    waits_with(alone, "split")
    attach(alone, keyless)
    alone.stand_in("mount", "echo 'mount: wrong fs type' >&2; exit 32")
    process = alone.run()
    eventually(lambda: "wrong fs type" in alone.result.get("reason", ""))
    alone.lab.end(process)


def test_keys_by_other_means(alone: Member, keyless: Path) -> None:
    """First boot ends until one is there, then names what is missing or wrong until all fit."""
    result = waits_with(alone, "external")
    pki = alone.folder / "pki"
    assert f"no {pki}/server-key.pem yet" in result["reason"]
    (pki / "server-key.pem").write_bytes((keyless / "server-key.pem").read_bytes())
    process = alone.run()
    eventually(lambda: f"{pki}/peer-key.pem is missing" in alone.result["reason"])
    (pki / "peer-key.pem").write_text("nonsense")
    eventually(lambda: f"{pki}/peer-key.pem does not belong to" in alone.result["reason"])
    (pki / "peer-key.pem").write_bytes((keyless / "peer-key.pem").read_bytes())
    eventually(lambda: alone.result["step"] == "follow")
    assert "systemctl stop imagegen-keys.path" in alone.calls
    alone.lab.end(process)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_data_disk_that_outlived_its_machine(alone: Member) -> None:
    """On the new machine the user may have another number: all of the data becomes etcd's."""
    wal = alone.data / "member/wal/0-0.wal"
    wal.parent.mkdir(parents=True)
    wal.touch()
    for path in (alone.data, *alone.data.rglob("*")):
        os.chown(path, 12345, 12345)
    run_until(alone, "hand_over")
    assert {p.stat().st_uid for p in (alone.data, *alone.data.rglob("*"))} == {0}


START = "systemctl start --no-block etcd.service"
RESTART = "systemctl restart --no-block etcd.service"


@pytest.mark.parametrize(
    ("unit", "gate", "changes"),
    [
        ({}, False, [START]),
        ({"NeedDaemonReload": "yes"}, False, ["systemctl daemon-reload", START]),
        ({"ActiveState": "failed"}, True, ["systemctl reset-failed etcd.service", START]),
        ({"ActiveState": "active"}, True, []),
        # Something started it before the gate was open: not with our settings.
        ({"ActiveState": "active"}, False, [RESTART]),
    ],
)
def test_start(alone: Member, unit: dict[str, str], gate: bool, changes: list[str]) -> None:
    """Etcd is started with no more calls of systemctl than it takes."""
    alone.unit(**unit)
    if gate:
        alone.gate.parent.mkdir()
        alone.gate.touch()
    run_until(alone, "start")
    asked = ("systemctl show", "etcd")
    assert [call for call in alone.calls if not call.startswith(asked)] == changes
    assert alone.gate.exists()


def test_start_enables_the_unit(alone: Member) -> None:
    """A disabled unit gets the link that `systemctl enable` would make, an enabled one is left."""
    link = alone.root / "etc/systemd/system/multi-user.target.wants/etcd.service"
    run_until(alone, "start")
    assert not link.is_symlink()
    alone.unit(UnitFileState="disabled")
    run_until(alone, "start")
    assert str(link.readlink()) == "/lib/systemd/system/etcd.service"


def test_without_what_a_member_does_not_need(
    alone: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program as most members get it, without the parts for others, comes to healthy."""
    program = alone.folder / "firstboot"
    program.write_text(without_comments(FIRSTBOOT.read_text(), name="firstboot.py"))
    monkeypatch.setattr("tests.first_boot.lab.FIRSTBOOT", program)
    assert "def take_keys" not in program.read_text()
    alone.lab.form(alone)
    alone.unit(ActiveState="active")
    assert alone.run().wait(30) == 0
    assert alone.state == "healthy"
    assert alone.start_check() == 0


def test_masked_unit(alone: Member) -> None:
    """What somebody has masked is not started."""
    alone.unit(LoadState="masked")
    assert alone.run().wait(30) == FAILED
    assert (alone.state, alone.result["step"]) == ("failed", "start")
    assert "masked" in alone.result["reason"]
    assert not alone.gate.exists()


def test_etcd_that_fails_is_reported_and_followed(alone: Member) -> None:
    """What systemd says of the unit is in the result; the program waits on."""
    alone.unit(ActiveState="failed", Result="exit-code", ExecMainStatus="1")
    process = alone.run()
    eventually(lambda: "exit-code, exit status 1" in alone.result.get("reason", ""))
    assert alone.state == "starting"
    assert process.poll() is None


def test_healthy_in_the_wrong_cluster(alone: Member) -> None:
    """A cluster of another ID fails, however healthy it is."""
    alone.lab.form(alone)
    cluster_id = f"{alone.lab.cluster_id:x}"
    alone.configure(cluster_id="cdf818194e3a8c32")
    alone.unit(ActiveState="active")
    assert alone.run().wait(30) == FAILED
    assert (alone.state, alone.result["step"]) == ("failed", "follow")
    assert cluster_id in alone.result["reason"]
    assert not alone.finished.exists()


def test_the_last_word_stays_the_last(alone: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal is not lost to a report that was under way when it came."""
    # Its folder is shipped, and must not get a __pycache__.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    spec = importlib.util.spec_from_file_location("firstboot", FIRSTBOOT)
    assert spec
    assert spec.loader
    firstboot = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(firstboot)
    alone.configure()
    config = json.loads(alone.config_path.read_text())
    follower = threading.Thread(
        target=firstboot.Progress(config, "follow").report, args=("starting", "etcd is activating")
    )
    write_whole = firstboot.write_whole

    def write_slowly(path: Path, text: str) -> None:
        write_whole(path, text)
        if '"refused"' in text:
            follower.start()
            time.sleep(0.3)

    monkeypatch.setattr(firstboot, "write_whole", write_slowly)
    firstboot.Progress(config, "start-check").report("refused", "no", final=True)
    follower.join(10)
    assert alone.state == "refused"
    assert "activating" not in alone.console


KEY = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n"
INSTANCE = "var/lib/cloud/instances/i-1"


@pytest.fixture
def guest_files(alone: Member) -> dict[str, bool]:
    """What cloud-init has left on the member's machine, and whether scrubbing spares it."""
    files = {
        f"{INSTANCE}/user-data.txt": (KEY, False),
        f"{INSTANCE}/user-data.txt.i": (KEY, False),
        f"{INSTANCE}/cloud-config.txt": (KEY, False),
        f"{INSTANCE}/obj.pkl": ("compressed, for all we know", False),
        f"{INSTANCE}/scripts/part-001": (f"#!/bin/sh\ncat <<K\n{KEY}K\n", False),
        f"{INSTANCE}/sem/config_runcmd": ("once", True),
        f"{INSTANCE}/datasource": ("DataSourceNoCloud: [seed=/dev/sr0]", True),
        "var/lib/cloud/seed/nocloud/user-data": (KEY, False),
        "var/lib/cloud/data/instance-id": ("i-1", True),
        "run/cloud-init/combined-cloud-config.json": (json.dumps(KEY), False),
        "run/cloud-init/status.json": ("{}", True),
        "etc/etcd/peer-key.pem": (KEY, True),
        "etc/ssh/ssh_host_ed25519_key": (KEY, True),
    }
    for path, (text, _) in files.items():
        write(alone.root / path, text)
    (alone.root / "etc/cloud").mkdir()
    (alone.root / "var/lib/cloud/instance").symlink_to("instances/i-1")
    return {path: spared for path, (_, spared) in files.items()}


def test_keep(alone: Member, guest_files: dict[str, bool]) -> None:
    """Healthy, and everything of cloud-init's is as it left it."""
    write(alone.root / "run/cloud-init/result.json", "{}")
    (alone.root / "etc/cloud/cloud.cfg.d").mkdir()
    alone.lab.form(alone)
    alone.unit(ActiveState="active")
    assert alone.run().wait(30) == 0
    assert all((alone.root / path).exists() for path in guest_files)
    assert not (alone.root / "etc/cloud/cloud-init.disabled").exists()


def test_scrub(alone: Member, guest_files: dict[str, bool]) -> None:
    """Once etcd is healthy and cloud-init has ended, the copies go and cloud-init is off."""
    (alone.root / "etc/cloud/cloud.cfg.d").mkdir()
    alone.configure(after_boot="scrub")
    alone.lab.form(alone)
    alone.unit(ActiveState="active")
    process = alone.run()
    eventually(lambda: "cloud-init has to end" in alone.result.get("reason", ""))
    assert alone.state == "starting"
    assert all((alone.root / path).exists() for path in guest_files)

    write(alone.root / "run/cloud-init/result.json", "{}")
    assert process.wait(30) == 0
    assert (alone.state, alone.result["step"]) == ("healthy", "scrub")
    assert "detach the seed" in alone.result["hint"]
    left = {path for path in guest_files if (alone.root / path).exists()}
    assert left == {path for path, spared in guest_files.items() if spared}
    assert (alone.root / "etc/cloud/cloud-init.disabled").exists()


def test_scrub_goes_on_after_a_power_cut(alone: Member, guest_files: dict[str, bool]) -> None:
    """At the next boot cloud-init is off and will not end: nothing is waited for."""
    (alone.root / "etc/cloud/cloud.cfg.d").mkdir()
    write(alone.root / "etc/cloud/cloud-init.disabled", "")
    alone.configure(after_boot="scrub")
    alone.lab.form(alone)
    alone.unit(ActiveState="active")
    assert alone.run().wait(30) == 0
    left = {path for path in guest_files if (alone.root / path).exists()}
    assert left == {path for path, spared in guest_files.items() if spared}


# --- the start check ------------------------------------------------------------------------


def test_a_member_with_data_starts_at_once(lab: Lab) -> None:
    """With a WAL nobody is asked; also where the WAL has a directory of its own."""
    member = lab.members[0]
    wal = member.folder / "wal"
    for directory, setting in ((member.data / "member/wal", None), (wal, str(wal))):
        directory.mkdir(parents=True)
        (directory / "0000000000000000-0000000000000000.wal").touch()
        member.configure(wal_dir=setting)
        assert member.start_check(seconds=5) == 0
        assert not member.result


def test_a_cluster_of_one_starts_at_once(alone: Member) -> None:
    assert alone.start_check(seconds=5) == 0


def test_nobody_reachable(lab: Lab) -> None:
    """It waits, says for whom and why, and ends promptly when systemd stops it."""
    member = lab.members[0]
    check = member.wait_at_start_check()
    reason = member.result["reason"]
    assert reason.startswith("heard 0 of the 2 others needed")
    assert "icc-etcd-2: Connection refused; icc-etcd-3: Connection refused" in reason
    assert check.poll() is None
    check.terminate()
    assert check.wait(1) != 0
    assert member.state == "waiting"


def test_peer_port_taken(lab: Lab) -> None:
    """A member that cannot answer says so, and answers once it can."""
    member = lab.members[0]
    with socket.create_server((member.address, 2380)):
        member.wait_at_start_check()
        assert "cannot answer on" in member.result["reason"]
    eventually(lambda: "cannot answer on" not in member.result["reason"])


def test_bootstrap_until(lab: Lab) -> None:
    """After the date an empty data directory is refused, for good, and the gate is shut."""
    member = lab.members[0]
    member.configure(bootstrap_until="2020-01-01T00:00:00+00:00")
    member.gate.parent.mkdir()
    member.gate.touch()
    assert member.start_check() == REFUSED
    assert member.state == "refused"
    assert "imagegen member replace icc-etcd-1" in member.result["hint"]
    assert not member.gate.exists()
    assert member.finished.exists()
    assert "refused" in member.console
    # Another start does not change the verdict, nor does the first-boot unit's next run.
    said = member.result
    assert member.start_check() == REFUSED
    assert member.run().wait(30) == 0
    assert member.result == said


def test_a_healthy_member_that_lost_its_data(lab: Lab) -> None:
    """The machine itself remembers: nobody needs to be asked."""
    member = lab.members[0]
    member.finished.parent.mkdir()
    member.finished.write_text("healthy\n")
    assert member.start_check(seconds=5) == REFUSED
    assert member.state == "refused"


def test_new_generation_starts_over(lab: Lab) -> None:
    """A replacement has a new instance-id; the old verdict is not its own."""
    member = lab.members[0]
    member.configure(bootstrap_until="2020-01-01T00:00:00Z")
    assert member.start_check() == REFUSED
    member.configure(instance_id="i-2", finished=str(member.folder / "state/finished-i-2"))
    lab.spawn(member.firstboot("start-check"), member)
    eventually(lambda: (member.state, member.result["instance_id"]) == ("waiting", "i-2"))


def test_only_members_are_answered(lab: Lab, tmp_path: Path) -> None:
    """A waiting member answers a member, and nobody else."""
    member, asker, _ = lab.members
    member.wait_at_start_check()
    url = f"{member.peer_url}/members"
    said, _ = asker.ask(url)
    assert said == {
        "waiting": True,
        "cluster_id": f"{lab.cluster_id:x}",
        "member_id": f"{member.member_id:x}",
    }
    stranger = Authority(tmp_path, "stranger").issue(tmp_path / "stranger", asker.address)
    for credential in (None, stranger):
        with pytest.raises(OSError, match=r"(?i)alert|reset|closed|EOF"):
            https(url, lab.peer_ca.path, credential)


def test_ipv6(lab: Lab) -> None:
    """Two members on ::1 hear each other."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    first, second, _ = lab.members
    ports = {}
    for member in (first, second):
        lab.peer_ca.issue(member.folder / "pki/peer", "::1")
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as free:
            ports[member.name] = free.getsockname()[1]
    for member, other in ((first, second), (second, first)):
        member.configure(
            peer_listen=["::1", ports[member.name]],
            others=[
                {
                    "name": other.name,
                    "member_id": f"{other.member_id:x}",
                    "peer_url": f"https://[::1]:{ports[other.name]}",
                }
            ],
        )
    checks = [lab.spawn(member.firstboot("start-check"), member) for member in (first, second)]
    assert [check.wait(20) for check in checks] == [0, 0]


def test_other_clusters_do_not_count(lab: Lab, tmp_path: Path) -> None:
    """Peers of another cluster, or with a certificate of another CA, do not count; it says why."""
    member, _, stranger = lab.members
    other = Lab(tmp_path / "other", size=1)
    (neighbour,) = other.members
    lab.peer_ca.issue(neighbour.folder / "pki/peer", neighbour.address)
    other.peer_ca = lab.peer_ca
    try:
        neighbour.start_etcd()
        eventually(lambda: neighbour.put("formed", "yes"))
        Authority(tmp_path, "unknown").issue(stranger.folder / "pki/peer", stranger.address)
        stranger.wait_at_start_check()
        member.configure(
            others=[
                {"name": "neighbour", "member_id": "1", "peer_url": neighbour.peer_url},
                {"name": "stranger", "member_id": "2", "peer_url": stranger.peer_url},
            ]
        )
        check = member.wait_at_start_check()
        reason = member.result["reason"]
        assert f"neighbour: belongs to cluster {other.cluster_id:x}, not " in reason
        assert "stranger: tls: " in reason
        assert check.poll() is None
    finally:
        other.close()


# --- whole clusters -------------------------------------------------------------------------


def test_first_boot_of_a_cluster(lab: Lab) -> None:
    """Three fresh machines, one late: all healthy, in one cluster, and done for good."""
    *early, late = lab.members
    for member in lab.members:
        member.bring("etcd", etcd_program())
        member.unit(UnitFileState="disabled", ActiveState="activating")
        (member.folder / "boot").write_text(member.boot_script)
    runs = [member.run() for member in early]
    eventually(lambda: all(m.result.get("step") == "start-check" for m in early))
    runs.append(late.run())
    assert [run.wait(60) for run in runs] == [0, 0, 0]
    for member in lab.members:
        result = member.result
        assert result["state"] == "healthy"
        assert f"of cluster {lab.cluster_id:x}, 3 members" in result["reason"]
        assert result["uptime_seconds"] > 0
        steps = {"address", "clock", "install", "data_disk", "keys", "hand_over", "start", "follow"}
        assert steps <= result["seconds"].keys()
        assert result["started_at"] <= result["updated_at"]
        assert f"imagegen: {member.name}: healthy: " in member.console.splitlines()[-1]
        assert stat.S_IMODE((member.folder / "state/result.json").stat().st_mode) == 0o644
        assert member.finished.exists()
        # Once more: it is final, nothing is asked or changed.
        calls = member.calls
        assert member.run().wait(30) == 0
        assert (member.calls, member.result) == (calls, result)


def test_any_order(tmp_path: Path) -> None:
    """Five fresh members in a random order form one cluster."""
    lab = Lab(tmp_path, size=5)
    try:
        seed = random.randrange(1000)
        print(f"order from seed {seed}")
        order = random.Random(seed)
        for member in order.sample(lab.members, 5):
            member.boot()
            time.sleep(order.uniform(0, 1))
        for member in lab.members:
            eventually(lambda member=member: member.put("formed", "yes"), seconds=60)
            assert {m["id"] for m in member.ask(f"{member.peer_url}/members")[0]} == {
                m.member_id for m in lab.members
            }
    finally:
        lab.close()


def test_acknowledged_write_is_not_lost(lab: Lab) -> None:
    """One member is wiped; its peers are down, and the one that lags returns first.

    Without the check the two would form a quorum that has never heard of the write.
    """
    acknowledging, lagging, wiped = lab.members
    running = lab.form(*lab.members)
    lab.end(running[lagging.name])
    eventually(lambda: acknowledging.put("promise", "kept"))
    lab.end(running[acknowledging.name], running[wiped.name])
    wiped.wipe()
    boot = wiped.boot()
    eventually(lambda: wiped.state == "waiting")
    lagging.boot()
    assert boot.wait(30) == REFUSED
    assert wiped.state == "refused"
    assert "icc-etcd-2 has seen this member start" in wiped.result["reason"]
    assert not wiped.data.exists()
    acknowledging.boot()
    assert eventually(lambda: lagging.put("later", "x") and lagging.get("promise")) == "kept"


def test_a_member_that_was_away_is_not_enough(lab: Lab) -> None:
    """Two of three formed the cluster; one of them is wiped, the other down, the third appears.

    The third knows nothing. With it a quorum could be had; the write would be gone.
    """
    keeps, wiped, away = lab.members
    running = lab.form(keeps, wiped)
    assert keeps.put("promise", "kept")
    lab.end(*running.values())
    wiped.wipe()
    boots = [wiped.boot(), away.boot()]
    eventually(lambda: "heard 1 of the 2" in wiped.result.get("reason", ""))
    eventually(lambda: "heard 1 of the 2" in away.result.get("reason", ""))
    assert [boot.poll() for boot in boots] == [None, None]
    keeps.boot()
    assert boots[0].wait(30) == REFUSED
    assert wiped.state == "refused"
    assert eventually(lambda: away.put("later", "x") and away.get("promise")) == "kept"


def test_two_wiped_at_once(lab: Lab) -> None:
    """They hear each other and wait; the one that kept its data has both refused."""
    keeps, *wiped = lab.members
    lab.end(*lab.form(*lab.members).values())
    boots = []
    for member in wiped:
        member.wipe()
        boots.append(member.boot())
    for member in wiped:
        eventually(lambda member=member: "heard 1 of the 2" in member.result.get("reason", ""))
    keeps.boot()
    assert [boot.wait(30) for boot in boots] == [1, 1]
    assert [member.state for member in wiped] == ["refused", "refused"]


@pytest.fixture
def replaced(lab: Lab) -> Member:
    """The third machine is made anew: it is listed as a learner, under an ID it was given."""
    first, _, third = lab.members
    running = lab.form(*lab.members)
    lab.end(running[third.name])
    third.wipe()
    # What is proposed to a leader that has just died gets no answer at all.
    eventually(lambda: first.put("led", "again"))
    ask = client_of(first)
    urls = (third.peer_url,)
    eventually(lambda: not refused(lambda: ask.remove(first.client_url, third.member_id)))
    added: list[int] = []
    eventually(
        lambda: (
            not refused(lambda: added.append(ask.add_learner(first.client_url, urls)[0].member_id))
        )
    )
    third.member_id = added[0]
    third.configure(initial_cluster_state="existing")
    return third


def client_of(member: Member) -> Caller:
    pki = member.folder / "pki"
    return Caller(member.lab.client_ca.path, pki / "server.pem", pki / "server-key.pem", 30)


def refused(change: Callable[[], object]) -> bool:
    """Whether etcd says no, as it does while its connections are young."""
    try:
        change()
    except RefusedError as error:
        return "unhealthy cluster" in error.message or "in sync" in error.message
    return False


def test_a_replaced_member_is_healthy_once_it_has_a_vote(lab: Lab, replaced: Member) -> None:
    """As a learner it says what it waits for; without its disk it never comes back."""
    replaced.bring("etcd", etcd_program())
    state = "--initial-cluster-state=existing"
    (replaced.folder / "boot").write_text(f"{replaced.boot_script} {state}")
    run = replaced.run()
    eventually(lambda: "is a learner" in replaced.result.get("reason", ""))
    assert replaced.state == "starting"
    assert not replaced.finished.exists()
    first = lab.members[0]
    eventually(
        lambda: not refused(lambda: client_of(first).promote(first.client_url, replaced.member_id))
    )
    assert run.wait(30) == 0
    assert replaced.state == "healthy"
    assert f"member {replaced.member_id:x} of cluster" in replaced.result["reason"]
    os.kill(int((replaced.folder / "etcd.pid").read_text()), 9)
    replaced.wipe()
    assert replaced.start_check() == REFUSED
    assert "has seen this member start" in replaced.result["reason"]


def test_who_waits_is_no_witness_for_a_replaced_member(lab: Lab) -> None:
    """There is a cluster: who knows of nothing must not help to an empty start."""
    replaced, *others = lab.members
    replaced.configure(initial_cluster_state="existing")
    for other in others:
        other.wait_at_start_check()
    check = replaced.wait_at_start_check()
    eventually(lambda: replaced.result["reason"].count("waits, so it cannot know") == 2)
    assert "heard 0 of the 2 others needed" in replaced.result["reason"]
    assert check.poll() is None


def test_a_snapshot_comes_on_a_disc(alone: Member, tmp_path: Path) -> None:
    """First boot waits for the right one, and takes no other."""
    right = b"what the cluster held"
    alone.configure(
        snapshot={
            "file": str(alone.folder / "state/snapshot.db"),
            "disk": LABEL,
            "sha256": hashlib.sha256(right).hexdigest(),
            "bump_revision": 0,
            "initial_cluster": "",
            "token": "t",
        }
    )
    process = alone.run()
    eventually(lambda: f"no disk labelled {LABEL}" in alone.result.get("reason", ""))
    disc = tmp_path / "disc"
    disc.mkdir()
    (disc / "snapshot.db").write_bytes(b"something else")
    attach(alone, disc)
    eventually(lambda: "is not the one with SHA-256" in alone.result["reason"])
    assert alone.result["step"] == "snapshot"
    assert not alone.gate.exists()
    (disc / "snapshot.db").write_bytes(right)
    eventually(lambda: alone.gate.exists())
    alone.lab.end(process)
    file = alone.folder / "state/snapshot.db"
    assert file.read_bytes() == right
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_peer_that_replays_its_log(alone: Member, tmp_path: Path) -> None:
    """Just restarted, etcd lists members as of long ago: the first answer is not taken.

    etcd 3.4 was seen to do this for some milliseconds; here it takes a second.
    """
    peer = Lab(tmp_path / "peer", size=1).members[0]
    alone.lab.peer_ca.issue(peer.folder / "pki/peer", peer.address)
    listed: list[dict[str, Any]] = [{"id": alone.member_id, "peerURLs": [alone.peer_url]}]
    answer_as_etcd(peer, alone, listed)
    alone.configure(others=[{"name": "peer", "member_id": "1", "peer_url": peer.peer_url}])
    check = alone.wait_at_start_check()
    assert "has not seen this member start so far" in alone.result["reason"]
    listed[0]["clientURLs"] = [alone.client_url]
    assert check.wait(10) == REFUSED
    assert alone.state == "refused"


def answer_as_etcd(peer: Member, cluster: Member, listed: list[dict[str, Any]]) -> None:
    """Answer GET /members as a running etcd does, from a thread of this test."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=cluster.lab.peer_ca.path)
    context.load_cert_chain(peer.folder / "pki/peer.pem", peer.folder / "pki/peer-key.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server((peer.address, 2380))

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            with context.wrap_socket(connection, server_side=True) as tls:
                tls.recv(4096)
                head = f"HTTP/1.0 200 OK\r\nX-Etcd-Cluster-ID: {cluster.lab.cluster_id:x}\r\n\r\n"
                tls.sendall((head + json.dumps(listed)).encode())

    threading.Thread(target=serve, daemon=True).start()
