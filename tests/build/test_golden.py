"""imagegen.build.golden and packer/: what a golden image is made with."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from imagegen.base.problems import ImagegenError
from imagegen.build.golden import export_packer_files, write_build_seed
from imagegen.documents import guest
from imagegen.documents.render import render_node
from imagegen.documents.templates import Templates
from imagegen.pki.issue import issue_pki
from tests.conftest import EXAMPLES, NOW, ROOT, make_cluster, require_program

PACKER = ROOT / "packer"
FOLDERS = ["qemu", "proxmox", "vsphere"]
VARIABLE_FILES = ["debian-12", "debian-13", "ubuntu-24.04"]
SCRIPTS = sorted(PACKER.glob("scripts/*.sh"))


# --- the build's seed -----------------------------------------------------------------


def test_the_seed_lets_in_its_own_key_alone(tmp_path: Path) -> None:
    """One user, by a key that nobody else has, and no password."""
    write_build_seed(tmp_path / "seed")
    text = (tmp_path / "seed/user-data").read_text()
    assert text.startswith("#cloud-config\n")
    [user] = yaml.safe_load(text)["users"]
    key = load_ssh_private_key((tmp_path / "seed/id_ed25519").read_bytes(), None)
    [authorized] = user["ssh_authorized_keys"]
    asked = subprocess.run(
        ["ssh-keygen", "-y", "-f", tmp_path / "seed/id_ed25519"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert authorized.split()[:2] == asked.stdout.split()[:2]
    assert type(key).__name__.endswith("Ed25519PrivateKey")
    assert user["lock_passwd"] is True
    assert "passwd" not in user


def test_the_seed_is_its_owners(tmp_path: Path) -> None:
    seed = tmp_path / "seed"
    write_build_seed(seed)
    assert stat.S_IMODE(seed.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in seed.iterdir()} == {0o600}


def test_a_release_gets_the_members_own_unit(tmp_path: Path) -> None:
    """There is one unit for releases, whoever installs them; the script finds it in /run."""
    write_build_seed(tmp_path / "seed")
    [file] = yaml.safe_load((tmp_path / "seed/user-data").read_text())["write_files"]
    cluster = make_cluster((EXAMPLES / "release.yaml").read_text())
    pki = issue_pki(cluster, stored=None, now=NOW).pki
    documents = render_node(cluster, cluster.members[0], pki, Templates())
    written = yaml.safe_load(documents.user_data)["write_files"]
    assert file["content"] in [f["content"] for f in written if f["path"] == guest.ETCD_UNIT]
    script = (PACKER / "scripts/install-etcd.sh").read_text()
    assert f" {file['path']} {guest.ETCD_UNIT.rpartition('/')[0]} " in script
    assert f"{guest.RELEASES}/current" in script


def test_no_two_seeds_are_one_instance(tmp_path: Path) -> None:
    """Another build has another key and is, to cloud-init, another machine."""
    for name in ("one", "two"):
        write_build_seed(tmp_path / name)
    for file in ("id_ed25519", "meta-data", "user-data"):
        assert (tmp_path / "one" / file).read_bytes() != (tmp_path / "two" / file).read_bytes()


def test_a_seed_that_is_there_stays(tmp_path: Path) -> None:
    """A second one is refused, by every file that is in its way, and nothing is written."""
    write_build_seed(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ImagegenError) as caught:
        write_build_seed(tmp_path)
    assert all(str(path) in str(caught.value) for path in before)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_command(tmp_path: Path) -> None:
    """As a user calls it: it names what it wrote; a second call explains itself."""
    command = [sys.executable, "-m", "imagegen", "packer", "seed", "seed"]
    first = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    assert first.stdout.split() == ["seed/user-data", "seed/meta-data", "seed/id_ed25519"]
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert again.stderr.count("already exists") == 3
    assert "Traceback" not in again.stderr


@pytest.mark.parametrize("version", ["22.4", "25.1"])
def test_cloud_init_accepts_the_seed(tmp_path: Path, version: str) -> None:
    write_build_seed(tmp_path / "seed")
    program = require_program(f"cloud-init-{version}")
    done = subprocess.run(
        [program, "schema", "--config-file", tmp_path / "seed/user-data"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "deprecat" not in (done.stdout + done.stderr).lower()


# --- the files ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder as Packer 1.6 takes it: no plugins file, and a seed to look at."""
    folder = tmp_path_factory.mktemp("packer")
    export_packer_files(folder)
    for name in FOLDERS:
        (folder / name / "plugins.pkr.hcl").unlink()
        write_build_seed(folder / name / "seed")
    return folder


def packer(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [require_program("packer"), *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "CHECKPOINT_DISABLE": "1"},
    )  # fmt: skip


def test_export_has_everything(tmp_path: Path) -> None:
    """All that git has, scripts executable, and nothing that a build has left."""
    export_packer_files(tmp_path)
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "."],
        cwd=PACKER, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    got = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert got == set(listed)
    for path in tmp_path.rglob("*.sh"):
        assert os.access(path, os.X_OK)


def test_export_leaves_nothing_half_done(tmp_path: Path) -> None:
    """Where it cannot write everything it says so, and what it wrote is gone."""
    (tmp_path / "scripts").write_text("not a folder")
    with pytest.raises(ImagegenError, match="scripts"):
        export_packer_files(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "scripts"]


def test_format() -> None:
    for name in FOLDERS:
        done = packer("fmt", "-check", "-diff", ".", cwd=PACKER / name)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("tcg", [False, True])
@pytest.mark.parametrize("file", VARIABLE_FILES)
def test_qemu_validates(exported: Path, file: str, tcg: bool) -> None:
    """With each variable file; the checksum of a URL would be fetched."""
    files = [f"-var-file={file}.pkrvars.hcl", *["-var-file=tcg.pkrvars.hcl"] * tcg]
    done = packer("validate", *files, "-var=base_image_checksum=none", ".", cwd=exported / "qemu")
    assert done.returncode == 0, done.stdout + done.stderr


def test_vsphere_validates(exported: Path) -> None:
    """With nobody to log in to, all but the log-in is judged."""
    names = ("vcenter_server", "vcenter_username", "vcenter_password", "cluster", "datastore")
    values = [f"-var={name}=x" for name in (*names, "network", "template", "image_name")]
    done = packer("validate", *values, ".", cwd=exported / "vsphere")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_release_travels_on_the_seed(exported: Path, tmp_path: Path) -> None:
    """A tarball is one more file on the CD; a digest of a wrong length is refused."""
    tarball = tmp_path / "etcd-v3.5.16-linux-amd64.tar.gz"
    tarball.touch()
    common = (
        "validate", "-var-file=debian-13.pkrvars.hcl", "-var=base_image_checksum=none",
        f"-var=etcd_tarball={tarball}",
    )  # fmt: skip
    good = packer(*common, f"-var=etcd_sha256={'0' * 64}", ".", cwd=exported / "qemu")
    assert good.returncode == 0, good.stdout + good.stderr
    bad = packer(*common, "-var=etcd_sha256=0000", ".", cwd=exported / "qemu")
    assert bad.returncode != 0
    assert "64 hexadecimal digits" in bad.stdout + bad.stderr
    tarball.unlink()
    gone = packer(*common, f"-var=etcd_sha256={'0' * 64}", ".", cwd=exported / "qemu")
    assert gone.returncode != 0


@pytest.mark.parametrize("path", sorted(PACKER.rglob("*.hcl")), ids=lambda p: p.name)
def test_every_file_parses(path: Path) -> None:
    """By HashiCorp's own parser, also what no packer here can judge."""
    import pygohcl

    assert pygohcl.loads(path.read_text())


def test_every_variable_is_in_the_readme() -> None:
    readme = (PACKER / "README.md").read_text()
    for name in FOLDERS:
        text = (PACKER / name / "variables.pkr.hcl").read_text()
        for variable in re.findall(r'^variable "(\w+)"', text, re.MULTILINE):
            assert f"`{variable}`" in readme, (name, variable)


# --- the scripts ----------------------------------------------------------------------


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
def test_shellcheck(script: Path) -> None:
    done = subprocess.run(
        [require_program("shellcheck"), script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaA==\n"
# What a build may leave, and what the verdict calls it.
TRACES = {
    "etc/machine-id": ("0123456789abcdef0123456789abcdef\n", "machine-id"),
    "var/lib/systemd/random-seed": ("seed", "machine identity"),
    "etc/hostname": ("imagegen-build\n", "machine identity"),
    "etc/ssh/ssh_host_ed25519_key.pub": ("ssh-ed25519 AAAA\n", "SSH host key"),
    "etc/netplan/50-cloud-init.yaml": ("network: {}\n", "network state"),
    "etc/network/interfaces.d/50-cloud-init": ("auto ens3\n", "network state"),
    "var/lib/dhcp/dhclient.ens3.leases": ("lease {}\n", "network state"),
    "var/lib/cloud/data/instance-id": ("imagegen-build-1\n", "cloud-init state"),
    "etc/cloud/cloud-init.disabled": ("", "cloud-init is off"),
    "var/lib/etcd/default/member/wal/0.wal": ("", "etcd data"),
    "etc/etcd/ca.pem": ("", "a member's file"),
    "etc/systemd/system/multi-user.target.wants/etcd.service": ("", "etcd is on"),
    "var/log/journal/0123/system.journal": ("", "journal"),
    "var/log/auth.log": ("sudo\n", "log"),
    "var/lib/apt/lists/main_Packages": ("", "package list"),
    "home/packer/.profile": ("", "home"),
    "root/.ssh/authorized_keys": ("ssh-ed25519 AAAA\n", "who may log in"),
    "etc/sudoers.d/90-cloud-init-users": ("packer ALL=(ALL) ALL\n", "build user's right"),
    "srv/old-key.pem": (KEY, "private key"),
}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The root of an image with nothing wrong."""
    root = tmp_path / "root"
    files = {
        "etc/machine-id": "",
        "etc/passwd": "root:x:0:0::/root:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n",
        "etc/imagegen-image.json": '{"etcd": "3.5.16"}\n',
        "var/log/dpkg.log": "",
        "home/.keep": "",
    }
    for name, text in files.items():
        write(root / name, text)
    write(root / "usr/bin/etcd", "")
    (root / "usr/bin/etcd").chmod(0o755)
    return root


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def verify(root: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", PACKER / "scripts/verify.sh", root],
        capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip


def test_verify_finds_nothing_in_a_clean_image(image: Path) -> None:
    done = verify(image)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("trace", TRACES)
def test_verify_finds(image: Path, trace: str) -> None:
    """Each trace alone, by its place and by what it is."""
    text, kind = TRACES[trace]
    write(image / trace, text)
    done = verify(image)
    assert done.returncode == 1
    assert kind in done.stderr
    # A folder that must be empty is told by the first thing in it.
    assert trace.split("/")[1] in done.stderr
    assert "1 problems" in done.stderr


def test_verify_tells_all_at_once(image: Path) -> None:
    for trace, (text, _) in TRACES.items():
        write(image / trace, text)
    with (image / "etc/passwd").open("a") as passwd:
        passwd.write("packer:x:1000:1000::/home/packer:/bin/bash\n")
    (image / "usr/bin/etcd").unlink()
    (image / "etc/imagegen-image.json").unlink()
    said = verify(image).stderr
    assert f"{len(TRACES) + 3} problems" in said
    assert "user: packer" in said
    assert "etcd is missing" in said


def test_verify_bears_the_build_user_during_the_build(image: Path) -> None:
    write(image / "home/packer/.profile", "")
    write(image / "etc/sudoers.d/90-cloud-init-users", "packer ALL=(ALL) ALL\n")
    with (image / "etc/passwd").open("a") as passwd:
        passwd.write("packer:x:1000:1000::/home/packer:/bin/bash\n")
    assert verify(image, BUILD_USER="packer").returncode == 0
    assert verify(image).returncode == 1
    assert verify(image, BUILD_USER="other").returncode == 1


def test_seal_and_verify_know_the_same_traces() -> None:
    """The verdict is another's, but nothing is looked for that is not taken away."""
    seal = (PACKER / "scripts/seal.sh").read_text()
    removed_at_shutdown = {"home/packer/.profile", "etc/sudoers.d/90-cloud-init-users"}
    for trace in TRACES.keys() - removed_at_shutdown - {"srv/old-key.pem"}:
        parts = trace.split("/")
        assert any("/" + "/".join(parts[:n]) in seal for n in range(2, len(parts) + 1)), trace
