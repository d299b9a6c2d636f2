"""`imagegen targets` and `build --target`: what every target has in common."""

from __future__ import annotations

import base64
import gzip
import json
import os
import shutil
import stat
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import yaml

from imagegen.media.encodings import Encoding, encoded
from imagegen.media.iso_reader import read_seed
from imagegen.targets import load_target, targets
from imagegen.targets.payload import Limit, Options, Payload, size_problems
from tests.cli.test_cli import KEY, Run, tree
from tests.cloud_init import VERSIONS, run_in
from tests.conftest import EXAMPLES, require_program
from tests.documents.test_render import documents

URL = "https://seeds.example.org/etcd"


def flags_of(name: str) -> list[str]:
    """What this target is built with beside its name."""
    return ["--target", name, *(["--seed-url", URL] if name == "nocloud-dir" else [])]


@pytest.mark.parametrize("name", targets())
def test_every_target_states_its_facts(name):
    """Encoding, source and what to do with it are said."""
    target = load_target(name)
    assert target.name == name
    assert all((target.makes, target.encoding, target.attach))
    assert target.source.startswith("https://")


@pytest.mark.parametrize("name", targets())
@pytest.mark.parametrize("example", ["icc-etcd", "hardened"])
def test_payloads_are_small_named_and_the_same_each_time(name, example):
    """Two members' files never meet, stay inside the directory, and hold no chance or clock."""
    target = load_target(name)
    options = Options()
    for secrets in ("embed", "split", "external"):
        one = documents(example, 0, secrets=secrets)
        first = target.package(one, options)
        assert first == target.package(one, options)
        other = target.package(documents(example, 1, secrets=secrets), options)
        assert first.files
        shared = first.files.keys() & other.files.keys()
        assert all(first.files[name] == other.files[name] for name in shared)
        assert not any(".." in Path(name).parts or name.startswith("/") for name in first.files)


@pytest.mark.parametrize("name", targets())
def test_a_build_for_each_target(name, tmp_path):
    """Built as a user would, with its default for secrets: modes, manifest and check agree."""
    shutil.copy(EXAMPLES / "smallest.yaml", tmp_path)
    run = Run("build", "smallest.yaml", *flags_of(name), cwd=tmp_path)
    assert run.status == 0, run.err
    assert load_target(name).attach in run.out
    base = tmp_path / "out/small"
    for path in base.rglob("*"):
        script = path.is_file() and path.read_bytes()[:2] == b"#!"
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() or script else 0o600)
        if script:
            shellcheck = require_program("shellcheck")
            said = subprocess.run([shellcheck, path], capture_output=True, text=True, check=False)
            assert said.returncode == 0, said.stdout
    member = sorted((base / "members").iterdir())[0]
    embeds = load_target(name).secrets == "embed"
    assert (KEY in (member / "user-data").read_text()) is embeds
    assert (member / "keys.iso").exists() is not embeds
    checked = Run("check", "out", cwd=tmp_path)
    assert checked.status == 0, checked.err


def test_compressed_is_the_same_under_every_python():
    """Until 3.13 the header named the system that zlib was made on; from then on none (255)."""
    for encoding in (Encoding.GZIP, Encoding.GZIP_BASE64):
        data = encoded(b"text", encoding)
        data = data if encoding is Encoding.GZIP else base64.b64decode(data)
        assert data[:10] == b"\x1f\x8b\x08\0\0\0\0\0\x02\xff"
        assert gzip.decompress(data) == b"text"


def test_targets_as_json(tmp_path):
    """Programs get the same facts."""
    listed = json.loads(Run("targets", "--json", cwd=tmp_path).out)
    assert [entry["name"] for entry in listed] == list(targets())
    shown = Run("targets", cwd=tmp_path).out
    assert all(entry["source"] in shown for entry in listed)


@cache
def keys_of(base: Path) -> list[bytes]:
    """A line of each private key in a store: wherever it appears, the key does."""
    return [path.read_bytes().splitlines()[2] for path in base.rglob("*-key.pem")]


@pytest.mark.parametrize("name", targets())
def test_split_leaves_no_key_in_what_the_target_takes(name, tmp_path):
    """Plain, base64 or compressed: the keys are on keys.iso alone, which fits its certificates."""
    shutil.copy(EXAMPLES / "smallest.yaml", tmp_path)
    run = Run("build", "smallest.yaml", *flags_of(name), "--secrets", "split", cwd=tmp_path)
    assert run.status == 0, run.err
    keys = keys_of(tmp_path / "pki")
    assert keys
    places = {
        path.name
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
        and "client" not in path.parts
        and any(key in unwrapped(path.read_bytes()) for key in keys)
    }
    # KubeVirt's keys.yaml is an object that becomes the disk.
    assert places - {"keys.yaml"} == {"keys.iso"}


def unwrapped(data: bytes) -> bytes:
    """A file, and all that is encoded in it, one in another."""
    import base64
    import gzip
    import re

    seen, waiting = b"", [data]
    while waiting:
        part = waiting.pop()
        seen += part + b"\0"
        for at in (m.start() for m in re.finditer(rb"\x1f\x8b\x08", part)):
            try:
                waiting.append(gzip.decompress(part[at:]))
            except (OSError, EOFError):
                continue
        for word in re.findall(rb"[A-Za-z0-9+/]{200,}={0,2}", part):
            try:
                waiting.append(base64.b64decode(word + b"=" * (-len(word) % 4)))
            except ValueError:
                continue
    return seen


def test_embedding_where_strangers_read_takes_a_word(tmp_path):
    """Without it nothing is written; over HTTP it takes TLS as well."""
    shutil.copy(EXAMPLES / "smallest.yaml", tmp_path)
    build = ["build", "smallest.yaml", "--target", "nocloud-dir", "--secrets", "embed"]
    refused = Run(*build, cwd=tmp_path)
    assert refused.status == 1
    assert "--allow-secrets-over-network" in refused.err
    assert not (tmp_path / "pki").exists()
    plain = Run(*build, "--allow-secrets-over-network", "--seed-url", "http://h/", cwd=tmp_path)
    assert plain.status == 1
    assert "TLS" in plain.err
    assert not (tmp_path / "pki").exists()
    accepted = Run(*build, "--allow-secrets-over-network", "--seed-url", URL, cwd=tmp_path)
    assert accepted.status == 0, accepted.err
    served = tmp_path / "out/small/nocloud-dir"
    assert KEY in next(served.iterdir()).joinpath("user-data").read_text()


def test_secrets_of_the_spec_and_of_the_flag(tmp_path):
    """The flag outweighs the spec, which outweighs the target's default."""
    shutil.copy(EXAMPLES / "smallest.yaml", tmp_path)
    with (tmp_path / "smallest.yaml").open("a") as spec:
        spec.write("secrets: external\n")
    assert Run("build", "smallest.yaml", cwd=tmp_path).status == 0
    members = tmp_path / "out/small/members"
    keys = sorted(path.name for path in next(members.iterdir()).joinpath("keys").iterdir())
    assert keys == ["peer-key.pem", "server-key.pem"]
    assert Run("check", "out", cwd=tmp_path).status == 0
    refused = Run("build", "smallest.yaml", "--secrets", "split", cwd=tmp_path)
    assert refused.status == 1
    assert "keys/peer-key.pem: is not made any more" in refused.err
    assert Run("build", "smallest.yaml", "--secrets", "split", "--force", cwd=tmp_path).status == 0
    assert not list(members.glob("*/keys"))
    assert len(list(members.glob("*/keys.iso"))) == 3


def test_two_targets_with_ways_of_their_own(tmp_path):
    """Each gets its default, and check finds nothing wrong with both beside each other."""
    shutil.copy(EXAMPLES / "smallest.yaml", tmp_path)
    for order in (("nocloud-dir", "nocloud-iso"), ("nocloud-iso", "nocloud-dir")):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        flags = [word for name in order for word in ("--target", name)]
        assert Run("build", "smallest.yaml", *flags, cwd=tmp_path).status == 0
        base = tmp_path / "out/small"
        name = next((base / "members").iterdir()).name
        assert KEY in (base / "members" / name / "user-data").read_text()
        assert KEY not in (base / "nocloud-dir" / name / "user-data").read_text()
        checked = Run("check", "out", cwd=tmp_path)
        assert checked.status == 0, checked.err


def test_a_target_no_longer_chosen_is_removed_with_force(tmp_path):
    """Its files would go stale, keys and all; nothing of it stays, empty folders included."""
    shutil.copy(EXAMPLES / "smallest.yaml", tmp_path)
    both = ["build", "smallest.yaml", "--target", "nocloud-iso", "--target", "nocloud-dir"]
    assert Run(*both, cwd=tmp_path).status == 0
    before = tree(tmp_path / "out")
    refused = Run("build", "smallest.yaml", cwd=tmp_path)
    assert refused.status == 1
    assert "is not made any more" in refused.err
    assert tree(tmp_path / "out") == before
    forced = Run("build", "smallest.yaml", "--force", cwd=tmp_path)
    assert forced.status == 0
    assert not (tmp_path / "out/small/nocloud-dir").exists()
    assert Run("check", "out", cwd=tmp_path).status == 0


def damaged_key(base: Path) -> None:
    keys = sorted(base.glob("members/*/keys/server-key.pem"))
    keys[0].write_bytes(keys[1].read_bytes())


def smuggled_key(base: Path) -> None:
    """As if a template had put the key into user-data after all."""
    member = sorted((base / "members").iterdir())[0]
    document = yaml.safe_load((member / "user-data").read_text())
    document["write_files"].append(
        {
            "path": "/etc/etcd/server-key.pem",
            "content": (member / "keys/server-key.pem").read_text(),
        }
    )
    (member / "user-data").write_text("#cloud-config\n" + yaml.safe_dump(document))


@pytest.mark.parametrize(
    ("damage", "words"),
    [(damaged_key, "private key"), (smuggled_key, "server-key.pem is in user-data")],
)
def test_check_knows_keys_that_travel_apart(damage, words, tmp_path):
    """A key of another member, or one in user-data all the same, is found."""
    shutil.copy(EXAMPLES / "smallest.yaml", tmp_path)
    assert Run("build", "smallest.yaml", "--secrets", "external", cwd=tmp_path).status == 0
    damage(tmp_path / "out/small")
    run = Run("check", "out", cwd=tmp_path)
    assert run.status == 1
    assert words in run.err
    assert KEY not in run.err


def test_a_file_of_ours_in_extra_user_data(tmp_path):
    """It would overwrite what first boot relies on; the place is named."""
    shutil.copy(EXAMPLES / "smallest.yaml", tmp_path)
    with (tmp_path / "smallest.yaml").open("a") as spec:
        spec.write("extra_user_data: {write_files: [{path: /etc/default/etcd, content: x}]}\n")
    run = Run("check", "smallest.yaml", cwd=tmp_path)
    assert run.status == 1
    assert "extra_user_data.write_files[0]: /etc/default/etcd would be two files" in run.err


@pytest.mark.parametrize(("share", "severity"), [(0.8, None), (0.95, "warning"), (1.01, "error")])
def test_sizes_against_a_limit(share, severity):
    """Over it is an error, close to it a warning, and both say what takes the bytes."""
    node = documents("icc-etcd")
    limit = Limit(bytes=10_000, of="user-data")
    target = replace(load_target("nocloud-dir"), limit=limit)
    problems = list(size_problems(target, node, Payload(files={}, counted=int(share * 10_000))))
    assert [str(problem.severity) for problem in problems] == ([severity] if severity else [])
    for problem in problems:
        assert "/usr/local/lib/imagegen/firstboot" in problem.what
        assert "/etc/etcd/kubernetes.pem" in problem.what
        assert "10,000" in problem.what
        assert problem.hint


@pytest.mark.parametrize("version", VERSIONS)
def test_nocloud_dir_is_what_cloud_init_fetches(version, tmp_path):
    """Its own NoCloud code reads the folder, by the very URL form the boot-arguments give."""
    node = documents("smallest")
    packaged = load_target("nocloud-dir").package(node, Options(seed_url=URL))
    for name, data in packaged.files.items():
        path = tmp_path / Path(name).relative_to("nocloud-dir")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    folder = tmp_path / node.member.name
    seen = run_in(
        version,
        f"""
meta, user, vendor = util.read_seeded({f"file://{folder}/"!r})[:3]
result = [meta, merged(user), (vendor or b"").decode()]
""",
    )
    assert seen[0]["instance-id"] == node.member.instance_id
    assert seen[1] == yaml.safe_load(node.user_data)
    assert seen[2] == ""
    arguments = (folder / "boot-arguments").read_text()
    assert f"ds=nocloud;s={URL}/{node.member.name}/" in arguments
    assert (folder / "network-config").read_bytes() == b""
    code = """
from cloudinit.sources.DataSourceNoCloud import parse_cmdline_data
result = {}
parse_cmdline_data("ds=nocloud", result, "root=/dev/vda ds=nocloud;s=%s/a/ quiet")
"""
    assert run_in(version, code % URL)["seedfrom"] == f"{URL}/a/"


def test_a_static_network_cannot_be_fetched(tmp_path):
    """It would come too late; each member is named, and nothing is written."""
    shutil.copy(EXAMPLES / "icc-etcd.yaml", tmp_path)
    run = Run("build", "icc-etcd.yaml", *flags_of("nocloud-dir"), cwd=tmp_path)
    assert run.status == 1
    assert "by DHCP already" in run.err
    assert not (tmp_path / "out").exists()
    disc = Run("build", "icc-etcd.yaml", "--target", "nocloud-dir", cwd=tmp_path)
    assert disc.status == 0
    config = tmp_path / "out/icc-etcd/nocloud-dir/icc-etcd-1/network-config"
    assert yaml.safe_load(config.read_text())["version"] == 1


@pytest.mark.parametrize("encoding", Encoding)
def test_encodings_come_back(encoding):
    """Each is undone by the usual programs, and is the same bytes each time."""
    data = os.urandom(1000)
    packed = encoded(data, encoding)
    assert packed == encoded(data, encoding)
    pipes = {"base64": ["base64", "-d"], "gzip": ["gzip", "-d"]}
    for part in reversed(str(encoding).split("+")):
        if part in pipes:
            packed = subprocess.run(
                pipes[part], input=packed, capture_output=True, check=True
            ).stdout
    assert packed == data


def test_keys_disk_holds_the_members_keys_under_its_label(tmp_path):
    """Any ISO reader finds them; the label is the one that user-data names."""
    shutil.copy(EXAMPLES / "smallest.yaml", tmp_path)
    assert Run("build", "smallest.yaml", "--secrets", "split", cwd=tmp_path).status == 0
    for disk in (tmp_path / "out").rglob("keys.iso"):
        config = yaml.safe_load((disk.parent / "user-data").read_text())
        files = {file["path"]: file["content"] for file in config["write_files"]}
        seed = read_seed(disk.read_bytes())
        assert seed.label == json.loads(files["/etc/imagegen/member.json"])["keys"]["disk"]
        label = subprocess.run(
            [require_program("blkid"), "-p", "-o", "value", "-s", "LABEL", disk],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert label.stdout.strip() == seed.label
        for name in ("server", "peer"):
            public = ["openssl", "pkey", "-pubout"]
            key = seed.find(f"{name}-key.pem").content
            of_key = subprocess.run(public, input=key, capture_output=True, check=True).stdout
            of_certificate = subprocess.run(
                ["openssl", "x509", "-pubkey", "-noout"],
                input=files[f"/etc/etcd/{name}.pem"].encode(), capture_output=True, check=True,
            ).stdout  # fmt: skip
            assert of_key == of_certificate


@pytest.mark.parametrize("whose", ["the cluster's", "a member's"])
def test_a_manifest_cannot_name_files_elsewhere(tmp_path, whose):
    """What is no longer made is removed by the manifest's names, which must stay inside."""
    shutil.copy(EXAMPLES / "smallest.yaml", tmp_path)
    assert Run("build", "smallest.yaml", cwd=tmp_path).status == 0
    (tmp_path / "precious").write_text("mine")
    manifest = tmp_path / "out/small/manifest.json"
    document = json.loads(manifest.read_text())
    entry = document if whose == "the cluster's" else document["members"][0]
    entry["files"]["../../precious"] = {"sha256": "x"}
    manifest.write_text(json.dumps(document))
    run = Run("build", "smallest.yaml", "--force", cwd=tmp_path)
    assert run.status == 1
    assert "is no manifest" in run.err
    assert (tmp_path / "precious").read_text() == "mine"
