"""A cluster's artifacts, built to be damaged."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from imagegen.base.problems import Problem
from imagegen.build.build import build_cluster
from imagegen.build.load import load_spec
from imagegen.build.manifest import file_facts
from imagegen.build.options import Options
from imagegen.judge.output import check_output
from imagegen.media.iso_reader import read_seed
from imagegen.media.iso_writer import build_image
from imagegen.media.nocloud import build_seed
from imagegen.pki.issue import issue_pki
from imagegen.pki.leaves import CLIENT_AUTH, SERVER_AUTH
from imagegen.pki.pem import PrivateKey, certificates_in, certificates_pem, private_key_in
from imagegen.store.store import Store
from tests.conftest import NOW, make_cluster

SPEC = """\
cluster: c
network: {prefix: 24}
members:
  - {name: a, address: 10.0.0.1, mac: "52:54:00:00:00:01"}
  - {name: b, address: 10.0.0.2, mac: "52:54:00:00:00:02"}
  - {name: c, address: 10.0.0.3, mac: "52:54:00:00:00:03"}
clients: [{name: backup}]
"""
DOCUMENTS = ("user-data", "meta-data", "network-config")


class Tree:
    """One cluster's artifacts, to be damaged, and the store they were built from."""

    def __init__(self, directory: Path) -> None:
        self.base = directory / "out/c"
        self.pki = directory / "pki"

    @classmethod
    def built(cls, directory: Path, text: str = SPEC, **options: Any) -> Tree:
        (directory / "c.yaml").write_text(text)
        places = {"output": directory / "out", "pki": directory / "pki"}
        built = Options(now=NOW, targets=("nocloud-iso",), **places, **options)
        build_cluster(load_spec(directory / "c.yaml", now=NOW), built)
        return cls(directory)

    def path(self, name: str) -> Path:
        """A file by its name below the cluster's directory, or below that of its members."""
        return self.base / (name if name.startswith(("client", "manifest")) else f"members/{name}")

    def edit(self, name: str, old: str, new: str) -> None:
        text = self.path(name).read_text()
        assert old in text, f"{name} has no {old}"
        self.path(name).write_text(text.replace(old, new))

    @property
    def config(self) -> dict[str, Any]:
        """The user-data of member a."""
        loaded: dict[str, Any] = yaml.safe_load(self.path("a/user-data").read_text())
        return loaded

    def say(self, config: dict[str, Any]) -> None:
        self.path("a/user-data").write_text("#cloud-config\n" + yaml.safe_dump(config))

    def file(self, path: str, *, of: str = "a") -> str:
        config = yaml.safe_load(self.path(f"{of}/user-data").read_text())
        [text] = [file["content"] for file in config["write_files"] if file["path"] == path]
        assert isinstance(text, str)
        return text

    def replace(self, path: str, text: str | None) -> None:
        """Have user-data of member a write ``text`` there, or not write it."""
        config = self.config
        [file] = [file for file in config["write_files"] if file["path"] == path]
        if text is None:
            config["write_files"].remove(file)
        else:
            file["content"] = text
        self.say(config)

    def manifest(self, change: Callable[[dict[str, Any]], object]) -> None:
        document = json.loads(self.path("manifest.json").read_text())
        change(document)
        self.path("manifest.json").write_text(json.dumps(document))

    def seed(self, change: Callable[[dict[str, bytes]], object], *, label: str = "cidata") -> None:
        """Put other files on the seed of member a, as any tool might."""
        files = {name: self.path(f"a/{name}").read_bytes() for name in DOCUMENTS}
        change(files)
        self.path("a/seed.iso").write_bytes(build_image(files, when=NOW, label=label))

    def keys_disc(self, change: Callable[[dict[str, bytes]], object], *, label: str = "") -> None:
        path = self.path("a/keys.iso")
        seed = read_seed(path.read_bytes())
        files = {file.name: file.content for file in seed.files}
        change(files)
        path.write_bytes(build_image(files, when=NOW, label=label or seed.label))

    def sealed(self) -> None:
        """Make seeds and manifest of what is there now, so that no digest gives it away."""

        def facts(entry: dict[str, Any]) -> None:
            folder = self.path(entry["name"])
            documents = {n: (folder / n).read_bytes() for n in DOCUMENTS if (folder / n).is_file()}
            if len(documents) == len(DOCUMENTS):
                (folder / "seed.iso").write_bytes(build_seed(documents, when=NOW))
            names = {path.relative_to(self.base).as_posix(): path for path in folder.rglob("*")}
            entry["files"] = file_facts(
                {name: path.read_bytes() for name, path in names.items() if path.is_file()}
            )
            entry["certificates"] = [{"serial": serial} for serial in _serials(documents)]

        self.manifest(lambda document: [facts(entry) for entry in document["members"]])

    def check(self) -> list[Problem]:
        return check_output(self.base, now=NOW)


def _serials(documents: dict[str, bytes]) -> Iterator[str]:
    text = documents["user-data"].decode(errors="replace")
    for block in text.split("-----BEGIN CERTIFICATE-----")[1:]:
        lines = "".join(block.partition("-----END")[0].split())
        try:
            certificate = x509.load_der_x509_certificate(base64.b64decode(lines))
        except ValueError:
            continue
        yield f"{certificate.serial_number:x}"


def certificate(
    tree: Tree,
    *,
    key: PrivateKey | None = None,
    usages: tuple[x509.ObjectIdentifier, ...] = (SERVER_AUTH, CLIENT_AUTH),
    address: str | None = "10.0.0.1",
    begin: datetime = NOW,
    days: int = 300,
    authority: bool = False,
    signing: bool = True,
    role: str = "server",
) -> str:
    """A certificate as another tool might sign it with our CA, for the key of member a."""
    stored = Store(tree.pki, "c").load()
    assert stored is not None
    ca = stored.pki.ca if role == "server" else stored.pki.peer_ca
    assert ca.key_pem is not None
    public = (key or private_key_in(getattr(stored.pki.members["a"], role).key_pem)).public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a")]))
        .issuer_name(certificates_in(ca.certificate_pem)[0].subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    )
    if address:
        names = [x509.IPAddress(ip_address(address))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if not signing:
        usage = dict.fromkeys(
            ("content_commitment", "data_encipherment", "key_agreement", "key_cert_sign",
             "crl_sign", "encipher_only", "decipher_only", "digital_signature"), False,
        )  # fmt: skip
        builder = builder.add_extension(
            x509.KeyUsage(key_encipherment=True, **usage), critical=True
        )
    return certificates_pem([builder.sign(private_key_in(ca.key_pem), hashes.SHA256())])


def strangers() -> Any:
    """The credentials of a cluster of the same name, from another store."""
    return issue_pki(make_cluster(SPEC), stored=None, now=NOW).pki
