"""Private keys are in the store, in artifacts of mode 0600, and nowhere else.

Every command runs as a user runs it. Whatever it prints, shows in the process
list or leaves in a temporary or home directory is searched for every private
key that is on the disk afterwards, and for the passphrase of the CA.
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import typer
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from imagegen.cli.entry import app
from imagegen.pki.pem import is_encrypted, private_key_in

PASSPHRASE = "passphrase-of-a-test"
# A loopback address where nobody listens: what asks the cluster ends soon.
SPEC = """\
cluster: {name}
members: [{{name: a, address: 127.0.0.9}}]
clients: [{{name: backup}}]
secrets: {secrets}
"""
_PEM = re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----\n(.+?)-----END \1-----", re.DOTALL)

# In this order, one after the other: each works on what those before it made.
CHANGING = """\
init
init --cluster mine -o mine.yaml
build embed.yaml split.yaml external.yaml
build embed.yaml --target ec2 --target vsphere --target qemu --allow-secrets-over-network --force
build locked.yaml --ca-passphrase-file passphrase
build locked.yaml --reissue --force --ca-passphrase-file passphrase
build locked.yaml --new-cluster --force --ca-passphrase-file wrong
build embed.yaml --new-cluster
build embed.yaml --new-cluster --force
certs renew embed.yaml
certs renew embed.yaml --new-keys
certs renew locked.yaml --new-keys --ca-passphrase-file wrong
certs renew locked.yaml --new-keys --ca-passphrase-file passphrase
certs revoke embed.yaml --client backup
certs rotate-ca embed.yaml --client
certs rotate-ca embed.yaml --next
certs rotate-ca embed.yaml --next --offline
build embed.yaml --reissue --force
packer seed build-seed
packer export packer
templates export templates
build embed.yaml --templates templates --force
"""
# These change nothing, so they may run side by side.
LOOKING = """\
--version
check out
check embed.yaml
check out/embed/members/a/seed.iso
check out/embed/members/a/user-data
diff embed.yaml
diff embed.yaml --json
diff changed.yaml --json
inspect out/embed/members/a/seed.iso
inspect out/embed/members/a/seed.iso --json
inspect out/split/members/a/keys.iso --json
inspect pki/embed/client-ca-key.pem
build pki/embed/client-ca-key.pem
render embed.yaml --member a --document meta-data
render embed.yaml --member a --document network-config
render split.yaml --member a
render embed.yaml --member b
certs list embed.yaml
certs list embed.yaml --json
certs renew embed.yaml --new-keys --dry-run
targets
targets --json
schema
status embed.yaml
status embed.yaml --json
member replace embed.yaml a
member add changed.yaml b
member remove embed.yaml a
snapshot save embed.yaml snapshot.db
pin pki/embed/client-ca-key.pem
upgrade embed.yaml
upgrade released.yaml
"""


def all_commands() -> Iterator[str]:
    """Every command that there is, by its words."""

    def walk(command: object, words: tuple[str, ...]) -> Iterator[str]:
        if not (below := getattr(command, "commands", None)):
            yield " ".join(words)
        for name, child in (below or {}).items():
            yield from walk(child, (*words, name))

    return walk(typer.main.get_command(app), ())


@dataclass
class Seen:
    """All that one command let out, by where."""

    command: str
    places: dict[str, str] = field(default_factory=dict)

    def add(self, place: str, text: str) -> None:
        self.places[place] = self.places.get(place, "") + text


class Home:
    """A user's directory, with temporary and home directories of its own."""

    def __init__(self, directory: Path) -> None:
        self.work = directory / "work"
        self.temporary, self.home = directory / "tmp", directory / "home"
        for folder in (self.work, self.temporary, self.home):
            folder.mkdir()
        for name in ("embed", "split", "external"):
            (self.work / f"{name}.yaml").write_text(SPEC.format(name=name, secrets=name))
        (self.work / "locked.yaml").write_text(SPEC.format(name="locked", secrets="split"))
        changed = SPEC.format(name="embed", secrets="embed").replace(
            "}]\nclients", ", dns_names: [a.example.org]}, {name: b, address: 127.0.0.8}]\nclients"
        )
        (self.work / "changed.yaml").write_text(changed)
        pinned = (
            "install: {mode: release, release: {version: 3.5.33, sha256: {amd64: '%s'}}}\n"
        ) % ("0" * 64)
        released = SPEC.format(name="embed", secrets="embed") + pinned
        (self.work / "released.yaml").write_text(released)
        (self.work / "passphrase").write_text(PASSPHRASE + "\n")
        (self.work / "wrong").write_text("another-passphrase\n")
        for name in ("passphrase", "wrong"):
            (self.work / name).chmod(0o600)

    def run(self, *arguments: str, program: tuple[str, ...] = ("-m", "imagegen")) -> Seen:
        seen = Seen(" ".join(arguments))
        places = {"TMPDIR": str(self.temporary), "HOME": str(self.home)}
        process = subprocess.Popen(
            [sys.executable, *program, *arguments],
            cwd=self.work,
            env={**os.environ, **places},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        with ThreadPoolExecutor(1) as pool:
            output = pool.submit(process.communicate, timeout=120)
            while process.poll() is None:
                for text in _process_list(process.pid):
                    seen.add("process list", text)
                for path, data in _files_below(self.temporary, self.home):
                    seen.add(str(path), data)
                time.sleep(0.02)
        for place, data in zip(("stdout", "stderr"), output.result(), strict=True):
            seen.add(place, data.decode(errors="replace"))
        for path, data in _files_below(self.temporary, self.home):
            seen.add(str(path), data)
        return seen


def _process_list(session: int) -> Iterator[str]:
    """What ``ps`` shows of a command and all that it started."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(process.name)) == session:
                yield (process / "cmdline").read_text(errors="replace")
                yield (process / "environ").read_text(errors="replace")
        except OSError:
            continue  # it has just ended


def _files_below(*roots: Path) -> Iterator[tuple[Path, str]]:
    for root in roots:
        for path in root.rglob("*"):
            try:
                if path.is_file():
                    yield path, path.read_text(errors="replace")
            except OSError:
                continue  # it has just been removed


def secrets_in(root: Path) -> dict[str, Path]:
    """Text that gives a private key away, in several spellings, and the file the key is in.

    Each key made is in a generation of its store, or in the seed of a Packer build.
    """
    found: dict[str, Path] = {}
    for path, text in _files_below(root / "pki", root / "build-seed"):
        for label, body in _PEM.findall(text):
            lines = [line.strip() for line in body.splitlines()]
            der = "".join(line for line in lines if line)
            # Of a plain key, the first two lines have the secret number and the others the
            # public key, which certificates have too; OpenSSH has them the other way round.
            secret = lines[:2] if label == "PRIVATE KEY" else lines[3:-1]
            found |= dict.fromkeys(secret, path)
            found[base64.b64decode(der).hex()] = path
            pem = f"-----BEGIN {label}-----\n" + "\n".join(lines) + f"\n-----END {label}-----\n"
            found[base64.b64decode(der).hex()] = path
            found[base64.b64encode(pem.encode())[60:160].decode()] = path
            if label == "OPENSSH PRIVATE KEY" or is_encrypted(pem):
                continue
            key = private_key_in(pem)
            if isinstance(key, ec.EllipticCurvePrivateKey):
                number = key.private_numbers().private_value
                found |= {str(number): path, f"{number:x}": path}
            der_form = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
            found[repr(der_form)[40:120]] = path
    return found


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_every_command_is_among_them() -> None:
    """A new command is not forgotten."""
    lines = [*CHANGING.splitlines(), *LOOKING.splitlines()]
    for name in all_commands():
        assert any(f"{line} ".startswith(f"{name} ") for line in lines), name


def test_no_command_lets_a_key_out(home: Home) -> None:
    """Neither streams, nor the process list, nor files in TMPDIR and HOME, whatever comes of it."""
    runs = [home.run(*line.split()) for line in CHANGING.splitlines()]
    looking = [line.split() for line in LOOKING.splitlines()]
    looking += [[*command.split(), "--help"] for command in all_commands()]
    with ThreadPoolExecutor(4) as pool:
        runs += pool.map(lambda line: home.run(*line), looking)

    secrets = secrets_in(home.work)
    assert_are_all(secrets, home)
    for run in runs:
        for place, text in run.places.items():
            assert PASSPHRASE not in text, (run.command, place)
            for secret, path in secrets.items():
                assert secret not in text, (run.command, place, path)
        assert "Traceback" not in run.places["stderr"], run.places["stderr"]
    assert list(home.temporary.iterdir()) == []
    assert list(home.home.iterdir()) == []
    assert_are_the_owners_alone(secrets, home)
    # Where keys are to be seen they are, so this would have found them elsewhere.
    assert sum("process list" in run.places for run in runs) > len(runs) // 2
    shown = home.run("render", "embed.yaml", "--member", "a").places["stdout"]
    assert sum(secret in shown for secret in secrets) == 4


def assert_are_all(secrets: dict[str, Path], home: Home) -> None:
    """Each store's keys are looked for, and those of a Packer build."""
    owners = {path.relative_to(home.work).parts[:2] for path in secrets.values()}
    assert {("pki", name) for name in ("embed", "split", "external", "locked")} < owners
    assert ("build-seed", "id_ed25519") in owners


def assert_are_the_owners_alone(secrets: dict[str, Path], home: Home) -> None:
    """Of files; and of the CAs' keys nothing is outside of the store, nor is the passphrase."""
    authorities = {secret for secret, path in secrets.items() if "ca-key" in path.name}
    assert authorities
    for path, text in _files_below(home.work):
        if path.name == "passphrase":
            continue
        assert PASSPHRASE not in text, path
        if any(secret in text for secret in secrets):
            assert path.stat().st_mode & 0o077 == 0, path
            assert path.name != "manifest.json"
        if path.relative_to(home.work).parts[0] != "pki":
            assert not any(secret in text for secret in authorities), path


FAILING = """
import importlib, sys
import imagegen.cli.entry
module, name = sys.argv.pop(1).split(":")
owner = importlib.import_module(module)
for part in name.split(".")[:-1]:
    owner = getattr(owner, part)
def fail(*arguments, **options):
    raise RuntimeError(f"{arguments!r} {options!r}")
setattr(owner, name.split(".")[-1], fail)
imagegen.cli.entry.main()
"""
#: Functions that are handed keys, and commands that call them.
HANDED_KEYS = {
    "imagegen.store.store:Store.save": "build embed.yaml --force",
    "imagegen.build.prepare:prepare_from": "build embed.yaml --force",
    "imagegen.build.package:render_node": "build embed.yaml --force",
    "imagegen.build.build:write_artifacts": "build embed.yaml --new-cluster --force",
    "imagegen.build.build:build_manifest": "build split.yaml --force",
    "imagegen.pki.issue:Signer": "build changed.yaml --new-cluster --force",
    "imagegen.day2.renew:faults": "certs renew embed.yaml --new-keys",
    "imagegen.day2.renew:write_deliveries": "certs renew embed.yaml --new-keys",
    "imagegen.day2.delivery:write_artifacts": "certs renew embed.yaml --new-keys",
    "imagegen.day2.revoke:sign_crl": "certs revoke embed.yaml --client client",
    "imagegen.day2.rotate_ca:new_authority": "certs rotate-ca split.yaml --peer",
}


def test_a_traceback_shows_no_key(home: Home) -> None:
    """A bug is reported with the arguments of what failed: their repr has no key."""
    home.run("build", "embed.yaml", "split.yaml")
    runs = [
        home.run(function, *command.split(), program=("-c", FAILING))
        for function, command in HANDED_KEYS.items()
    ]
    secrets = secrets_in(home.work)
    assert secrets
    for run in runs:
        said = run.places["stderr"]
        assert "Traceback" in said, (run.command, said)
        assert "RuntimeError: (" in said, (run.command, said)
        assert "PRIVATE KEY" not in said
        for secret, path in secrets.items():
            assert not any(secret in text for text in run.places.values()), (run.command, path)
