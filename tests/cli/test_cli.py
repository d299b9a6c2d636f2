"""The commands as a user runs them: as a program, in a directory of the user's."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import pty
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from imagegen.media.iso_reader import read_seed
from imagegen.pki.pem import private_key_in
from tests.conftest import EXAMPLES, require_program
from tests.releases import install_section

LAB = EXAMPLES / "icc-etcd.yaml"
KEY = "PRIVATE KEY-----"
NAMES = [f"icc-etcd-{n}" for n in range(1, 6)]


class Run:
    """What a command did."""

    def __init__(self, *arguments: object, cwd: Path, env: dict[str, str] | None = None) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "imagegen", *map(str, arguments)],
            cwd=cwd, capture_output=True, timeout=120, check=False,
            env={**os.environ, **(env or {})},
        )  # fmt: skip
        self.status = done.returncode
        self.data = done.stdout
        self.out, self.err = done.stdout.decode(errors="replace"), done.stderr.decode()
        assert "Traceback" not in self.err, self.err


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A user's directory with the lab's spec."""
    shutil.copy(LAB, tmp_path / "icc-etcd.yaml")
    return tmp_path


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A directory where the lab's cluster was built; tests leave it as it is."""
    directory = tmp_path_factory.mktemp("built")
    shutil.copy(LAB, directory / "icc-etcd.yaml")
    run = Run("build", "icc-etcd.yaml", cwd=directory)
    assert run.status == 0, run.err
    return directory


def tree(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


# --- build ---------------------------------------------------------------------------


def test_layout(built):
    """Scripts outside find everything under the names we promise."""
    out = built / "out/icc-etcd"
    assert set(tree(out)) == {
        *(
            f"members/{name}/{file}"
            for name in NAMES
            for file in ("user-data", "meta-data", "network-config", "seed.iso")
        ),
        *(f"client/{file}" for file in ("ca.pem", "client.pem", "client-key.pem", "etcdctl.env")),
        "manifest.json",
    }
    pki = built / "pki/icc-etcd"
    assert json.loads((pki / "cluster.json").read_text())["cluster"] == "icc-etcd"
    for name in ("ca.pem", "ca-key.pem", *(f"members/{n}/member-key.pem" for n in NAMES)):
        assert (pki / name).is_file(), name


def test_modes(built):
    """Whoever is not the owner sees nothing, whatever the umask."""
    for root in (built / "out/icc-etcd", built / "pki/icc-etcd"):
        for path in [root, *root.rglob("*")]:
            if not path.is_symlink():
                assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_manifest(built):
    """It names every file with its digest, and what etcd and openssl will show."""
    out = built / "out/icc-etcd"
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["cluster"] == "icc-etcd"
    assert manifest["cluster_id"] == "f2535b1ba83ba713"
    assert manifest["token"] == "etcd-cluster-0"
    assert manifest["imagegen_version"]
    assert [(m["name"], m["address"]) for m in manifest["members"]] == [
        (name, f"10.240.0.{n}") for n, name in enumerate(NAMES, start=11)
    ]
    assert manifest["members"][0]["member_id"] == "ffed16798470cab5"
    for member in manifest["members"]:
        for path, facts in member["files"].items():
            data = (out / path).read_bytes()
            assert (facts["size"], facts["sha256"]) == (
                len(data), hashlib.sha256(data).hexdigest(),
            )  # fmt: skip
        [entry] = member["certificates"]
        pem = (built / f"pki/icc-etcd/members/{member['name']}/member.pem").read_bytes()
        certificate = x509.load_pem_x509_certificate(pem)
        assert int(entry["serial"], 16) == certificate.serial_number
        assert entry["not_after"] == certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ")
        assert {member["address"], "127.0.0.1", "localhost"} <= set(entry["sans"])
    assert KEY not in (out / "manifest.json").read_text()


def test_seeds_hold_the_documents(built):
    """What is on the ISO is what lies beside it, to the byte."""
    for name in NAMES:
        base = built / "out/icc-etcd/members" / name
        seed = read_seed((base / "seed.iso").read_bytes())
        for document in ("user-data", "meta-data", "network-config"):
            assert seed.find(document).content == (base / document).read_bytes()


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("isoinfo", ("-R", "-x", "/{document}", "-i", "{seed}")),
        ("isoinfo", ("-J", "-x", "/{document}", "-i", "{seed}")),
        ("bsdtar", ("-xOf", "{seed}", "{document}")),
        ("xorriso", ("-indev", "{seed}", "-osirrox", "on", "-extract", "/{document}", "{copy}")),
    ],
    ids=["Rock Ridge", "Joliet", "bsdtar", "xorriso"],
)
def test_other_programs_read_exactly_the_documents(program, arguments, built, tmp_path):
    """Nobody needs to believe our own reader."""
    path = require_program(program)
    for name in NAMES:
        base = built / "out/icc-etcd/members" / name
        for document in ("user-data", "meta-data", "network-config"):
            copy = tmp_path / name / document
            copy.parent.mkdir(exist_ok=True)
            words = {"document": document, "seed": base / "seed.iso", "copy": copy}
            run = subprocess.run(
                [path, *(argument.format(**words) for argument in arguments)],
                capture_output=True, check=True, timeout=60,
            )  # fmt: skip
            data = copy.read_bytes() if copy.exists() else run.stdout
            assert data == (base / document).read_bytes()


def test_blkid_sees_the_label_cloud_init_looks_for(built):
    """The label and the type, on every seed."""
    blkid = require_program("blkid")
    for name in NAMES:
        seed = built / "out/icc-etcd/members" / name / "seed.iso"
        said = subprocess.run(
            [blkid, "-p", "-o", "export", seed], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        assert {"LABEL=cidata", "TYPE=iso9660"} <= set(said)


@pytest.mark.parametrize("layout", ["separate", "lab"])
def test_no_artifact_holds_the_cas_key_or_anothers(layout, here):
    """Over the whole output tree, ISO contents included, each key is where it belongs."""
    edit(here / "icc-etcd.yaml", "layout: lab", f"layout: {layout}")
    assert Run("build", "icc-etcd.yaml", cwd=here).status == 0
    owners: dict[bytes, str] = {}
    pki = (here / "pki/icc-etcd/current").resolve()
    for path in pki.rglob("*-key.pem"):
        numbers = private_key_in(path.read_text()).public_key()
        where = path.relative_to(pki).as_posix()
        owners[identity(numbers)] = where
    seen = set()
    out = here / "out/icc-etcd"
    for path in out.rglob("*"):
        if not path.is_file():
            continue
        texts = [path.read_bytes()]
        if path.suffix == ".iso":
            texts += [file.content for file in read_seed(path.read_bytes()).files]
        for block in re.findall(
            rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE "
            rb"KEY-----",
            b"\n".join(texts),
            re.DOTALL,
        ):
            pem = b"\n".join(line.strip() for line in block.splitlines()).decode() + "\n"
            owner = owners[identity(private_key_in(pem).public_key())]
            seen.add(owner)
            relative = path.relative_to(out).as_posix()
            if relative.startswith("client/"):
                assert owner == "clients/client-key.pem"
            else:
                assert owner.startswith("/".join(relative.split("/")[:2]) + "/")
    keys_per_member = 2 if layout == "separate" else 1
    assert len(seen) == 5 * keys_per_member + 1
    assert not any("ca-key" in owner for owner in seen)


def identity(public_key) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_building_again_writes_nothing(here):
    """Days later the same spec gives the same bytes, and not one file is touched."""
    first = Run("build", "icc-etcd.yaml", "--now", "2026-12-01T00:00:00Z", cwd=here)
    assert first.status == 0, first.err
    stamps = {p: (p.lstat().st_ino, p.lstat().st_mtime_ns) for p in here.rglob("*")}
    again = Run("build", "icc-etcd.yaml", "--now", "2026-12-05T00:00:00Z", cwd=here)
    assert again.status == 0
    assert "nothing written" in again.out
    assert stamps == {p: (p.lstat().st_ino, p.lstat().st_mtime_ns) for p in here.rglob("*")}


def test_out_can_be_removed_and_comes_back_the_same(here):
    """The store is all that matters; artifacts are made of it again."""
    assert Run("build", "icc-etcd.yaml", cwd=here).status == 0
    before = tree(here / "out")
    shutil.rmtree(here / "out")
    assert Run("build", "icc-etcd.yaml", cwd=here).status == 0
    assert tree(here / "out") == before


ELSEWHERE: dict[str, tuple[list[str], dict[str, str]]] = {
    "another day": (["faketime", "2029-02-28 23:59:58"], {}),
    "another zone": ([], {"TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "1"}),
    "west of Greenwich": ([], {"TZ": "XYZ+23:45", "PYTHONHASHSEED": "2"}),
    "ASCII alone": ([], {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    "another umask": (["sh", "-c", 'umask 0; exec "$@"', "sh"], {}),
    "one after another": ([], {}),
}


@pytest.fixture(scope="module")
def everything(tmp_path_factory) -> Path:
    """A directory where a cluster was built for every target there is, at a given time."""
    directory = tmp_path_factory.mktemp("everything")
    shutil.copy(LAB, directory / "icc-etcd.yaml")
    # What is beyond ASCII, so that a locale can matter.
    edit(directory / "icc-etcd.yaml", "cluster: icc-etcd", "cluster: icc-etcd  # größer")
    with (directory / "icc-etcd.yaml").open("a") as spec:
        spec.write("extra_user_data: {final_message: größer ✓}\n")
    run = Run(*build_everything(directory), cwd=directory, env={"SOURCE_DATE_EPOCH": "1800000000"})
    assert run.status == 0, run.err
    return directory


def build_everything(directory: Path) -> list[str]:
    listed = json.loads(Run("targets", "--json", cwd=directory).out)
    targets = [f"--target={target['name']}" for target in listed]
    return ["build", "icc-etcd.yaml", "--secrets", "split", *targets]


def modes(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): oct(p.stat().st_mode) for p in root.rglob("*")}


@pytest.mark.parametrize("case", ELSEWHERE)
def test_same_store_and_clock_give_the_same_bytes_elsewhere(case, everything, tmp_path):
    """Every file of every target, ISOs included, and its mode."""
    prefix, env = ELSEWHERE[case]
    if prefix:
        prefix = [require_program(prefix[0]), *prefix[1:]]
    shutil.copytree(everything / "pki", tmp_path / "pki", symlinks=True)
    shutil.copy(everything / "icc-etcd.yaml", tmp_path)
    command = [*prefix, sys.executable, "-m", "imagegen", *build_everything(everything)]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1800000000", **env},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "out") == tree(everything / "out")
    assert modes(tmp_path / "out/icc-etcd") == modes(everything / "out/icc-etcd")


def test_a_change_needs_force(here):
    """Without it nothing changes and every file is named; with it, what changed is told."""
    assert Run("build", "icc-etcd.yaml", cwd=here).status == 0
    before = tree(here / "out")
    edit(here / "icc-etcd.yaml", "gateway: 10.240.0.1", "gateway: 10.240.0.254")
    refused = Run("build", "icc-etcd.yaml", cwd=here)
    assert refused.status == 1
    assert "members/icc-etcd-1/network-config" in refused.err
    assert refused.err.count("--force") == 1
    assert tree(here / "out") == before
    forced = Run("build", "icc-etcd.yaml", "--force", cwd=here)
    assert forced.status == 0
    assert "changed: members/icc-etcd-5/seed.iso" in forced.out
    assert "changed: members/icc-etcd-1/user-data" not in forced.out


def test_members_cannot_change_by_accident(here):
    """etcd reads the initial cluster once; a spec that differs from the record is refused."""
    assert Run("build", "icc-etcd.yaml", cwd=here).status == 0
    before = tree(here)
    edit(here / "icc-etcd.yaml", "10.240.0.15", "10.240.0.16")
    before["icc-etcd.yaml"] = hashlib.sha256((here / "icc-etcd.yaml").read_bytes()).hexdigest()
    refused = Run("build", "icc-etcd.yaml", "--force", cwd=here)
    assert refused.status == 1
    assert "icc-etcd-5" in refused.err
    assert "10.240.0.16" in refused.err
    assert "--new-cluster" in refused.err
    assert tree(here) == before


def test_new_cluster_starts_over(here):
    """A new token and store id, the same CA; members that left lose their directories."""
    edit(here / "icc-etcd.yaml", "token: etcd-cluster-0\n", "")
    assert Run("build", "icc-etcd.yaml", cwd=here).status == 0
    record = json.loads((here / "pki/icc-etcd/cluster.json").read_text())
    ca_key = (here / "pki/icc-etcd/ca-key.pem").read_text()
    text = (here / "icc-etcd.yaml").read_text()
    (here / "icc-etcd.yaml").write_text(re.sub(r"  - name: icc-etcd-[45]\n.*\n.*\n", "", text))
    run = Run("build", "icc-etcd.yaml", "--new-cluster", "--force", cwd=here)
    assert run.status == 0, run.err
    after = json.loads((here / "pki/icc-etcd/cluster.json").read_text())
    assert after["token"] != record["token"]
    assert after["store_id"] != record["store_id"]
    assert (here / "pki/icc-etcd/ca-key.pem").read_text() == ca_key
    left = {path.name for path in (here / "out/icc-etcd/members").iterdir()}
    assert left == {"icc-etcd-1", "icc-etcd-2", "icc-etcd-3"}
    assert len(json.loads((here / "out/icc-etcd/manifest.json").read_text())["members"]) == 3


def test_one_member_alone(here):
    """Only its directory is made; the manifest grows as more are built."""
    assert Run("build", "icc-etcd.yaml", "--member", "icc-etcd-2", cwd=here).status == 0
    members = here / "out/icc-etcd/members"
    assert [path.name for path in members.iterdir()] == ["icc-etcd-2"]
    run = Run("build", "icc-etcd.yaml", "--member", "icc-etcd-4", "--force", cwd=here)
    assert run.status == 0, run.err
    manifest = json.loads((here / "out/icc-etcd/manifest.json").read_text())
    assert [member["name"] for member in manifest["members"]] == ["icc-etcd-2", "icc-etcd-4"]
    assert Run("check", "out", cwd=here).status == 0


def test_a_fleet_streams_and_lists_what_failed(here):
    """One cluster that cannot be built does not stop the others."""
    for name in ("a", "b", "c"):
        (here / f"{name}.yaml").write_text(
            f"cluster: {name}\nmembers:\n"
            + "".join(f"  - {{name: {name}-{n}, address: 192.0.2.{n}}}\n" for n in (1, 2, 3))
        )
    (here / "pki/b").mkdir(parents=True)
    (here / "pki/b/cluster.json").write_text("nonsense")
    run = Run("build", "a.yaml", "b.yaml", "c.yaml", "--jobs", "2", cwd=here)
    assert run.status == 1
    assert "b.yaml: not built" in run.err
    assert {path.name for path in (here / "out").iterdir()} == {"a", "c"}
    assert (here / "pki/b/cluster.json").read_text() == "nonsense"


def test_progress_is_for_terminals_and_leaves_nothing_behind(here):
    """After a second it says how many are done; the last line on the terminal is empty."""
    program = (
        "import time; from imagegen.cli.messages import with_progress\n"
        "for n in with_progress(range(4), 4, 'clusters'): time.sleep(0.6)"
    )
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "wb") as terminal:
        subprocess.run([sys.executable, "-c", program], stderr=terminal, check=True, timeout=60)
    said = os.read(ours, 65536).decode()
    os.close(ours)
    assert "] 2 of 4 clusters" in said
    assert "1 of 4" not in said
    assert said.endswith("\r\x1b[K")
    piped = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert piped.stderr == b""


def test_every_problem_of_every_spec_before_anything_is_written(here):
    """A fleet with a bad spec writes nothing at all."""
    (here / "bad.yaml").write_text("cluster: X\nmembers: []\n")
    (here / "worse.yaml").write_text("cluster: icc-etcd\nnonsense: 1\n")
    run = Run("build", "icc-etcd.yaml", "bad.yaml", "worse.yaml", "missing.yaml", cwd=here)
    assert run.status == 1
    for words in ("bad.yaml:1:10", "bad.yaml:2:", "worse.yaml:2:1", "missing.yaml: cannot read"):
        assert words in run.err
    assert not (here / "out").exists()
    assert not (here / "pki").exists()


def test_one_name_one_cluster(here):
    """Two specs of one name in a fleet would overwrite each other."""
    shutil.copy(here / "icc-etcd.yaml", here / "copy.yaml")
    run = Run("build", "icc-etcd.yaml", "copy.yaml", cwd=here)
    assert run.status == 1
    assert "already defined by icc-etcd.yaml" in run.err


def test_build_says_what_to_do_next(here):
    """The last lines are for the operator."""
    run = Run("build", "icc-etcd.yaml", cwd=here)
    for words in (
        "attach",
        "any order",
        "etcdctl member list",
        "delete",
        "backup",
        "ffed16798470cab5",
    ):
        assert words in run.out


def test_a_work_tree_that_would_take_the_keys_is_warned_about(here):
    """git add . must not be how keys get out; an ignored place is fine."""
    git = require_program("git")
    subprocess.run([git, "init", "--quiet", str(here)], check=True)
    run = Run("build", "icc-etcd.yaml", cwd=here)
    assert run.status == 0
    assert "warning: out: is inside a git work tree" in run.err
    assert "warning: pki: is inside a git work tree" in run.err
    (here / "way").mkdir()
    link = here.parent / f"{here.name}-link"
    link.symlink_to(here / "way")
    linked = Run(
        "build", "icc-etcd.yaml", "--output", link / "out", "--pki", link / "pki", cwd=here
    )
    assert linked.err.count("is inside a git work tree") == 2
    (here / ".gitignore").write_text("out/\npki/\n")
    assert "work tree" not in Run("build", "icc-etcd.yaml", cwd=here).err


def test_templates_of_the_users(here):
    """An exported template, changed, takes effect; the others are the shipped ones."""
    assert Run("templates", "export", "mine", cwd=here).status == 0
    edit(here / "mine/hosts.j2", "127.0.0.1 localhost", "127.0.0.1 localhost loopback")
    run = Run("build", "icc-etcd.yaml", "--templates", "mine", cwd=here)
    assert run.status == 0, run.err
    text = (here / "out/icc-etcd/members/icc-etcd-1/user-data").read_text()
    assert "127.0.0.1 localhost loopback" in text


def test_now_and_source_date_epoch(here):
    """Both set the clock of a run; nonsense is explained."""
    run = Run("build", "icc-etcd.yaml", cwd=here, env={"SOURCE_DATE_EPOCH": "1800000000"})
    assert run.status == 0
    record = json.loads((here / "pki/icc-etcd/cluster.json").read_text())
    assert record["created"].startswith("2027-01-15T08:00:00")
    bad = Run("build", "icc-etcd.yaml", "--now", "yesterday", cwd=here)
    assert bad.status == 1
    assert "--now" in bad.err


def test_an_encrypted_ca(here):
    """The CA's key is useless without the passphrase, which only signing needs."""
    (here / "word").write_text("correct horse\n")
    assert Run("build", "icc-etcd.yaml", "--ca-passphrase-file", "word", cwd=here).status == 0
    assert "ENCRYPTED PRIVATE KEY" in (here / "pki/icc-etcd/ca-key.pem").read_text()
    assert Run("build", "icc-etcd.yaml", cwd=here).status == 0
    with (here / "icc-etcd.yaml").open("a") as file:
        file.write("clients: [{name: backup}]\n")
    without = Run("build", "icc-etcd.yaml", "--force", cwd=here)
    assert without.status == 1
    assert "passphrase" in without.err
    wrong = Run("build", "icc-etcd.yaml", "--force", cwd=here, env={"IMAGEGEN_CA_PASSPHRASE": "x"})
    assert wrong.status == 1
    right = Run(
        "build", "icc-etcd.yaml", "--force", cwd=here,
        env={"IMAGEGEN_CA_PASSPHRASE": "correct horse"},
    )  # fmt: skip
    assert right.status == 0, right.err
    assert (here / "out/icc-etcd/client/backup-key.pem").is_file()


def test_reissue_keeps_the_key(here):
    """A certificate that no longer fits stops the build; --reissue signs it anew."""
    assert Run("build", "icc-etcd.yaml", cwd=here).status == 0
    key = (here / "pki/icc-etcd/members/icc-etcd-1/member-key.pem").read_text()
    edit(
        here / "icc-etcd.yaml",
        '"52:54:00:f0:00:0b"',
        '"52:54:00:f0:00:0b"\n    dns_names: [a.example]',
    )
    stopped = Run("build", "icc-etcd.yaml", "--force", cwd=here)
    assert stopped.status == 1
    assert "a.example" in stopped.err
    assert "--reissue" in stopped.err
    run = Run("build", "icc-etcd.yaml", "--force", "--reissue", cwd=here)
    assert run.status == 0, run.err
    assert (here / "pki/icc-etcd/members/icc-etcd-1/member-key.pem").read_text() == key
    pem = (here / "pki/icc-etcd/members/icc-etcd-1/member.pem").read_bytes()
    sans = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert "a.example" in sans.value.get_values_for_type(x509.DNSName)


# --- render --------------------------------------------------------------------------


def test_render_to_a_pipe_is_the_document(built):
    """Exactly the bytes that build wrote, in each encoding."""
    base = built / "out/icc-etcd/members/icc-etcd-3"
    arguments = ("render", "icc-etcd.yaml", "--member", "icc-etcd-3")
    plain = Run(*arguments, cwd=built).data
    assert plain == (base / "user-data").read_bytes()
    decoded = {
        "base64": lambda data: base64.b64decode(data, validate=False),
        "gzip": gzip.decompress,
        "gzip+base64": lambda data: gzip.decompress(base64.b64decode(data)),
    }
    for encoding, decode in decoded.items():
        assert decode(Run(*arguments, "--encoding", encoding, cwd=built).data) == plain
    for document in ("meta-data", "network-config"):
        run = Run(*arguments, "--document", document, cwd=built)
        assert run.data == (base / document).read_bytes()


def on_a_terminal(*arguments: str, cwd: Path) -> tuple[int, str]:
    """Run a command whose standard output is a terminal."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "imagegen", *arguments], cwd=cwd, stdout=follower, stderr=follower
    )
    os.close(follower)
    chunks = []
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:
            break
        if not chunk:
            break
        chunks.append(chunk)
    os.close(leader)
    return process.wait(timeout=60), b"".join(chunks).decode()


def test_render_to_a_terminal_hides_keys(built):
    """What scrolls by on a shared screen has no key in it, unless asked for."""
    arguments = ("render", "icc-etcd.yaml", "--member", "icc-etcd-1")
    key = (built / "pki/icc-etcd/members/icc-etcd-1/member-key.pem").read_text().splitlines()[1]
    status, shown = on_a_terminal(*arguments, cwd=built)
    assert status == 0
    assert "hostname:" in shown
    assert "not shown" in shown
    assert key not in shown
    status, shown = on_a_terminal(*arguments, "--show-secrets", cwd=built)
    assert key in shown
    status, shown = on_a_terminal(*arguments, "--encoding", "base64", cwd=built)
    assert status == 1


def test_render_of_a_stranger(built):
    """A member that is not there is named, with those that are."""
    run = Run("render", "icc-etcd.yaml", "--member", "icc-etcd-9", cwd=built)
    assert run.status == 1
    assert "icc-etcd-9" in run.err
    assert "icc-etcd-5" in run.err


# --- check, inspect, init, schema ---------------------------------------------------


def test_clean_artifacts_have_no_problem(built):
    """Spec, tree and ISO."""
    for path in (
        "icc-etcd.yaml",
        "out",
        "out/icc-etcd",
        "out/icc-etcd/members/icc-etcd-1/seed.iso",
    ):
        run = Run("check", path, "--strict", cwd=built)
        assert run.status == 0, run.err
        assert not run.err


def test_no_note_fails_a_strict_check(tmp_path):
    """A package and a list that is years old: worth knowing, and nobody's mistake."""
    (tmp_path / "c.yaml").write_text(spec_of("one") + "distribution: debian-12\n")
    run = Run("check", "c.yaml", "--strict", "--now", "2036-01-01T00:00:00Z", cwd=tmp_path)
    assert (run.status, run.out) == (0, "c.yaml: 0 errors, 0 warnings\n")
    notes = [line for line in run.err.splitlines() if line.startswith("note: ")]
    assert len(notes) == 2
    assert "a distribution's 3.4.23" in notes[0]
    assert "days ago" in notes[1]


def test_a_fleet_is_told_once_what_is_the_same_for_all(tmp_path):
    """Of a package; of a release each cluster that has it is named."""
    release = install_section("3.6.8")
    for name, more in {
        "one": "distribution: debian-13\n",
        "two": "distribution: debian-13\n",
        "three": release,
        "four": release,
    }.items():
        (tmp_path / f"{name}.yaml").write_text(spec_of(name) + more)
    run = Run("build", *sorted(tmp_path.glob("*.yaml")), cwd=tmp_path)
    assert run.status == 0, run.err
    assert run.err.count("a distribution's 3.5.16") == 1
    for name in ("three", "four"):
        assert run.err.count(f"{name}.yaml: install.release.version: etcd 3.6.8 lacks") == 1


def spec_of(name: str) -> str:
    members = "".join(f"  - {{name: {name}-{n}, address: 10.0.0.{n}}}\n" for n in (1, 2, 3))
    return f"cluster: {name}\nmembers:\n{members}"


def test_strict_makes_warnings_errors(here):
    """An even number of members is fit for a warning."""
    text = (here / "icc-etcd.yaml").read_text()
    (here / "icc-etcd.yaml").write_text(re.sub(r"  - name: icc-etcd-5\n.*\n.*\n", "", text))
    assert Run("check", "icc-etcd.yaml", cwd=here).status == 0
    strict = Run("check", "icc-etcd.yaml", "--strict", cwd=here)
    assert strict.status == 1
    assert "4 members" in strict.err


def test_what_check_finds_is_status_1(here):
    """Every problem with its hint, and how many there are; test_check.py has the faults."""
    assert Run("build", "icc-etcd.yaml", cwd=here).status == 0
    (here / "out/icc-etcd/members/icc-etcd-1/user-data").chmod(0o644)
    run = Run("check", "out", cwd=here)
    assert run.status == 1
    assert "user-data: has mode 0644" in run.err
    assert "hint: chmod 0600" in run.err
    assert "out: 1 errors, 0 warnings" in run.out


def test_check_finds_an_expired_certificate(built):
    """Three years on, the tree is no longer good."""
    run = Run("check", "out", "--now", "2031-01-01T00:00:00Z", cwd=built)
    assert run.status == 1
    assert "expired" in run.err


@pytest.mark.parametrize("content", [b"", b"\0" * 40000, b"\x1f\x8b\x08", b"\xff\xfe a"])
def test_check_of_something_else(content, tmp_path):
    """A file that is neither spec nor seed is an explained error."""
    (tmp_path / "thing").write_bytes(content)
    assert Run("check", "thing", cwd=tmp_path).status == 1
    assert Run("inspect", "thing", cwd=tmp_path).status == 1
    assert Run("check", "nothing", cwd=tmp_path).status == 1
    assert Run("check", tmp_path, cwd=tmp_path).status == 1


def test_inspect_json(built):
    """Scripts read the verdict, the files and the names in the certificates."""
    run = Run("inspect", "--json", "out/icc-etcd/members/icc-etcd-1/seed.iso", cwd=built)
    report = json.loads(run.out)
    assert report["accepted"] is True
    assert report["label"] == "cidata"
    assert {file["name"] for file in report["files"]} == {
        "user-data",
        "meta-data",
        "network-config",
    }
    assert KEY not in run.out


def test_init_makes_a_spec_that_builds(tmp_path):
    """The commented spec is a cluster as it stands; a second init overwrites nothing."""
    assert Run("init", "--cluster", "mine", "--members", "3", cwd=tmp_path).status == 0
    assert Run("check", "--strict", "cluster.yaml", cwd=tmp_path).status == 0
    assert Run("build", "cluster.yaml", cwd=tmp_path).status == 0
    again = Run("init", cwd=tmp_path)
    assert again.status == 1
    assert "already exists" in again.err
    shown = Run("init", "-o", "-", cwd=tmp_path)
    assert yaml.safe_load(shown.out)["cluster"] == "icc-etcd"


def test_each_install_that_init_shows_builds_when_uncommented(tmp_path):
    """With the digest that `imagegen pin` would print, and nothing else changed."""
    text = Run("init", "-o", "-", cwd=tmp_path).out
    sections = re.findall(r"^# install:\n(?:#   .*\n)+", text, re.MULTILINE)
    modes = []
    for section in sections:
        shown = re.sub("^# ", "", section, flags=re.MULTILINE).replace('"..."', f'"{"0a" * 32}"')
        (tmp_path / "c.yaml").write_text(text.replace(section, shown))
        done = Run("check", "c.yaml", cwd=tmp_path)
        assert done.status == 0, done.err
        modes.append(yaml.safe_load(shown)["install"].get("mode", "package"))
    assert modes == ["release", "package"]


def test_schema_is_json(tmp_path):
    """For editors, on standard output."""
    assert json.loads(Run("schema", cwd=tmp_path).out)["properties"]["cluster"]


def test_usage_is_status_2(tmp_path):
    """What the shell got wrong is not what the spec got wrong."""
    assert Run("build", cwd=tmp_path).status == 2
    assert Run("nonsense", cwd=tmp_path).status == 2
    assert Run("--help", cwd=tmp_path).status == 0
    assert Run("--version", cwd=tmp_path).out.startswith("imagegen ")


def test_an_unknown_target_is_named(here):
    """Before anything is written."""
    run = Run("build", "icc-etcd.yaml", "--target", "floppy", cwd=here)
    assert run.status == 1
    assert "nocloud-iso" in run.err
    assert not (here / "pki").exists()


def test_certificates_of_cfssl(tmp_path):
    """The example that brings its own is accepted as cfssl made it, and needs no CA key."""
    require_program("cfssl")
    require_program("cfssljson")
    shutil.copy(EXAMPLES / "own-certificates.yaml", tmp_path)
    script = EXAMPLES / "cfssl/make-certificates.sh"
    subprocess.run(["sh", script, "certificates"], cwd=tmp_path, check=True, timeout=60)
    (tmp_path / "certificates/ca-key.pem").unlink()
    run = Run("build", "own-certificates.yaml", cwd=tmp_path)
    assert run.status == 0, run.err
    assert not [line for line in run.err.splitlines() if line.startswith("warning")]
    assert Run("check", "--strict", "out", cwd=tmp_path).status == 0
    user_data = yaml.safe_load((tmp_path / "out/brought/members/brought-2/user-data").read_text())
    files = {file["path"]: file["content"] for file in user_data["write_files"]}
    assert (
        files["/etc/etcd/kubernetes.pem"] == (tmp_path / "certificates/brought-2.pem").read_text()
    )
    assert "ETCD_PEER_CERT_ALLOWED_CN=brought" in files["/etc/default/etcd"]


def test_certificates_that_are_not_there(tmp_path):
    """Every missing file is named, and nothing is written."""
    shutil.copy(EXAMPLES / "own-certificates.yaml", tmp_path)
    run = Run("build", "own-certificates.yaml", cwd=tmp_path)
    assert run.status == 1
    for name in ("ca.pem", "brought-1.pem", "brought-3-key.pem", "client.pem"):
        assert f"certificates/{name}" in run.err
    assert not (tmp_path / "pki").exists()
